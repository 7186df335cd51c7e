//! The sign-in from end to end, over real sockets, on the memory store and on Redis.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::gateway::{Browser, Phone, file, verified_claims};
use crate::support::{EventStream, Gateway, Redis, eventually};

/// A gateway, with its Redis if it has one.
struct Site {
    gateway: Gateway,
    _redis: Option<Redis>,
}

async fn on_memory() -> Site {
    Site { gateway: Gateway::start().await, _redis: None }
}

async fn on_redis() -> Site {
    let redis = Redis::start();
    Site { gateway: Gateway::on(&redis).await, _redis: Some(redis) }
}

macro_rules! on_every_store {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::on_memory().await).await; })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::on_redis().await).await; })*
        }
    };
}

mod matching;
mod opening;
mod share;
mod topologies;

on_every_store! {
    a_sign_in_ends_with_a_jwt_that_the_published_keys_verify
    a_declined_sign_in_ends_the_stream
    a_closed_page_tells_the_phone
    a_stream_starts_with_a_retry_and_the_present_state
    a_seen_end_is_answered_with_204
    an_unseen_confirmation_is_delivered_again_with_the_same_token
    after_the_redeem_time_the_token_is_not_delivered_again
    a_long_poll_answers_when_something_happens
    a_long_poll_answers_the_same_after_its_wait
    a_poller_gets_the_token_too
    an_expiring_ticket_ends_its_stream
    an_unclaimed_confirmation_expires
    a_native_client_uses_its_ticket_secret
    the_phone_sees_that_the_sign_in_arrived
    the_approver_can_release_fewer_claims
    the_approvers_own_stream_ends_with_confirmed
    only_the_presenter_can_close
}

