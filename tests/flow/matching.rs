//! Number matching: the approver tells the number that the other screen shows, once.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Site, on_memory, on_redis};
use crate::support::gateway::{Browser, Phone, file};
use crate::support::{Gateway, Redis};

/// Starts a gateway whose only client has the policy.
async fn with(policy: &str, redis: Option<&Redis>) -> Gateway {
    let (_directory, config) =
        file(&format!("[[clients]]\nid = \"web\"\nflows = [\"login\", \"share\"]\nmatch = {policy:?}\n"));
    let builder = Gateway::builder().arg("--config", config.to_str().unwrap());
    redis.into_iter().fold(builder, |builder, redis| builder.redis(redis)).start().await
}

/// What a ticket's parties were told up to the scan.
struct Scanned {
    browser: Browser,
    phone: Phone,
    id: String,
    /// What the browser shows.
    number: String,
    /// What the phone was answered.
    answer: Value,
}

impl Scanned {
    async fn at(gateway: &Gateway) -> Self {
        let (browser, phone) = (Browser::new(gateway), Phone::of("ada", gateway));
        let created = browser.create_with(json!({})).await;
        assert_eq!(created.get("number"), None, "there is nobody to compare with yet");
        let id = created["ticket_id"].as_str().unwrap().to_owned();
        let mut events = browser.events(&id).await;
        events.expect("pending").await;
        let answer: Value = phone.act(&id, "scan").await.json().await.unwrap();
        let number = events.expect("scanned").await.data["number"].as_str().unwrap().to_owned();
        assert!((10..=99).contains(&number.parse::<u8>().unwrap()));
        Self { browser, phone, id, number, answer }
    }

    async fn confirm(&self, number: &Value) -> (StatusCode, String) {
        let response = self.phone.act_with(&self.id, "confirm", json!({"match": number})).await;
        let (status, body) = (response.status(), response.json::<Value>().await.unwrap());
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    }

