//! The sign-in page for an authorization request: from an app to the code, and back to the app with the answer.

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{Html, Redirect};
use axum::routing::any;
use serde_json::json;
use tokio::sync::mpsc;

use super::{Stage, sign_in};
use crate::support::browser::{Chromium, Device};
use crate::support::gateway::file;
use crate::support::{eventually, within};

/// The page of an app.
const APP_PAGE: &str = "<!DOCTYPE html><title>An app</title><h1 id=\"app\">An app</h1>";
/// The same, for a popup: it tells the page that has opened it.
const POPUP_PAGE: &str = "<!DOCTYPE html><title>An app</title><h1 id=\"app\">An app</h1>\
    <script>if (window.opener) { window.opener.postMessage(location.search, '*'); }</script>";
/// How long a browser may take to reach an app.
const SOON: Duration = Duration::from_secs(20);

/// An app at an address of its own, which keeps what its callback gets.
struct App {
    base: String,
    answers: mpsc::UnboundedReceiver<Received>,
    _directory: tempfile::TempDir,
    stage: Stage,
}

/// A request at the app's callback.
struct Received {
    method: Method,
    headers: HeaderMap,
    fields: HashMap<String, String>,
}

impl App {
    /// Starts the app `shop`, which is registered with these further lines, and the gateway. The page of the app to which a sign-out
    /// leads back redirects to another origin.
    async fn start(lines: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let (sender, answers) = mpsc::unbounded_channel();
        let callback = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let text = if method == Method::POST { body.to_vec() } else { uri.query().unwrap_or_default().into() };
            let fields = url::form_urlencoded::parse(&text).into_owned().collect();
            sender.send(Received { method, headers, fields }).unwrap();
            std::future::ready(Html(POPUP_PAGE))
        };
        let elsewhere = format!("{}/elsewhere", base.replace("localhost", "127.0.0.1"));
        let bye = move || std::future::ready(Redirect::to(&elsewhere));
        let app = Router::new()
            .route("/cb", any(callback))
            .route("/bye", any(bye))
            .fallback(|| std::future::ready(Html(APP_PAGE)));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let client = |id: &str, name: &str| {
            let head = format!("[[clients]]\nid = \"{id}\"\nname = \"{name}\"\nredirect_uris = [\"{base}/cb\"]\n");
            let bye = format!("post_logout_redirect_uris = [\"{base}/bye\"]\n");
            format!("{head}{bye}secret = \"0123456789abcdef0123456789abcdef0123\"\n{lines}\n")
        };
        let (directory, config) = file(&(client("shop", "Shop") + &client("wiki", "Wiki")));
        let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
        Self { base, answers, _directory: directory, stage }
    }

    /// Returns the address of an authorization request with these further parameters.
    fn request(&self, client: &str, further: &[(&str, &str)]) -> String {
        let callback = format!("{}/cb", self.base);
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("client_id", client), ("redirect_uri", &callback), ("response_type", "code")])
            .extend_pairs([("scope", "openid profile"), ("state", "s & t=1")])
            .extend_pairs(further)
            .finish();
        self.stage.edge.url(&format!("/oauth2/authorize?{query}"))
    }

    /// Opens the app in a browser, and lets it lead to the sign-in page.
    async fn arrive(&self, screen: &Chromium, client: &str, further: &[(&str, &str)]) {
        screen.goto(&self.base).await;
        screen.run(&format!("location.href = {:?}", self.request(client, further))).await;
        screen.until("waiting").await;
    }

    async fn answer(&mut self) -> Received {
        tokio::time::timeout(SOON, self.answers.recv()).await.expect("an answer").unwrap()
    }

    async fn is_at_app(&self, screen: &Chromium, path: &str) {
        let place = format!("{}{path}", self.base);
        let is_there = async || screen.url().await.starts_with(&place).then_some(());
        within(SOON, &format!("the app's page {path}"), is_there).await;
    }

    async fn confirm(&self, screen: &Chromium) {
        let phone = self.stage.phone(&screen.scan().await).await;
        sign_in(&phone, "Ada").await;
        phone.click("#confirm").await;
        phone.until("confirmed").await;
        phone.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_leads_back_to_the_app_with_a_code() {
    let mut app = App::start("").await;
    let screen = app.stage.driver.open(Device::Desk).await;
    app.arrive(&screen, "shop", &[]).await;
    assert_eq!(screen.text("#heading").await, "Sign in to Shop");
    assert_eq!(screen.text("#back-to-app").await, "Back to Shop");
    screen.keep_page("authorize").await;
    app.confirm(&screen).await;
    let answer = app.answer().await;
    assert_eq!((answer.method, answer.fields["state"].as_str()), (Method::GET, "s & t=1"));
    assert_eq!((answer.fields["iss"].as_str(), answer.fields["code"].len()), (app.stage.edge.base.as_str(), 43));
    assert!(!answer.headers.contains_key("referer") && !answer.headers.contains_key("origin"));
    app.is_at_app(&screen, "/cb?code=").await;
    // The back button does not lead to a page that would redirect again.
    screen.back().await;
    let entries = screen.cdp("Page.getNavigationHistory", json!({})).await;
    assert_eq!(screen.url().await, format!("{}/", app.base), "{entries}");
    assert!(app.answers.try_recv().is_err(), "one answer");
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_leads_back_to_the_app_by_a_form() {
    let mut app = App::start("").await;
    let screen = app.stage.driver.open(Device::Desk).await;
    app.arrive(&screen, "shop", &[("response_mode", "form_post")]).await;
    app.confirm(&screen).await;
    let answer = app.answer().await;
    let mut names: Vec<_> = answer.fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!((answer.method, names), (Method::POST, vec!["code", "iss", "state"]));
    assert_eq!(answer.fields["state"], "s & t=1");
    assert_eq!(answer.headers["origin"], "null");
    assert!(!answer.headers.contains_key("referer"));
    app.is_at_app(&screen, "/cb").await;
    assert!(!screen.url().await.contains("code"), "no code in an address");
    screen.end().await;
}

/// Without scripts nobody can scan, but an answer may still come, such as by a session of the browser.
#[tokio::test(flavor = "multi_thread")]
async fn the_form_has_a_button_for_browsers_without_scripts() {
    let mut app = App::start("").await;
    let screen = app.stage.driver.open(Device::Desk).await;
    screen.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    screen.goto(&app.request("shop", &[("response_mode", "form_post"), ("prompt", "none")])).await;
    assert_eq!(screen.text("h1").await, "Taking you back to Shop");
    screen.keep_page("form-post").await;
    screen.click("button").await;
    let answer = app.answer().await;
    assert_eq!((answer.method, answer.fields["error"].as_str()), (Method::POST, "login_required"));
    screen.goto(&app.request("shop", &[])).await;
    screen.click("#back-to-app").await;
    assert_eq!(app.answer().await.fields["error"], "access_denied");
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_popup_keeps_its_opener_all_the_way() {
    let mut app = App::start("").await;
    let screen = app.stage.driver.open(Device::Desk).await;
    screen.goto(&app.base).await;
    let open = format!(
        "window.told = []; addEventListener('message', event => told.push(event.data)); \
         window.open({:?}, 'popup', 'width=900,height=1000')",
        app.request("shop", &[])
    );
    screen.run(&open).await;
    screen.be_at_window(1).await;
    screen.until("waiting").await;
    app.confirm(&screen).await;
    let code = app.answer().await.fields["code"].clone();
    screen.be_at_window(0).await;
    let is_told = async || {
        let told = screen.run("return told").await;
        told.as_array().unwrap().iter().any(|search| search.as_str().unwrap_or_default().contains(&code)).then_some(())
    };
    eventually("the opener hears of the code", is_told).await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn declining_leaves_the_way_back_to_the_app() {
    let mut app = App::start("").await;
    let screen = app.stage.driver.open(Device::Desk).await;
    app.arrive(&screen, "shop", &[]).await;
    let phone = app.stage.phone(&screen.scan().await).await;
    sign_in(&phone, "Ada").await;
    phone.click("#decline").await;
    screen.until("declined").await;
    screen.click("#back-to-app").await;
    let answer = app.answer().await;
    assert_eq!((answer.fields["error"].as_str(), answer.fields["state"].as_str()), ("access_denied", "s & t=1"));
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_and_another_language_keep_the_code_and_another_request_does_not() {
    let mut app = App::start("").await;
    let screen = app.stage.driver.open(Device::Desk).await;
    app.arrive(&screen, "shop", &[]).await;
    let scanned = screen.scan().await;
    screen.reload().await;
    screen.until("waiting").await;
    assert_eq!(screen.scan().await, scanned);
    screen.click(".language").await;
    within(SOON, "Chinese", async || (screen.text("#heading").await == "登录 Shop").then_some(())).await;
    screen.until("waiting").await;
    assert_eq!(screen.scan().await, scanned);
    // The app's wish chooses the language, until the person does.
    app.arrive(&screen, "wiki", &[("ui_locales", "zh en")]).await;
    assert_eq!(screen.text("#heading").await, "登录 Wiki");
    assert_ne!(screen.scan().await, scanned);
    app.confirm(&screen).await;
    assert!(app.answer().await.fields.contains_key("code"));
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_page_is_in_the_language_that_the_person_chose() {
    let app = App::start("").await;
    let screen = app.stage.driver.open(Device::Desk).await;
    app.arrive(&screen, "shop", &[]).await;
    screen.click(".language").await;
    within(SOON, "Chinese", async || (screen.text("#heading").await == "登录 Shop").then_some(())).await;
    screen.until("waiting").await;
    let phone = app.stage.phone(&screen.scan().await).await;
    sign_in(&phone, "Ada").await;
    screen.until("scanned").await;
    // Without its cookie the browser gets a page in words instead of an answer.
    screen.cdp("Network.clearBrowserCookies", json!({})).await;
    phone.click("#confirm").await;
    let is_there = async || screen.url().await.contains("/oauth2/authorize/done?").then_some(());
    within(SOON, "the page after the sign-in page", is_there).await;
    assert_eq!(screen.text("h1").await, "这次登录已经结束");
    screen.end_after_refusals().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_sign_in_to_two_apps_at_once() {
    let mut app = App::start("").await;
    let screen = app.stage.driver.open(Device::Desk).await;
    app.arrive(&screen, "shop", &[("nonce", "first")]).await;
    let first = screen.scan().await;
    screen.run("window.open('about:blank')").await;
    screen.be_at_window(1).await;
    app.arrive(&screen, "wiki", &[("nonce", "second")]).await;
    app.confirm(&screen).await;
    let second = app.answer().await.fields["code"].clone();
    screen.be_at_window(0).await;
    assert_eq!(screen.scan().await, first, "the other tab's code is as it was");
    app.confirm(&screen).await;
    assert_ne!(app.answer().await.fields["code"], second);
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_app_needs_no_second_scan_and_the_phone_says_so() {
    let mut app = App::start("single_sign_on = true").await;
    let screen = app.stage.driver.open(Device::Desk).await;
    app.arrive(&screen, "shop", &[]).await;
    let phone = app.stage.phone(&screen.scan().await).await;
    sign_in(&phone, "Ada").await;
    let said = "Other apps in that browser can then sign you in without a new code.";
    assert_eq!(phone.text("#other-apps").await, said);
    phone.keep_page("confirm-single-sign-on").await;
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    assert!(app.answer().await.fields.contains_key("code"));
    app.is_at_app(&screen, "/cb").await;
    screen.goto(&app.base).await;
    screen.run(&format!("location.href = {:?}", app.request("wiki", &[]))).await;
    assert!(app.answer().await.fields.contains_key("code"), "no page on the way");
    // An app that wants the person to confirm again gets a code of its own.
    app.arrive(&screen, "wiki", &[("prompt", "login")]).await;
    assert!(screen.sees(".scangate-qr").await);
    screen.end().await;
    phone.end().await;
}

/// Chromium applies the `form-action` of the question to every redirect that follows its form.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_leads_on_through_an_app_that_redirects_to_another_origin() {
    let mut app = App::start("single_sign_on = true").await;
    let back = format!("{}/bye", app.base);
    let query = [("client_id", "shop"), ("post_logout_redirect_uri", &back)];
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let elsewhere = app.base.replace("localhost", "127.0.0.1") + "/elsewhere";
    for without_scripts in [false, true] {
        let screen = app.stage.driver.open(Device::Desk).await;
        app.arrive(&screen, "shop", &[]).await;
        app.confirm(&screen).await;
        assert!(app.answer().await.fields.contains_key("code"));
        app.is_at_app(&screen, "/cb").await;
        screen.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": without_scripts })).await;
        screen.goto(&app.stage.edge.url(&format!("/oauth2/logout?{query}"))).await;
        assert_eq!(screen.text("h1").await, "Sign out of Shop?");
        screen.keep_page("sign-out").await;
        screen.click("#sign-out button").await;
        let is_there = async || (screen.url().await == elsewhere).then_some(());
        within(SOON, "the other origin", is_there).await;
        screen.end().await;
    }
}
