//! What a page costs that waits. No time is judged: a page may be drawn when its document has changed, and changes once for
//! every second that it shows.

use serde_json::json;

use super::walk::{be_offline, shown};
use super::{Stage, be, made_up};
use crate::support::browser::{Chromium, Device, Steps};
use crate::support::gateway::{Builder, file};

/// The ticks of a timer over which a state is watched; there are two in a second.
const TICKS: u64 = 8;
/// What begins before and ends within the ticks.
const SPARE: u64 = 2;

const CLIENTS: &str = "[[clients]]\nid = \"web\"\nname = \"Web\"\nflows = [\"login\", \"share\"]\n\
    [[clients]]\nid = \"choose\"\nname = \"Web\"\nmatch = \"choose\"\n";

async fn stage() -> (Stage, tempfile::TempDir) {
    let (directory, config) = file(CLIENTS);
    let settings = |builder: Builder| builder.arg("--config", config.to_str().unwrap()).arg("--rate-create", "1000");
    (Stage::set_with(settings).await, directory)
}

/// Checks that nothing is drawn but changes, of which there are no more than seconds.
async fn is_calm(page: &Chromium, state: &str) -> Steps {
    page.rest().await;
    let moving =
        page.run("return document.getAnimations().map(one => one.animationName || one.transitionProperty)").await;
    assert_eq!(moving, json!([]), "{state}: something moves for as long as it lasts");
    let steps = page.steps(TICKS).await;
    assert!(steps.styles <= steps.changes + SPARE && steps.layouts <= steps.changes + SPARE, "{state}: {steps:?}");
    assert!(steps.changes <= steps.ticks + SPARE, "{state}: {steps:?}");
    steps
}

/// The same for a state that shows no time: nothing changes at all.
async fn is_still(page: &Chromium, state: &str) {
    let steps = is_calm(page, state).await;
    assert_eq!(steps.changes, 0, "{state}: {steps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_waits_is_drawn_once_a_second_and_does_nothing_while_hidden() {
    let (stage, _directory) = stage().await;
    let ada = stage.edge.phone(made_up(&stage, "Ada").await);
    let screen = stage.driver.open(Device::Desk).await;
    screen.count_steps().await;
    let fresh = async |client: &str| {
        screen.goto(&stage.edge.url(&format!("/?client_id={client}"))).await;
        screen.until("waiting").await;
        shown(&screen).await
    };
    let id = fresh("web").await;
    assert!(is_calm(&screen, "waiting").await.changes > 0, "the time that is left is shown");
    let hide = "window.sight = Object.getOwnPropertyDescriptor(Document.prototype, 'hidden');
         Object.defineProperty(Document.prototype, 'hidden', { value: true, configurable: true })";
    screen.run(hide).await;
    // News would be told: a connection that is lost, say. The time is not.
    let hidden = is_calm(&screen, "hidden").await;
    assert!(hidden.changes <= SPARE, "hidden: {hidden:?}");
    let show = "Object.defineProperty(Document.prototype, 'hidden', window.sight);
         document.dispatchEvent(new Event('visibilitychange')); return document.hidden";
    assert_eq!(screen.run(show).await, json!(false));
    ada.act(&id, "scan").await;
    screen.until("scanned").await;
    assert!(is_calm(&screen, "scanned").await.changes > 0, "the time that is left is shown");
    ada.act(&id, "cancel").await;
    screen.until("declined").await;
    after_the_guard(&screen).await;
    is_still(&screen, "declined").await;

    let id = fresh("choose").await;
    ada.act(&id, "scan").await;
    screen.until("scanned").await;
    is_calm(&screen, "number").await;
    let id = fresh("web").await;
    ada.approve(&id).await;
    screen.until("confirmed").await;
    after_the_guard(&screen).await;
    is_still(&screen, "confirmed").await;

    let mut id = fresh("web").await;
    while screen.body("data-state").await.as_deref() != Some("expired") {
        let _: i64 = stage.redis.run(&["PEXPIRE", &format!("scangate:{{{id}}}"), "1"]);
        let is_over = async || {
            let is_expired = screen.body("data-state").await.as_deref() == Some("expired");
            Some(shown(&screen).await).filter(|shown| is_expired || *shown != id)
        };
        id = crate::support::eventually("another code, or the end", is_over).await;
    }
    after_the_guard(&screen).await;
    is_still(&screen, "expired").await;
    screen.goto(&stage.edge.url("/?client_id=nobody")).await;
    screen.until("error").await;
    after_the_guard(&screen).await;
    is_still(&screen, "error").await;

    fresh("web").await;
    be_offline(&screen, true).await;
    screen.until("offline").await;
    is_calm(&screen, "offline").await;
    screen.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_decision_are_drawn_once_a_second_while_they_wait() {
    let (stage, _directory) = stage().await;
    let page = stage.driver.open(Device::Desk).await;
    page.count_steps().await;
    be(&stage, &page, "Ada").await;
    for client in ["web", "choose"] {
        let ticket = stage.edge.browser().create_with(json!({ "client_id": client })).await;
        page.goto(&stage.edge.url(&format!("/s/{}", ticket["ticket_id"].as_str().unwrap()))).await;
        page.until("ready").await;
        after_the_guard(&page).await;
        is_still(&page, "ready").await;
        page.click("#continue").await;
        page.until("scanned").await;
        after_the_guard(&page).await;
        is_calm(&page, "confirm").await;
    }

    page.goto(&stage.edge.url("/share")).await;
    page.until("waiting").await;
    is_calm(&page, "share: waiting").await;
    let other = stage.driver.open(Device::Desk).await;
    other.count_steps().await;
    other.goto(&stage.edge.url(&format!("/share/{}", shown(&page).await))).await;
    other.until("ready").await;
    other.click("#continue").await;
    other.until("waiting").await;
    is_calm(&other, "receive: waiting").await;
    page.until("scanned").await;
    is_calm(&page, "share: scanned").await;
    page.end().await;
    other.end().await;
}

/// Waits until a state that has just come takes taps: until then it changes once more.
async fn after_the_guard(page: &Chromium) {
    let is_over =
        async || (page.run("return !document.querySelector('[aria-disabled]')").await == json!(true)).then_some(());
    crate::support::eventually("the end of the guard", is_over).await;
}
