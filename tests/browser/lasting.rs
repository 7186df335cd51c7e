//! A waiting page survives a silent stream, a reload, a visit to another page, and a browser without cookies.

use std::time::Duration;

use serde_json::{Value, json};

use super::{PHONE, Stage, made_up, share, sign_in};
use crate::support::browser::{Chromium, Device};
use crate::support::gateway::{Phone, file};
use crate::support::proxy::Proxy;
use crate::support::within;

/// How long a page may take to notice, on a busy machine: two heartbeats, and what a browser takes to give a dead connection up.
const NOTICED: Duration = Duration::from_secs(90);

/// A stage whose screens reach the edge through a proxy that may swallow what they say and hear.
async fn behind_a_proxy(heartbeat: &str) -> (Stage, Proxy) {
    let stage = Stage::set_with(|builder| builder.arg("--heartbeat", heartbeat).arg("--ticket-ttl", "10m")).await;
    let proxy = Proxy::before(stage.edge.port());
    (stage, proxy)
}

async fn screen_behind(stage: &Stage, proxy: &Proxy, path: &str) -> Chromium {
    let rules = format!("--host-resolver-rules=MAP localhost:{} 127.0.0.1:{}", stage.edge.port(), proxy.port());
    let screen = stage.driver.open_with(Device::Desk, &[&rules]).await;
    screen.goto(&stage.edge.url(path)).await;
    screen
}

/// A phone with a person's token that speaks to the gateway itself.
async fn ada(stage: &Stage) -> Phone {
    Phone::with_token(made_up(stage, "Ada").await, &stage.gateway)
}

fn id(scanned: &str) -> &str {
    scanned.rsplit('/').next().unwrap()
}

async fn streams(screen: &Chromium) {
    let is_streaming = async || (screen.body("data-transport").await.as_deref() == Some("sse")).then_some(());
    within(Duration::from_secs(20), "a stream", is_streaming).await;
}

