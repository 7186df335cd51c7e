//! The drop-in script on pages of another site, in a real Chromium that keeps third-party cookies out: the page to copy as it
//! stands in docs/drop-in.md, pages without the look, with a strict policy, and browsers that lack what streams need.

mod hardships;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::support::browser::{Chromium, Device, Driver};
use crate::support::gateway::{Phone, file};
use crate::support::{Gateway, within};

const DOCUMENT: &str = include_str!("../docs/drop-in.md");
const PAGE: &str = include_str!("../examples/drop-in/index.html");
const SCRIPT: &str = include_str!("../static/scangate.js");
const TYPES: &str = include_str!("../static/scangate.d.ts");
/// What the page and the gateway are to each other: another site, as browsers see it, not only another origin.
const SITE: &str = "http://shop.test:5000";
const GATEWAY: &str = "http://localhost:8080";

/// The fenced blocks of the document that are of this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let parts = DOCUMENT.split(fence.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap()).collect()
}

/// A shop's pages, and a gateway of another site.
struct Shop {
    driver: Driver,
    gateway: Gateway,
    rules: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shop {
    /// Opens it with a page at `/`, which may have a policy and a script of its own; codes live for `ticket_ttl`.
    async fn open(page: &'static str, policy: &'static str, script: &'static str, ticket_ttl: &str) -> Self {
        Self::open_with(page, policy, script, &["--ticket-ttl", ticket_ttl]).await
    }

    /// The page to copy, and a gateway with further settings.
    async fn with(ticket_ttl: &str, settings: &[&str]) -> Self {
        Self::open_with(PAGE, "", "", &[&["--ticket-ttl", ticket_ttl], settings].concat()).await
    }

    async fn open_with(page: &'static str, policy: &'static str, script: &'static str, flags: &[&str]) -> Self {
        let html = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, policy)];
        let router = Router::new()
            .route("/", get(move || std::future::ready((html, page))))
            .route("/page.js", get(move || std::future::ready(([(CONTENT_TYPE, "text/javascript")], script))));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        let settings = blocks("toml")[0].replace("http://localhost:5000", SITE);
        let (_directory, config) = file(&settings);
        let builder = Gateway::builder().own_identity().arg("--config", config.to_str().unwrap());
        let gateway = flags.chunks(2).fold(builder, |builder, flag| builder.arg(flag[0], flag[1])).start().await;
        assert_eq!(gateway.public_url, GATEWAY);
        let behind = gateway.base.strip_prefix("http://").unwrap();
        let rules = format!(
            "--host-resolver-rules=MAP localhost:8080 {behind}, MAP shop.test:5000 127.0.0.1:{port}, \
             MAP other.test:5000 127.0.0.1:{port}"
        );
        Self { driver: Driver::start().await, gateway, rules, server }
    }

    /// The page to copy.
    async fn copied(ticket_ttl: &str) -> Self {
        Self::open(PAGE, "", "", ticket_ttl).await
    }

    async fn browser(&self, further: &[&str]) -> Chromium {
        let args = [&[self.rules.as_str(), "--test-third-party-cookie-phaseout"], further].concat();
        self.driver.open_with(Device::Desk, &args).await
    }

    /// Opens the page in a browser that reaches the gateway by way of this port.
    async fn visit_through(&self, port: u16) -> Chromium {
        let behind = self.gateway.base.strip_prefix("http://").unwrap();
        let rules = self.rules.replace(behind, &format!("127.0.0.1:{port}"));
        let args = [rules.as_str(), "--test-third-party-cookie-phaseout"];
        let page = self.driver.open_with(Device::Desk, &args).await;
        page.goto(&format!("{SITE}/")).await;
        page
    }

    async fn visit(&self) -> Chromium {
        let page = self.browser(&[]).await;
        page.goto(&format!("{SITE}/")).await;
        page
    }

    /// A phone of the demo, and the id of the ticket that it sees on the screen.
    async fn scan(&self, page: &Chromium) -> (Phone, String) {
        is(page, "waiting").await;
        let id = page.scan().await.strip_prefix("http://localhost:8080/s/").unwrap().to_owned();
        let request = reqwest::Client::new().post(self.gateway.url("/demo/sign-in")).json(&json!({ "name": "Åsa" }));
        let token: Value = request.send().await.unwrap().json().await.unwrap();
        (Phone::with_token(token["access_token"].as_str().unwrap().to_owned(), &self.gateway), id)
    }
}

