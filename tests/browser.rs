//! The pages in a real Chromium, through a real nginx: what a person sees, scans and presses. One file per page; here is what
//! they share, and what holds for every page.

mod confirm;
mod engines;
mod guard;
mod lasting;
mod number;
mod openid;
mod provider;
mod share;
mod sign_in;
mod waiting;
mod walk;
mod wechat;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::browser::{Chromium, Device, Driver};
use crate::support::gateway::{AUDIENCE, Builder, ISSUER, SECRET, file, verify_with};
use crate::support::nginx::Place;
use crate::support::{Edge, Gateway, Redis, within};

const PHONE: Device = Device::Phone(390, 844);
const SMALL_PHONE: Device = Device::Phone(320, 568);

/// The cookie of a person's session at the gateway.
const LOGIN_COOKIE: &str = "__Host-scangate-login";

/// All that a browser needs. Fields go in their order: the driver first, the store last.
struct Stage {
    driver: Driver,
    edge: Edge,
    gateway: Gateway,
    redis: Redis,
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
        Self { driver: Driver::start().await, edge, gateway, redis, settings }
    }

    /// A gateway behind an edge, on Redis, at which only apps sign people in: they send tokens.
    async fn set_with_apps_only() -> Self {
        Self::set_with(|builder| {
            let builder = builder.arg("--identity-secret", SECRET).arg("--identity-issuer", ISSUER);
            builder.arg("--identity-audience", AUDIENCE)
        })
        .await
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
async fn a_page_without_scripts_says_what_is_missing() {
    let stage = Stage::set().await;
    let screen = stage.driver.open(Device::Desk).await;
    screen.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    for (path, words) in [
        ("/", "Signing in needs JavaScript"),
        ("/s/x", "Confirming a sign‑in needs JavaScript"),
        ("/share", "Sharing a sign‑in needs JavaScript"),
        ("/share/x", "Receiving a sign‑in needs JavaScript"),
        ("/?lang=zh", "登录需要 JavaScript"),
    ] {
        screen.goto(&stage.edge.url(path)).await;
        let said = screen.text(".no-script").await;
        assert!(said.contains(words), "{path}: {said}");
        // No room is kept for what does not come, and nothing is offered that needs scripts too.
        let height = screen.run("return document.querySelector('.card').offsetHeight").await.as_f64().unwrap();
        assert!(height < 320.0, "{path}: the card is {height} pixels high");
        let offered = screen
            .run(
                "return [].filter.call(document.querySelectorAll('a, button'), one => one.offsetWidth > 0)
                   .map(one => one.className)",
            )
            .await;
        assert_eq!(offered, json!(["language"]), "{path}");
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
    screen.click(".language").await;
    let is_english = async || (screen.text("#sign-in").await == "Sign in and continue").then_some(());
    within(Duration::from_secs(10), "the page in English", is_english).await;

    screen.goto(&stage.edge.url("/share")).await;
    screen.until("sign-in").await;
    screen.write("#name", "王小明").await;
    screen.click("#sign-in").await;
    screen.until("waiting").await;
    assert_eq!(screen.text("#heading").await, "分享您在 Web 的登录");
    let scanned = screen.scan().await;
    let phone = stage.driver.open_with(PHONE, &["--accept-lang=zh-CN,en"]).await;
    phone.goto(&scanned).await;
    phone.until("ready").await;
    phone.click("#continue").await;
    phone.until("waiting").await;
    assert_eq!(phone.text("#waiting-heading").await, "正在等待 王小明");
    screen.until("scanned").await;
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_wears_the_clients_colours() {
    let (_directory, config) = file(
        "[[clients]]\nid = \"web\"\nname = \"Shop & <b>Sons</b>\"\ncolor = \"#7a0019\"\nflows = [\"login\", \"share\"]\n",
    );
    let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
    let accent = async |page: &Chromium| {
        page.run(
            "var probe = document.body.appendChild(document.createElement('i'));
             probe.style.color = 'var(--sg-accent)';
             var color = getComputedStyle(probe).color;
             document.body.removeChild(probe);
             return color",
        )
        .await
    };
    let wears = async |page: &Chromium| {
        let is_worn = async || (accent(page).await == "rgb(122, 0, 25)").then_some(());
        within(Duration::from_secs(10), "the client's colour", is_worn).await;
    };
    let screen = stage.screen().await;
    wears(&screen).await;
    assert_eq!(screen.text("#heading").await, "Sign in to Shop & <b>Sons</b>");
    screen.keep_page("colours-sign-in").await;
    screen.prefer("dark").await;
    let dark = accent(&screen).await;
    assert!(dark != "rgb(122, 0, 25)" && dark != "rgb(98, 205, 182)", "made of the client's: {dark}");
    screen.prefer("light").await;
    let drawn = async |page: &Chromium, css: &str, property: &str| {
        let script = format!("return getComputedStyle(document.querySelector({css:?})).{property}");
        page.run(&script).await
    };
    assert_eq!(drawn(&screen, ".logo-ground", "fill").await, "rgb(122, 0, 25)", "the gateway's own logo");

    // The confirm and receive pages learn whose they are with the scan.
    let phone = stage.phone(&screen.scan().await).await;
    assert_eq!(accent(&phone).await, "rgb(15, 100, 87)");
    sign_in(&phone, "Ada").await;
    wears(&phone).await;
    phone.keep_page("colours-confirm").await;
    assert_eq!(drawn(&phone, ".view-scanned .logo-ground", "fill").await, "rgb(122, 0, 25)");
    phone.click("#confirm").await;
    screen.until("confirmed").await;
    phone.until("confirmed").await;
    assert_eq!(drawn(&screen, ".scangate-sign", "stroke").await, "rgb(122, 0, 25)", "the tick");
    assert_eq!(drawn(&phone, ".icon-good", "stroke").await, "rgb(122, 0, 25)");
    screen.keep_page("colours-confirmed").await;
    screen.goto(&stage.edge.url("/share")).await;
    screen.until("sign-in").await;
    wears(&screen).await;
    screen.write("#name", "Ada").await;
    screen.click("#sign-in").await;
    screen.until("waiting").await;
    let other = stage.driver.open(PHONE).await;
    other.goto(&screen.scan().await).await;
    other.until("ready").await;
    assert_eq!(accent(&other).await, "rgb(15, 100, 87)");
    other.click("#continue").await;
    other.until("waiting").await;
    wears(&other).await;
    for page in [screen, phone, other] {
        page.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_slipped_into_a_page_does_not_run_and_is_reported() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    screen.run("document.body.setAttribute('style', 'background: red');").await;
    let reports = async || screen.faults().await.into_iter().find(|fault| fault["source"] == "security");
    let report = within(Duration::from_secs(10), "the report", reports).await;
    assert!(report["message"].as_str().unwrap().contains("Content Security Policy"), "{report}");
    // Nor is a text taken for markup or code, on any page.
    for path in ["/", "/s/x", "/share", "/share/x"] {
        screen.goto(&stage.edge.url(path)).await;
        let refused = screen
            .run(
                "return ['innerHTML', 'outerHTML'].map(name => { try { document.querySelector('main')[name] = '<b>x</b>'; return 'taken'; }
                   catch (error) { return error.name; } }).concat([() => { document.createElement('script').textContent = 'wasRun = true'; },
                   () => { document.createElement('script').src = 'data:,wasRun=true'; },
                   () => { trustedTypes.createPolicy('own', {}); }].map(slip => { try { slip(); return 'taken'; } catch (error) { return error.name; } }))",
            )
            .await;
        let refused = refused.as_array().unwrap().clone();
        assert!(refused.len() == 5 && refused.iter().all(|name| name == "TypeError"), "{path}: {refused:?}");
    }
    assert_eq!(screen.run("return window.wasRun === undefined").await, json!(true));
    screen.faults().await;
    screen.end().await;
}

/// Signs a made-up person in on the confirm page and goes on to the request.
async fn sign_in(phone: &Chromium, name: &str) {
    phone.write("#name", name).await;
    phone.click("#sign-in").await;
    phone.until("scanned").await;
}

/// Signs a made-up person in in a browser, whatever page is open there.
async fn be(stage: &Stage, page: &Chromium, name: &str) {
    let request = stage.edge.browser().request(Method::POST, "/demo/sign-in").json(&json!({ "name": name }));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    let (name, value) = cookie.split_once(';').unwrap().0.split_once('=').unwrap();
    assert_eq!(name, LOGIN_COOKIE);
    let cookie = json!({ "name": name, "value": value, "url": stage.edge.url("/"), "path": "/", "secure": true,
        "httpOnly": true, "sameSite": "Lax" });
    assert_eq!(page.cdp("Network.setCookie", cookie).await["success"], true);
}

/// Ends the session in a browser whose page does not know of it: as if another tab had signed out.
async fn end_session(page: &Chromium) {
    let script = "return fetch('/v1/session/end', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' })
        .then(response => response.status)";
    assert_eq!(page.run(script).await, json!(200));
}

/// Returns the token of a made-up person.
async fn made_up(stage: &Stage, name: &str) -> String {
    let request = stage.edge.browser().request(Method::POST, "/demo/sign-in").json(&json!({ "name": name }));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
}