    async fn state(&self) -> Value {
        self.browser.read(&self.id).await.json().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_choice_confirms() {
    let redis = Redis::start();
    let gateway = with("choose", Some(&redis)).await;
    let scanned = Scanned::at(&gateway).await;
    assert_eq!(scanned.answer["match"], "choose");
    let choices: Vec<String> = serde_json::from_value(scanned.answer["choices"].clone()).unwrap();
    assert_eq!(choices.len(), 3);
    assert!(choices.contains(&scanned.number));
    let again: Value = scanned.phone.act(&scanned.id, "scan").await.json().await.unwrap();
    assert_eq!(again["choices"], scanned.answer["choices"], "asking again narrows nothing down");
    assert_eq!(scanned.confirm(&json!(scanned.number)).await.0, StatusCode::OK);
    let state = scanned.state().await;
    assert!(state["token"].is_object() && state.get("number").is_none(), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_number_ends_the_ticket_for_both() {
    let redis = Redis::start();
    for policy in ["choose", "type"] {
        let gateway = with(policy, Some(&redis)).await;
        let scanned = Scanned::at(&gateway).await;
        let mut events = scanned.browser.events(&scanned.id).await;
        events.expect("scanned").await;
        let wrong = if scanned.number == "42" { "43" } else { "42" };
        let mismatch = (StatusCode::CONFLICT, "mismatch".to_owned());
        assert_eq!(scanned.confirm(&json!(wrong)).await, mismatch);
        let cancelled = events.expect("cancelled").await.data;
        assert_eq!(cancelled["reason"], "mismatch");
        events.expect_end().await;
        assert_eq!(scanned.confirm(&json!(scanned.number)).await, mismatch, "there is one attempt");
        assert_eq!(scanned.state().await["state"], "cancelled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_never_goes_to_the_phone() {
    let redis = Redis::start();
    let gateway = with("type", Some(&redis)).await;
    let scanned = Scanned::at(&gateway).await;
    assert_eq!((&scanned.answer["match"], scanned.answer.get("choices")), (&json!("type"), None));
    let read: Value = scanned.phone.read(&scanned.id).await.json().await.unwrap();
    assert_eq!((read.get("number"), read.get("choices")), (None, None));
    let url = gateway.url(&format!("/v1/tickets/{}/events", scanned.id));
    let stream = reqwest::Client::new().get(url).bearer_auth(&scanned.phone.token).send().await.unwrap();
    let shown = crate::support::EventStream::new(stream).expect("scanned").await.data;
    assert_eq!(shown.get("number"), None);
    assert_eq!(scanned.confirm(&json!(scanned.number)).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_number_uses_nothing_up() {
    let gateway = with("type", None).await;
    let scanned = Scanned::at(&gateway).await;
    let empty = scanned.phone.act(&scanned.id, "confirm").await;
    assert_eq!(empty.status(), StatusCode::BAD_REQUEST);
    for (number, code) in [
        (json!(""), "invalid_request"),
        (json!("7"), "invalid_request"),
        (json!("100"), "invalid_request"),
        (json!("+7"), "invalid_request"),
        (json!("４２"), "invalid_request"),
        (json!(42), "malformed_json"),
    ] {
        assert_eq!(scanned.confirm(&number).await, (StatusCode::BAD_REQUEST, code.to_owned()), "{number}");
    }
    assert_eq!(scanned.confirm(&json!(scanned.number)).await.0, StatusCode::OK);
}

on_every_store! {
    a_client_that_asks_for_none_takes_none
}

async fn a_client_that_asks_for_none_takes_none(site: Site) {
    let (browser, phone) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let id = browser.create().await;
    let scan: Value = phone.act(&id, "scan").await.json().await.unwrap();
    assert_eq!((&scan["match"], scan.get("choices")), (&json!("none"), None));
    let refused = phone.act_with(&id, "confirm", json!({"match": "42"})).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(phone.act(&id, "confirm").await.status(), StatusCode::OK);
}

/// Who scans chooses the client that the JWT is for, but not how little that asks.
#[tokio::test(flavor = "multi_thread")]
async fn the_stricter_of_both_clients_of_a_share_says_how_it_is_matched() {
    let client = |id, policy| format!("[[clients]]\nid = {id:?}\nflows = [\"share\"]\nmatch = {policy:?}\n");
    let (_directory, config) =
        file(&[client("lax", "none"), client("mid", "choose"), client("strict", "type")].join(""));
    let gateway = Gateway::builder().arg("--config", config.to_str().unwrap()).start().await;
    let (ada, bob) = (Phone::of("ada", &gateway), Phone::of("bob", &gateway));
    for (presented, scanned, policy) in [
        ("lax", "lax", "none"),
        ("lax", "mid", "choose"),
        ("lax", "strict", "type"),
        ("mid", "strict", "type"),
        ("strict", "lax", "type"),
        ("mid", "lax", "choose"),
    ] {
        let request = reqwest::Client::new().post(gateway.url("/v1/tickets")).bearer_auth(&ada.token);
        let body = json!({"flow": "share", "client_id": presented});
        let ticket: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        let id = ticket["ticket_id"].as_str().unwrap();
        let body = json!({"client_id": scanned});
        let scan: Value = bob.act_with(id, "scan", body.clone()).await.json().await.unwrap();
        assert_eq!(scan["match"], policy, "{presented}, {scanned}");
        let number = &scan["ticket"]["number"];
        assert_eq!(number.is_null(), policy == "none", "{presented}, {scanned}");
        let again: Value = bob.act_with(id, "scan", body).await.json().await.unwrap();
        assert_eq!(&again["ticket"]["number"], number, "the same answer again");
        let presenter: Value = ada.read(id).await.json().await.unwrap();
        assert_eq!((presenter["choices"].is_array(), presenter.get("number")), (policy == "choose", None));
        let mut grant = json!({"scanner": presenter["scanned_by"]["id"]});
        if policy != "none" {
            assert_eq!(ada.act_with(id, "confirm", grant.clone()).await.status(), StatusCode::BAD_REQUEST);
            grant["match"] = number.clone();
        }
        assert_eq!(ada.act_with(id, "confirm", grant).await.status(), StatusCode::OK, "{presented}, {scanned}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_matched_the_other_way_round() {
    let gateway = with("choose", None).await;
    let (ada, bob) = (Phone::of("ada", &gateway), Phone::of("bob", &gateway));
    let share = async || -> (String, Value, Value) {
        let request = reqwest::Client::new().post(gateway.url("/v1/tickets")).bearer_auth(&ada.token);
        let ticket: Value = request.json(&json!({"flow": "share"})).send().await.unwrap().json().await.unwrap();
        let id = ticket["ticket_id"].as_str().unwrap().to_owned();
        let scan: Value = bob.act(&id, "scan").await.json().await.unwrap();
        assert_eq!(scan.get("choices"), None, "it is the presenter who chooses");
        let presenter: Value = ada.read(&id).await.json().await.unwrap();
        (id, scan["ticket"].clone(), presenter)
    };
    let (id, scanner, presenter) = share().await;
    let number = scanner["number"].as_str().unwrap();
    assert_eq!((&presenter["match"], presenter.get("number")), (&json!("choose"), None));
    let choices = presenter["choices"].as_array().unwrap();
    assert!(choices.iter().any(|choice| choice == number));
    let scanned_by = &presenter["scanned_by"]["id"];
    let done = ada.act_with(&id, "confirm", json!({"scanner": scanned_by, "match": number})).await;
    assert_eq!(done.status(), StatusCode::OK);

    let (id, scanner, presenter) = share().await;
    let wrong = presenter["choices"].as_array().unwrap().iter().find(|choice| **choice != scanner["number"]).unwrap();
    let body = json!({"scanner": presenter["scanned_by"]["id"], "match": wrong});
    assert_eq!(ada.act_with(&id, "confirm", body).await.status(), StatusCode::CONFLICT);
    let ended: Value = bob.read(&id).await.json().await.unwrap();
    assert_eq!((&ended["state"], &ended["reason"]), (&json!("cancelled"), &json!("mismatch")));
}
