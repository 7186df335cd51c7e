//! The identity provider is down, slow, or changes its keys.

use super::*;
use axum::routing::get;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use scangate::signer::keys::{KeyAlgorithm, SigningKeys, generate};
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
        let set: Value = serde_json::from_str(&SigningKeys::single(&pem).unwrap().published()).unwrap();
        Self { jwk: set["keys"][0].clone(), pem }
    }

    fn token(&self, subject: &str) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = self.jwk["kid"].as_str().map(str::to_owned);
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
        self.builder().start().await
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
    // Longer than the minimum time between two fetches.
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
async fn a_key_that_takes_the_place_of_another_is_fetched_when_it_is_met() {
    // Under the id of the old one, and without any.
    for kid in [json!("the-key"), Value::Null] {
        let (mut old, mut new) = (Key::new(), Key::new());
        for key in [&mut old, &mut new] {
            key.jwk["kid"] = kid.clone();
            key.jwk.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        }
        let provider = Provider::start(&[&old]).await;
        let gateway = provider.gateway().await;
        eventually("the first fetch", || async { (*provider.fetches.lock().unwrap() == 1).then_some(()) }).await;
        assert_eq!(scan_status(&gateway, old.token("ada")).await, 200, "{kid}");
        provider.publish(&[&new]);
        // Longer than the minimum time between two fetches.
        within(SOON * 3, "the new key", || async {
            (scan_status(&gateway, new.token("ada")).await == 200).then_some(())
        })
        .await;
        assert_eq!(scan_status(&gateway, old.token("ada")).await, 401, "{kid}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_nobody_under_the_name_of_a_key_cause_no_load() {
    let (key, mut other) = (Key::new(), Key::new());
    other.jwk["kid"] = key.jwk["kid"].clone();
    let provider = Provider::start(&[&key]).await;
    let started = std::time::Instant::now();
    let gateway = provider.gateway().await;
    eventually("the first fetch", || async { (*provider.fetches.lock().unwrap() == 1).then_some(()) }).await;
    for _ in 0..30 {
        assert_eq!(scan_status(&gateway, other.token("mallory")).await, 401);
        assert_eq!(scan_status(&gateway, key.token("ada")).await, 200);
    }
    let periods = started.elapsed().as_secs() / scangate::verifier::jwks::MIN_FETCH_INTERVAL.as_secs();
    assert!(*provider.fetches.lock().unwrap() as u64 <= 2 + periods, "bad signatures cause fetches");
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

/// Publishes any entries, as providers in the field do.
impl Provider {
    fn publish_entries(&self, entries: Value) {
        *self.published.lock().unwrap() = Some(json!({ "keys": entries }));
    }

    fn builder(&self) -> crate::support::gateway::Builder {
        Gateway::builder()
            .own_identity()
            .arg("--identity-jwks-url", &self.url)
            .arg("--identity-issuer", "https://idp")
            .arg("--identity-audience", "gate")
    }
}

/// A private key whose JWK can say anything, and tokens of it.
struct AnyKey {
    algorithm: Algorithm,
    secret: EncodingKey,
    jwk: Value,
}

impl AnyKey {
    fn new(kind: KeyAlgorithm, algorithm: Algorithm, kid: &str) -> Self {
        crate::support::crypto();
        let pem = generate(kind).unwrap();
        let set: Value = serde_json::from_str(&SigningKeys::single(&pem).unwrap().published()).unwrap();
        let secret = match kind {
            KeyAlgorithm::Es256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            KeyAlgorithm::Eddsa => EncodingKey::from_ed_pem(pem.as_bytes()),
            KeyAlgorithm::Rs256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        let mut key = Self { algorithm, secret: secret.unwrap(), jwk: set["keys"][0].clone() };
        key.jwk["kid"] = json!(kid);
        key
    }

    /// The same key, of which the set says something else; `null` leaves a member out.
    fn publishing(mut self, member: &str, value: Value) -> Self {
        match value {
            Value::Null => drop(self.jwk.as_object_mut().unwrap().remove(member)),
            value => self.jwk[member] = value,
        }
        self
    }

    fn with_algorithm(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, secret: self.secret.clone(), jwk: self.jwk.clone() }
    }

    /// A token with this header beside `alg`.
    fn token(&self, header: Value, change: impl FnOnce(&mut Value)) -> String {
        use base64::Engine as _;
        use base64::prelude::BASE64_URL_SAFE_NO_PAD;

        let mut whole = json!({ "alg": self.algorithm, "kid": self.jwk["kid"] });
        whole.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        let mut claims = json!({"iss": "https://idp", "aud": "gate", "sub": "ada", "exp": 4_000_000_000_u64});
        change(&mut claims);
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&whole), part(&claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.secret, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    fn plain(&self) -> String {
        self.token(json!({}), |_| ())
    }
}

async fn refusal(gateway: &Gateway, token: String) -> String {
    let id = Browser::new(gateway).create().await;
    let refused = Phone::with_token(token, gateway).act(&id, "scan").await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    refused.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned()
}

/// RFC 7517 §4.5: keys of different types may have one `kid`.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_one_name_are_told_apart_by_type_and_algorithm() {
    let keys = [
        AnyKey::new(KeyAlgorithm::Rs256, Algorithm::RS256, "one"),
        AnyKey::new(KeyAlgorithm::Rs256, Algorithm::RS512, "one").publishing("alg", json!("RS512")),
        AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "one"),
        AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "one"),
        AnyKey::new(KeyAlgorithm::Eddsa, Algorithm::EdDSA, "one"),
    ];
    let provider = Provider::start(&[]).await;
    provider.publish_entries(keys.iter().map(|key| key.jwk.clone()).collect());
    let gateway = provider.builder().start().await;
    for key in &keys {
        assert_eq!(scan_status(&gateway, key.plain()).await, 200, "{:?}", key.jwk);
        let nameless = key.token(json!({ "kid": null }), |_| ());
        assert_eq!(scan_status(&gateway, nameless).await, 401, "a kid that is no text is malformed");
    }
    let crossed = keys[0].with_algorithm(Algorithm::RS512).plain();
    assert!(refusal(&gateway, crossed).await.contains("signature is invalid"));
    let other = keys[2].with_algorithm(Algorithm::ES256).token(json!({ "alg": "PS256" }), |_| ());
    assert!(refusal(&gateway, other).await.contains("alg does not fit its key"));
}

/// RFC 7517 §5: what cannot be used is ignored, and the rest is not.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_key_costs_nobody_but_itself_and_is_told_once() {
    let good = AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "good");
    let bad = AnyKey::new(KeyAlgorithm::Rs256, Algorithm::RS256, "bad-chain").publishing("x5c", json!("MII"));
    let provider = Provider::start(&[]).await;
    let entries = json!([bad.jwk, null, "key", 7, {"kid": "of-another-world", "kty": "AKP"}, good.jwk]);
    provider.publish_entries(entries);
    let gateway = provider.builder().start().await;
    assert_eq!(scan_status(&gateway, good.plain()).await, 200);
    // Made-up keys have the set fetched again, at most every 10 s.
    let stranger = AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "stranger");
    within(SOON * 3, "another fetch", || async {
        assert_eq!(scan_status(&gateway, stranger.plain()).await, 401);
        (*provider.fetches.lock().unwrap() >= 2).then_some(())
    })
    .await;
    assert_eq!(scan_status(&gateway, good.plain()).await, 200);
    let log = gateway.log();
    for told in [
        "bad-chain\\\" (entry 1): its x5c is malformed",
        "entry 2: it is not",
        "entry 4: it is not",
        "(entry 5): its kty",
    ] {
        assert_eq!(log.matches(told).count(), 1, "{told} in:\n{log}");
    }
    assert!((gateway.metric("scangate_identity_keys").await - 1.0).abs() < 0.5);
    assert!((gateway.metric("scangate_identity_keys_left_out").await - 5.0).abs() < 0.5);

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_scangate"));
    command.args(["doctor", "--identity-jwks-url", &provider.url, "--identity-issuer", "https://127.0.0.1:1"]);
    let output = command.args(["--identity-audience", "gate"]).output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("ok    identity   https://127.0.0.1:1: 1 key(s)"), "{report}");
    assert!(report.contains("WARN  identity   ignored a key at"), "{report}");
    assert!(report.contains("key \"bad-chain\" (entry 1): its x5c is malformed"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_renewed_are_not_believed_for_ever() {
    let key = AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "one");
    for failure in [None, Some(json!({"keys": []})), Some(json!({"keys": [{"kty": "oct", "k": "AA"}]}))] {
        let provider = Provider::start(&[]).await;
        provider.publish_entries(json!([key.jwk]));
        let gateway = provider.builder().arg("--identity-keys-max-age", "6s").start().await;
        assert_eq!(scan_status(&gateway, key.plain()).await, 200);
        provider.published.lock().unwrap().clone_from(&failure);
        let id = Browser::new(&gateway).create().await;
        let refused = within(SOON * 2, "the end of the keys", || async {
            let refused = Phone::with_token(key.plain(), &gateway).act(&id, "scan").await;
            (refused.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(refused)
        })
        .await;
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["code"], "identity_unavailable");
        assert!(problem["detail"].as_str().unwrap().contains("--identity-keys-max-age"), "{problem}");
        assert!(gateway.metric("scangate_identity_refused_total{reason=\"keys_too_old\"}").await >= 1.0);
        provider.publish_entries(json!([key.jwk]));
        within(SOON * 3, "the keys again", || async {
            (scan_status(&gateway, key.plain()).await == 200).then_some(())
        })
        .await;
    }
}

/// RFC 9864, and keys that do not say what they are for.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_verifies_what_its_type_and_size_allow_by_either_name() {
    use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};

    let rsa = AnyKey::new(KeyAlgorithm::Rs256, Algorithm::RS256, "rsa").publishing("alg", json!(null));
    let okp = AnyKey::new(KeyAlgorithm::Eddsa, Algorithm::EdDSA, "okp").publishing("alg", json!("Ed25519"));
    let bare = AnyKey::new(KeyAlgorithm::Eddsa, Algorithm::EdDSA, "bare").publishing("alg", json!(null));
    let pinned = AnyKey::new(KeyAlgorithm::Rs256, Algorithm::RS256, "pinned");
    let provider = Provider::start(&[]).await;
    provider.publish_entries(json!([rsa.jwk, okp.jwk, bare.jwk, pinned.jwk]));
    let gateway = provider.builder().start().await;
    for algorithm in [RS256, RS384, RS512, PS256, PS384, PS512] {
        assert_eq!(scan_status(&gateway, rsa.with_algorithm(algorithm).plain()).await, 200, "{algorithm:?}");
    }
    for key in [&okp, &bare] {
        for name in ["EdDSA", "Ed25519"] {
            assert_eq!(scan_status(&gateway, key.token(json!({ "alg": name }), |_| ())).await, 200, "{name}");
        }
    }
    let other = refusal(&gateway, pinned.with_algorithm(PS256).plain()).await;
    assert!(other.contains("alg does not fit its key"), "{other}");
    for (alg, said) in [("ES256K", "alg is not supported"), ("Ed448", "alg is not supported"), ("none", "not signed")] {
        let said_of_it = refusal(&gateway, rsa.token(json!({ "alg": alg }), |_| ())).await;
        assert!(said_of_it.contains(said), "{alg}: {said_of_it}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_for_verifying_verify_nothing() {
    let good = AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "good");
    let forbidden = [
        AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "a").publishing("use", json!("enc")),
        AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "b").publishing("key_ops", json!(["sign"])),
        AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "c").publishing("use", json!("made-up")),
        AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "d").publishing("key_ops", json!([])),
    ];
    let provider = Provider::start(&[]).await;
    provider.publish_entries(forbidden.iter().chain([&good]).map(|key| key.jwk.clone()).collect());
    let gateway = provider.builder().start().await;
    assert_eq!(scan_status(&gateway, good.plain()).await, 200);
    for key in &forbidden {
        assert!(refusal(&gateway, key.plain()).await.contains("does not publish"), "{:?}", key.jwk);
    }
}

