//! People sign in at an identity provider: from the page of a scanned code to the provider, back, and on.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PHONE, Stage, end_session};
use crate::support::browser::{Chromium, Device};
use crate::support::eventually;
use crate::support::gateway::file;
use crate::support::hostile::{Endpoint, Lie, Provider};

const WEB: &str = "[[clients]]\nid = \"web\"\nname = \"Web\"\nclaims = [\"name\", \"email\", \"picture\"]\n";

/// A gateway at which people sign in with `provider`, behind an edge, with these clients.
pub async fn stage_with(provider: &Provider, clients: &str) -> (Stage, TempDir) {
    let (directory, config) = file(&format!("{}\n{clients}", provider.table("acme", "")));
    (Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await, directory)
}

/// Opens what a screen shows on a phone in which nobody is signed in.
async fn open(stage: &Stage, screen: &Chromium) -> Chromium {
    let phone = stage.driver.open(PHONE).await;
    phone.goto(&screen.scan().await).await;
    phone.until("sign-in").await;
    phone
}

/// Presses the provider's button, and comes back to the page.
pub async fn sign_in(phone: &Chromium, state: &str) {
    phone.click("[data-provider=acme]").await;
    comes_back(phone, state).await;
}

/// Waits until the page is loaded again and in `state`.
pub async fn comes_back(phone: &Chromium, state: &str) {
    let is_back = async || (phone.body("data-state").await.as_deref() == Some(state)).then_some(());
    eventually(&format!("the way back to the state {state}"), is_back).await;
}

/// Waits until the page says that the sign-in has been renewed.
pub async fn is_renewed(phone: &Chromium) {
    let script = "return (document.getElementById('notice') || {}).textContent || ''";
    let is_said = async || (phone.run(script).await != json!("")).then_some(());
    eventually("the notice", is_said).await;
    comes_back(phone, "scanned").await;
}

/// Gives the provider's sign-ins this time, in seconds ago.
fn signed_in_ago(secs: u64) -> Lie {
    Lie::claims(move |claims| claims["auth_time"] = json!(claims["iat"].as_u64().unwrap() - secs))
}

