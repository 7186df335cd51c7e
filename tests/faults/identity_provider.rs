//! The identity provider is down, slow, or changes its keys.

use super::*;
use axum::routing::get;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use scangate::signer::keys::{KeyAlgorithm, KeySet, generate};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// An identity provider that publishes keys and can be told to fail.
struct Provider {
    url: String,
    published: Arc<Mutex<Option<Value>>>,
    fetches: Arc<Mutex<usize>>,
    is_slow: Arc<AtomicBool>,
}

struct Key {
    pem: String,
    jwk: Value,
}

impl Key {
    fn new() -> Self {
        crate::support::crypto();
        let pem = generate(KeyAlgorithm::Es256).unwrap();
        let set: Value = serde_json::from_str(&KeySet::single(&pem).unwrap().published()).unwrap();
        Self { jwk: set["keys"][0].clone(), pem }
    }

    fn token(&self, subject: &str) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.jwk["kid"].as_str().unwrap().to_owned());
        let claims = json!({"iss": "https://idp", "aud": "gate", "sub": subject, "exp": 4_000_000_000_u64});
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(self.pem.as_bytes()).unwrap()).unwrap()
    }
}

impl Provider {
    async fn start(keys: &[&Key]) -> Self {
        let published = Arc::new(Mutex::new(None::<Value>));
        let fetches = Arc::new(Mutex::new(0));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let is_slow = Arc::new(AtomicBool::new(false));
        let (answer, count, slow) = (Arc::clone(&published), Arc::clone(&fetches), Arc::clone(&is_slow));
        let router = axum::Router::new().route(
            "/jwks.json",
            get(async move || {
                *count.lock().unwrap() += 1;
                if slow.load(Relaxed) {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                let answer = answer.lock().unwrap().clone();
                answer.map(|keys: Value| keys.to_string()).ok_or(axum::http::StatusCode::BAD_GATEWAY)
            }),
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        let provider = Self { url, published, fetches, is_slow };
        provider.publish(keys);
        provider
    }

    fn publish(&self, keys: &[&Key]) {
        let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
        *self.published.lock().unwrap() = Some(json!({ "keys": keys }));
    }

    /// Takes longer to answer than an impatient caller waits.
    fn delay(&self) {
        self.is_slow.store(true, Relaxed);
    }

    fn fail(&self) {
        *self.published.lock().unwrap() = None;
    }

    async fn gateway(&self) -> Gateway {
        Gateway::builder()
            .own_identity()
            .arg("--identity-jwks-url", &self.url)
            .arg("--identity-issuer", "https://idp")
            .arg("--identity-audience", "gate")
            .start()
            .await
    }
}

async fn scan_status(gateway: &Gateway, token: String) -> u16 {
    let id = Browser::new(gateway).create().await;
    Phone::with_token(token, gateway).act(&id, "scan").await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_keys_are_used_and_survive_its_being_down() {
    let key = Key::new();
    let provider = Provider::start(&[&key]).await;
    let gateway = provider.gateway().await;
    assert_eq!(scan_status(&gateway, key.token("ada")).await, 200);
    provider.fail();
    assert_eq!(scan_status(&gateway, key.token("bob")).await, 200);
    assert_eq!(scan_status(&gateway, Key::new().token("mallory")).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_hang_up_do_not_keep_a_new_key_from_being_fetched() {
    let (old, new) = (Key::new(), Key::new());
    let provider = Provider::start(&[&old]).await;
    let gateway = provider.gateway().await;
    eventually("the first fetch", || async { (*provider.fetches.lock().unwrap() == 1).then_some(()) }).await;
    provider.publish(&[&old, &new]);
    provider.delay();
    let id = Browser::new(&gateway).create().await;
    let made_up = Phone::with_token(Key::new().token("mallory"), &gateway);
    // Longer than the cool-down after the first fetch.
    within(SOON * 3, "the new key, among callers who hang up", || async {
        let _ = tokio::time::timeout(Duration::from_millis(100), made_up.act(&id, "scan")).await;
        let scan = tokio::time::timeout(Duration::from_millis(200), scan_status(&gateway, new.token("ada"))).await;
        (scan == Ok(200)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_fetched_when_it_is_met_but_made_up_ones_cause_no_load() {
    let (old, new) = (Key::new(), Key::new());
    let provider = Provider::start(&[&old]).await;
    let gateway = provider.gateway().await;
    eventually("the first fetch", || async { (*provider.fetches.lock().unwrap() == 1).then_some(()) }).await;
    for _ in 0..30 {
        assert_eq!(scan_status(&gateway, Key::new().token("mallory")).await, 401);
    }
    assert!(*provider.fetches.lock().unwrap() <= 2, "made-up keys cause fetches");
    provider.publish(&[&old, &new]);
    eventually("the new key", || async { (scan_status(&gateway, new.token("ada")).await == 200).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_was_never_reached_the_gateway_is_not_ready_and_says_so() {
    let key = Key::new();
    let provider = Provider::start(&[&key]).await;
    provider.fail();
    let gateway = provider.gateway().await;
    assert!(!is_ready(&gateway).await);
    let id = Browser::new(&gateway).create().await;
    let refused = Phone::with_token(key.token("ada"), &gateway).act(&id, "scan").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "identity_unavailable");
}
