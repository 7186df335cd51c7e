//! The session of a person who is signed in to the gateway in a browser: how it starts, what it may do, and that it ends.
//!
//! The demo signs people in here: it starts the same sessions as an identity provider does.

mod pages;

use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::gateway::{Browser, Phone, verified_claims};
use crate::support::{Gateway, Redis, Sentinels, eventually};

/// The name of the cookie over http.
const COOKIE: &str = "scangate-login";

async fn demo() -> Gateway {
    Gateway::builder().own_identity().start().await
}

/// A caller that keeps no cookie by itself.
struct Caller<'a> {
    http: reqwest::Client,
    gateway: &'a Gateway,
}

impl<'a> Caller<'a> {
    fn of(gateway: &'a Gateway) -> Self {
        Self { http: reqwest::Client::new(), gateway }
    }

    fn request(&self, method: Method, path: &str, cookie: &[u8]) -> RequestBuilder {
        let request = self.http.request(method, self.gateway.url(path));
        request.header("cookie", HeaderValue::from_bytes(cookie).unwrap())
    }

    /// Signs in as `name`; returns the secret that the cookie is set to.
    async fn sign_in(&self, name: &str, cookie: &[u8]) -> String {
        let request = self.request(Method::POST, "/demo/sign-in", cookie).json(&json!({ "name": name }));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        set_cookie(&response).unwrap().split([';', '=']).nth(1).unwrap().to_owned()
    }

    async fn session(&self, cookie: &[u8]) -> Response {
        self.request(Method::GET, "/v1/session", cookie).send().await.unwrap()
    }

    /// Returns whether this secret is a session's.
    async fn is_signed_in(&self, secret: &str) -> bool {
        match self.session(&cookie(secret)).await.status() {
            StatusCode::OK => true,
            StatusCode::UNAUTHORIZED => false,
            other => panic!("{other}"),
        }
    }

    async fn end(&self, secret: &str) -> Response {
        self.request(Method::POST, "/v1/session/end", &cookie(secret)).send().await.unwrap()
    }
}

fn cookie(secret: &str) -> Vec<u8> {
    format!("{COOKIE}={secret}").into_bytes()
}

fn set_cookie(response: &Response) -> Option<String> {
    let all = response.headers().get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap().to_owned());
    all.into_iter().find(|cookie| cookie.starts_with(&format!("{COOKIE}=")))
}

async fn sign_in(browser: &Browser, name: &str) {
    let request = browser.request(Method::POST, "/demo/sign-in").json(&json!({ "name": name }));
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
}

