//! The pages in a real Chromium, through a real nginx: what a person sees, scans and presses.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::support::browser::{Chromium, Device, Driver};
use crate::support::gateway::{Builder, file, verify_with};
use crate::support::nginx::Place;
use crate::support::{Edge, Gateway, Redis, within};

const PHONE: Device = Device::Phone(390, 844);
const SMALL_PHONE: Device = Device::Phone(320, 568);

/// All that a browser needs. Fields go in their order: the driver first, the store last.
struct Stage {
    driver: Driver,
    edge: Edge,
    gateway: Gateway,
    _redis: Redis,
    settings: Builder,
}

impl Stage {
    /// The demo behind an edge, on Redis.
    async fn set() -> Self {
        Self::set_with(|builder| builder).await
    }

    /// The same with further settings.
    async fn set_with(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let redis = Redis::start();
        let place = Place::choose();
        let listen = format!("127.0.0.1:{}", crate::support::free_port());
        let settings = settings(place.gateway().own_identity().redis(&redis).arg("--listen", &listen));
        let gateway = settings.clone().start().await;
        let edge = Edge::before(&gateway, place);
        Self { driver: Driver::start().await, edge, gateway, _redis: redis, settings }
    }

    /// Opens the sign-in page on a desk.
    async fn screen(&self) -> Chromium {
        let screen = self.driver.open(Device::Desk).await;
        screen.goto(&self.edge.url("/")).await;
        screen.until("waiting").await;
        screen
    }

    /// Opens what was scanned on a phone.
    async fn phone(&self, scanned: &str) -> Chromium {
        let phone = self.driver.open(PHONE).await;
        phone.goto(scanned).await;
        phone.until("sign-in").await;
        phone
    }

    /// Checks a JWT against the keys that the gateway publishes, and returns its claims.
    async fn verified(&self, jwt: &str) -> Value {
        let keys: Value = self.edge.browser().get("/.well-known/jwks.json").await.json().await.unwrap();
        verify_with(&keys, jwt, "web")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_is_signed_in_by_the_phone_that_scans_it() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    assert_eq!(screen.text("#heading").await, "Sign in to Web");
    assert_eq!(screen.body("data-transport").await.as_deref(), Some("sse"));
    screen.keep_screen("waiting").await;
    let scanned = screen.scan().await;
    assert_eq!(screen.attribute("#scan-link", "href").await.as_deref(), Some(scanned.as_str()));
    assert!(scanned.starts_with(&stage.edge.url("/s/")), "{scanned}");

    let phone = stage.phone(&scanned).await;
    phone.keep_screen("phone-sign-in").await;
    sign_in(&phone, "Ada Lovelace").await;
    for (fact, value) in [("site", "Web"), ("browser", "Chrome"), ("os", "Linux"), ("ip", "127.0.0.1")] {
        assert_eq!(phone.text(&format!("[data-fact={fact}]")).await, value, "{fact}");
    }
    let time = phone.text("[data-fact=time]").await;
    assert!(time.contains("just now") || time.contains("s ago"), "{time}");
    phone.keep_screen("phone-scanned").await;

    screen.until("scanned").await;
    assert_eq!(screen.text("#who").await, "Ada Lovelace");
    assert!(!screen.sees("#qr").await, "a second scanner must not find the code");
    screen.keep_screen("scanned").await;

    phone.click("#confirm").await;
    phone.until("confirmed").await;
    phone.keep_screen("phone-confirmed").await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=name]").await, "Ada Lovelace");
    assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada Lovelace");
    assert_eq!(screen.text("[data-claim=aud]").await, "web");
    screen.keep_screen("confirmed").await;