/// Keeps what the tab keeps.
async fn kept(page: &Chromium) -> Value {
    page.run("return Object.keys(sessionStorage).sort()").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_the_provider_leads_back_to_who_is_asking_and_the_next_scan_is_one_tap() {
    let provider = Provider::start();
    let (stage, _directory) = stage_with(&provider, WEB).await;
    let screen = stage.screen().await;
    let phone = open(&stage, &screen).await;
    assert_eq!(phone.text(".site").await, "Web");
    assert_eq!(phone.text("[data-provider=acme]").await, "Continue with The acme");
    assert_eq!(screen.body("data-state").await.as_deref(), Some("waiting"), "opening the page changes nothing");

    // By the keyboard: the focus is at the start of the view, and the button comes next.
    let focus = async |what: &str| phone.run(&format!("return document.activeElement.{what}")).await;
    assert_eq!(focus("tagName").await, "H1");
    phone.press("Tab").await;
    assert_eq!(focus("getAttribute('data-provider')").await, "acme");
    phone.press("Enter").await;
    comes_back(&phone, "scanned").await;
    assert_eq!(focus("id").await, "scanned-heading");
    assert_eq!(phone.text("#scanned-heading").await, "Sign in to Web?");
    assert_eq!(phone.text("#scanned-as").await, "as Ada Lovelace");
    assert_eq!(phone.text("#request [data-fact=release]").await, "name, email", "no picture: she has none");
    assert!(!phone.sees("#notice").await);
    assert_eq!(kept(&phone).await, json!([]));
    let names: Vec<_> = screen.received().await.into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"opened".to_owned()), "the desk is told that somebody signs in: {names:?}");
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=name]").await, "Ada Lovelace");

    screen.click("#again").await;
    screen.until("waiting").await;
    phone.goto(&screen.scan().await).await;
    phone.until("ready").await;
    assert_eq!(phone.text("#ready-heading").await, "You’re signed in as Ada Lovelace");
    phone.click("#continue").await;
    phone.until("scanned").await;
    assert_eq!(provider.count("GET /authorize"), 1);
    let cookies = phone.run("return document.cookie").await;
    assert_eq!(cookies, "", "the session is out of the scripts' reach");
    phone.end().await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_press_on_this_tickets_page_scans_after_the_way_back() {
    let provider = Provider::start();
    let (stage, _directory) = stage_with(&provider, WEB).await;
    let screen = stage.screen().await;
    let phone = open(&stage, &screen).await;
    let other = stage.edge.browser().create().await;
    // Somebody is sent to the provider by a link to the gateway, and comes back signed in.
    phone.goto(&stage.edge.url(&format!("/sign-in/acme?ticket={other}"))).await;
    comes_back(&phone, "ready").await;
    assert_eq!(phone.url().await, stage.edge.url(&format!("/s/{other}")));
    // Nor does a press for one ticket count for another, and it counts once.
    phone.run(&format!("sessionStorage.setItem('scangate.signing-in', '{other}')")).await;
    phone.goto(&screen.scan().await).await;
    phone.until("ready").await;
    assert_eq!(kept(&phone).await, json!([]));
    phone.goto(&stage.edge.url(&format!("/s/{other}"))).await;
    phone.until("ready").await;
    assert_eq!(screen.body("data-state").await.as_deref(), Some("waiting"));
    phone.end().await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_that_somebody_chose_outlasts_the_way() {
    let provider = Provider::start();
    let (stage, _directory) = stage_with(&provider, WEB).await;
    let screen = stage.screen().await;
    let phone = open(&stage, &screen).await;
    phone.click(".language").await;
    let is_chinese = async || (phone.run("return document.documentElement.lang").await == "zh").then_some(());
    eventually("the page in Chinese", is_chinese).await;
    phone.until("sign-in").await;
    sign_in(&phone, "scanned").await;
    assert_eq!(phone.text("#scanned-heading").await, "要登录 Web 吗？");
    assert_eq!(kept(&phone).await, json!([]));
    phone.end().await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_meanwhile_leads_to_the_buttons_and_the_code_stays_good() {
    let provider = Provider::start();
    let (stage, _directory) = stage_with(&provider, WEB).await;
    let screen = stage.screen().await;
    let phone = open(&stage, &screen).await;
    sign_in(&phone, "scanned").await;
    for button in ["#confirm", "#decline"] {
        end_session(&phone).await;
        phone.click(button).await;
        phone.until("sign-in").await;
        assert_eq!(phone.text("#sign-in-lead").await, "Your session has ended. Please sign in again.");
        sign_in(&phone, "scanned").await;
    }
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    screen.until("confirmed").await;
    phone.end_after_refusals().await;
    screen.end().await;
}

/// Clients of which one asks for a recent sign-in.
const BANK: &str =
    "[[clients]]\nid = \"web\"\nname = \"Web\"\n[[clients]]\nid = \"bank\"\nname = \"Bank\"\nmax_auth_age = \"5m\"\n";

/// Shows a code of the client `bank`.
async fn show_bank(stage: &Stage, screen: &Chromium) {
    screen.goto(&stage.edge.url("/?client_id=bank")).await;
    screen.until("waiting").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_too_old_is_renewed_before_the_request_is_shown() {
    let provider = Provider::start();
    let (stage, _directory) = stage_with(&provider, BANK).await;
    provider.lie(signed_in_ago(3600));
    let screen = stage.screen().await;
    let phone = open(&stage, &screen).await;
    sign_in(&phone, "scanned").await;

    provider.be_honest();
    show_bank(&stage, &screen).await;
    phone.goto(&screen.scan().await).await;
    phone.until("ready").await;
    phone.click("#continue").await;
    is_renewed(&phone).await;
    assert_eq!(provider.count("GET /authorize"), 2);
    let asked = provider.authorization();
    assert_eq!((asked["max_age"].as_str(), asked.contains_key("prompt")), ("300", false));
    assert_eq!(phone.text("#notice").await, "Thanks for signing in again. Check the request, then confirm.");
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    screen.until("confirmed").await;
    phone.end_after_refusals().await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_renews_nothing_sends_nobody_in_a_circle() {
    let provider = Provider::start();
    let (stage, _directory) = stage_with(&provider, BANK).await;
    provider.lie(signed_in_ago(3600));
    let screen = stage.screen().await;
    show_bank(&stage, &screen).await;
    let phone = open(&stage, &screen).await;
    sign_in(&phone, "stale").await;
    assert_eq!(provider.authorization()["max_age"], "300", "it was asked for, and not done");
    assert_eq!(phone.text("#outcome-title").await, "Please sign in again");
    assert_eq!(provider.count("GET /authorize"), 1);
    phone.click("#retry").await;
    let is_asked_again = async || (provider.count("GET /authorize") == 2).then_some(());
    eventually("the second visit", is_asked_again).await;
    comes_back(&phone, "stale").await;
    assert_eq!(provider.authorization()["prompt"], "login");

    provider.be_honest();
    phone.click("#retry").await;
    is_renewed(&phone).await;
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    screen.until("confirmed").await;
    phone.end_after_refusals().await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session_in_this_browser() {
    let provider = Provider::start();
    let (stage, _directory) = stage_with(&provider, WEB).await;
    let screen = stage.screen().await;
    let phone = open(&stage, &screen).await;
    sign_in(&phone, "scanned").await;
    phone.click("#decline").await;
    phone.until("declined").await;
    phone.click("#sign-out").await;
    phone.until("signed-out").await;
    assert!(!phone.sees("#sign-out").await);
    screen.click(".scangate-refresh").await;
    screen.until("waiting").await;
    phone.goto(&screen.scan().await).await;
    phone.until("sign-in").await;
    sign_in(&phone, "scanned").await;
    screen.until("scanned").await;

    let other = stage.edge.browser().create().await;
    phone.goto(&stage.edge.url(&format!("/s/{other}"))).await;
    phone.until("ready").await;
    phone.click("#other").await;
    phone.until("sign-in").await;
    phone.reload().await;
    phone.until("sign-in").await;
    phone.end().await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_leads_to_the_page_that_a_provider_has_for_it() {
    let provider = Provider::lying(Lie::at(Endpoint::Discovery, |document| {
        document["end_session_endpoint"] = json!(document["issuer"].as_str().unwrap().to_owned() + "/end");
    }));
    let (directory, config) = file(&format!("{}\n{WEB}", provider.table("acme", "sign_out = \"provider\"")));
    let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
    let phone = stage.driver.open(PHONE).await;
    phone.goto(&stage.edge.url("/sign-in/acme?to=/share")).await;
    let page = stage.edge.url(&format!("/s/{}", stage.edge.browser().create().await));
    phone.goto(&page).await;
    phone.until("ready").await;
    phone.click("#other").await;
    let expected = format!("{}/end?client_id=", provider.issuer);
    eventually("the provider's page", async || phone.url().await.starts_with(&expected).then_some(())).await;
    assert!(phone.url().await.contains("&post_logout_redirect_uri=https"), "{}", phone.url().await);
    phone.goto(&page).await;
    phone.until("sign-in").await;
    phone.end_after_refusals().await;
    drop(directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_by_history_can_press_again() {
    let mut provider = Provider::start();
    let (stage, _directory) = stage_with(&provider, WEB).await;
    let screen = stage.screen().await;
    let phone = open(&stage, &screen).await;
    let page = phone.url().await;
    provider.stop();
    phone.click("[data-provider=acme]").await;
    let has_left = async || (phone.body("data-state").await.is_none()).then_some(());
    eventually("the browser's own page of the failure", has_left).await;
    provider.restart();
    phone.back().await;
    comes_back(&phone, "sign-in").await;
    assert_eq!(phone.url().await, page);
    assert_eq!(phone.run("return document.querySelector('[data-provider]').disabled").await, json!(false));
    sign_in(&phone, "scanned").await;
    phone.end_after_refusals().await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presenter_whose_sign_in_is_too_old_renews_it_and_goes_on_with_the_same_scanner() {
    let provider = Provider::start();
    let client = "[[clients]]\nid = \"web\"\nname = \"Web\"\nclaims = [\"name\"]\nflows = [\"login\", \"share\"]\n\
                  max_auth_age = \"5m\"\n";
    let (stage, _directory) = stage_with(&provider, client).await;
    provider.lie(signed_in_ago(3600));
    let presenter = stage.driver.open(Device::Desk).await;
    presenter.goto(&stage.edge.url("/share?client_id=web")).await;
    presenter.until("sign-in").await;
    sign_in(&presenter, "waiting").await;
    let scanner = super::share::continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;
    presenter.click("#confirm").await;
    presenter.until("stale").await;
    assert_eq!(presenter.text("#outcome-title").await, "Please sign in again");
    provider.be_honest();
    presenter.click("#retry").await;
    comes_back(&presenter, "scanned").await;
    assert_eq!(provider.authorization()["prompt"], "login");
    presenter.click("#confirm").await;
    presenter.until("granted").await;
    scanner.until("granted").await;
    presenter.end_after_refusals().await;
    scanner.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_share_sign_in_at_the_provider() {
    let provider = Provider::start();
    let client =
        "[[clients]]\nid = \"web\"\nname = \"Web\"\nclaims = [\"name\", \"email\"]\nflows = [\"login\", \"share\"]\n";
    let (stage, _directory) = stage_with(&provider, client).await;
    let presenter = stage.driver.open(Device::Desk).await;
    presenter.goto(&stage.edge.url("/share?client_id=web")).await;
    presenter.until("sign-in").await;
    sign_in(&presenter, "waiting").await;
    assert_eq!(presenter.url().await, stage.edge.url("/share?client_id=web"));
    assert_eq!(presenter.text("#offer [data-fact=as]").await, "Ada Lovelace");
    assert_eq!(presenter.text("#offer [data-fact=release]").await, "account, name, email");

    provider.sign_in_as("bob");
    provider.lie(Lie::claims(|claims| claims["name"] = json!("Bob")));
    let scanner = stage.driver.open(PHONE).await;
    scanner.goto(&presenter.scan().await).await;
    scanner.until("ready").await;
    assert!(!scanner.sees("#without").await, "nobody is signed in anyway");
    scanner.click("#other").await;
    scanner.until("sign-in").await;
    sign_in(&scanner, "waiting").await;
    presenter.until("scanned").await;
    assert_eq!(presenter.text("#scanned-heading").await, "Share with Bob?");
    presenter.click("#release [data-claim=name]").await;
    presenter.click("#confirm").await;
    presenter.until("granted").await;
    assert_eq!(presenter.text("#granted [data-fact=release]").await, "account, email");
    scanner.until("granted").await;
    assert_eq!(scanner.text("#claims [data-claim=email]").await, "ada@example.com");
    presenter.end().await;
    scanner.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_refuses_is_a_page_that_leads_back_and_the_code_stays_good() {
    let provider = Provider::start();
    let (stage, _directory) = stage_with(&provider, WEB).await;
    let screen = stage.screen().await;
    let phone = open(&stage, &screen).await;
    let page = phone.url().await;
    let title = async || phone.run("return (document.querySelector('h1') || {}).textContent").await;
    provider.lie(Lie::answering(|answer| {
        answer["error"] = json!("access_denied");
        answer.as_object_mut().unwrap().remove("code");
    }));
    phone.click("[data-provider=acme]").await;
    eventually("the page of the refusal", async || (title().await == "Signing in was cancelled").then_some(())).await;
    phone.click(".button").await;
    phone.until("sign-in").await;
    assert_eq!(phone.url().await, page);
    provider.be_honest();
    sign_in(&phone, "scanned").await;
    phone.click("#confirm").await;
    screen.until("confirmed").await;
    phone.end_after_refusals().await;
    screen.end().await;
}