/// What is wrong is told to operators: every time in the metric, once a minute in the log, and nothing of the token.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_told_by_its_reason_and_never_repeated() {
    let key = AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "one");
    let provider = Provider::start(&[]).await;
    provider.publish_entries(json!([key.jwk]));
    let gateway = provider.builder().start().await;
    let bound = key.token(json!({}), |claims| claims["cnf"] = json!({"jkt": "canary-thumbprint"}));
    let slash = key.token(json!({}), |claims| claims["iss"] = json!("https://idp/"));
    let logout = key.token(json!({"typ": "logout+jwt"}), |claims| claims["name"] = json!("canary-name"));
    let list = key.token(json!({}), |claims| claims["iss"] = json!(["https://idp"]));
    let cases = [
        (&bound, "sender_constrained", "cnf"),
        (&slash, "issuer_slash", "differ by a trailing slash"),
        (&logout, "other_type", "typ must be JWT or at+jwt"),
        (&list, "malformed_claim", "iss is a string"),
    ];
    for (token, reason, said) in cases {
        for _ in 0..5 {
            let detail = refusal(&gateway, token.clone()).await;
            assert!(detail.contains(said), "{detail}");
        }
        let counted = gateway.metric(&format!("scangate_identity_refused_total{{reason=\"{reason}\"}}")).await;
        assert!((counted - 5.0).abs() < 0.5, "{reason}: {counted}");
        let log = gateway.log();
        let lines =
            log.lines().filter(|line| line.contains("refused a token") && line.contains(&format!("\"{reason}\"")));
        assert_eq!(lines.count(), 1, "{reason} in:\n{log}");
        assert!(log.contains("\"expected_issuer\":\"https://idp\""), "{log}");
        for part in token.split('.').chain(["canary"]) {
            assert!(!log.contains(part), "{part} is in the log");
        }
    }
}

