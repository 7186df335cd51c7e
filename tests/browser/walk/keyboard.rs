//! Each page's whole flow by the keyboard alone; and what people ask of their system: no motion, four times the size,
//! colours of their own.

use serde_json::json;

use super::super::Stage;
use super::{CLIENTS, be_offline, go_offline, shown};
use crate::support::browser::{Chromium, Device};
use crate::support::eventually;
use crate::support::gateway::file;

/// More presses of Tab than any page has stops.
const MOST_TABS: usize = 20;

async fn stage() -> (Stage, tempfile::TempDir) {
    let (directory, config) = file(CLIENTS);
    (Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await, directory)
}

/// Presses Tab until the focus is on what `css` finds, which then has a ring, as has all on the way.
async fn tab_to(page: &Chromium, css: &str) {
    for _ in 0..MOST_TABS {
        page.press("Tab").await;
        let script = format!(
            "var held = document.activeElement, style = getComputedStyle(held);
             var rect = held.getBoundingClientRect();
             return [held.matches({css:?}), held === document.body || (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2),
               held === document.body || (rect.top >= -1 && rect.bottom <= innerHeight + 1),
               held.outerHTML.slice(0, 80) + ' at ' + [rect.top, rect.bottom, innerHeight, scrollY]]"
        );
        let found = page.run(&script).await;
        assert_eq!(found[1], json!(true), "there is no ring around {}", found[3]);
        assert_eq!(found[2], json!(true), "out of sight: {}", found[3]);
        if found[0] == json!(true) {
            return;
        }
    }
    panic!("the keyboard does not reach {css}");
}

async fn press(page: &Chromium, css: &str, key: &str) {
    tab_to(page, css).await;
    page.press(key).await;
}

async fn type_in(page: &Chromium, text: &str) {
    for character in text.chars() {
        page.press(&character.to_string()).await;
    }
}

/// Zoomed to 400 %, which is also the smallest window there is: all has to be reached by scrolling down.
#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_is_enough_at_any_size() {
    let (stage, _directory) = stage().await;
    for device in [Device::Desk, Device::Zoomed] {
        by_keyboard(&stage, device).await;
    }
}

