//! The scanner's page.

use serde_json::json;

use super::{LONG_NAME, Walk, be_offline, go_offline};
use crate::browser::end_session;
use crate::support::browser::Chromium;
use crate::support::eventually;
use crate::support::gateway::Phone;

#[tokio::test(flavor = "multi_thread")]
async fn the_scanners_page_in_english() {
    walk("en").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scanners_page_in_chinese() {
    walk("zh").await;
}

async fn walk(lang: &'static str) {
    let mut walk = Walk::start("receive", lang).await;
    let phone = walk.open().await;
    through_a_grant(&mut walk, &phone).await;
    through_refusals(&mut walk, &phone).await;
    as_somebody(&mut walk, &phone).await;
    walk.look_without_scripts(&phone, "/share/x").await;
    through_failures(&mut walk, &phone).await;
    walk.end(phone).await;
}

/// Opens what `name` shares.
async fn scan(walk: &Walk, phone: &Chromium, name: &str, client: &str) -> (Phone, String) {
    let (presenter, id) = walk.share(name, client).await;
    walk.go(phone, &format!("/share/{id}"), "ready").await;
    (presenter, id)
}

async fn go_on(phone: &Chromium, state: &str) {
    phone.click("#continue").await;
    phone.until(state).await;
}

/// Decides as the presenter, with `further` in the answer.
async fn decide(presenter: &Phone, id: &str, number: Option<&str>) {
    let ticket: serde_json::Value = presenter.read(id).await.json().await.unwrap();
    let mut body = json!({ "scanner": ticket["scanned_by"]["id"] });
    if let Some(number) = number {
        body["match"] = json!(number);
    }
    presenter.act_with(id, "confirm", body).await;
}

async fn through_a_grant(walk: &mut Walk, phone: &Chromium) {
    let (ada, id) = scan(walk, phone, "Ada Lovelace", "web").await;
    walk.stop(phone, "ready", "ready_heading", ".").await;
    go_on(phone, "waiting").await;
    walk.stop(phone, "waiting", "waiting_heading", "#waiting-heading").await;
    decide(&ada, &id, None).await;
    phone.until("granted").await;
    walk.stop(phone, "granted", "granted", "#outcome-title").await;

    let (ada, id) = scan(walk, phone, LONG_NAME, "choose").await;
    go_on(phone, "waiting").await;
    walk.stop(phone, "number", "waiting_heading", "#waiting-heading").await;
    let number = phone.text("#number").await;
    decide(&ada, &id, Some(if number == "10" { "11" } else { "10" })).await;
    phone.until("mismatch").await;
    walk.stop(phone, "mismatch", "mismatch", "#outcome-title").await;
    scan(walk, phone, "Ada Lovelace", "type").await;
    go_on(phone, "waiting").await;
    walk.stop(phone, "number-typed", "waiting_heading", "#waiting-heading").await;
}

async fn through_refusals(walk: &mut Walk, phone: &Chromium) {
    let (ada, id) = scan(walk, phone, "Ada Lovelace", "web").await;
    go_on(phone, "waiting").await;
    ada.act(&id, "cancel").await;
    phone.until("declined").await;
    walk.stop(phone, "declined", "declined", "#outcome-title").await;

    for (reason, name) in [("closed", "stopped"), ("superseded", "superseded")] {
        let (ada, id) = scan(walk, phone, "Ada Lovelace", "web").await;
        go_on(phone, "waiting").await;
        let browser = walk.stage.edge.browser();
        let request = browser.request(reqwest::Method::DELETE, &format!("/v1/tickets/{id}?reason={reason}"));
        request.bearer_auth(&ada.token).send().await.unwrap();
        phone.until("closed").await;
        walk.stop(phone, name, reason, "#outcome-title").await;
    }

    scan(walk, phone, "Ada Lovelace", "web").await;
    go_on(phone, "waiting").await;
    phone.click("#cancel").await;
    phone.until("closed").await;
    walk.stop(phone, "gone", "gone", "#outcome-title").await;

    let (_, id) = scan(walk, phone, "Ada Lovelace", "web").await;
    go_on(phone, "waiting").await;
    walk.run_out(&id);
    phone.until("expired").await;
    walk.stop(phone, "expired", "expired", "#outcome-title").await;

    let (_, id) = scan(walk, phone, "Ada Lovelace", "web").await;
    walk.receive(&id).await;
    go_on(phone, "taken").await;
    walk.stop(phone, "taken", "taken", "#outcome-title").await;
}

async fn as_somebody(walk: &mut Walk, phone: &Chromium) {
    scan(walk, phone, "Ada Lovelace", "web").await;
    phone.click("#other").await;
    phone.until("sign-in").await;
    walk.stop(phone, "sign-in", "sign_in_heading", "#name").await;
    phone.click("#sign-in").await;
    walk.stop(phone, "sign-in-fault", "sign_in_heading", "#name").await;

    walk.be(phone, "Bob").await;
    phone.reload().await;
    phone.until("ready").await;
    end_session(phone).await;
    phone.click("#continue").await;
    let is_told = async || (!phone.text("#notice").await.is_empty()).then_some(());
    eventually("the notice", is_told).await;
    let said = phone.text("#notice").await;
    walk.expect("ran-out", said == walk.text("ran_out").as_str().unwrap(), &format!("it says {said:?}"));
    walk.stop(phone, "ran-out", "ready_heading", ".").await;

    walk.be(phone, "Ada Lovelace").await;
    scan(walk, phone, "Ada Lovelace", "web").await;
    walk.stop(phone, "ready-as", "ready_heading", ".").await;
    go_on(phone, "own").await;
    walk.stop(phone, "own", "own", "#outcome-title").await;
    end_session(phone).await;
}

async fn through_failures(walk: &mut Walk, phone: &Chromium) {
    scan(walk, phone, "Ada Lovelace", "web").await;
    go_on(phone, "waiting").await;
    go_offline(phone).await;
    walk.stop(phone, "offline", "waiting_heading", "#waiting-heading").await;
    be_offline(phone, false).await;
    phone.until("waiting").await;
    walk.stage.gateway.process.kill();
    phone.until("offline").await;
    walk.stop(phone, "reconnecting", "waiting_heading", "#waiting-heading").await;
    walk.restart(None).await;
    phone.until("waiting").await;

    let (_, other) = walk.share("Bob", "web").await;
    scan(walk, phone, "Ada Lovelace", "web").await;
    walk.stage.gateway.process.kill();
    go_on(phone, "error").await;
    walk.stop(phone, "gateway-down", "unreachable", "#outcome-title").await;
    walk.restart(Some("--rate-scan")).await;
    walk.receive(&other).await;
    phone.click("#retry").await;
    eventually("the wait", async || phone.attribute("#retry", "disabled").await).await;
    walk.stop(phone, "busy", "busy", "#outcome-title").await;

    walk.restart(None).await;
    scan(walk, phone, "Ada Lovelace", "web").await;
    walk.stage.edge.stop();
    go_on(phone, "error").await;
    walk.stop(phone, "unreachable", "unreachable", "#outcome-title").await;
}