/// `doctor` finds the slash that is missing, by what the provider says of itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_compares_the_issuer_with_the_providers_own_word() {
    let key = AnyKey::new(KeyAlgorithm::Es256, Algorithm::ES256, "one");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (keys, issuer) = (json!({ "keys": [key.jwk] }).to_string(), format!("{base}/realm/"));
    let metadata = json!({ "issuer": issuer, "jwks_uri": format!("{base}/keys") }).to_string();
    let of_old = json!({ "issuer": format!("{base}/old"), "jwks_uri": format!("{base}/keys") }).to_string();
    let router = axum::Router::new()
        .route("/keys", get(move || async move { keys }))
        .route("/realm/.well-known/openid-configuration", get(move || async move { metadata }))
        .route("/.well-known/oauth-authorization-server/old", get(move || async move { of_old }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let doctor = async |issuer: String, keys: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_scangate"));
        command.args(["doctor", "--identity-jwks-url", &format!("{base}{keys}"), "--identity-issuer", &issuer]);
        let output = command.args(["--identity-audience", "gate"]).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let right = doctor(issuer.clone(), "/keys").await;
    assert!(right.contains("has the same issuer"), "{right}");
    assert!(!right.contains("FAIL") && !right.contains("the provider's jwks_uri is"), "{right}");
    let slash = doctor(format!("{base}/realm"), "/keys").await;
    assert!(slash.contains("FAIL  identity") && slash.contains("differ by a trailing slash"), "{slash}");
    let old = doctor(format!("{base}/old"), "/keys").await;
    assert!(old.contains("has the same issuer"), "{old}");
    let unknown = doctor(format!("{base}/elsewhere"), "/keys").await;
    assert!(unknown.contains("WARN  identity") && unknown.contains("cannot read the discovery document"), "{unknown}");
    let other_keys = doctor(issuer, "/keys?other").await;
    assert!(other_keys.contains("WARN  identity") && other_keys.contains("the provider's jwks_uri is"), "{other_keys}");
}