async fn a_sign_in_ends_with_a_jwt_that_the_published_keys_verify(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let ticket = browser.create_with(json!({})).await;
    let id = ticket["ticket_id"].as_str().unwrap();
    assert_eq!(ticket["state"], "pending");
    assert_eq!(ticket["scan_url"], format!("{}/s/{id}", site.gateway.public_url));
    let mut events = browser.events(id).await;
    let pending = events.expect("pending").await;
    assert_eq!(pending.data["expires_in"].as_f64().unwrap().round(), 120.0);

    let scan: Value = phone.act(id, "scan").await.json().await.unwrap();
    assert_eq!(scan["client"]["name"], "Web");
    assert_eq!(scan["requester"]["ip"], "127.0.0.1");
    assert_eq!(scan["release"], json!(["name", "email"]), "no picture: her token has none");
    let scanned = events.expect("scanned").await;
    assert_eq!(scanned.data["scanned_by"]["name"], "Ada");
    assert_eq!(scanned.data.get("token"), None);

    let confirmed: Value = phone.act(id, "confirm").await.json().await.unwrap();
    assert_eq!(confirmed["state"], "confirmed");
    assert_eq!(confirmed.get("token"), None, "the phone must not see the token");
    let confirmed = events.expect("confirmed").await;
    events.expect_end().await;

    let token = confirmed.data["token"]["access_token"].as_str().unwrap();
    let claims = verified_claims(&site.gateway, token, "web").await;
    assert_eq!(claims["sub"], "ada");
    assert_eq!(claims["iss"], site.gateway.public_url);
    assert_eq!(claims["name"], "Ada");
    assert_eq!(claims["email"], "ada@example.com");
    assert_eq!(claims.get("internal"), None, "a claim left that the client does not ask for");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    let ids: Vec<u64> = [&pending, &scanned, &confirmed].iter().map(|frame| frame.id.parse().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

async fn a_declined_sign_in_ends_the_stream(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    events.expect("pending").await;
    phone.act(&id, "scan").await;
    events.expect("scanned").await;
    assert_eq!(phone.act(&id, "cancel").await.status(), StatusCode::OK);
    assert_eq!(events.expect("cancelled").await.data["reason"], "declined");
    events.expect_end().await;
    assert_eq!(phone.act(&id, "confirm").await.status(), StatusCode::CONFLICT);
}

async fn a_closed_page_tells_the_phone(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    phone.act(&id, "scan").await;
    let closed = browser.request(Method::DELETE, &format!("/v1/tickets/{id}?reason=superseded")).send().await.unwrap();
    assert_eq!(closed.status(), StatusCode::NO_CONTENT);
    let seen: Value = phone.read(&id).await.json().await.unwrap();
    assert_eq!((&seen["state"], &seen["reason"]), (&json!("cancelled"), &json!("superseded")));
    let refused: Value = phone.act(&id, "confirm").await.json().await.unwrap();
    assert_eq!(refused["code"], "already_cancelled");
}

async fn a_stream_starts_with_a_retry_and_the_present_state(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    phone.act(&id, "scan").await;
    let mut response = browser.get(&format!("/v1/tickets/{id}/events")).await;
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    let (retry, snapshot) = text.split_once('\n').unwrap();
    let millis: u64 = retry.strip_prefix("retry: ").unwrap().parse().unwrap();
    assert!((1_000..4_000).contains(&millis));
    assert!(snapshot.starts_with("event: scanned\nid: 2\ndata: {\"ticket_id\""), "{snapshot}");
}

async fn a_seen_end_is_answered_with_204(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    for action in ["confirm", "cancel"] {
        let id = browser.create().await;
        phone.act(&id, "scan").await;
        phone.act(&id, action).await;
        let mut events = browser.events(&id).await;
        let last = events.next().await.unwrap();
        events.expect_end().await;
        let again = browser.events_after(&id, &last.id).await;
        assert_eq!(again.status(), StatusCode::NO_CONTENT, "after {action}");
    }
}

async fn an_unseen_confirmation_is_delivered_again_with_the_same_token(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    let before = browser.events(&id).await.expect("pending").await;
    phone.approve(&id).await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let mut events = EventStream::new(browser.events_after(&id, &before.id).await);
        let confirmed = events.expect("confirmed").await;
        let token = confirmed.data["token"]["access_token"].as_str().unwrap().to_owned();
        tokens.push(verified_claims(&site.gateway, &token, "web").await);
        events.expect_end().await;
    }
    assert_eq!(tokens[0], tokens[1]);
}

async fn after_the_redeem_time_the_token_is_not_delivered_again(site: Site) {
    // The site's own gateway has the usual times; this one has short ones.
    drop(site);
    let gateway = Gateway::builder().arg("--redeem-ttl", "5s").start().await;
    let (browser, phone) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let id = browser.create().await;
    phone.approve(&id).await;
    browser.events(&id).await.expect("confirmed").await;
    tokio::time::sleep(Duration::from_millis(5_050)).await;
    let ticket: Value = browser.read(&id).await.json().await.unwrap();
    assert_eq!(ticket["state"], "claimed");
    assert_eq!(ticket.get("token"), None);
    EventStream::new(browser.events_after(&id, "1").await).expect("expired").await;
}

async fn a_long_poll_answers_when_something_happens(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    let poll = tokio::spawn({
        let (browser, path) = (browser.clone(), format!("/v1/tickets/{id}?wait=30&revision=1"));
        async move { browser.get(&path).await.json::<Value>().await.unwrap() }
    });
    eventually("the poll's registration", || async {
        (site.gateway.metric("scangate_streams_open").await > 0.0).then_some(())
    })
    .await;
    phone.act(&id, "scan").await;
    let answer = tokio::time::timeout(Duration::from_secs(5), poll).await.expect("the poll did not wake").unwrap();
    assert_eq!((&answer["state"], &answer["revision"]), (&json!("scanned"), &json!(2)));
}

async fn a_long_poll_answers_the_same_after_its_wait(site: Site) {
    let browser = Browser::new(&site.gateway);
    let id = browser.create().await;
    let started = std::time::Instant::now();
    let answer: Value = browser.get(&format!("/v1/tickets/{id}?wait=1&revision=1")).await.json().await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(answer["revision"], 1);
}

async fn a_poller_gets_the_token_too(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    phone.approve(&id).await;
    let first: Value = browser.read(&id).await.json().await.unwrap();
    let again: Value = browser.get(&format!("/v1/tickets/{id}?wait=30&revision=3")).await.json().await.unwrap();
    assert_eq!(first["state"], "confirmed");
    let jti = async |answer: &Value| {
        let token = answer["token"]["access_token"].as_str().unwrap();
        verified_claims(&site.gateway, token, "web").await["jti"].clone()
    };
    assert_eq!(jti(&first).await, jti(&again).await);
}

async fn an_expiring_ticket_ends_its_stream(site: Site) {
    drop(site);
    let redis = Redis::start();
    for builder in [Gateway::builder(), Gateway::builder().redis(&redis)] {
        let gateway = builder.arg("--ticket-ttl", "5s").start().await;
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        let mut events = browser.events(&id).await;
        events.expect("pending").await;
        let expired = events.expect("expired").await;
        assert_eq!(expired.data, json!({ "ticket_id": id }));
        events.expect_end().await;
        assert_eq!(browser.read(&id).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(gateway.metric("scangate_tickets_total{outcome=\"expired\"}").await, 1.0);
        assert_eq!(gateway.metric("scangate_expiry_lag_seconds_count").await, 1.0);
    }
}

async fn an_unclaimed_confirmation_expires(site: Site) {
    drop(site);
    let gateway = Gateway::builder().arg("--redeem-ttl", "5s").start().await;
    let (browser, phone) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let id = browser.create().await;
    phone.approve(&id).await;
    tokio::time::sleep(Duration::from_millis(5_050)).await;
    assert_eq!(browser.read(&id).await.status(), StatusCode::NOT_FOUND);
}

async fn a_native_client_uses_its_ticket_secret(site: Site) {
    let http = reqwest::Client::new();
    let response = http.post(site.gateway.url("/v1/tickets")).json(&json!({"binding": "bearer"})).send().await.unwrap();
    assert_eq!(response.headers().get("set-cookie"), None);
    let ticket: Value = response.json().await.unwrap();
    let id = ticket["ticket_id"].as_str().unwrap();
    let secret = ticket["ticket_secret"].as_str().unwrap();
    Phone::of("ada", &site.gateway).approve(id).await;
    let url = site.gateway.url(&format!("/v1/tickets/{id}"));
    assert_eq!(http.get(&url).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let answer: Value = http.get(&url).bearer_auth(secret).send().await.unwrap().json().await.unwrap();
    assert!(answer["token"]["access_token"].is_string());
}

async fn the_phone_sees_that_the_sign_in_arrived(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    phone.approve(&id).await;
    let before: Value = phone.read(&id).await.json().await.unwrap();
    assert_eq!(before["state"], "confirmed");
    browser.events(&id).await.expect("confirmed").await;
    let after: Value = phone.read(&id).await.json().await.unwrap();
    assert_eq!(after["state"], "claimed");
    assert_eq!(after.get("token"), None);
}

async fn the_approver_can_release_fewer_claims(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    phone.act(&id, "scan").await;
    let refused = phone.act_with(&id, "confirm", json!({"release": ["internal"]})).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(phone.act_with(&id, "confirm", json!({"release": ["name"]})).await.status(), StatusCode::OK);
    let answer: Value = browser.read(&id).await.json().await.unwrap();
    let claims = verified_claims(&site.gateway, answer["token"]["access_token"].as_str().unwrap(), "web").await;
    assert_eq!((&claims["name"], claims.get("email")), (&json!("Ada"), None));
}

async fn the_approvers_own_stream_ends_with_confirmed(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    phone.act(&id, "scan").await;
    let open = || async {
        let url = site.gateway.url(&format!("/v1/tickets/{id}/events"));
        EventStream::new(reqwest::Client::new().get(url).bearer_auth(&phone.token).send().await.unwrap())
    };
    let mut before = open().await;
    before.expect("scanned").await;
    let mut recipient = browser.events(&id).await;
    recipient.expect("scanned").await;
    phone.act(&id, "confirm").await;
    recipient.expect("confirmed").await;
    for mut stream in [before, open().await] {
        let last = stream.expect("confirmed").await;
        assert_eq!(last.data.get("token"), None);
        stream.expect_end().await;
    }
}

async fn only_the_presenter_can_close(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    phone.act(&id, "scan").await;
    let url = site.gateway.url(&format!("/v1/tickets/{id}?reason=superseded"));
    let refused = reqwest::Client::new().delete(url).bearer_auth(&phone.token).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    assert_eq!(browser.read(&id).await.json::<Value>().await.unwrap()["state"], "scanned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_simply_a_client() {
    let (_directory, config) = file(
        r#"
        [[clients]]
        id = "pc"
        [[clients]]
        id = "manager"
        name = "Management"
        ticket_ttl = "10s"
        claims = ["email"]
        "#,
    );
    let gateway = Gateway::builder().arg("--config", config.to_str().unwrap()).start().await;
    let (browser, phone) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let ticket = browser.create_with(json!({"client_id": "manager"})).await;
    assert_eq!(ticket["client"]["name"], "Management");
    assert_eq!(ticket["expires_in"], 10.0);
    let id = ticket["ticket_id"].as_str().unwrap();
    phone.approve(id).await;
    let answer: Value = browser.read(id).await.json().await.unwrap();
    let claims = verified_claims(&gateway, answer["token"]["access_token"].as_str().unwrap(), "manager").await;
    assert_eq!((&claims["email"], claims.get("name")), (&json!("ada@example.com"), None));
    assert_eq!(browser.create_with(json!({})).await["client_id"], "pc");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_may_be_on_one_process_and_the_confirmation_on_another() {
    let redis = Redis::start();
    let keys = tempfile::tempdir().unwrap();
    scangate::app::install_crypto();
    scangate::signer::keys::create(keys.path(), scangate::signer::keys::KeyAlgorithm::Es256).unwrap();
    let start = || Gateway::builder().redis(&redis).arg("--keys-dir", keys.path().to_str().unwrap()).start();
    let (one, other) = (start().await, start().await);
    let browser = Browser::new(&one);
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    events.expect("pending").await;
    Phone::of("ada", &other).approve(&id).await;
    let mut frame = events.next().await.unwrap();
    if frame.event == "scanned" {
        frame = events.next().await.unwrap();
    }
    assert_eq!(frame.event, "confirmed");
    verified_claims(&other, frame.data["token"]["access_token"].as_str().unwrap(), "web").await;
    let elsewhere: Value = browser.at(&other).read(&id).await.json().await.unwrap();
    assert_eq!(elsewhere["token"]["token_type"], "Bearer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_sends_heartbeats() {
    let gateway = Gateway::builder().arg("--heartbeat", "1s").start().await;
    let browser = Browser::new(&gateway);
    let id = browser.create().await;
    let mut response = browser.get(&format!("/v1/tickets/{id}/events")).await;
    let mut text = String::new();
    while text.matches("\n\nevent: heartbeat\ndata: {}\n\n").count() < 2 {
        let chunk = tokio::time::timeout(Duration::from_secs(5), response.chunk()).await.expect("no heartbeat");
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    assert!(!text.lines().any(|line| line.starts_with(':')), "no script sees a comment: {text}");
    assert_eq!(browser.read(&id).await.json::<Value>().await.unwrap()["heartbeat"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seen_expiry_is_answered_with_204_and_tells_strangers_nothing() {
    let gateway = Gateway::builder().arg("--ticket-ttl", "5s").start().await;
    let browser = Browser::new(&gateway);
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    let pending = events.expect("pending").await;
    let expired = tokio::time::timeout(Duration::from_secs(20), events.next_ever()).await.unwrap().unwrap();
    assert_eq!(expired.event, "expired");
    events.expect_end().await;
    assert_eq!(browser.events_after(&id, &expired.id).await.status(), StatusCode::NO_CONTENT);
    // A stranger, and one who asks for what never was, get the same; and 404 for what only a party could have seen.
    let stranger = Browser::new(&gateway);
    let never = "AAAAAAAAAAAAAAAAAAAAAA";
    for (who, id) in [(&stranger, id.as_str()), (&stranger, never), (&browser, never)] {
        assert_eq!(who.events_after(id, &expired.id).await.status(), StatusCode::NO_CONTENT);
        assert_eq!(who.events_after(id, &pending.id).await.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_signs_made_up_people_in() {
    let gateway = Gateway::builder().own_identity().start().await;
    let browser = Browser::new(&gateway);
    let response =
        browser.request(Method::POST, "/demo/sign-in").json(&json!({"name": "Ada Lovelace"})).send().await.unwrap();
    let token = response.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
    let id = browser.create().await;
    Phone::with_token(token, &gateway).approve(&id).await;
    let answer: Value = browser.read(&id).await.json().await.unwrap();
    let claims = verified_claims(&gateway, answer["token"]["access_token"].as_str().unwrap(), "web").await;
    assert_eq!((&claims["sub"], &claims["name"]), (&json!("demo:Ada Lovelace"), &json!("Ada Lovelace")));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_demo_nobody_is_made_up() {
    let gateway = Gateway::start().await;
    let browser = Browser::new(&gateway);
    let response = browser.request(Method::POST, "/demo/sign-in").json(&json!({"name": "Ada"})).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_sign_ins_in_a_row_each_get_a_token_of_their_own() {
    const SIGN_INS: usize = 300;

    let redis = Redis::start();
    let gateway = Gateway::on(&redis).await;
    let (browser, phone) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let mut tokens = std::collections::HashSet::new();
    let mut took = Vec::with_capacity(SIGN_INS);
    for _ in 0..SIGN_INS {
        let id = browser.create().await;
        let mut events = browser.events(&id).await;
        events.expect("pending").await;
        phone.act(&id, "scan").await;
        events.expect("scanned").await;
        let asked = std::time::Instant::now();
        let (confirmed, answer) = tokio::join!(events.expect("confirmed"), phone.act(&id, "confirm"));
        took.push(asked.elapsed());
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(tokens.insert(confirmed.data["token"]["access_token"].as_str().unwrap().to_owned()));
    }
    took.sort_unstable();
    println!(
        "from the confirm request to event and answer, on Redis: p50 {:?}, p99 {:?}",
        took[SIGN_INS / 2],
        took[SIGN_INS * 99 / 100]
    );
}
