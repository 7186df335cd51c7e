//! The presenter's page.

use serde_json::json;

use super::{HOLD, LET_GO, LONG_NAME, Walk, another, be_offline, go_offline, shown};
use crate::browser::end_session;
use crate::support::browser::Chromium;
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn the_presenters_page_in_english() {
    walk("en").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_presenters_page_in_chinese() {
    walk("zh").await;
}

async fn walk(lang: &'static str) {
    let mut walk = Walk::start("share", lang).await;
    let screen = walk.open().await;
    through_a_grant(&mut walk, &screen).await;
    through_numbers(&mut walk, &screen).await;
    through_refusals(&mut walk, &screen).await;
    through_expiry(&mut walk, &screen).await;
    walk.look_without_scripts(&screen, "/share").await;
    through_failures(&mut walk, &screen).await;
    walk.end(screen).await;
}

async fn fresh(walk: &Walk, screen: &Chromium, client: &str) -> String {
    walk.go(screen, &format!("/share?client_id={client}"), "waiting").await;
    shown(screen).await
}

/// Shows a code that somebody scans in whose browser nobody is signed in.
async fn scanned(
    walk: &Walk,
    screen: &Chromium,
    client: &str,
) -> (crate::support::gateway::Browser, serde_json::Value) {
    let id = fresh(walk, screen, client).await;
    let scan = walk.receive(&id).await;
    screen.until("scanned").await;
    scan
}

async fn through_a_grant(walk: &mut Walk, screen: &Chromium) {
    walk.go(screen, "/share", "sign-in").await;
    walk.stop(screen, "sign-in", "sign_in_heading", "#name").await;
    screen.click("#sign-in").await;
    walk.stop(screen, "sign-in-fault", "sign_in_heading", "#name").await;
    walk.be(screen, "Ada Lovelace").await;
    fresh(walk, screen, "web").await;
    end_session(screen).await;
    screen.click(".scangate-renew").await;
    screen.until("sign-in").await;
    walk.stop(screen, "ran-out", "sign_in_heading", "#name").await;
    walk.be(screen, "Ada Lovelace").await;

    let id = fresh(walk, screen, "web").await;
    walk.stop(screen, "waiting", "waiting", "#heading").await;
    walk.receive(&id).await;
    screen.until("scanned").await;
    walk.stop(screen, "scanned", "stranger_heading", "#scanned-heading").await;
    screen.click("#confirm").await;
    screen.until("granted").await;
    walk.stop(screen, "granted", "done_stranger", "#outcome-title").await;

    let id = fresh(walk, screen, "web").await;
    walk.phone(LONG_NAME).await.act(&id, "scan").await;
    screen.until("scanned").await;
    walk.stop(screen, "scanned-long", "scanned", "#scanned-heading").await;
    // Somebody else is there when the answer arrives.
    screen
        .run(
            "window.send = XMLHttpRequest.prototype.send;
         XMLHttpRequest.prototype.send = function (body) {
           return send.call(this, body && body.replace(/(\"scanner\":\")[^\"]+/, '$1AAAAAAAAAAAAAAAAAAAAAA'));
         };",
        )
        .await;
    screen.click("#confirm").await;
    eventually("the notice", async || (!screen.text("#notice").await.is_empty()).then_some(())).await;
    walk.look(screen, "changed").await;
    let is_said = screen.text("#notice").await == walk.text("changed").as_str().unwrap();
    walk.expect("changed", is_said, "its notice is another");
    screen.run("XMLHttpRequest.prototype.send = send").await;
}

async fn through_numbers(walk: &mut Walk, screen: &Chromium) {
    let (_, scan) = scanned(walk, screen, "choose").await;
    walk.stop(screen, "choose", "stranger_heading", "#scanned-heading").await;
    let number = scan["ticket"]["number"].as_str().unwrap();
    screen.click(&format!(".choice:not([data-choice='{number}'])")).await;
    screen.until("mismatch").await;
    walk.stop(screen, "mismatch", "mismatch", "#outcome-title").await;

    scanned(walk, screen, "type").await;
    walk.stop(screen, "type", "stranger_heading", "#scanned-heading").await;
    screen.click("#confirm").await;
    walk.stop(screen, "type-fault", "stranger_heading", "#number").await;
}

async fn through_refusals(walk: &mut Walk, screen: &Chromium) {
    scanned(walk, screen, "web").await;
    screen.click("#decline").await;
    screen.until("declined").await;
    walk.stop(screen, "declined", "declined", "#outcome-title").await;

    let id = fresh(walk, screen, "web").await;
    let (browser, _) = walk.receive(&id).await;
    screen.until("scanned").await;
    let cancels = browser.request(reqwest::Method::POST, &format!("/v1/tickets/{id}/cancel")).json(&json!({}));
    cancels.send().await.unwrap();
    screen.until("closed").await;
    walk.stop(screen, "left", "closed", "#outcome-title").await;

    let id = fresh(walk, screen, "web").await;
    let withdraws =
        format!("return fetch('/v1/tickets/{id}?reason=superseded', {{ method: 'DELETE' }}).then(() => null)");
    screen.run(&withdraws).await;
    screen.until("closed").await;
    walk.stop(screen, "superseded", "superseded", "#outcome-title").await;

    fresh(walk, screen, "web").await;
    screen.click("#stop").await;
    screen.until("closed").await;
    walk.stop(screen, "stopped", "stopped", "#outcome-title").await;

    screen.run(HOLD).await;
    screen.click("#retry").await;
    screen.until("loading").await;
    walk.stop(screen, "loading", "loading", "#heading").await;
    screen.run(LET_GO).await;
    screen.until("waiting").await;
}

async fn through_expiry(walk: &mut Walk, screen: &Chromium) {
    let mut id = fresh(walk, screen, "web").await;
    for _ in 0..5 {
        walk.run_out(&id);
        id = another(screen, &id).await;
    }
    walk.stop(screen, "renewed", "waiting", "#heading").await;
    walk.run_out(&id);
    screen.until("expired").await;
    walk.stop(screen, "expired", "expired", "#heading").await;

    let id = fresh(walk, screen, "web").await;
    screen.run("Object.defineProperty(Document.prototype, 'hidden', { value: true, configurable: true })").await;
    walk.run_out(&id);
    screen.until("expired").await;
    walk.stop(screen, "away", "away", "#heading").await;

    let id = fresh(walk, screen, "web").await;
    walk.receive(&id).await;
    screen.until("scanned").await;
    walk.run_out(&id);
    screen.until("late").await;
    walk.stop(screen, "late", "late", "#outcome-title").await;
}

async fn through_failures(walk: &mut Walk, screen: &Chromium) {
    let id = fresh(walk, screen, "web").await;
    go_offline(screen).await;
    walk.stop(screen, "offline", "waiting", "#heading").await;
    be_offline(screen, false).await;
    screen.until("waiting").await;

    walk.receive(&id).await;
    screen.until("scanned").await;
    walk.stage.gateway.process.kill();
    screen.until("offline").await;
    walk.stop(screen, "reconnecting", "stranger_heading", "#scanned-heading").await;
    screen.click("#confirm").await;
    eventually("the words", async || (!screen.text("#fault").await.is_empty()).then_some(())).await;
    let said = screen.text("#fault").await;
    walk.expect("unsent", said == walk.text("unsent").as_str().unwrap(), &format!("it says {said:?}"));
    walk.stop(screen, "unsent", "stranger_heading", "#confirm").await;
    walk.restart(None).await;
    walk.be(screen, "Ada Lovelace").await;
    fresh(walk, screen, "web").await;
    walk.stage.gateway.process.kill();
    screen.until("offline").await;
    screen.click(".scangate-renew").await;
    screen.until("error").await;
    walk.stop(screen, "gateway-down", "unreachable", ".scangate").await;

    walk.restart(Some("--rate-create")).await;
    walk.be(screen, "Ada Lovelace").await;
    fresh(walk, screen, "web").await;
    screen.click(".scangate-renew").await;
    screen.until("error").await;
    walk.stop(screen, "busy", "busy", ".scangate").await;
}
