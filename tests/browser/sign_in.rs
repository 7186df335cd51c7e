//! The sign-in page: from the code to the claims, and what may go wrong on the way.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Stage, sign_in};
use crate::support::browser::{Chromium, Device};
use crate::support::gateway::file;
use crate::support::picture::Picture;
use crate::support::{eventually, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_is_signed_in_by_the_phone_that_scans_it() {
    let stage = Stage::set().await;
    let screen = stage.screen().await;
    assert_eq!(screen.text("#heading").await, "Sign in to Web");
    assert_eq!(screen.body("data-transport").await.as_deref(), Some("sse"));
    let scanned = screen.scan().await;
    assert_eq!(screen.attribute(".scangate-link", "href").await.as_deref(), Some(scanned.as_str()));
    assert!(scanned.starts_with(&stage.edge.url("/s/")), "{scanned}");

    let phone = stage.phone(&scanned).await;
    sign_in(&phone, "Ada Lovelace").await;
    assert_eq!(phone.text("#scanned-heading").await, "Sign in to Web?");
    for (fact, value) in [("browser", "Chrome"), ("os", "Linux"), ("ip", "127.0.0.1")] {
        assert_eq!(phone.text(&format!("[data-fact={fact}]")).await, value, "{fact}");
    }
    let twice =
        "return [].filter.call(document.querySelectorAll('#request dd'), one => one.textContent === 'Web').length";
    assert_eq!(phone.run(twice).await, json!(0), "the heading has the site's name already");
    let time = phone.text("[data-fact=time]").await;
    assert!(time.contains("just now") || time.contains("sec ago"), "{time}");

    screen.until("scanned").await;
    assert_eq!(screen.text(".scangate-who").await, "Ada Lovelace");
    assert!(!screen.sees(".scangate-qr").await, "a second scanner must not find the code");

    phone.click("#confirm").await;
    phone.until("confirmed").await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=name]").await, "Ada Lovelace");
    assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada Lovelace");
    // In words; what a developer wants to see is folded away.
    assert_eq!(screen.text(".scangate-detail").await, "Web receives this information about you.");
    let terms = "return [].map.call(document.querySelectorAll('#claims dt'), term => term.textContent)";
    assert_eq!(screen.run(terms).await, json!(["name", "account", "Valid until"]));
    assert!(!screen.sees("#raw-claims").await);
    screen.click("#raw summary").await;
    assert_eq!(screen.text("[data-claim=aud]").await, "web");

    let events = screen.received().await;
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["pending", "scanned", "confirmed"]);
    let jwt = events[2].1["token"]["access_token"].as_str().unwrap();
    let claims = stage.verified(jwt).await;
    assert_eq!(claims["sub"], "demo:Ada Lovelace");
    assert_eq!(claims["iss"], stage.edge.base);
    assert_eq!(screen.text("[data-claim=jti]").await, claims["jti"].as_str().unwrap());

    let kept = screen.run("return [document.cookie, localStorage.length, sessionStorage.length, location.href]").await;
    assert_eq!(kept, json!(["", 0, 0, stage.edge.url("/")]), "the token stays in memory, the binding out of reach");
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_a_phone_has_opened_says_so_and_is_kept() {
    let stage = Stage::set_with(|builder| builder.arg("--ticket-ttl", "15s").arg("--sign-in-time", "2m")).await;
    let screen = stage.screen().await;
    let scanned = screen.scan().await;
    let id = scanned.rsplit('/').next().unwrap();
    let open = stage.edge.browser().request(Method::POST, &format!("/v1/tickets/{id}/open")).send().await.unwrap();
    assert_eq!(open.status(), StatusCode::NO_CONTENT);
    let title = "Someone is signing in on a phone";
    let is_told = async || (screen.text(".scangate-title").await == title).then_some(());
    eventually("the line about the phone", is_told).await;
    assert!(screen.sees(".scangate-qr").await, "another phone may still scan the code");
    tokio::time::sleep(Duration::from_secs(18)).await;
    assert_eq!(screen.body("data-state").await.as_deref(), Some("waiting"));
    assert_eq!(screen.text(".scangate-title").await, title);
    assert_eq!(screen.scan().await, scanned, "the code outlives its first deadline");
    let events = screen.received().await;
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["pending", "opened"]);
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_runs_out_is_replaced_five_times_and_then_on_demand() {
    let (_directory, config) = file("[[clients]]\nid = \"web\"\nname = \"Web\"\nticket_ttl = \"5s\"\n");
    let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
    let screen = stage.screen().await;
    let old = screen.scan().await;
    let started = Instant::now();
    screen.until_within(Duration::from_secs(60), "expired").await;
    assert!(started.elapsed() > Duration::from_secs(20), "it ended after {:?}", started.elapsed());
    let events = screen.received().await;
    let expired = events.iter().filter(|(name, _)| name == "expired").map(|(_, data)| &data["ticket_id"]);
    let expired: std::collections::HashSet<_> = expired.map(Value::to_string).collect();
    assert_eq!(expired.len(), 6, "the first code and five more: {events:?}");
    assert!(expired.contains(&json!(old.rsplit('/').next()).to_string()));

    screen.click(".scangate-refresh").await;
    screen.until("waiting").await;
    let fresh = screen.scan().await;
    assert_ne!(fresh, old);

    let phone = stage.phone(&old).await;
    phone.write("#name", "Ada").await;
    phone.click("#sign-in").await;
    phone.until("expired").await;
    phone.end_after_refusals().await;
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_looks_at_asks_for_no_new_code() {
    let (_directory, config) = file("[[clients]]\nid = \"web\"\nname = \"Web\"\nticket_ttl = \"5s\"\n");
    let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
    let screen = stage.driver.open(Device::Desk).await;
    screen
        .run_first(
            "window.isAway = false;
             Object.defineProperty(Document.prototype, 'hidden', { get: function () { return window.isAway; } });",
        )
        .await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    let first = screen.scan().await;
    screen.run("isAway = true").await;
    screen.until("expired").await;
    assert_eq!(stage.gateway.metric("scangate_tickets_total{outcome=\"created\"}").await, 1.0);
    screen.run("isAway = false; document.dispatchEvent(new Event('visibilitychange'))").await;
    screen.until("waiting").await;
    assert_ne!(screen.scan().await, first);
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_event_source_polls() {
    let stage = Stage::set().await;
    let screen = stage.driver.open(Device::Desk).await;
    screen.run_first("delete window.EventSource").await;
    sign_in_by_polling(&stage, screen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_something_holds_back_is_given_up_for_polling() {
    let stage = Stage::set().await;
    let screen = stage.driver.open(Device::Desk).await;
    screen
        .run_first(
            "window.EventSource = function () {
               var source = this;
               this.readyState = 1;
               this.addEventListener = this.close = function () {};
               setTimeout(function () { source.onopen(); }, 100);
             };",
        )
        .await;
    sign_in_by_polling(&stage, screen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_outlives_a_gateway_that_goes_and_comes_back() {
    let mut stage = Stage::set().await;
    let screen = stage.screen().await;
    let scanned = screen.scan().await;
    stage.gateway.process.kill();
    screen.until("offline").await;
    assert!(screen.sees(".scangate-banner").await);
    assert!(screen.sees(".scangate-qr").await, "the code is still good");

    stage.gateway = stage.settings.clone().start().await;
    // The edge says to come back in up to 7 s.
    screen.until("waiting").await;
    assert_eq!(screen.body("data-transport").await.as_deref(), Some("sse"));
    assert_eq!(screen.scan().await, scanned, "the ticket is the same");
    let phone = stage.phone(&scanned).await;
    sign_in(&phone, "Ada").await;
    phone.click("#confirm").await;
    screen.until("confirmed").await;
    let (_, confirmed) = screen.received().await.pop().unwrap();
    let jwt = confirmed["token"]["access_token"].as_str().unwrap();
    assert_eq!(stage.verified(jwt).await["sub"], "demo:Ada");
    screen.end_after_refusals().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_module_of_the_code_is_the_same_whole_number_of_pixels() {
    let stage = Stage::set().await;
    let screen = stage.driver.open(Device::Desk).await;
    // In the dark nothing around the code is white, so what is white and black in the picture is the code.
    screen.prefer("dark").await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    let scanned = screen.scan().await;
    let place = screen
        .run("var rect = document.querySelector('.scangate-qr').getBoundingClientRect(); return [rect.left, rect.top, rect.width]")
        .await;
    let [left, top, side] = [0, 1, 2].map(|at| place[at].as_f64().unwrap());
    let natural = screen.run("return document.querySelector('.scangate-qr').naturalWidth").await;
    assert_eq!(natural.as_f64(), Some(side), "it is not shown as large as it is drawn");
    let picture = Picture::of(&screen.screen().await);
    let [left, top, side] = [left, top, side].map(|value| value as u32);
    let modules = qrcode::QrCode::with_error_correction_level(&scanned, qrcode::EcLevel::M).unwrap().width() as u32;
    let width = side / (modules + 8);
    assert!(width >= 4, "{modules} modules in {side} pixels");
    let mut runs = std::collections::BTreeSet::new();
    for row in top + 24..top + side - 24 {
        let line: Vec<u8> =
            (left + 16..left + side - 16).map(|column| picture.pixel(column as usize, row as usize)[1]).collect();
        let within: Vec<_> = line.chunk_by(|a, b| a == b).map(<[u8]>::len).collect();
        // The first and the last are the margin's.
        runs.extend(within.get(1..within.len() - 1).unwrap_or_default().iter().map(|run| *run as u32));
    }
    assert!(runs.len() > 3 && runs.iter().all(|run| run % width == 0), "modules of {width} pixels: runs of {runs:?}");
    screen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_can_be_read_in_the_dark() {
    let stage = Stage::set().await;
    let screen = stage.driver.open(Device::Desk).await;
    screen.prefer("dark").await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    let ground = screen.run("return getComputedStyle(document.body).backgroundColor").await;
    assert_eq!(ground, "rgb(14, 19, 18)", "this is not the dark page");
    assert!(screen.scan().await.starts_with(&stage.edge.url("/s/")));
    screen.end().await;
}

/// Signs Ada in on `screen`, which has no streams that work.
async fn sign_in_by_polling(stage: &Stage, screen: Chromium) {
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    let polls = async || (screen.body("data-transport").await.as_deref() == Some("poll")).then_some(());
    within(Duration::from_secs(10), "polling", polls).await;
    let phone = stage.phone(&screen.scan().await).await;
    sign_in(&phone, "Ada").await;
    screen.until("scanned").await;
    phone.click("#confirm").await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=sub]").await, "demo:Ada");
    assert_eq!(screen.received().await, [], "nothing came by a stream");
    screen.end().await;
    phone.end().await;
}
