//! Opening a ticket while a person signs in on the phone, and clients that require a recent or strong sign-in.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{Site, on_memory, on_redis};
use crate::support::gateway::{Browser, Phone, file, token_with};
use crate::support::{Gateway, Redis};

/// Opens a ticket as the phone's page does, which is not signed in.
async fn open(phone: &Browser, id: &str) -> Response {
    phone.request(Method::POST, &format!("/v1/tickets/{id}/open")).send().await.unwrap()
}

async fn opens(phone: &Browser, id: &str) {
    let response = open(phone, id).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.text().await.unwrap(), "");
}

/// Returns the status and the code of a refusal.
async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

async fn the_presenter_sees_that_a_phone_is_signing_in(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Browser::new(&site.gateway));
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    let pending = events.expect("pending").await.data;
    assert_eq!(pending.get("opened"), None);
    opens(&phone, &id).await;
    let opened = events.expect("opened").await;
    assert_eq!(
        (opened.id.as_str(), &opened.data["state"], &opened.data["opened"]),
        ("2", &json!("pending"), &json!(true))
    );
    assert_eq!(opened.data.get("scanned_by"), None);
    let left = opened.data["expires_in"].as_f64().unwrap();
    assert!((590.0..=600.0).contains(&left), "{left}");

    opens(&phone, &id).await;
    opens(&browser, &id).await;
    assert_eq!(browser.read(&id).await.json::<Value>().await.unwrap()["revision"], 2, "a ticket is opened once");
    assert_eq!(refusal(phone.read(&id).await).await, (404, "ticket_not_found".to_owned()), "it is no party");
    assert_eq!(browser.events(&id).await.expect("opened").await.id, "2", "a stream that opens later");

    let ada = Phone::of("ada", &site.gateway);
    assert_eq!(ada.act(&id, "scan").await.status(), StatusCode::OK);
    assert_eq!(events.expect("scanned").await.data.get("opened"), None);
    assert_eq!(ada.act(&id, "confirm").await.status(), StatusCode::OK);
    assert!(events.expect("confirmed").await.data["token"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_presenter_sees_that_a_phone_is_signing_in_on_memory() {
    the_presenter_sees_that_a_phone_is_signing_in(on_memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_presenter_sees_that_a_phone_is_signing_in_on_redis() {
    the_presenter_sees_that_a_phone_is_signing_in(on_redis().await).await;
}

/// Nothing is kept of who opened it, and a second time changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn in_the_store_an_opening_changes_the_mark_and_the_deadline_alone() {
    let redis = Redis::start();
    let gateway = Gateway::on(&redis).await;
    let id = Browser::new(&gateway).create().await;
    let read = || redis.run::<BTreeMap<String, String>>(&["HGETALL", &redis.keys()[0]]);
    let before = read();
    opens(&Browser::new(&gateway), &id).await;
    let after = read();
    let is_changed = |name: &&String| before.get(*name) != after.get(*name);
    let changed: Vec<_> = after.keys().filter(is_changed).map(String::as_str).collect();
    assert_eq!(changed, ["deadline", "revision", "stamp", "state"]);
    let state: Value = serde_json::from_str(&after["state"]).unwrap();
    assert_eq!(state, json!({"state": "pending", "opened": true}));
    let life = after["deadline"].parse::<u64>().unwrap() - after["created_at"].parse::<u64>().unwrap();
    assert_eq!(life, 600_000);
    opens(&Browser::new(&gateway), &id).await;
    assert_eq!((read(), redis.keys().len()), (after, 1));
}

/// Starts a gateway whose tickets expire soon.
async fn with_short_tickets(redis: &Redis) -> Gateway {
    Gateway::builder().redis(redis).arg("--ticket-ttl", "5s").arg("--sign-in-time", "30s").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_outlives_a_sign_in_that_takes_longer_than_its_code() {
    let redis = Redis::start();
    let gateway = with_short_tickets(&redis).await;
    let (browser, phone) = (Browser::new(&gateway), Browser::new(&gateway));
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    events.expect("pending").await;
    opens(&phone, &id).await;
    events.expect("opened").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    Phone::of("ada", &gateway).approve(&id).await;
    let mut frame = events.next().await.unwrap();
    if frame.event == "scanned" {
        frame = events.next().await.unwrap();
    }
    assert_eq!(frame.event, "confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poller_learns_of_an_opening() {
    let site = on_memory().await;
    let browser = Browser::new(&site.gateway);
    let id = browser.create().await;
    let path = format!("/v1/tickets/{id}?wait=30&revision=1");
    let (answer, ()) = tokio::join!(browser.get(&path), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        opens(&Browser::new(&site.gateway), &id).await;
    });
    let ticket: Value = answer.json().await.unwrap();
    assert_eq!((&ticket["state"], &ticket["opened"]), (&json!("pending"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_is_answered_the_same_whatever_the_ticket() {
    let (_directory, config) = file("[[clients]]\nid = \"web\"\nflows = [\"login\", \"share\"]\nclaims = [\"name\"]\n");
    let gateway = Gateway::builder().arg("--config", config.to_str().unwrap()).start().await;
    let (browser, phone, ada) = (Browser::new(&gateway), Browser::new(&gateway), Phone::of("ada", &gateway));
    let [pending, scanned, confirmed, closed] =
        [browser.create().await, browser.create().await, browser.create().await, browser.create().await];
    assert_eq!(ada.act(&scanned, "scan").await.status(), StatusCode::OK);
    ada.approve(&confirmed).await;
    let close = browser.request(Method::DELETE, &format!("/v1/tickets/{closed}"));
    assert_eq!(close.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    let request = reqwest::Client::new().post(gateway.url("/v1/tickets")).bearer_auth(&ada.token);
    let share: Value = request.json(&json!({"flow": "share"})).send().await.unwrap().json().await.unwrap();
    let share = share["ticket_id"].as_str().unwrap().to_owned();

    let mut answers = Vec::new();
    for id in [&pending, &pending, &scanned, &confirmed, &closed, &share, &"A".repeat(22)] {
        let response = open(&phone, id).await;
        let mut headers = response.headers().clone();
        headers.remove("x-request-id");
        headers.remove("date");
        answers.push((response.status(), headers, response.text().await.unwrap()));
    }
    assert!(answers.iter().all(|answer| answer == &answers[0] && answer.0 == StatusCode::NO_CONTENT), "{answers:#?}");
    for (id, state) in [(&scanned, "scanned"), (&confirmed, "confirmed"), (&share, "pending")] {
        let ticket: Value = ada.read(id).await.json().await.unwrap();
        assert_eq!((&ticket["state"], ticket.get("opened")), (&json!(state), None));
    }
    assert_eq!(refusal(open(&phone, "x").await).await, (404, "ticket_not_found".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_opens_nothing() {
    let site = on_memory().await;
    let browser = Browser::new(&site.gateway);
    let id = browser.create().await;
    let request = reqwest::Client::new().post(site.gateway.url(&format!("/v1/tickets/{id}/open")));
    let request = request.header("origin", "https://evil.example").header("sec-fetch-site", "cross-site");
    assert_eq!(refusal(request.send().await.unwrap()).await, (403, "origin_not_allowed".to_owned()));
    assert_eq!(browser.read(&id).await.json::<Value>().await.unwrap()["revision"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn openings_are_limited_per_address() {
    let gateway = Gateway::builder().arg("--rate-scan", "3").start().await;
    let (browser, phone) = (Browser::new(&gateway), Browser::new(&gateway));
    let id = browser.create().await;
    for _ in 0..3 {
        opens(&phone, &"A".repeat(22)).await;
    }
    assert_eq!(refusal(open(&phone, &id).await).await, (429, "rate_limited".to_owned()));
    Phone::of("ada", &gateway).approve(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opened_tickets_count_as_pending_tickets_of_the_phones_address() {
    let gateway = Gateway::builder().arg("--tickets-per-address", "3").start().await;
    let browser = Browser::new(&gateway);
    let (one, two) = (browser.create().await, browser.create().await);
    opens(&browser, &one).await;
    // The third is counted: two created and one opened.
    assert_eq!(refusal(open(&browser, &two).await).await, (429, "too_many_tickets".to_owned()));
    let full = browser.request(Method::POST, "/v1/tickets").json(&json!({})).send().await.unwrap();
    assert_eq!(refusal(full).await, (429, "too_many_tickets".to_owned()));
}

fn seconds_ago(secs: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - secs
}

/// A phone of Ada, whose token says when and how she signed in.
fn ada(gateway: &Gateway, age_secs: u64, acr: &str) -> Phone {
    let token = token_with("ada", |claims| {
        claims["auth_time"] = json!(seconds_ago(age_secs));
        claims["acr"] = json!(acr);
    });
    Phone::with_token(token, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_requires_a_recent_and_strong_sign_in_gets_one() {
    let (_directory, config) =
        file("[[clients]]\nid = \"web\"\nmax_auth_age = \"5m\"\nacr_values = [\"phr\", \"mfa\"]\nmatch = \"choose\"\n");
    let redis = Redis::start();
    let gateway = Gateway::builder().redis(&redis).arg("--config", config.to_str().unwrap()).start().await;
    let browser = Browser::new(&gateway);
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    events.expect("pending").await;
    for (phone, code) in [
        (Phone::of("ada", &gateway), "sign_in_too_old"),
        (ada(&gateway, 600, "mfa"), "sign_in_too_old"),
        (ada(&gateway, 10, "pwd"), "stronger_sign_in_needed"),
    ] {
        assert_eq!(
            refusal(phone.act(&id, "scan").await).await,
            (403, code.to_owned()),
            "before any number is compared"
        );
    }
    assert_eq!(ada(&gateway, 10, "mfa").act(&id, "scan").await.status(), StatusCode::OK);
    let number = events.expect("scanned").await.data["number"].clone();

    let wrong = if number == "10" { "11" } else { "10" };
    let unknown = Phone::of("ada", &gateway).act_with(&id, "confirm", json!({"match": wrong})).await;
    assert_eq!(refusal(unknown).await, (403, "sign_in_too_old".to_owned()), "it uses up no attempt");
    let old = ada(&gateway, 600, "mfa").act_with(&id, "confirm", json!({"match": number})).await;
    assert_eq!(refusal(old).await, (403, "sign_in_too_old".to_owned()));
    let weak = ada(&gateway, 10, "pwd").act_with(&id, "confirm", json!({"match": number})).await;
    assert_eq!(refusal(weak).await, (403, "stronger_sign_in_needed".to_owned()));

    let strong = ada(&gateway, 10, "mfa").act_with(&id, "confirm", json!({"match": number})).await;
    assert_eq!(strong.status(), StatusCode::OK);
    assert!(events.expect("confirmed").await.data["token"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_must_sign_in_again_is_not_counted_as_a_guesser() {
    let (_directory, config) = file("[[clients]]\nid = \"web\"\nmax_auth_age = \"5m\"\n");
    let builder = Gateway::builder()
        .arg("--config", config.to_str().unwrap())
        .arg("--rate-invalid-confirm", "2")
        .arg("--rate-invalid-scan", "2");
    let gateway = builder.start().await;
    let id = Browser::new(&gateway).create().await;
    let phone = ada(&gateway, 600, "mfa");
    for _ in 0..4 {
        assert_eq!(refusal(phone.act(&id, "scan").await).await, (403, "sign_in_too_old".to_owned()));
    }
    assert_eq!(ada(&gateway, 10, "mfa").act(&id, "scan").await.status(), StatusCode::OK);
    for _ in 0..4 {
        assert_eq!(refusal(phone.act(&id, "confirm").await).await, (403, "sign_in_too_old".to_owned()));
    }
}
