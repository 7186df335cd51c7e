//! The confirm page: what an approver sees, and what they press.

use serde_json::{Value, json};

use super::{SMALL_PHONE, Stage, be, sign_in};
use crate::support::browser::Chromium;

#[tokio::test(flavor = "multi_thread")]
async fn opening_the_confirm_page_changes_nothing() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    let scanned = screen.scan().await;
    let phone = stage.phone(&scanned).await;
    assert_eq!(state_and_revision(&screen).await, json!(["pending", 1]));

    // Nor does it for somebody who is signed in: it asks to go on.
    be(&stage, &phone, "Ada").await;
    phone.reload().await;
    phone.until("ready").await;
    assert_eq!(phone.text("#ready-heading").await, "You’re signed in as Ada");
    assert_eq!(state_and_revision(&screen).await, json!(["pending", 1]));
    assert_eq!(screen.body("data-state").await.as_deref(), Some("waiting"));

    phone.click("#continue").await;
    phone.until("scanned").await;
    assert_eq!(state_and_revision(&screen).await, json!(["scanned", 2]));
    screen.end().await;
    phone.end().await;
}

/// Another tab of the same browser has signed somebody else in since the page was rendered.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_names_the_person_whose_session_scans() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    let phone = stage.phone(&screen.scan().await).await;
    be(&stage, &phone, "Ada").await;
    phone.reload().await;
    phone.until("ready").await;
    be(&stage, &phone, "Bob").await;
    phone.click("#continue").await;
    phone.until("scanned").await;
    assert_eq!(phone.text("#scanned-as").await, "as Bob");
    phone.click("#confirm").await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=name]").await, "Bob");
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

    phone.click("#decline").await;
    phone.until("declined").await;
    screen.until("declined").await;
    assert_eq!(screen.text(".scangate-title").await, "Sign\u{2011}in declined");

    screen.click(".scangate-refresh").await;
    screen.until("waiting").await;
    assert_ne!(screen.scan().await, first);
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

    phone.click("#confirm").await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada");
    late.end_after_refusals().await;
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_keeps_no_cookies_is_told_so() {
    let stage = Stage::set().await;
    let id = stage.edge.browser().create().await;
    let blocked = json!({ "profile.default_content_setting_values.cookies": 2 });
    let phone = stage.driver.open_as(SMALL_PHONE, &[], &blocked).await;
    phone.goto(&stage.edge.url(&format!("/s/{id}"))).await;
    phone.until("sign-in").await;
    phone.write("#name", "Ada").await;
    phone.click("#sign-in").await;
    phone.until("error").await;
    assert_eq!(phone.text("#outcome-title").await, "Cookies seem to be blocked");
    phone.click("#retry").await;
    phone.until("sign-in").await;
    phone.end_after_refusals().await;
}

/// Returns how the ticket on `screen` stands, asked by the page itself.
async fn state_and_revision(screen: &Chromium) -> Value {
    let script = "var id = document.querySelector('.scangate-link').href.split('/').pop();
        return fetch('/v1/tickets/' + id).then(r => r.json()).then(ticket => [ticket.state, ticket.revision])";
    screen.run(script).await
}