async fn created(stage: &Stage) -> f64 {
    stage.gateway.metric("scangate_tickets_total{outcome=\"created\"}").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_goes_silent_is_noticed_and_the_jwt_arrives() {
    let (stage, proxy) = behind_a_proxy("1s").await;
    let screen = screen_behind(&stage, &proxy, "/").await;
    screen.until("waiting").await;
    streams(&screen).await;
    let scanned = screen.scan().await;
    // What is open now stays so, and says nothing any more; new connections work.
    proxy.swallow();
    proxy.pass();
    ada(&stage).await.approve(id(&scanned)).await;
    screen.until_within(NOTICED, "confirmed").await;
    assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada");
    assert_eq!(created(&stage).await, 1.0, "the code on show was the one that was scanned");
    screen.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_is_said_and_outlived() {
    let (stage, proxy) = behind_a_proxy("1s").await;
    let screen = screen_behind(&stage, &proxy, "/").await;
    screen.until("waiting").await;
    streams(&screen).await;
    let scanned = screen.scan().await;
    proxy.swallow();
    screen.until_within(NOTICED, "offline").await;
    assert!(screen.sees(".scangate-banner").await);
    let phone = ada(&stage).await;
    phone.act(id(&scanned), "scan").await;
    proxy.pass();
    screen.until_within(NOTICED, "scanned").await;
    streams(&screen).await;
    phone.act(id(&scanned), "confirm").await;
    screen.until_within(NOTICED, "confirmed").await;
    screen.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_comes_back_into_view_reads_at_once() {
    // No heartbeat says anything for minutes.
    let (stage, proxy) = behind_a_proxy("5m").await;
    let screen = screen_behind(&stage, &proxy, "/").await;
    screen.until("waiting").await;
    streams(&screen).await;
    let scanned = screen.scan().await;
    proxy.swallow();
    proxy.pass();
    ada(&stage).await.approve(id(&scanned)).await;
    screen.run("document.dispatchEvent(new Event('visibilitychange'))").await;
    screen.until_within(NOTICED, "confirmed").await;
    screen.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presenter_who_shares_notices_a_silent_stream_too() {
    let (stage, proxy) = behind_a_proxy("1s").await;
    let presenter = screen_behind(&stage, &proxy, "/share").await;
    presenter.until("sign-in").await;
    presenter.write("#name", "Ada").await;
    presenter.click("#sign-in").await;
    presenter.until("waiting").await;
    streams(&presenter).await;
    let scanned = presenter.scan().await;
    proxy.swallow();
    proxy.pass();
    Phone::with_token(made_up(&stage, "Bo").await, &stage.gateway).act(id(&scanned), "scan").await;
    presenter.until_within(NOTICED, "scanned").await;
    presenter.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_that_is_loaded_again_goes_on_with_its_code() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    let scanned = screen.scan().await;
    screen.reload().await;
    screen.until("waiting").await;
    assert_eq!(screen.scan().await, scanned, "nobody has to scan again");
    assert!(!screen.text(".scangate-timer").await.is_empty());

    let phone = stage.phone(&scanned).await;
    sign_in(&phone, "Ada").await;
    screen.until("scanned").await;
    screen.reload().await;
    screen.until("scanned").await;
    assert_eq!(screen.text(".scangate-who").await, "Ada");
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada");
    assert_eq!(created(&stage).await, 1.0);

    // What is over is over.
    screen.reload().await;
    screen.until("waiting").await;
    assert_ne!(screen.scan().await, scanned);
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_that_was_loaded_again_while_it_was_confirmed_is_signed_in() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    let scanned = screen.scan().await;
    screen.goto("about:blank").await;
    ada(&stage).await.approve(id(&scanned)).await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada");
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_for_another_client_is_not_gone_on_with() {
    let (_directory, config) =
        file("[[clients]]\nid = \"web\"\nname = \"Web\"\n[[clients]]\nid = \"shop\"\nname = \"Shop\"\n");
    let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
    let screen = stage.screen().await;
    let scanned = screen.scan().await;
    screen.goto(&stage.edge.url("/?client_id=shop")).await;
    screen.until("waiting").await;
    assert_ne!(screen.scan().await, scanned);
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presenter_whose_page_is_loaded_again_still_decides() {
    let stage = Stage::set().await;
    let presenter = share::share_as(&stage, "/share", "Ada").await;
    let scanned = presenter.scan().await;
    let bo = Phone::with_token(made_up(&stage, "Bo").await, &stage.gateway);
    assert_eq!(bo.act(id(&scanned), "scan").await.status(), 200);
    presenter.until("scanned").await;
    presenter.reload().await;
    presenter.until("scanned").await;
    presenter.click("#confirm").await;
    presenter.until("granted").await;
    let seen: Value = bo.read(id(&scanned)).await.json().await.unwrap();
    assert_eq!(seen["state"], "confirmed");
    presenter.end().await;
}

/// A browser that keeps neither cookies nor storage.
async fn without_cookies(stage: &Stage, device: Device) -> Chromium {
    let block = json!({ "profile.default_content_setting_values.cookies": 2 });
    stage.driver.open_as(device, &[], &block).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_blocks_all_cookies_is_signed_in_all_the_same() {
    let stage = Stage::set().await;
    // One that says so needs no second ticket; where a proxy takes cookies away, only the answer tells.
    for (is_enabled, tickets) in [(false, 1.0), (true, 2.0)] {
        let before = created(&stage).await;
        let screen = without_cookies(&stage, Device::Desk).await;
        let says = format!("Object.defineProperty(Navigator.prototype, 'cookieEnabled', {{ value: {is_enabled} }})");
        screen.run_first(&says).await;
        screen.goto(&stage.edge.url("/")).await;
        screen.until("waiting").await;
        streams(&screen).await;
        let scanned = screen.scan().await;
        ada(&stage).await.approve(id(&scanned)).await;
        screen.until("confirmed").await;
        assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada");
        assert_eq!(created(&stage).await - before, tickets);
        screen.end_after_refusals().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_brings_nothing_back_is_told_so_and_makes_no_further_codes() {
    let stage = Stage::set().await;
    let screen = without_cookies(&stage, Device::Desk).await;
    screen
        .run_first(
            "Object.defineProperty(Navigator.prototype, 'cookieEnabled', { value: true });
             var set = XMLHttpRequest.prototype.setRequestHeader, get = window.fetch;
             XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
               if (name !== 'Authorization') { set.call(this, name, value); }
             };
             window.fetch = function (url, how) { delete how.headers.Authorization; return get(url, how); };",
        )
        .await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("error").await;
    assert_eq!(screen.text(".scangate-title").await, "Cookies seem to be blocked");
    assert!(screen.sees(".scangate-refresh").await);
    screen.keep_page("unkept").await;
    // Longer than six codes took.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(created(&stage).await, 2.0);
    screen.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_without_cookies_is_granted_a_sign_in() {
    let stage = Stage::set().await;
    let presenter = share::share_as(&stage, "/share", "Ada").await;
    let scanner = without_cookies(&stage, PHONE).await;
    scanner.goto(&presenter.scan().await).await;
    scanner.until("ready").await;
    scanner.click("#continue").await;
    scanner.until("waiting").await;
    presenter.until("scanned").await;
    presenter.click("#confirm").await;
    scanner.until("granted").await;
    assert_eq!(scanner.text("[data-claim=sub]").await, "demo:Ada");
    presenter.end().await;
    scanner.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_go_on_later_withdraws_its_code_when_it_is_left() {
    let stage = Stage::set().await;
    let screen = without_cookies(&stage, Device::Desk).await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    streams(&screen).await;
    let scanned = screen.scan().await;
    screen.goto("about:blank").await;
    let phone = ada(&stage).await;
    let refusal = async || {
        let answer: Value = phone.act(id(&scanned), "scan").await.json().await.unwrap();
        (answer["code"] == "already_cancelled").then_some(())
    };
    within(Duration::from_secs(10), "the withdrawal", refusal).await;
    screen.end_after_refusals().await;
}
