//! The presenter's page and the scanner's page, each in a browser of its own.

use std::time::Duration;

use serde_json::{Value, json};

use super::{PHONE, Stage, be};
use crate::support::browser::{Chromium, Device};
use crate::support::gateway::{Builder, file};
use crate::support::within;

/// Opens the presenter's page at `path` for the made-up person `name`.
pub async fn share_as(stage: &Stage, path: &str, name: &str) -> Chromium {
    let presenter = stage.driver.open(Device::Desk).await;
    share_with(stage, &presenter, path, name).await;
    presenter
}

/// The same in a browser that is open already.
async fn share_with(stage: &Stage, presenter: &Chromium, path: &str, name: &str) {
    presenter.goto(&stage.edge.url(path)).await;
    presenter.until("sign-in").await;
    presenter.write("#name", name).await;
    presenter.click("#sign-in").await;
    presenter.until("waiting").await;
}

/// Opens what `presenter` shows on a phone.
async fn open_on_phone(stage: &Stage, presenter: &Chromium) -> Chromium {
    let scanner = stage.driver.open(PHONE).await;
    scanner.goto(&presenter.scan().await).await;
    scanner.until("ready").await;
    scanner
}

/// Scans what `presenter` shows with a browser in which nobody is signed in.
pub async fn continue_as_nobody(stage: &Stage, presenter: &Chromium) -> Chromium {
    let scanner = open_on_phone(stage, presenter).await;
    scanner.click("#continue").await;
    scanner.until("waiting").await;
    scanner
}

/// Returns the names of the claims that `scanner` shows, in order.
async fn claims(scanner: &Chromium) -> Value {
    let script = "return [].map.call(document.querySelectorAll('#raw-claims dd'), dd => dd.dataset.claim).sort()";
    scanner.run(script).await
}

/// The claims that every JWT has.
const ALWAYS: [&str; 9] = ["aud", "confirmed_at", "exp", "flow", "iat", "iss", "jti", "nbf", "sub"];

fn always_and(further: &[&str]) -> Value {
    let mut names = [&ALWAYS[..], further].concat();
    names.sort_unstable();
    json!(names)
}