/// Waits until the look shows this state.
async fn is(page: &Chromium, state: &str) {
    let script = format!("return !!Document.prototype.querySelector.call(document, '.scangate[data-state={state}]')");
    let is_there = async || (page.run(&script).await == json!(true)).then_some(());
    within(Duration::from_secs(30), &format!("the state {state}"), is_there).await;
    page.rest().await;
}

async fn transport(page: &Chromium) -> Option<String> {
    page.attribute(".scangate", "data-transport").await
}

#[test]
fn the_document_shows_the_example_as_it_is() {
    let (head, rest) = PAGE.split_once("<!--").unwrap();
    let (_, body) = rest.split_once("-->\n").unwrap();
    assert_eq!(blocks("html")[0], format!("{head}{body}"));
}

#[tokio::test]
async fn the_script_is_less_than_12_kb_and_needs_nothing() {
    let gateway = Gateway::start().await;
    let shipped = reqwest::get(gateway.url("/static/scangate.js")).await.unwrap().bytes().await.unwrap();
    assert!(shipped.len() < 12_000, "{} bytes", shipped.len());
    assert!(!SCRIPT.contains("import ") && !SCRIPT.contains("require("));
}

#[test]
fn every_state_and_reason_of_the_script_has_a_type_and_a_row() {
    let words = |text: &'static str, from: &str| -> Vec<&'static str> {
        let part = text.split(from).nth(1).unwrap().split("\n\n").next().unwrap();
        part.split('\'').skip(1).step_by(2).collect()
    };
    let states = words(TYPES, "type State =");
    let reasons = words(TYPES, "type Reason =");
    for (index, _) in SCRIPT.match_indices("enter('") {
        let call = SCRIPT[index..].split(')').next().unwrap();
        let mut named = call.split('\'').skip(1).step_by(2);
        assert!(states.contains(&named.next().unwrap()), "{call}");
        named.for_each(|reason| assert!(reasons.contains(&reason) || states.contains(&reason), "{call}"));
    }
    for word in states.iter().chain(&reasons) {
        assert!(DOCUMENT.contains(&format!("`{word}`")), "the document lacks {word}");
        let is_used = SCRIPT.contains(&format!("'{word}'")) || ["closed", "superseded", "mismatch"].contains(word);
        assert!(is_used, "the script never says {word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_to_copy_signs_in_from_another_site() {
    let shop = Shop::copied("2m").await;
    let page = shop.visit().await;
    let (phone, id) = shop.scan(&page).await;
    assert_eq!(transport(&page).await.as_deref(), Some("sse"), "the stream is read with the secret");
    assert_eq!(page.text(".scangate-title").await, "Scan this code");
    let accent = "return getComputedStyle(document.querySelector('.scangate-left')).stroke";
    assert_eq!(page.run(accent).await, json!("rgb(122, 31, 92)"), "the client's colour");
    page.keep_page("drop-in-waiting").await;
    phone.act(&id, "scan").await;
    is(&page, "scanned").await;
    assert_eq!(page.text(".scangate-who").await, "Åsa");
    assert_eq!(
        page.text(".scangate-who bdi").await,
        "Åsa",
        "whichever way a name is written, it turns nothing around it"
    );
    page.keep_page("drop-in-scanned").await;
    phone.act(&id, "confirm").await;
    is(&page, "confirmed").await;
    within(Duration::from_secs(5), "the greeting", async || {
        (page.text("#greeting").await == "Hello, Åsa.").then_some(())
    })
    .await;
    page.keep_page("drop-in-confirmed").await;
    let cookies = page.cdp("Network.getAllCookies", json!({})).await;
    assert_eq!(cookies["cookies"], json!([]), "it works without any");
    let kept = page.run("return [localStorage.length, sessionStorage.length, location.href]").await;
    assert_eq!(kept, json!([0, 0, format!("{SITE}/")]), "the token stays in memory");
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn declined_expired_renewed_withdrawn_and_in_chinese() {
    let shop = Shop::copied("15s").await;
    let page = shop.browser(&["--accept-lang=zh-CN"]).await;
    page.goto(&format!("{SITE}/")).await;
    let (phone, id) = shop.scan(&page).await;
    assert_eq!(page.text(".scangate-title").await, "扫描二维码");
    assert_eq!(page.attribute(".scangate", "lang").await.as_deref(), Some("zh"));
    phone.act(&id, "scan").await;
    is(&page, "scanned").await;
    phone.act(&id, "cancel").await;
    is(&page, "declined").await;
    assert_eq!(page.text(".scangate-title").await, "登录已被拒绝");

    page.click(".scangate-refresh").await;
    let (_, second) = shop.scan(&page).await;
    assert_ne!(second, id);
    // It is replaced by itself when its time is over.
    let is_renewed = async || (page.scan().await.rsplit('/').next() != Some(&second)).then_some(());
    within(Duration::from_secs(40), "a new code", is_renewed).await;

    // What is withdrawn can no longer be scanned.
    let (phone, third) = shop.scan(&page).await;
    page.click(".scangate-renew").await;
    let is_gone = async || (phone.act(&third, "scan").await.status() != 200).then_some(());
    within(Duration::from_secs(5), "the withdrawal", is_gone).await;
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_cannot_read_streams_polls() {
    let shop = Shop::copied("2m").await;
    let page = shop.browser(&[]).await;
    page.run_first("delete window.ReadableStream").await;
    page.goto(&format!("{SITE}/")).await;
    let (phone, id) = shop.scan(&page).await;
    assert_eq!(transport(&page).await.as_deref(), Some("poll"));
    phone.approve(&id).await;
    is(&page, "confirmed").await;
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_is_got_back_and_misses_nothing() {
    let shop = Shop::copied("2m").await;
    let page = shop.visit().await;
    let (phone, id) = shop.scan(&page).await;
    let offline = json!({ "offline": true, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
    page.cdp("Network.enable", json!({})).await;
    page.cdp("Network.emulateNetworkConditions", offline.clone()).await;
    within(Duration::from_secs(15), "the word of it", async || page.sees(".scangate-banner").await.then_some(())).await;
    phone.approve(&id).await;
    let mut online = offline;
    online["offline"] = json!(false);
    page.cdp("Network.emulateNetworkConditions", online).await;
    is(&page, "confirmed").await;
    assert!(!page.sees(".scangate-banner").await);
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_look_everything_is_in_the_states_and_nothing_else_is_loaded() {
    let shop = Shop::open(blocks("html")[1], "", "", "2m").await;
    let page = shop.visit().await;
    let says = async |state: &str| {
        within(Duration::from_secs(20), state, async || (page.text("#say").await == state).then_some(())).await;
    };
    says("waiting").await;
    let id = page.scan().await.strip_prefix("http://localhost:8080/s/").unwrap().to_owned();
    let request = reqwest::Client::new().post(shop.gateway.url("/demo/sign-in")).json(&json!({ "name": "Åsa" }));
    let token: Value = request.send().await.unwrap().json().await.unwrap();
    let phone = Phone::with_token(token["access_token"].as_str().unwrap().to_owned(), &shop.gateway);
    phone.act(&id, "scan").await;
    says("scanned").await;
    assert!(!page.sees("#code").await);
    phone.act(&id, "confirm").await;
    says("confirmed").await;
    let loaded = "return performance.getEntriesByType('resource').map(e => new URL(e.name).pathname)
        .filter(path => path.indexOf('/static/') === 0)";
    assert_eq!(page.run(loaded).await, json!(["/static/scangate.js"]));
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_policy_and_trusted_types_are_content() {
    const PAGE: &str = "<!doctype html><title>Shop</title><div id=here></div>
        <script src=http://localhost:8080/static/scangate.js></script>
        <script src=http://localhost:8080/static/scangate-look.js></script><script src=/page.js></script>";
    const SCRIPT: &str = "scangate.start(document.getElementById('here'), { clientId: 'shop' })";
    let policy = format!(
        "default-src 'none'; script-src 'self' {GATEWAY}; {}; require-trusted-types-for 'script'; trusted-types 'none'",
        blocks("text")[0].trim().replace("https://sign-in.example.com", GATEWAY).split_once("; ").unwrap().1
    );
    let shop = Shop::open(PAGE, policy.leak(), SCRIPT, "2m").await;
    let page = shop.visit().await;
    let (phone, id) = shop.scan(&page).await;
    phone.approve(&id).await;
    is(&page, "confirmed").await;
    let faults = page.faults().await;
    assert!(!faults.iter().any(|fault| fault["source"] == "security"), "{faults:#?}");
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_not_on_the_list_gets_no_code() {
    let shop = Shop::copied("2m").await;
    let page = shop.browser(&[]).await;
    page.goto("http://other.test:5000/").await;
    is(&page, "error").await;
    assert!(!page.sees(".scangate-qr").await);
    // People are told the truth, and the site's developer what to do.
    let is_told = async || (page.text(".scangate-title").await == "This page can’t sign you in").then_some(());
    within(Duration::from_secs(10), "the truth", is_told).await;
    assert!(page.text(".scangate-detail").await.contains("isn’t registered"));
    // The driver may report the console's message later than the page shows its own.
    let is_logged = async || {
        let faults = page.faults().await;
        let message = faults.iter().find(|fault| fault["source"] == "console-api")?["message"].to_string();
        Some(message)
    };
    let said = within(Duration::from_secs(10), "the console's message", is_logged).await;
    for part in ["POST http://localhost:8080/v1/tickets", "http://other.test:5000", "`origins` of the client shop"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(shop.gateway.metric("scangate_tickets_total{outcome=\"created\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_away_is_not_taken_for_one_that_refuses() {
    let mut shop = Shop::copied("2m").await;
    let page = shop.visit().await;
    is(&page, "waiting").await;
    shop.gateway.process.kill();
    page.click(".scangate-renew").await;
    is(&page, "error").await;
    let is_told = async || (page.text(".scangate-title").await == "No connection").then_some(());
    within(Duration::from_secs(10), "the words", is_told).await;
    // It has asked why, and learnt nothing: the request for what every page may read has failed too.
    let asked =
        "return performance.getEntriesByType('resource').some(one => one.name.indexOf('/static/texts.json?at=') > 0)";
    within(Duration::from_secs(10), "the question", async || (page.run(asked).await == json!(true)).then_some(()))
        .await;
    assert_eq!(page.text(".scangate-title").await, "No connection");
    let said = page.faults().await.into_iter().filter(|fault| fault["source"] == "console-api").collect::<Vec<_>>();
    assert!(said.is_empty(), "{said:#?}");
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_done_stops_it_for_good() {
    let shop = Shop::open(
        "<!doctype html><title>Shop</title><div id=here></div><script src=http://localhost:8080/static/scangate.js></script>
         <script>var code = scangate.start(document.getElementById('here'), { clientId: 'shop' });</script>",
        "",
        "",
        "5s",
    )
    .await;
    let page = shop.visit().await;
    let (phone, id) = shop.scan(&page).await;
    page.run("code.stop()").await;
    let is_gone = async || (phone.act(&id, "scan").await.status() != 200).then_some(());
    within(Duration::from_secs(5), "the withdrawal", is_gone).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    page.run("window.dispatchEvent(new Event('online'))").await;
    assert_eq!(shop.gateway.metric("scangate_tickets_total{outcome=\"created\"}").await, 1.0, "no other follows");
    page.run("code.refresh()").await;
    shop.scan(&page).await;
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_stop_it_from_within_what_it_is_told() {
    const PAGE: &str = "<!doctype html><title>Shop</title>
        <script src=http://localhost:8080/static/scangate.js></script>
        <script>
          var stopped = false, code;
          code = scangate.start(null, { clientId: 'shop', onState: function (state, now) {
            if (state === location.hash.slice(1) && !stopped) { stopped = true; now.stop(); }
          } });
        </script>";
    let shop = Shop::open(PAGE, "", "", "2m").await;
    let page = shop.browser(&[]).await;
    page.goto(&format!("{SITE}/#waiting")).await;
    within(Duration::from_secs(10), "the end", async || (page.run("return stopped").await == true).then_some(())).await;
    assert_eq!(page.run("return code.transport").await, json!(""), "nothing is waited for");
    let created = async || shop.gateway.metric("scangate_tickets_total{outcome=\"created\"}").await;
    assert_eq!(created().await, 1.0);

    page.goto("about:blank").await;
    page.goto(&format!("{SITE}/#loading")).await;
    assert_eq!(page.run("return stopped").await, json!(true));
    let asked = "return performance.getEntriesByType('resource').filter(e => /tickets/.test(e.name)).length";
    page.rest().await;
    assert_eq!(page.run(asked).await, json!(0), "no code is asked for");
    assert_eq!(created().await, 1.0);
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_throws_when_it_is_told_stops_nothing() {
    const PAGE: &str = "<!doctype html><title>Shop</title><img id=code>
        <script src=http://localhost:8080/static/scangate.js></script>
        <script>
          var token, thrown = 0;
          window.onerror = function () { thrown += 1; return true; };
          var code = scangate.start(null, {
            clientId: 'shop',
            onState: function (state, now) { if (now.qr) { document.images[0].src = now.qr; } throw new Error(state); },
            onToken: function (got) { token = got; }
          });
        </script>";
    let shop = Shop::open(PAGE, "", "", "2m").await;
    let page = shop.visit().await;
    within(Duration::from_secs(20), "a stream", async || {
        (page.run("return code.transport").await == "sse").then_some(())
    })
    .await;
    let id = page.scan().await.rsplit('/').next().unwrap().to_owned();
    let request = reqwest::Client::new().post(shop.gateway.url("/demo/sign-in")).json(&json!({ "name": "Ada" }));
    let token: Value = request.send().await.unwrap().json().await.unwrap();
    let phone = Phone::with_token(token["access_token"].as_str().unwrap().to_owned(), &shop.gateway);
    phone.approve(&id).await;
    within(Duration::from_secs(20), "the JWT", async || (page.run("return !!token").await == true).then_some(())).await;
    assert!(page.run("return thrown").await.as_u64().unwrap() > 2, "the page hears of its own faults");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_did_not_load_is_asked_for_again() {
    let shop = Shop::copied("2m").await;
    let page = shop.browser(&[]).await;
    page.cdp("Network.enable", json!({})).await;
    page.cdp("Network.setBlockedURLs", json!({ "urls": ["*scangate-look.js*"] })).await;
    page.goto(&format!("{SITE}/")).await;
    assert_eq!(page.run("return document.querySelectorAll('.scangate').length").await, json!(0));
    page.cdp("Network.setBlockedURLs", json!({ "urls": [] })).await;
    is(&page, "waiting").await;
    page.end_after_refusals().await;
}

/// A gateway that has gone wrong: it answers at once, and with nonsense.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_answers_nonsense_is_not_asked_in_a_tight_loop() {
    const PAGE: &str = "<!doctype html><title>Shop</title><script src=/static/scangate.js></script>
        <script>var code = scangate.start(null, {});</script>";
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let made = json!({ "ticket_id": "a", "state": "pending", "revision": 2, "expires_in": 120, "events": "/none", "poll": "/poll" });
    let poll = get(move || {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Json(json!({ "ticket_id": "a", "state": "pending", "revision": 1 })))
    });
    let router = Router::new()
        .route("/", get(|| std::future::ready(Html(PAGE))))
        .route("/static/scangate.js", get(|| std::future::ready(([(CONTENT_TYPE, "text/javascript")], SCRIPT))))
        .route("/v1/tickets", post(move || std::future::ready((StatusCode::CREATED, Json(made)))))
        .route("/poll", poll);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    let driver = Driver::start().await;
    let page = driver.open(Device::Desk).await;
    page.goto(&base).await;
    within(Duration::from_secs(10), "a poll", async || (asked.load(Ordering::Relaxed) > 1).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked < 8, "asked {asked} times");
    page.end_after_refusals().await;
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_did_not_come_are_asked_for_again() {
    let shop = Shop::copied("2m").await;
    let page = shop.browser(&[]).await;
    page.cdp("Network.enable", json!({})).await;
    page.cdp("Network.setBlockedURLs", json!({ "urls": ["*/static/texts.json*"] })).await;
    page.goto(&format!("{SITE}/")).await;
    is(&page, "waiting").await;
    assert_eq!(page.text(".scangate-title").await, "");
    page.cdp("Network.setBlockedURLs", json!({ "urls": [] })).await;
    let says = async || (page.text(".scangate-title").await == "Scan this code").then_some(());
    within(Duration::from_secs(20), "the words", says).await;
    page.end_after_refusals().await;
}