    let events = screen.received().await;
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["pending", "scanned", "confirmed"]);
    let jwt = events[2].1["token"]["access_token"].as_str().unwrap();
    let claims = stage.verified(jwt).await;
    assert_eq!(claims["sub"], "demo:Ada Lovelace");
    assert_eq!(claims["iss"], stage.edge.base);
    assert_eq!(screen.text("[data-claim=jti]").await, claims["jti"].as_str().unwrap());

    let kept = screen.run("return [document.cookie, localStorage.length, sessionStorage.length, location.href]").await;
    assert_eq!(kept, json!(["", 0, 0, stage.edge.url("/")]), "the token stays in memory, the binding out of reach");
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_the_confirm_page_changes_nothing() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    let scanned = screen.scan().await;
    let phone = stage.phone(&scanned).await;
    assert_eq!(state_and_revision(&screen).await, json!(["pending", 1]));

    // Nor does it for somebody who is signed in: it asks to go on.
    let token = made_up(&stage, "Ada").await;
    phone.run(&format!("sessionStorage.setItem('scangate.demo', '{token}')")).await;
    phone.reload().await;
    phone.until("ready").await;
    phone.keep_screen("phone-ready").await;
    assert_eq!(phone.text("#ready-heading").await, "You are signed in as Ada");
    assert_eq!(state_and_revision(&screen).await, json!(["pending", 1]));
    assert_eq!(screen.body("data-state").await.as_deref(), Some("waiting"));

    phone.click("#continue").await;
    phone.until("scanned").await;
    assert_eq!(state_and_revision(&screen).await, json!(["scanned", 2]));
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decline_is_shown_and_a_new_code_is_one_press_away() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    let first = screen.scan().await;
    let phone = stage.driver.open(SMALL_PHONE).await;
    phone.goto(&first).await;
    phone.until("sign-in").await;
    sign_in(&phone, "Wilhelmina Alexandrovna von Hohenzollern-Sigmaringen-Lübeck").await;
    let overflow = phone.run("return document.documentElement.scrollWidth - innerWidth").await;
    assert_eq!(overflow, json!(0), "the page is wider than the phone");
    let hidden =
        phone.run("return document.getElementById('confirm').getBoundingClientRect().bottom > innerHeight").await;
    assert_eq!(hidden, json!(false), "the buttons are out of sight");
    phone.keep_screen("phone-small-scanned").await;

    phone.click("#decline").await;
    phone.until("declined").await;
    phone.keep_screen("phone-declined").await;
    screen.until("declined").await;
    assert_eq!(screen.text("#title").await, "Sign-in declined");
    screen.keep_screen("declined").await;

    screen.click("#refresh").await;
    screen.until("waiting").await;
    assert_ne!(screen.scan().await, first);
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_runs_out_is_replaced_five_times_and_then_on_demand() {
    let (_directory, config) = file("[[clients]]\nid = \"web\"\nname = \"Web\"\nticket_ttl = \"5s\"\n");
    let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
    let screen = stage.screen().await;
    let old = screen.scan().await;
    let started = Instant::now();
    screen.until_within(Duration::from_secs(60), "expired").await;
    assert!(started.elapsed() > Duration::from_secs(20), "it ended after {:?}", started.elapsed());
    screen.keep_screen("expired").await;
    let events = screen.received().await;
    let expired = events.iter().filter(|(name, _)| name == "expired").map(|(_, data)| &data["ticket_id"]);
    let expired: std::collections::HashSet<_> = expired.map(Value::to_string).collect();
    assert_eq!(expired.len(), 6, "the first code and five more: {events:?}");
    assert!(expired.contains(&json!(old.rsplit('/').next()).to_string()));

    screen.click("#refresh").await;
    screen.until("waiting").await;
    let fresh = screen.scan().await;
    assert_ne!(fresh, old);

    let phone = stage.phone(&old).await;
    phone.write("#name", "Ada").await;
    phone.click("#sign-in").await;
    phone.until("expired").await;
    phone.keep_screen("phone-expired").await;
    phone.end_after_refusals().await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_looks_at_asks_for_no_new_code() {
    let (_directory, config) = file("[[clients]]\nid = \"web\"\nname = \"Web\"\nticket_ttl = \"5s\"\n");
    let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
    let screen = stage.driver.open(Device::Desk).await;
    screen
        .run_first(
            "window.isAway = false;
             Object.defineProperty(document, 'hidden', { get: function () { return window.isAway; } });",
        )
        .await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    let first = screen.scan().await;
    screen.run("isAway = true").await;
    screen.until("expired").await;
    assert_eq!(stage.gateway.metric("scangate_tickets_total{outcome=\"created\"}").await, 1.0);
    screen.run("isAway = false; document.dispatchEvent(new Event('visibilitychange'))").await;
    screen.until("waiting").await;
    assert_ne!(screen.scan().await, first);
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_event_source_polls() {
    let stage = Stage::set().await;
    let screen = stage.driver.open(Device::Desk).await;
    screen.run_first("delete window.EventSource").await;
    sign_in_by_polling(&stage, screen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_something_holds_back_is_given_up_for_polling() {
    let stage = Stage::set().await;
    let screen = stage.driver.open(Device::Desk).await;
    screen
        .run_first(
            "window.EventSource = function () {
               var source = this;
               this.readyState = 1;
               this.addEventListener = this.close = function () {};
               setTimeout(function () { source.onopen(); }, 100);
             };",
        )
        .await;
    sign_in_by_polling(&stage, screen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_posted_to_the_site_that_asked_for_it() {
    let (address, mut requests) = receiver().await;
    let return_to = format!("http://{address}/signed-in");
    let (_directory, config) =
        file(&format!("[[clients]]\nid = \"web\"\nname = \"Shop\"\nreturn_to = [{return_to:?}]\n"));
    let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
    let screen = stage.driver.open(Device::Desk).await;
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("return_to", return_to.as_str()), ("state", "s & t=1")])
        .finish();
    screen.goto(&stage.edge.url(&format!("/?{query}"))).await;
    screen.until("waiting").await;
    let phone = stage.phone(&screen.scan().await).await;
    sign_in(&phone, "Ada").await;
    phone.click("#confirm").await;

    let request = tokio::time::timeout(Duration::from_secs(20), requests.recv()).await.unwrap().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(head.starts_with("post /signed-in http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-www-form-urlencoded"), "{head}");
    assert!(!head.contains("referer:") && !head.contains("cookie:"), "{head}");
    let fields: std::collections::HashMap<_, _> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    assert_eq!(fields["state"], "s & t=1");
    assert_eq!(fields["token_type"], "Bearer");
    assert_eq!(stage.verified(&fields["access_token"]).await["sub"], "demo:Ada");

    let is_there = async || (screen.url().await == return_to).then_some(());
    within(Duration::from_secs(10), "the site's page", is_there).await;
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_scanner_is_told_that_somebody_was_first() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    let scanned = screen.scan().await;
    let phone = stage.phone(&scanned).await;
    sign_in(&phone, "Ada").await;

    let late = stage.phone(&scanned).await;
    late.write("#name", "Mallory").await;
    late.click("#sign-in").await;
    late.until("refused").await;
    assert_eq!(late.text("#outcome-title").await, "Already scanned");
    assert!(!late.sees("#confirm").await);
    late.keep_screen("phone-second").await;

    phone.click("#confirm").await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada");
    late.end_after_refusals().await;
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_outlives_a_gateway_that_goes_and_comes_back() {
    let mut stage = Stage::set().await;
    let screen = stage.screen().await;
    let scanned = screen.scan().await;
    stage.gateway.process.kill();
    screen.until("offline").await;
    assert!(screen.sees("#banner").await);
    assert!(screen.sees("#qr").await, "the code is still good");
    screen.keep_screen("offline").await;

    stage.gateway = stage.settings.clone().start().await;
    // The edge says to come back in up to 7 s.
    screen.until("waiting").await;
    assert_eq!(screen.body("data-transport").await.as_deref(), Some("sse"));
    assert_eq!(screen.scan().await, scanned, "the ticket is the same");
    let phone = stage.phone(&scanned).await;
    sign_in(&phone, "Ada").await;
    phone.click("#confirm").await;
    screen.until("confirmed").await;
    let (_, confirmed) = screen.received().await.pop().unwrap();
    let jwt = confirmed["token"]["access_token"].as_str().unwrap();
    assert_eq!(stage.verified(jwt).await["sub"], "demo:Ada");
    screen.end_after_refusals().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_scripts_says_what_is_missing() {
    let stage = Stage::set().await;
    let screen = stage.driver.open(Device::Desk).await;
    screen.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    for (path, words) in [("/", "Signing in needs JavaScript"), ("/s/x", "Confirming a sign-in needs JavaScript")] {
        screen.goto(&stage.edge.url(path)).await;
        let said = screen.text(".face-noscript").await;
        assert!(said.contains(words), "{path}: {said}");
        screen.keep_screen(if path == "/" { "without-scripts" } else { "phone-without-scripts" }).await;
    }
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_speak_the_browsers_language() {
    let stage = Stage::set().await;
    let screen = stage.driver.open_with(Device::Desk, &["--accept-lang=zh-CN,en"]).await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    assert_eq!(screen.text("#heading").await, "登录 Web");
    assert_eq!(screen.attribute("html", "lang").await.as_deref(), Some("zh"));
    let scanned = screen.scan().await;
    screen.goto(&scanned).await;
    screen.until("sign-in").await;
    assert_eq!(screen.text("#sign-in").await, "登录并继续");
    screen.click("#language").await;
    let is_english = async || (screen.text("#sign-in").await == "Sign in and continue").then_some(());
    within(Duration::from_secs(10), "the page in English", is_english).await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_can_be_read_in_the_dark() {
    let stage = Stage::set().await;
    let screen = stage.driver.open(Device::Desk).await;
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    screen.cdp("Emulation.setEmulatedMedia", dark).await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    let ground = screen.run("return getComputedStyle(document.body).backgroundColor").await;
    assert_eq!(ground, "rgb(14, 19, 18)", "this is not the dark page");
    assert!(screen.scan().await.starts_with(&stage.edge.url("/s/")));
    screen.keep_screen("waiting-dark").await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_slipped_into_a_page_does_not_run_and_is_reported() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    screen
        .run(
            "var script = document.createElement('script');
             script.textContent = 'window.wasRun = true';
             document.body.appendChild(script);",
        )
        .await;
    let reports = async || screen.faults().await.into_iter().find(|fault| fault["source"] == "security");
    let report = within(Duration::from_secs(10), "the report", reports).await;
    assert!(report["message"].as_str().unwrap().contains("Content Security Policy"), "{report}");
    assert_eq!(screen.run("return window.wasRun === undefined").await, json!(true));
    screen.end().await;
}

/// Signs a made-up person in on the confirm page and goes on to the request.
async fn sign_in(phone: &Chromium, name: &str) {
    phone.write("#name", name).await;
    phone.click("#sign-in").await;
    phone.until("scanned").await;
}

/// Signs Ada in on `screen`, which has no streams that work.
async fn sign_in_by_polling(stage: &Stage, screen: Chromium) {
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    let polls = async || (screen.body("data-transport").await.as_deref() == Some("poll")).then_some(());
    within(Duration::from_secs(10), "polling", polls).await;
    let phone = stage.phone(&screen.scan().await).await;
    sign_in(&phone, "Ada").await;
    screen.until("scanned").await;
    phone.click("#confirm").await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada");
    assert_eq!(screen.received().await, [], "nothing came by a stream");
    screen.end().await;
    phone.end().await;
}

/// Returns how the ticket on `screen` stands, asked by the page itself.
async fn state_and_revision(screen: &Chromium) -> Value {
    let script = "var id = document.getElementById('scan-link').href.split('/').pop();
        return fetch('/v1/tickets/' + id).then(r => r.json()).then(ticket => [ticket.state, ticket.revision])";
    screen.run(script).await
}

/// Returns the token of a made-up person.
async fn made_up(stage: &Stage, name: &str) -> String {
    let request = stage.edge.browser().request(Method::POST, "/demo/sign-in").json(&json!({ "name": name }));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
}

/// A site that people return to: answers every request and hands on those with a body.
async fn receiver() -> (std::net::SocketAddr, mpsc::Receiver<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut request = String::new();
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    request.push_str(&String::from_utf8_lossy(&buffer[..read]));
                    if is_whole(&request) {
                        break;
                    }
                }
                let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\nConnection: close\r\n\r\nWelcome";
                let _ = stream.write_all(page.as_bytes()).await;
                if request.starts_with("POST") {
                    let _ = sender.send(request).await;
                }
            });
        }
    });
    (address, receiver)
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