async fn act(browser: &Browser, id: &str, action: &str, body: Value) -> Response {
    browser.request(Method::POST, &format!("/v1/tickets/{id}/{action}")).json(&body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_sees_who_they_are_and_signs_out() {
    let gateway = demo().await;
    let browser = Browser::new(&gateway);
    let read = || browser.get("/v1/session");
    assert_eq!(read().await.status(), StatusCode::UNAUTHORIZED);
    let request = browser.request(Method::POST, "/demo/sign-in").json(&json!({ "name": "Ada" }));
    let cookie = set_cookie(&request.send().await.unwrap()).unwrap();
    assert!(cookie.contains("; Path=/; Max-Age=7776000; HttpOnly; SameSite=Lax"), "{cookie}");
    let session: Value = read().await.json().await.unwrap();
    let expected = json!({"name": "Ada", "provider": "demo", "provider_name": "Demo", "auth_time": null, "demo": true});
    assert_eq!(session, expected);
    let end = || async { browser.request(Method::POST, "/v1/session/end").send().await.unwrap() };
    // Signing out again is answered the same.
    for _ in 0..2 {
        let ended = end().await;
        assert_eq!(ended.status(), StatusCode::OK);
        let cookie = set_cookie(&ended).unwrap();
        assert!(cookie.starts_with("scangate-login=; ") && cookie.contains("Max-Age=0"), "{cookie}");
        assert_eq!(ended.json::<Value>().await.unwrap(), json!({"continue_at": null}));
        assert_eq!(read().await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(gateway.metric("scangate_sessions_started_total").await, 1.0);
    assert_eq!(gateway.metric("scangate_sessions_ended_total{reason=\"signed_out\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_in_browser_scans_and_confirms_without_a_token() {
    let gateway = demo().await;
    let (desk, phone) = (Browser::new(&gateway), Browser::new(&gateway));
    let id = desk.create().await;
    assert_eq!(act(&phone, &id, "scan", json!({})).await.status(), StatusCode::UNAUTHORIZED);
    sign_in(&phone, "Ada").await;
    for action in ["scan", "confirm"] {
        assert_eq!(act(&phone, &id, action, json!({})).await.status(), StatusCode::OK, "{action}");
    }
    let answer: Value = desk.read(&id).await.json().await.unwrap();
    let claims = verified_claims(&gateway, answer["token"]["access_token"].as_str().unwrap(), "web").await;
    assert_eq!((&claims["sub"], &claims["name"]), (&json!("demo:Ada"), &json!("Ada")));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_browser_can_show_a_code_and_confirm_it() {
    let gateway = demo().await;
    let browser = Browser::new(&gateway);
    sign_in(&browser, "Ada").await;
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    events.expect("pending").await;
    assert_eq!(act(&browser, &id, "scan", json!({})).await.status(), StatusCode::OK);
    events.expect("scanned").await;
    assert_eq!(act(&browser, &id, "confirm", json!({})).await.status(), StatusCode::OK);
    // The stream is the presenter's, and so is the token.
    assert!(events.expect("confirmed").await.data["token"]["access_token"].is_string());
    // A decline is the approver's, a close the presenter's.
    let id = browser.create().await;
    act(&browser, &id, "scan", json!({})).await;
    assert_eq!(act(&browser, &id, "cancel", json!({})).await.json::<Value>().await.unwrap()["reason"], "declined");
    let id = browser.create().await;
    let closed = browser.request(Method::DELETE, &format!("/v1/tickets/{id}")).send().await.unwrap();
    assert_eq!(closed.status(), StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_in_browser_shares_and_a_guest_receives() {
    let gateway = demo().await;
    let (presenter, guest) = (Browser::new(&gateway), Browser::new(&gateway));
    let share = || presenter.request(Method::POST, "/v1/tickets").json(&json!({"flow": "share"})).send();
    assert_eq!(share().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    sign_in(&presenter, "Ada").await;
    let id = share().await.unwrap().json::<Value>().await.unwrap()["ticket_id"].as_str().unwrap().to_owned();
    assert_eq!(act(&guest, &id, "scan", json!({})).await.status(), StatusCode::OK);
    let seen: Value = presenter.read(&id).await.json().await.unwrap();
    let scanner = json!({"scanner": seen["scanned_by"]["id"]});
    assert_eq!(act(&presenter, &id, "confirm", scanner).await.status(), StatusCode::OK);
    let answer: Value = guest.read(&id).await.json().await.unwrap();
    let claims = verified_claims(&gateway, answer["token"]["access_token"].as_str().unwrap(), "web").await;
    assert_eq!(claims["sub"], "demo:Ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_takes_no_secret_from_the_browser_and_ends_the_session_before() {
    let gateway = demo().await;
    let caller = Caller::of(&gateway);
    // An attacker has planted a secret of their own choice.
    let planted = "A".repeat(43);
    let first = caller.sign_in("Ada", &cookie(&planted)).await;
    assert_ne!(first, planted);
    assert!(!caller.is_signed_in(&planted).await);
    // An attacker has planted their own session: it is no way into the one that follows.
    let second = caller.sign_in("Eve", &cookie(&first)).await;
    assert!(!caller.is_signed_in(&first).await, "the session before the sign-in is still good");
    assert!(caller.is_signed_in(&second).await);
    assert_eq!(gateway.metric("scangate_sessions_ended_total{reason=\"replaced\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_stays_ended_whatever_uses_it_at_the_same_time() {
    let redis = Redis::start();
    let builder = Gateway::builder().own_identity().redis(&redis);
    // With the shortest idle lifetime, every 250 ms a request stores that the session was used.
    let gateway = builder.arg("--session-idle", "5s").start().await;
    let caller = Caller::of(&gateway);
    for round in 0..10 {
        let secret = caller.sign_in("Ada", b"").await;
        tokio::time::sleep(Duration::from_millis(260)).await;
        let uses = futures_util::future::join_all((0..20).map(|_| caller.is_signed_in(&secret)));
        let (_, ended) = tokio::join!(uses, caller.end(&secret));
        assert_eq!(ended.status(), StatusCode::OK);
        assert!(!caller.is_signed_in(&secret).await, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_stays_ended_when_the_primary_is_lost() {
    let mut redis = block_in_place(Sentinels::start);
    let builder = Gateway::builder().own_identity().arg("--demo", "true").arg("--redis-timeout", "1s");
    let gateway = builder.arg("--redis-url", &redis.url()).start().await;
    let caller = Caller::of(&gateway);
    let (mut ended, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        kept.push(caller.sign_in("Ada", b"").await);
        let secret = caller.sign_in("Bob", b"").await;
        assert_eq!(caller.end(&secret).await.status(), StatusCode::OK);
        ended.push(secret);
    }
    let old = redis.primary();
    redis.node_mut(old).kill();
    block_in_place(|| redis.wait_for_new_primary(old));
    let is_signed_in = async |secret: &str| {
        // Until the gateway has found the new primary, it answers 503.
        let answered = || async {
            match caller.session(&cookie(secret)).await.status() {
                StatusCode::OK => Some(true),
                StatusCode::UNAUTHORIZED => Some(false),
                _ => None,
            }
        };
        eventually("an answer", answered).await
    };
    for secret in &ended {
        assert!(!is_signed_in(secret).await);
    }
    for secret in &kept {
        assert!(is_signed_in(secret).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lasts_while_it_is_used_and_ends_when_it_is_not() {
    let gateway = Gateway::builder().own_identity().arg("--session-idle", "5s").start().await;
    let caller = Caller::of(&gateway);
    let secret = caller.sign_in("Ada", b"").await;
    for second in 0..8 {
        assert!(caller.is_signed_in(&secret).await, "after {second} s");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(4500)).await;
    assert!(!caller.is_signed_in(&secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_at_its_longest_lifetime_however_much_it_is_used() {
    let builder = Gateway::builder().own_identity().arg("--session-idle", "5s");
    let gateway = builder.arg("--session-lifetime", "6s").start().await;
    let caller = Caller::of(&gateway);
    let secret = caller.sign_in("Ada", b"").await;
    let started = std::time::Instant::now();
    while caller.is_signed_in(&secret).await {
        assert!(started.elapsed() < Duration::from_secs(7), "it outlived its lifetime");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(started.elapsed() > Duration::from_millis(5500), "it ended after {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_count_for_pages_of_other_origins() {
    let gateway = demo().await;
    let caller = Caller::of(&gateway);
    let secret = caller.sign_in("Ada", b"").await;
    let cookie = cookie(&secret);
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        // A browser that does not know `Sec-Fetch-Site`.
        ("origin", "https://elsewhere.example"),
        ("origin", "null"),
    ] {
        let read = caller.request(Method::GET, "/v1/session", &cookie).header(name, value).send().await.unwrap();
        assert_eq!(read.status(), StatusCode::UNAUTHORIZED, "{name}: {value}");
        let end = caller.request(Method::POST, "/v1/session/end", &cookie).header(name, value).send().await.unwrap();
        assert_eq!(end.status(), StatusCode::FORBIDDEN, "{name}: {value}");
        let id = Browser::new(&gateway).create().await;
        let scan = caller.request(Method::POST, &format!("/v1/tickets/{id}/scan"), &cookie).header(name, value);
        assert_eq!(scan.send().await.unwrap().status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    for site in ["same-origin", "none"] {
        let read = caller.request(Method::GET, "/v1/session", &cookie).header("sec-fetch-site", site);
        assert_eq!(read.send().await.unwrap().status(), StatusCode::OK, "{site}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_origin_acts_with_tokens_and_not_with_the_session() {
    let clients = "[[clients]]\nid = \"web\"\norigins = [\"https://shop.example\"]\n";
    let (_directory, path) = crate::support::gateway::file(clients);
    let gateway = Gateway::builder().own_identity().arg("--config", path.to_str().unwrap()).start().await;
    let caller = Caller::of(&gateway);
    let secret = caller.sign_in("Ada", b"").await;
    let id = Browser::new(&gateway).create().await;
    let by = |path: &str| {
        caller.request(Method::POST, path, &cookie(&secret)).header("origin", "https://shop.example").json(&json!({}))
    };
    let scan = by(&format!("/v1/tickets/{id}/scan")).send().await.unwrap();
    assert_eq!(scan.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(by("/v1/session/end").send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let planted = by("/demo/sign-in").json(&json!({ "name": "Eve" })).send().await.unwrap();
    assert_eq!((planted.status(), set_cookie(&planted)), (StatusCode::OK, None), "it signs nobody in here");
    assert!(caller.is_signed_in(&secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_before_the_session() {
    let gateway = demo().await;
    let caller = Caller::of(&gateway);
    let secret = caller.sign_in("Ada", b"").await;
    let id = Browser::new(&gateway).create().await;
    let scan = caller.request(Method::POST, &format!("/v1/tickets/{id}/scan"), &cookie(&secret));
    let scan = scan.bearer_auth("not.a.token").json(&json!({})).send().await.unwrap();
    assert_eq!(scan.status(), StatusCode::UNAUTHORIZED);
    // The ticket is not bound: another person's token scans it, beside the same cookie.
    let request = caller.request(Method::POST, "/demo/sign-in", b"").json(&json!({ "name": "Bob" }));
    let token = request.send().await.unwrap().json::<Value>().await.unwrap()["access_token"].clone();
    let bob = Phone::with_token(token.as_str().unwrap().to_owned(), &gateway);
    assert_eq!(bob.act(&id, "scan").await.status(), StatusCode::OK);
    let mine = caller.request(Method::POST, &format!("/v1/tickets/{id}/confirm"), &cookie(&secret)).json(&json!({}));
    assert_eq!(mine.send().await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_known_by_the_very_name_of_its_cookie_and_only_once() {
    let gateway = demo().await;
    let caller = Caller::of(&gateway);
    let secret = caller.sign_in("Ada", b"").await;
    let other = caller.sign_in("Eve", b"").await;
    let mut disguises: Vec<Vec<u8>> = [
        format!("scangate%2Dlogin={secret}"),
        format!("%73cangate-login={secret}"),
        format!("Scangate-login={secret}"),
        format!("SCANGATE-LOGIN={secret}"),
        format!("scangate_login={secret}"),
        format!("scangate-login-={secret}"),
        format!("scangate={secret}"),
        format!("scangate-session={secret}"),
        // The name for https, which browsers do not keep over http.
        format!("__Host-scangate-login={secret}"),
        format!("\"scangate-login\"={secret}"),
        format!("$Version=1,scangate-login={secret}"),
        format!("x=\"; scangate-login%3D{secret}"),
        format!("scangate-login=\"{secret}\""),
        format!("scangate-login={secret}="),
        format!("scangate-login={}", &secret[..42]),
        // Another host of the site has set one of the two.
        format!("scangate-login={secret}; scangate-login={secret}"),
        format!("scangate-login={other}; scangate-login={secret}"),
        format!("scangate-login=; scangate-login={secret}"),
    ]
    .map(String::into_bytes)
    .into();
    for white in ["\u{a0}", "\u{85}", "\u{2003}", "\u{feff}", "\u{200b}"] {
        disguises.push(format!("{white}scangate-login={secret}").into_bytes());
        disguises.push(format!("scangate-login{white}={secret}").into_bytes());
    }
    for disguise in disguises {
        let shown = String::from_utf8_lossy(&disguise);
        assert_eq!(caller.session(&disguise).await.status(), StatusCode::UNAUTHORIZED, "{shown}");
    }
    for neighbour in [&b"theme=dark"[..], b"city=Z\xfcrich", b"\xff\xfe=\x80", b"open=\"quote", b"nameless; =; ;"] {
        let line = [neighbour, b"; ", &cookie(&secret)].concat();
        assert_eq!(caller.session(&line).await.status(), StatusCode::OK, "{}", String::from_utf8_lossy(&line));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_holds_no_secret_that_would_open_a_session() {
    let redis = Redis::start();
    let gateway = Gateway::builder().own_identity().redis(&redis).start().await;
    let secret = Caller::of(&gateway).sign_in("Ada", b"").await;
    for key in redis.keys() {
        assert!(!key.contains(&secret), "{key}");
        let values: Vec<String> = redis.run(&["HVALS", &key]);
        assert!(!values.iter().any(|value| value.contains(&secret)), "{key}");
    }
    let log = gateway.process.lines().join("\n");
    assert!(log.contains("session started") && !log.contains(&secret), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_good_at_every_gateway_of_one_redis_until_its_provider_is_removed() {
    let redis = Redis::start();
    let builder = Gateway::builder().own_identity().redis(&redis);
    let (one, other) = (builder.clone().start().await, builder.start().await);
    let secret = Caller::of(&one).sign_in("Ada", b"").await;
    assert!(Caller::of(&other).is_signed_in(&secret).await);
    // The same store, with a real identity provider instead of the demo.
    let real = Gateway::on(&redis).await;
    assert!(!Caller::of(&real).is_signed_in(&secret).await, "a made-up person is signed in");
    Caller::of(&other).end(&secret).await;
    assert!(!Caller::of(&one).is_signed_in(&secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_sessions_is_limited_and_asking_without_a_cookie_is_not() {
    let gateway = Gateway::builder().own_identity().arg("--rate-invalid-confirm", "5").start().await;
    let caller = Caller::of(&gateway);
    for _ in 0..20 {
        assert_eq!(caller.session(b"theme=dark").await.status(), StatusCode::UNAUTHORIZED);
    }
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(caller.session(&cookie(&"A".repeat(43))).await.status());
    }
    assert!(statuses.starts_with(&[StatusCode::UNAUTHORIZED]), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
}