async fn by_keyboard(stage: &Stage, device: Device) {
    let screen = stage.driver.open(device).await;
    let phone = stage.driver.open(device).await;
    screen.goto(&stage.edge.url("/?client_id=type")).await;
    screen.until("waiting").await;
    let first = shown(&screen).await;
    press(&screen, ".scangate-renew", "Space").await;
    let is_new = async || Some(shown(&screen).await).filter(|id| *id != first);
    let id = eventually("a new code", is_new).await;
    tab_to(&screen, ".scangate-link").await;

    phone.goto(&stage.edge.url(&format!("/s/{id}"))).await;
    phone.until("sign-in").await;
    type_in(&phone, "Ada").await;
    phone.press("Enter").await;
    phone.until("scanned").await;
    screen.until("scanned").await;
    tab_to(&phone, "#number").await;
    phone.press("Enter").await;
    assert_eq!(phone.run("return document.activeElement.id").await, "number", "what is wrong is where the focus is");
    type_in(&phone, &screen.text(".scangate-number").await).await;
    press(&phone, "#confirm", "Space").await;
    phone.until("confirmed").await;
    screen.until("confirmed").await;
    press(&screen, "#again", "Enter").await;
    screen.until("waiting").await;

    phone.goto(&stage.edge.url(&format!("/s/{}", shown(&screen).await))).await;
    phone.until("ready").await;
    press(&phone, "#continue", "Enter").await;
    phone.until("scanned").await;
    press(&phone, "#decline", "Enter").await;
    phone.until("declined").await;
    screen.until("declined").await;
    press(&screen, ".scangate-refresh", "Enter").await;
    screen.until("waiting").await;
    press(&screen, "#share", "Enter").await;
    screen.until("sign-in").await;

    // The presenter's and the scanner's.
    screen.goto(&stage.edge.url("/share?client_id=choose")).await;
    screen.until("sign-in").await;
    type_in(&screen, "Ada").await;
    press(&screen, "#sign-in", "Space").await;
    screen.until("waiting").await;
    phone.goto(&stage.edge.url(&format!("/share/{}", shown(&screen).await))).await;
    phone.until("ready").await;
    press(&phone, "#without", "Enter").await;
    phone.until("waiting").await;
    screen.until("scanned").await;
    press(&screen, "#release [data-claim=name]", "Space").await;
    press(&screen, &format!("[data-choice='{}']", phone.text("#number").await), "Enter").await;
    screen.until("granted").await;
    phone.until("granted").await;
    assert_eq!(screen.text("#granted [data-fact=release]").await, "account", "Space has taken the name away");
    press(&screen, "#retry", "Space").await;
    screen.until("waiting").await;
    press(&screen, "#stop", "Enter").await;
    screen.until("closed").await;

    press(&screen, "#retry", "Enter").await;
    screen.until("waiting").await;
    phone.goto(&stage.edge.url(&format!("/share/{}", shown(&screen).await))).await;
    phone.until("ready").await;
    press(&phone, "#without", "Space").await;
    phone.until("waiting").await;
    press(&phone, "#cancel", "Enter").await;
    phone.until("closed").await;
    screen.until("closed").await;
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_for_those_who_want_no_motion() {
    let (stage, _directory) = stage().await;
    let screen = stage.driver.open(Device::Desk).await;
    let moving = async || {
        screen.run("return document.getAnimations().map(one => one.animationName || one.transitionProperty)").await
    };
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    let scan = async |name: &str| {
        let phone = stage.edge.phone(super::made_up(&stage, name).await);
        phone.act(&shown(&screen).await, "scan").await;
        screen.until("scanned").await;
        phone
    };
    screen.run(super::HOLD).await;
    screen.click(".scangate-renew").await;
    screen.until("loading").await;
    assert_eq!(moving().await, json!(["scangate-turn"]), "without the wish, what is awaited turns");

    let wish = json!({ "features": [{ "name": "prefers-reduced-motion", "value": "reduce" }] });
    screen.cdp("Emulation.setEmulatedMedia", wish).await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    assert_eq!(moving().await, json!([]), "waiting");
    let phone = scan("Ada").await;
    assert_eq!(moving().await, json!([]), "scanned");
    let dots =
        "return [].map.call(document.querySelectorAll('.scangate-dots i'), dot => getComputedStyle(dot).opacity)";
    assert_eq!(screen.run(dots).await, json!(["0.6", "0.6", "0.6"]), "the dots do not count the seconds");
    phone.act(&shown(&screen).await, "cancel").await;
    screen.until("declined").await;
    assert_eq!(moving().await, json!([]), "declined");
    screen.run(super::HOLD).await;
    screen.click(".scangate-refresh").await;
    screen.until("loading").await;
    assert_eq!(moving().await, json!([]), "loading");
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_have_borders_where_colours_are_the_readers() {
    let (stage, _directory) = stage().await;
    let page = stage.driver.open(Device::Desk).await;
    let forced = json!({ "features": [{ "name": "forced-colors", "value": "active" }] });
    page.cdp("Emulation.setEmulatedMedia", forced).await;
    let borders = async |css: &str| {
        let script = format!(
            "return [].filter.call(document.querySelectorAll({css:?}), one => one.offsetWidth && getComputedStyle(one).visibility !== 'hidden')
               .map(one => getComputedStyle(one).borderTopStyle + ' ' + (parseFloat(getComputedStyle(one).borderTopWidth) > 0))"
        );
        let found = page.run(&script).await;
        let found = found.as_array().unwrap();
        assert!(!found.is_empty(), "there is no {css}");
        assert!(found.iter().all(|border| border == "solid true"), "{css}: {found:?}");
    };
    page.goto(&stage.edge.url("/")).await;
    page.until("waiting").await;
    go_offline(&page).await;
    borders(".scangate-banner").await;
    be_offline(&page, false).await;
    page.until("waiting").await;
    let phone = stage.edge.phone(super::made_up(&stage, "Ada").await);
    let id = shown(&page).await;
    phone.act(&id, "scan").await;
    phone.act(&id, "cancel").await;
    page.until("declined").await;
    borders(".scangate-refresh").await;

    let ticket = stage.edge.browser().create_with(json!({ "client_id": "choose" })).await;
    page.goto(&stage.edge.url(&format!("/s/{}", ticket["ticket_id"].as_str().unwrap()))).await;
    page.until("sign-in").await;
    borders(".scangate-button, .input").await;
    page.write("#name", "Ada").await;
    page.click("#sign-in").await;
    page.until("scanned").await;
    borders(".scangate-button, .warning").await;
    page.end_after_refusals().await;
}

/// The same ways without streams.
#[tokio::test(flavor = "multi_thread")]
async fn what_polls_goes_through_the_same_states() {
    let (mut stage, _directory) = stage().await;
    let screen = stage.driver.open(Device::Desk).await;
    screen.run_first("delete window.EventSource").await;
    let fresh = async |stage: &Stage| {
        screen.goto(&stage.edge.url("/")).await;
        screen.until("waiting").await;
        assert_eq!(screen.body("data-transport").await.as_deref(), Some("poll"));
        shown(&screen).await
    };
    let phone = stage.edge.phone(super::made_up(&stage, "Ada").await);
    let id = fresh(&stage).await;
    phone.act(&id, "scan").await;
    screen.until("scanned").await;
    phone.act(&id, "cancel").await;
    screen.until("declined").await;

    let id = fresh(&stage).await;
    phone.approve(&id).await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada");

    let id = fresh(&stage).await;
    screen.run("Object.defineProperty(Document.prototype, 'hidden', { value: true, configurable: true })").await;
    let _: i64 = stage.redis.run(&["PEXPIRE", &format!("scangate:{{{id}}}"), "1"]);
    screen.until("expired").await;

    let id = fresh(&stage).await;
    stage.gateway.process.kill();
    screen.until("offline").await;
    stage.gateway = stage.settings.clone().start().await;
    screen.until("waiting").await;
    assert_eq!(shown(&screen).await, id, "the code is still good");
    let phone = stage.edge.phone(super::made_up(&stage, "Ada").await);
    phone.act(&id, "scan").await;
    screen.until("scanned").await;
    assert_eq!(screen.received().await, [], "nothing came by a stream");
    screen.end_after_refusals().await;
}