async fn polls(page: &Chromium) {
    let is_polling = async || (page.body("data-transport").await.as_deref() == Some("poll")).then_some(());
    within(Duration::from_secs(15), "polling", is_polling).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_nobody_is_signed_in_to_is_granted_a_sign_in() {
    let stage = Stage::set().await;
    let presenter = stage.driver.open(Device::Desk).await;
    presenter.goto(&stage.edge.url("/share")).await;
    presenter.until("sign-in").await;
    presenter.click("#sign-in").await;
    assert_eq!(presenter.text("#name-fault").await, "Please enter a name.");
    share_with(&stage, &presenter, "/share", "Ada Lovelace").await;
    assert_eq!(presenter.text("#heading").await, "Share your sign‑in to Web");
    assert_eq!(presenter.text("#offer [data-fact=release]").await, "account, name");
    assert_eq!(presenter.body("data-transport").await.as_deref(), Some("sse"), "the stream");

    let scanned = presenter.scan().await;
    assert!(scanned.starts_with(&stage.edge.url("/share/")), "{scanned}");
    assert_eq!(presenter.attribute(".scangate-link", "href").await.as_deref(), Some(scanned.as_str()));
    let scanner = open_on_phone(&stage, &presenter).await;
    assert_eq!(presenter.body("data-state").await.as_deref(), Some("waiting"), "opening changes nothing");

    scanner.click("#continue").await;
    scanner.until("waiting").await;
    assert_eq!(scanner.text("#waiting-heading").await, "Waiting for Ada Lovelace");
    assert_eq!(scanner.text("#offer [data-fact=release]").await, "account, name");
    assert!(!scanner.sees("#number").await);

    presenter.until("scanned").await;
    assert_eq!(presenter.text("#scanned-heading").await, "Share with someone who isn’t signed in?");
    for (fact, value) in [("site", "Web"), ("browser", "Chrome"), ("os", "Linux"), ("ip", "127.0.0.1")] {
        assert_eq!(presenter.text(&format!("#request [data-fact={fact}]")).await, value, "{fact}");
    }
    let focus = "return document.activeElement.id";
    assert_eq!(presenter.run(focus).await, "scanned-heading", "a screen reader reads on from there");

    presenter.click("#confirm").await;
    presenter.until("granted").await;
    assert_eq!(presenter.text("#granted [data-fact=release]").await, "account, name");
    scanner.until("granted").await;
    assert_eq!(scanner.text("#outcome-title").await, "Ada Lovelace has shared with you");
    assert_eq!(scanner.text("[data-claim=sub]").await, "demo:Ada Lovelace");
    assert_eq!(claims(&scanner).await, always_and(&["name"]));

    let (name, confirmed) = scanner.received().await.pop().unwrap();
    assert_eq!(name, "confirmed");
    let jwt = confirmed["token"]["access_token"].as_str().unwrap();
    assert_eq!(stage.verified(jwt).await["sub"], "demo:Ada Lovelace");
    let kept = scanner.run("return [document.cookie, localStorage.length, sessionStorage.length]").await;
    assert_eq!(kept, json!(["", 0, 0]), "the JWT stays in memory, the binding out of reach");
    presenter.end().await;
    scanner.end().await;
}

/// Names are what others chose: each stands in an element of its own, whichever way it is written (Unicode TR 9).
#[tokio::test(flavor = "multi_thread")]
async fn a_name_turns_nothing_around_it() {
    let name = "שרה (42) كريم";
    let stage = Stage::set().await;
    let presenter = stage.driver.open(Device::Desk).await;
    share_with(&stage, &presenter, "/share", &format!("\u{202e}{name}\u{2068}")).await;
    assert_eq!(presenter.text("#offer [data-fact=as] bdi").await, name);
    assert_eq!(presenter.text("#heading bdi").await, "Web");
    let scanner = continue_as_nobody(&stage, &presenter).await;
    assert_eq!(scanner.text("#waiting-heading").await, format!("Waiting for {name}"));
    for place in ["#waiting-heading bdi", "#waiting-lead bdi"] {
        assert_eq!(scanner.text(place).await, name, "{place}");
    }
    presenter.until("scanned").await;
    presenter.click("#confirm").await;
    scanner.until("granted").await;
    assert_eq!(scanner.text("#outcome-title bdi").await, name);
    assert_eq!(scanner.text("#outcome-detail bdi:last-of-type").await, "Web");
    assert_eq!(scanner.text("[data-claim=name] bdi").await, name);
    presenter.end().await;
    scanner.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_share_fewer_claims_than_they_offer() {
    let stage = Stage::set().await;
    let presenter = stage.driver.open(Device::Desk).await;
    be(&stage, &presenter, "Ada").await;
    presenter.goto(&stage.edge.url("/share")).await;
    presenter.until("waiting").await;
    assert_eq!(presenter.text("#offer [data-fact=release]").await, "account, name", "no claim that she does not have");

    let scanner = open_on_phone(&stage, &presenter).await;
    let scanned = scanner.url().await;
    be(&stage, &scanner, "Bob").await;
    scanner.reload().await;
    scanner.until("ready").await;
    assert_eq!(scanner.text("#continue").await, "Continue as Bob");
    assert!(scanner.sees("#without").await);
    scanner.click("#continue").await;
    scanner.until("waiting").await;
    assert_eq!(scanner.body("data-transport").await.as_deref(), Some("sse"));

    presenter.until("scanned").await;
    assert_eq!(presenter.text("#scanned-heading").await, "Share with Bob?");
    presenter.click("#release [data-claim=name]").await;
    presenter.write("#release [data-claim=name]", "\u{e007}").await;
    // An answer that was sent would be awaited, or have come.
    assert_ne!(presenter.body("data-busy").await.as_deref(), Some("yes"), "Enter on a checkbox grants nothing");
    assert_eq!(presenter.body("data-state").await.as_deref(), Some("scanned"), "Enter on a checkbox grants nothing");

    // A third party comes too late, and is told nothing but that.
    let third = stage.driver.open(PHONE).await;
    third.goto(&scanned).await;
    third.until("ready").await;
    third.click("#continue").await;
    third.until("taken").await;
    third.end_after_refusals().await;

    presenter.click("#confirm").await;
    presenter.until("granted").await;
    assert_eq!(presenter.text("#outcome-detail").await, "Bob is now signed in to Web as you.");
    assert_eq!(presenter.text("#granted [data-fact=release]").await, "account");
    scanner.until("granted").await;
    assert_eq!(claims(&scanner).await, always_and(&[]));
    assert_eq!(scanner.text("[data-claim=sub]").await, "demo:Ada");
    presenter.end().await;
    scanner.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_can_end_it() {
    let stage = Stage::set().await;
    let presenter = share_as(&stage, "/share", "Ada").await;
    let scanner = continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;
    presenter.click("#decline").await;
    presenter.until("declined").await;
    scanner.until("declined").await;
    scanner.end().await;

    // The scanner goes away.
    presenter.click("#retry").await;
    presenter.until("waiting").await;
    let scanner = continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;
    scanner.click("#cancel").await;
    scanner.until("closed").await;
    assert_eq!(scanner.text("#outcome-title").await, "Request cancelled");
    presenter.until("closed").await;
    assert_eq!(presenter.text("#outcome-title").await, "They cancelled their request");
    scanner.end().await;

    // The presenter stops before anybody has scanned.
    presenter.click("#retry").await;
    presenter.until("waiting").await;
    let late = open_on_phone(&stage, &presenter).await;
    presenter.click("#stop").await;
    presenter.until("closed").await;
    assert_eq!(presenter.text("#outcome-title").await, "Sharing stopped");
    late.click("#continue").await;
    within(Duration::from_secs(10), "the end", async || {
        (late.body("data-state").await.unwrap() != "ready").then_some(())
    })
    .await;
    assert!(!late.sees("#cancel").await, "there is nothing to wait for");
    late.end_after_refusals().await;
    presenter.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_to_somebody_else_than_was_shown_is_looked_at_again() {
    let stage = Stage::set().await;
    let presenter = stage.driver.open(Device::Desk).await;
    presenter
        .run_first(
            "var send = XMLHttpRequest.prototype.send;
             XMLHttpRequest.prototype.send = function (body) {
               var isOther = window.isOther && body;
               return send.call(this, isOther ? body.replace(/(\"scanner\":\")[^\"]+/, '$1AAAAAAAAAAAAAAAAAAAAAA') : body);
             };",
        )
        .await;
    share_with(&stage, &presenter, "/share", "Ada").await;
    let scanner = continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;
    presenter.run("isOther = true").await;
    presenter.click("#confirm").await;
    let said = async || (!presenter.text("#notice").await.is_empty()).then_some(());
    within(Duration::from_secs(10), "the notice", said).await;
    assert_eq!(presenter.body("data-state").await.as_deref(), Some("scanned"));
    presenter.run("isOther = false").await;
    presenter.click("#confirm").await;
    presenter.until("granted").await;
    scanner.until("granted").await;
    presenter.end_after_refusals().await;
    scanner.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_own_code_is_for_others() {
    let stage = Stage::set().await;
    let presenter = share_as(&stage, "/share", "Ada").await;
    let scanner = open_on_phone(&stage, &presenter).await;
    be(&stage, &scanner, "Ada").await;
    scanner.reload().await;
    scanner.until("ready").await;
    scanner.click("#continue").await;
    scanner.until("own").await;
    assert_eq!(presenter.body("data-state").await.as_deref(), Some("waiting"));

    // A device of one's own that is to be signed in goes on as nobody.
    scanner.click("#retry").await;
    scanner.until("waiting").await;
    presenter.until("scanned").await;
    presenter.click("#confirm").await;
    scanner.until("granted").await;
    scanner.end_after_refusals().await;
    presenter.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_demo_a_scanner_can_make_up_a_name() {
    let stage = Stage::set().await;
    let presenter = share_as(&stage, "/share", "Ada").await;
    let scanner = open_on_phone(&stage, &presenter).await;
    scanner.click("#other").await;
    scanner.until("sign-in").await;
    scanner.write("#name", "{name}").await;
    scanner.click("#sign-in").await;
    scanner.until("waiting").await;
    presenter.until("scanned").await;
    assert_eq!(presenter.text("#scanned-heading").await, "Share with {name}?");
    let title = presenter.run("return document.title").await;
    assert_eq!(title, "Share with {name}? · Share your sign‑in to Web", "a name is no slot");
    presenter.click("#confirm").await;
    scanner.until("granted").await;
    scanner.end().await;
    presenter.end().await;
}

/// A browser that was given no binding, because the answer was lost, cannot prove that it is the one that has scanned.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_whose_answer_is_lost_is_not_called_somebody_elses() {
    let stage = Stage::set().await;
    let presenter = share_as(&stage, "/share", "Ada").await;
    let scanner = stage.driver.open(PHONE).await;
    scanner
        .run_first(
            "var send = XMLHttpRequest.prototype.send;
             var open = XMLHttpRequest.prototype.open;
             var isLost = false;
             XMLHttpRequest.prototype.open = function (method, url) {
               this.url = url;
               return open.apply(this, arguments);
             };
             XMLHttpRequest.prototype.send = function (body) {
               var xhr = this;
               var lose = function () { xhr.onerror(); };
               if (isLost) { return send.call(xhr, body); }
               isLost = true;
               fetch(xhr.url, { method: 'POST', credentials: 'omit' }).then(lose, lose);
             };",
        )
        .await;
    scanner.goto(&presenter.scan().await).await;
    scanner.until("ready").await;
    scanner.click("#continue").await;
    scanner.until("error").await;
    presenter.until("scanned").await;
    scanner.click("#retry").await;
    scanner.until("taken").await;
    assert_eq!(scanner.text("#outcome-title").await, "Couldn’t complete the request");
    presenter.end().await;
    scanner.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_that_cannot_read_streams_poll() {
    let stage = Stage::set().await;
    let presenter = stage.driver.open(Device::Desk).await;
    presenter.run_first("delete window.EventSource").await;
    share_with(&stage, &presenter, "/share", "Ada").await;
    polls(&presenter).await;
    let scanner = stage.driver.open(PHONE).await;
    scanner.run_first("delete window.EventSource").await;
    scanner.goto(&presenter.scan().await).await;
    scanner.until("ready").await;
    scanner.click("#continue").await;
    scanner.until("waiting").await;
    polls(&scanner).await;
    presenter.until("scanned").await;
    presenter.click("#confirm").await;
    presenter.until("granted").await;
    scanner.until("granted").await;
    assert_eq!(scanner.text("[data-claim=sub]").await, "demo:Ada");
    assert_eq!(scanner.received().await, [], "nothing came by a stream");
    scanner.end().await;
    presenter.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presenters_stream_that_something_holds_back_is_given_up_for_polling() {
    let stage = Stage::set().await;
    let presenter = stage.driver.open(Device::Desk).await;
    presenter
        .run_first("window.EventSource = function () { this.addEventListener = this.close = function () {}; };")
        .await;
    share_with(&stage, &presenter, "/share", "Ada").await;
    polls(&presenter).await;
    let scanner = continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;
    presenter.click("#decline").await;
    scanner.until("declined").await;
    scanner.end().await;
    presenter.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_outlive_a_gateway_that_goes_and_comes_back() {
    let mut stage = Stage::set().await;
    let presenter = share_as(&stage, "/share", "Ada").await;
    let scanner = continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;

    stage.gateway.process.kill();
    presenter.until("offline").await;
    scanner.until("offline").await;
    presenter.click("#confirm").await;
    let said = async || (!presenter.text("#fault").await.is_empty()).then_some(());
    within(Duration::from_secs(10), "the words", said).await;

    stage.gateway = stage.settings.clone().start().await;
    presenter.until("scanned").await;
    assert_eq!(presenter.body("data-transport").await.as_deref(), Some("sse"));
    scanner.until("waiting").await;
    presenter.click("#confirm").await;
    presenter.until("granted").await;
    scanner.until("granted").await;
    presenter.end_after_refusals().await;
    scanner.end_after_refusals().await;
}

/// As after a failover that has taken the scan back.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_whose_scan_was_lost_makes_a_new_code() {
    let stage = Stage::set().await;
    let presenter = share_as(&stage, "/share", "Ada").await;
    let link = presenter.attribute(".scangate-link", "href").await.unwrap();
    let key = format!("scangate:{{{}}}", link.rsplit('/').next().unwrap());
    let pending: Vec<String> = stage.redis.run(&["HGETALL", &key]);
    let scanner = continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;
    // Notifications off meanwhile, so that nobody is told before the grant.
    stage.redis.run::<()>(&["CONFIG", "SET", "notify-keyspace-events", ""]);
    let _: i64 = stage.redis.run(&["HDEL", &key, "stamp"]);
    let restore: Vec<&str> = ["HSET", &key].into_iter().chain(pending.iter().map(String::as_str)).collect();
    let _: i64 = stage.redis.run(&restore);
    presenter.click("#confirm").await;
    presenter.until("waiting").await;
    assert_ne!(presenter.attribute(".scangate-link", "href").await.unwrap(), link);
    presenter.end_after_refusals().await;
    scanner.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_code_is_renewed_until_somebody_scans_it() {
    let (_directory, config) = file(
        "[[clients]]\nid = \"web\"\nname = \"Web\"\nticket_ttl = \"15s\"\nflows = [\"share\"]\nclaims = [\"name\"]\n",
    );
    let settings = |builder: Builder| {
        let builder = builder.arg("--config", config.to_str().unwrap());
        builder.arg("--decision-ttl", "15s")
    };
    let stage = Stage::set_with(settings).await;
    let scanner = stage.driver.open(PHONE).await;
    let presenter = stage.driver.open(Device::Desk).await;
    presenter
        .run_first(
            "window.isAway = false;
             Object.defineProperty(Document.prototype, 'hidden', { get: function () { return window.isAway; } });",
        )
        .await;
    share_with(&stage, &presenter, "/share", "Ada").await;
    let link = async || presenter.attribute(".scangate-link", "href").await.unwrap();
    let first = link().await;
    let is_new = async || Some(link().await).filter(|link| *link != first);
    let second = within(Duration::from_secs(20), "a new code", is_new).await;
    scanner.goto(&second).await;
    scanner.until("ready").await;
    scanner.click("#continue").await;
    scanner.until("waiting").await;
    presenter.until("scanned").await;
    presenter.until("late").await;
    scanner.until("expired").await;
    scanner.end().await;

    presenter.click("#retry").await;
    presenter.until("waiting").await;
    presenter.run("isAway = true").await;
    presenter.until("expired").await;
    presenter.run("isAway = false; document.dispatchEvent(new Event('visibilitychange'))").await;
    presenter.until("waiting").await;
    presenter.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_codes_are_waited_for() {
    let stage = Stage::set_with(|builder| builder.arg("--rate-create", "1")).await;
    let presenter = share_as(&stage, "/share", "Ada").await;
    presenter.click(".scangate-renew").await;
    presenter.until("error").await;
    assert_eq!(presenter.text(".scangate-title").await, "Please wait a moment");
    presenter.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_the_other_flow_leads_to_its_own_page() {
    let stage = Stage::set().await;
    let phone = stage.driver.open(PHONE).await;
    let presenter = share_as(&stage, "/share", "Bob").await;
    let shared = presenter.scan().await;
    phone.goto(&shared.replace("/share/", "/s/")).await;
    phone.until("sign-in").await;
    be(&stage, &phone, "Ada").await;
    phone.reload().await;
    phone.until("ready").await;
    phone.click("#continue").await;
    let is_there = async || (phone.url().await == shared).then_some(());
    within(Duration::from_secs(10), "the scanner's page", is_there).await;
    phone.until("ready").await;
    phone.click("#continue").await;
    phone.until("waiting").await;
    presenter.end().await;

    let screen = stage.screen().await;
    let asked = screen.scan().await;
    phone.goto(&asked.replace("/s/", "/share/")).await;
    phone.until("ready").await;
    phone.click("#continue").await;
    let is_there = async || (phone.url().await == asked).then_some(());
    within(Duration::from_secs(10), "the confirm page", is_there).await;
    screen.end().await;
    phone.end().await;
}
