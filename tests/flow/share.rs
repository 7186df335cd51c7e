//! The flow `share`: who shows the code is signed in and grants, who scans it waits and receives.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{Site, on_memory, on_redis};
use crate::support::gateway::{Browser, Phone, file, token, verified_claims};
use crate::support::picture::Picture;
use crate::support::{EventStream, Gateway, Redis};

on_every_store! {
    a_browser_that_scans_gets_what_the_presenter_grants
    a_signed_in_scanner_is_named_and_gets_it_too
    fewer_claims_can_be_granted_and_none_that_were_not_offered
    a_third_party_is_refused_and_learns_nothing
    nobody_scans_their_own_code
    either_side_can_end_it_until_it_is_granted
    a_grant_names_its_scanner
    without_streams_both_sides_can_poll
    the_presenter_must_be_signed_in_and_offer_what_is_theirs
    an_unscanned_share_is_unknown_to_whoever_proves_nothing
}

impl Phone {
    /// Shows a code; fails if that is refused.
    async fn share(&self, gateway: &Gateway, extra: Value) -> Value {
        let response = self.try_share(gateway, extra).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        assert!(!response.headers().contains_key("set-cookie"), "the presenter has a token, and needs no cookie");
        response.json().await.unwrap()
    }

    async fn try_share(&self, gateway: &Gateway, extra: Value) -> Response {
        let mut body = json!({"flow": "share"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let request = reqwest::Client::new().post(gateway.url("/v1/tickets"));
        request.bearer_auth(&self.token).json(&body).send().await.unwrap()
    }

    async fn events(&self, gateway: &Gateway, id: &str) -> EventStream {
        let url = gateway.url(&format!("/v1/tickets/{id}/events"));
        EventStream::new(reqwest::Client::new().get(url).bearer_auth(&self.token).send().await.unwrap())
    }
}

impl Browser {
    async fn scan(&self, id: &str, body: Value) -> Response {
        let request = self.request(Method::POST, &format!("/v1/tickets/{id}/scan"));
        request.header("user-agent", FIREFOX).json(&body).send().await.unwrap()
    }
}

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

fn id_of(ticket: &Value) -> String {
    ticket["ticket_id"].as_str().unwrap().to_owned()
}

async fn json(response: Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Returns the status and the code of a refusal.
async fn refusal(response: Response) -> (u16, String) {
    let (status, body) = json(response).await;
    (status, body["code"].as_str().unwrap_or_else(|| panic!("no refusal: {body}")).to_owned())
}

async fn a_browser_that_scans_gets_what_the_presenter_grants(site: Site) {
    let (ada, guest) = (Phone::of("ada", &site.gateway), Browser::new(&site.gateway));
    let ticket = ada.share(&site.gateway, json!({"release": ["email", "name"]})).await;
    let id = id_of(&ticket);
    assert_eq!(ticket["scan_url"], format!("{}/share/{id}", site.gateway.public_url));
    assert_eq!((&ticket["flow"], &ticket["release"]), (&json!("share"), &json!(["name", "email"])));
    let mut presenter = ada.events(&site.gateway, &id).await;
    presenter.expect("pending").await;

    let response = guest.scan(&id, json!({})).await;
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let (status, scan) = json(response).await;
    assert_eq!((status, &scan["presented_by"]["name"]), (200, &json!("Ada")));
    assert_eq!(scan["release"], json!(["name", "email"]));
    assert_eq!(scan.get("requester"), None, "where the presenter is is nobody's business");
    assert_eq!(scan["ticket"]["scanned_by"], json!({"name": null, "picture": null}), "that is for the presenter");
    assert_eq!(json(guest.scan(&id, json!({})).await).await.0, 200, "the same scanner again");
    let mut scanner = guest.events(&id).await;
    scanner.expect("scanned").await;

    let scanned = presenter.expect("scanned").await.data;
    let by = &scanned["scanned_by"];
    assert_eq!((&by["name"], &by["signed_in"]), (&json!(null), &json!(false)));
    assert_eq!(by["from"], json!({"ip": "127.0.0.1", "browser": "Firefox", "os": "Linux"}));
    assert_eq!((&by["client"]["id"], scanned.get("token")), (&json!("web"), None));

    let (status, granted) = json(ada.act_with(&id, "confirm", json!({"scanner": by["id"]})).await).await;
    assert_eq!((status, &granted["state"], granted.get("token")), (200, &json!("confirmed"), None));
    let confirmed = scanner.expect("confirmed").await.data;
    scanner.expect_end().await;
    assert_eq!(presenter.expect("confirmed").await.data.get("token"), None, "the presenter is handed no token");
    presenter.expect_end().await;
    let token = confirmed["token"]["access_token"].as_str().unwrap();
    let claims = verified_claims(&site.gateway, token, "web").await;
    assert_eq!(
        (&claims["sub"], &claims["name"], &claims["email"]),
        (&json!("ada"), &json!("Ada"), &json!("ada@example.com"))
    );
    assert_eq!(claims.get("internal"), None);
    assert_eq!(json(guest.read(&id).await).await.1["token"]["access_token"].as_str().map(str::len), Some(token.len()));
}

async fn a_signed_in_scanner_is_named_and_gets_it_too(site: Site) {
    let (ada, bob) = (Phone::of("ada", &site.gateway), Phone::of("bob", &site.gateway));
    let id = id_of(&ada.share(&site.gateway, json!({})).await);
    let response = bob.act(&id, "scan").await;
    assert!(!response.headers().contains_key("set-cookie"));
    assert_eq!(json(response).await.0, 200);
    let by = json(ada.read(&id).await).await.1["scanned_by"].clone();
    assert_eq!((&by["name"], &by["signed_in"]), (&json!("Bob"), &json!(true)));
    assert_eq!(bob.act_with(&id, "confirm", json!({"scanner": by["id"]})).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(ada.act_with(&id, "confirm", json!({"scanner": by["id"]})).await.status(), StatusCode::OK);
    let mut stream = bob.events(&site.gateway, &id).await;
    let confirmed = stream.expect("confirmed").await.data;
    let token = confirmed["token"]["access_token"].as_str().unwrap();
    assert_eq!(verified_claims(&site.gateway, token, "web").await["sub"], "ada");
}

async fn fewer_claims_can_be_granted_and_none_that_were_not_offered(site: Site) {
    let (ada, guest) = (Phone::of("ada", &site.gateway), Browser::new(&site.gateway));
    for (granted, expected) in [(json!(["email"]), vec!["email"]), (json!([]), vec![])] {
        let id = id_of(&ada.share(&site.gateway, json!({"release": ["name", "email"]})).await);
        guest.scan(&id, json!({})).await;
        let scanner = json(ada.read(&id).await).await.1["scanned_by"]["id"].clone();
        let too_much = ada.act_with(&id, "confirm", json!({"scanner": scanner, "release": ["picture"]})).await;
        assert_eq!(refusal(too_much).await, (400, "invalid_request".to_owned()));
        let done = ada.act_with(&id, "confirm", json!({"scanner": scanner, "release": granted})).await;
        assert_eq!(json(done).await.1["release"], json!(expected));
        let shown = json(guest.read(&id).await).await.1;
        let claims = verified_claims(&site.gateway, shown["token"]["access_token"].as_str().unwrap(), "web").await;
        let known = ["name", "email", "picture", "internal"];
        let released: Vec<_> = known.into_iter().filter(|name| claims.get(name).is_some()).collect();
        assert_eq!(released, expected);
    }
}

async fn a_third_party_is_refused_and_learns_nothing(site: Site) {
    let (ada, guest) = (Phone::of("ada", &site.gateway), Browser::new(&site.gateway));
    let (mallory, other) = (Phone::of("mallory", &site.gateway), Browser::new(&site.gateway));
    let id = id_of(&ada.share(&site.gateway, json!({})).await);
    guest.scan(&id, json!({})).await;
    let refused = other.scan(&id, json!({})).await;
    assert!(!refused.headers().contains_key("set-cookie"), "who is refused is bound to nothing");
    assert_eq!(refusal(refused).await, (409, "already_scanned".to_owned()));
    assert_eq!(refusal(mallory.act(&id, "scan").await).await, (409, "already_scanned".to_owned()));
    for stranger in [other.read(&id).await, mallory.read(&id).await, mallory.act(&id, "cancel").await] {
        assert_eq!(refusal(stranger).await, (404, "ticket_not_found".to_owned()));
    }
    let scanner = json(ada.read(&id).await).await.1["scanned_by"]["id"].clone();
    let grant = mallory.act_with(&id, "confirm", json!({"scanner": scanner})).await;
    assert_eq!(refusal(grant).await, (403, "not_permitted".to_owned()));
}

async fn nobody_scans_their_own_code(site: Site) {
    let ada = Phone::of("ada", &site.gateway);
    let id = id_of(&ada.share(&site.gateway, json!({})).await);
    assert_eq!(refusal(ada.act(&id, "scan").await).await, (403, "own_ticket".to_owned()));
    assert_eq!(json(ada.read(&id).await).await.1["state"], "pending");
}

async fn either_side_can_end_it_until_it_is_granted(site: Site) {
    let ada = Phone::of("ada", &site.gateway);
    // Who ends it how, whether before or after the scan, and what the other side is told.
    for (ends, is_scanned, reason) in [
        ("presenter closes", false, "closed"),
        ("presenter cancels", false, "closed"),
        ("presenter closes", true, "closed"),
        ("presenter cancels", true, "declined"),
        ("scanner cancels", true, "closed"),
    ] {
        let guest = Browser::new(&site.gateway);
        let id = id_of(&ada.share(&site.gateway, json!({})).await);
        if is_scanned {
            guest.scan(&id, json!({})).await;
        }
        let ended = match ends {
            "presenter closes" => {
                let url = site.gateway.url(&format!("/v1/tickets/{id}"));
                reqwest::Client::new().delete(url).bearer_auth(&ada.token).send().await.unwrap()
            }
            "presenter cancels" => ada.act(&id, "cancel").await,
            _ => {
                guest.request(Method::POST, &format!("/v1/tickets/{id}/cancel")).json(&json!({})).send().await.unwrap()
            }
        };
        assert!(ended.status().is_success(), "{ends}");
        assert_eq!(json(ada.read(&id).await).await.1["reason"], reason, "{ends}, scanned: {is_scanned}");
        let late = guest.scan(&id, json!({})).await;
        assert_eq!(refusal(late).await, (409, "already_cancelled".to_owned()));
        let grant = ada.act_with(&id, "confirm", json!({"scanner": "x"})).await;
        assert_eq!(grant.status(), StatusCode::CONFLICT);
    }
    let id = id_of(&ada.share(&site.gateway, json!({})).await);
    let guest = Browser::new(&site.gateway);
    guest.scan(&id, json!({})).await;
    let scanner = json(ada.read(&id).await).await.1["scanned_by"]["id"].clone();
    ada.act_with(&id, "confirm", json!({"scanner": scanner})).await;
    assert_eq!(refusal(ada.act(&id, "cancel").await).await, (409, "already_confirmed".to_owned()));
}

async fn a_grant_names_its_scanner(site: Site) {
    let (ada, guest) = (Phone::of("ada", &site.gateway), Browser::new(&site.gateway));
    let id = id_of(&ada.share(&site.gateway, json!({})).await);
    guest.scan(&id, json!({})).await;
    let scanner = json(ada.read(&id).await).await.1["scanned_by"]["id"].clone();
    assert_eq!(refusal(ada.act(&id, "confirm").await).await, (400, "invalid_request".to_owned()));
    let other = ada.act_with(&id, "confirm", json!({"scanner": "another"})).await;
    assert_eq!(refusal(other).await, (409, "scanner_changed".to_owned()));
    assert_eq!(json(guest.read(&id).await).await.1["state"], "scanned", "nothing is used up");
    for _ in 0..2 {
        let done = ada.act_with(&id, "confirm", json!({"scanner": scanner})).await;
        assert_eq!(json(done).await.1["state"], "confirmed");
    }
}

async fn without_streams_both_sides_can_poll(site: Site) {
    let (ada, guest) = (Phone::of("ada", &site.gateway), Browser::new(&site.gateway));
    let id = id_of(&ada.share(&site.gateway, json!({})).await);
    let url = site.gateway.url(&format!("/v1/tickets/{id}?wait=20&revision=1"));
    let waiting = reqwest::Client::new().get(url).bearer_auth(&ada.token).send();
    let waiting = tokio::spawn(waiting);
    let scan = json(guest.scan(&id, json!({})).await).await.1;
    let scanned = json(waiting.await.unwrap().unwrap()).await.1;
    assert_eq!((&scanned["state"], &scanned["revision"]), (&json!("scanned"), &json!(2)));
    let path = format!("{}?wait=20&revision={}", scan["ticket"]["poll"].as_str().unwrap(), scan["ticket"]["revision"]);
    let polling = guest.clone();
    let waiting = tokio::spawn(async move { polling.get(&path).await });
    ada.act_with(&id, "confirm", json!({"scanner": scanned["scanned_by"]["id"]})).await;
    let confirmed = json(waiting.await.unwrap()).await.1;
    assert!(confirmed["token"]["access_token"].is_string(), "{confirmed}");
}

async fn the_presenter_must_be_signed_in_and_offer_what_is_theirs(site: Site) {
    let (ada, browser) = (Phone::of("ada", &site.gateway), Browser::new(&site.gateway));
    let anonymous = browser.request(Method::POST, "/v1/tickets").json(&json!({"flow": "share"})).send().await.unwrap();
    assert_eq!(refusal(anonymous).await, (401, "not_signed_in".to_owned()));
    let forged = Phone::with_token(token("ada") + "x", &site.gateway).try_share(&site.gateway, json!({})).await;
    assert_eq!(refusal(forged).await, (401, "invalid_token".to_owned()));
    for (extra, word) in [
        (json!({"release": ["internal"]}), "may not have"),
        (json!({"release": ["picture"]}), "your token does not have"),
        (json!({"binding": "bearer"}), "omit it"),
    ] {
        let (status, body) = json(ada.try_share(&site.gateway, extra.clone()).await).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid_request")), "{extra}");
        assert!(body["detail"].as_str().unwrap().contains(word), "{body}");
    }
    let offered = ada.share(&site.gateway, json!({})).await;
    assert_eq!(offered["release"], json!(["name", "email"]), "all that the client may have and the token has");
    let login = browser.request(Method::POST, "/v1/tickets").json(&json!({"release": ["name"]})).send().await.unwrap();
    assert_eq!(refusal(login).await, (400, "invalid_request".to_owned()));
}

async fn an_unscanned_share_is_unknown_to_whoever_proves_nothing(site: Site) {
    let (guest, ada) = (Browser::new(&site.gateway), Phone::of("ada", &site.gateway));
    let login = guest.create().await;
    let other = Browser::new(&site.gateway);
    let answers = [other.scan(&login, json!({})).await, other.scan("AAAAAAAAAAAAAAAAAAAAAA", json!({})).await];
    for answer in answers {
        assert!(!answer.headers().contains_key("set-cookie"));
        assert_eq!(refusal(answer).await, (401, "not_signed_in".to_owned()));
    }
    let id = id_of(&ada.share(&site.gateway, json!({})).await);
    assert_eq!(refusal(guest.read(&id).await).await, (404, "ticket_not_found".to_owned()));
    let refused = ada.act_with(&login, "scan", json!({"binding": "bearer"})).await;
    assert_eq!(refusal(refused).await, (400, "invalid_request".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_scanner_is_bound_by_a_secret() {
    let site = on_memory().await;
    let ada = Phone::of("ada", &site.gateway);
    let id = id_of(&ada.share(&site.gateway, json!({})).await);
    let http = reqwest::Client::new();
    let scan = |secret: Option<String>| {
        let request =
            http.post(site.gateway.url(&format!("/v1/tickets/{id}/scan"))).json(&json!({"binding": "bearer"}));
        secret.into_iter().fold(request, |request, secret| request.bearer_auth(secret)).send()
    };
    let response = scan(None).await.unwrap();
    assert!(!response.headers().contains_key("set-cookie"));
    let secret = json(response).await.1["ticket_secret"].as_str().unwrap().to_owned();
    let again = json(scan(Some(secret.clone())).await.unwrap()).await;
    assert_eq!((again.0, again.1.get("ticket_secret")), (200, None), "a secret is handed over once");
    assert_eq!(refusal(scan(None).await.unwrap()).await, (409, "already_scanned".to_owned()));
    let read = http.get(site.gateway.url(&format!("/v1/tickets/{id}"))).bearer_auth(&secret).send().await.unwrap();
    assert_eq!(json(read).await.1["state"], "scanned");
}

/// Two clients: what a scanner at the kiosk is granted is for the kiosk, and no more than it may have.
#[tokio::test(flavor = "multi_thread")]
async fn the_jwt_is_for_the_scanners_client() {
    let (_directory, config) = file(
        r#"
        [[clients]]
        id = "app"
        claims = ["name", "email"]
        flows = ["login", "share"]
        [[clients]]
        id = "kiosk"
        name = "The kiosk"
        claims = ["name"]
        origins = ["https://kiosk.example"]
        flows = ["share"]
        [[clients]]
        id = "site"
        "#,
    );
    let gateway = Gateway::builder().arg("--config", config.to_str().unwrap()).start().await;
    let (ada, guest) = (Phone::of("ada", &gateway), Browser::new(&gateway));
    let id = id_of(&ada.share(&gateway, json!({})).await);
    assert_eq!(
        refusal(guest.scan(&id, json!({"client_id": "nobody"})).await).await,
        (400, "unknown_client".to_owned())
    );
    // A JWT for a client that signs in whoever brings one is for that client to want.
    assert_eq!(
        refusal(guest.scan(&id, json!({"client_id": "site"})).await).await,
        (400, "flow_not_allowed".to_owned())
    );
    assert_eq!(refusal(ada.try_share(&gateway, json!({"client_id": "site"})).await).await.1, "flow_not_allowed");
    let login = guest.request(Method::POST, "/v1/tickets").json(&json!({"client_id": "kiosk"})).send().await.unwrap();
    assert_eq!(refusal(login).await.1, "flow_not_allowed");
    // A page may name no client but those that list it.
    let from = |origin: &str, client: &str| {
        let request = reqwest::Client::new().post(gateway.url(&format!("/v1/tickets/{id}/scan")));
        request.header("origin", origin).json(&json!({"client_id": client, "binding": "bearer"})).send()
    };
    for client in ["app", "kiosk"] {
        let refused = from("https://elsewhere.example", client).await.unwrap();
        assert_eq!(refusal(refused).await, (403, "origin_not_allowed".to_owned()));
    }
    assert_eq!(refusal(from("https://kiosk.example", "app").await.unwrap()).await.1, "origin_not_allowed");
    let (status, scan) = json(from("https://kiosk.example", "kiosk").await.unwrap()).await;
    assert_eq!((status, &scan["client"]["name"], &scan["release"]), (200, &json!("The kiosk"), &json!(["name"])));
    assert_eq!(scan["ticket"]["client_id"], "kiosk");
    let secret = scan["ticket_secret"].as_str().unwrap();

    let by = json(ada.read(&id).await).await.1;
    assert_eq!((&by["scanned_by"]["client"]["id"], &by["release"]), (&json!("kiosk"), &json!(["name"])));
    let scanner = &by["scanned_by"]["id"];
    let too_much = ada.act_with(&id, "confirm", json!({"scanner": scanner, "release": ["email"]})).await;
    assert_eq!(refusal(too_much).await, (400, "invalid_request".to_owned()));
    ada.act_with(&id, "confirm", json!({"scanner": scanner})).await;
    let read = reqwest::Client::new().get(gateway.url(&format!("/v1/tickets/{id}"))).bearer_auth(secret).send().await;
    let shown = json(read.unwrap()).await.1;
    let claims = verified_claims(&gateway, shown["token"]["access_token"].as_str().unwrap(), "kiosk").await;
    assert_eq!((&claims["aud"], &claims["name"], claims.get("email")), (&json!("kiosk"), &json!("Ada"), None));
}

/// A failover can take a scan back, and somebody else may scan then: what the presenter saw is not granted to them.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_scans_after_a_scan_was_lost_is_not_granted_what_was_meant_for_another() {
    let redis = Redis::start();
    let gateway = Gateway::on(&redis).await;
    let (ada, seen, other) = (Phone::of("ada", &gateway), Browser::new(&gateway), Browser::new(&gateway));
    let id = id_of(&ada.share(&gateway, json!({})).await);
    let key = format!("scangate:{{{id}}}");
    let pending: Vec<String> = redis.run(&["HGETALL", &key]);
    seen.scan(&id, json!({})).await;
    let mut left_behind = seen.events(&id).await;
    left_behind.expect("scanned").await;
    let first = json(ada.read(&id).await).await.1["scanned_by"]["id"].clone();
    let restore: Vec<&str> = ["HSET", &key].into_iter().chain(pending.iter().map(String::as_str)).collect();
    let _: i64 = redis.run(&restore);
    assert_eq!(other.scan(&id, json!({})).await.status(), StatusCode::OK);

    let meant_for_another = ada.act_with(&id, "confirm", json!({"scanner": first})).await;
    assert_eq!(refusal(meant_for_another).await, (409, "scanner_changed".to_owned()));
    assert_eq!(json(other.read(&id).await).await.1["state"], "scanned");
    let second = json(ada.read(&id).await).await.1["scanned_by"]["id"].clone();
    assert_ne!(first, second);
    assert_eq!(ada.act_with(&id, "confirm", json!({"scanner": second})).await.status(), StatusCode::OK);
    assert_eq!(seen.read(&id).await.status(), StatusCode::NOT_FOUND);
    left_behind.expect("expired").await;
    assert!(json(other.read(&id).await).await.1["token"].is_object());
}

/// A name that depends on the scanner is guessed by the presenter; one that depends on a gateway's keys is lost with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_scanners_id_leads_back_to_nobody_and_outlives_a_change_of_keys() {
    let redis = Redis::start();
    // Neither has a keys directory: each has a key of its own.
    let (one, other) = (Gateway::on(&redis).await, Gateway::on(&redis).await);
    let (ada, bob) = (Phone::of("ada", &one), Phone::of("bob", &one));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = id_of(&ada.share(&one, json!({})).await);
        assert_eq!(bob.act(&id, "scan").await.status(), StatusCode::OK);
        let shown = json(ada.read(&id).await).await.1["scanned_by"]["id"].clone();
        assert_eq!(bob.act(&id, "scan").await.status(), StatusCode::OK);
        let elsewhere = Phone::of("ada", &other);
        assert_eq!(
            json(elsewhere.read(&id).await).await.1["scanned_by"]["id"],
            shown,
            "by whichever gateway it is told"
        );
        let granted = elsewhere.act_with(&id, "confirm", json!({"scanner": shown})).await;
        assert_eq!(granted.status(), StatusCode::OK);
        let stored: String = redis.run(&["HGET", &format!("scangate:{{{id}}}"), "state"]);
        assert!(stored.contains(shown.as_str().unwrap()), "it is kept, and not computed from who it is");
        ids.push(shown);
    }
    assert_ne!(ids[0], ids[1]);
}

/// The code of a share leads to the scanner's page, whichever way it is drawn.
#[tokio::test(flavor = "multi_thread")]
async fn every_picture_of_the_code_says_the_same() {
    let site = on_memory().await;
    let ada = Phone::of("ada", &site.gateway);
    let ticket = ada.share(&site.gateway, json!({})).await;
    let png = reqwest::get(site.gateway.url(&format!("/v1/tickets/{}/qr.png", id_of(&ticket)))).await.unwrap();
    let picture = Picture::of(&png.bytes().await.unwrap());
    assert_eq!(picture.code().as_deref(), ticket["scan_url"].as_str());
}

/// A JWT of a share says so, and signs nobody in; how its presenter signed in is the provider's word.
#[tokio::test(flavor = "multi_thread")]
async fn how_somebody_signed_in_is_passed_on_as_the_provider_says_it() {
    use crate::support::gateway::token_with;

    let gateway = Gateway::start().await;
    let said = json!({"auth_time": 1_600_000_000, "acr": "urn:example:loa:3", "amr": ["pwd", "otp"]});
    let provider_says = |subject: &str| {
        let said = said.clone();
        token_with(subject, move |claims| claims.as_object_mut().unwrap().extend(said.as_object().unwrap().clone()))
    };
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for is_told in [true, false] {
        let ada = if is_told { Phone::with_token(provider_says("ada"), &gateway) } else { Phone::of("ada", &gateway) };
        let desk = Browser::new(&gateway);
        let id = desk.create().await;
        ada.act(&id, "scan").await;
        ada.act(&id, "confirm").await;
        let shown = json(desk.read(&id).await).await.1;
        let login = verified_claims(&gateway, shown["token"]["access_token"].as_str().unwrap(), "web").await;

        let id = id_of(&ada.share(&gateway, json!({})).await);
        let scanner = Browser::new(&gateway);
        scanner.scan(&id, json!({})).await;
        let seen = json(ada.read(&id).await).await.1["scanned_by"]["id"].clone();
        ada.act_with(&id, "confirm", json!({"scanner": seen})).await;
        let shown = json(scanner.read(&id).await).await.1;
        let share = verified_claims(&gateway, shown["token"]["access_token"].as_str().unwrap(), "web").await;

        for (claims, flow) in [(&login, "login"), (&share, "share")] {
            assert_eq!(claims["flow"], flow);
            assert!(claims["confirmed_at"].as_u64().unwrap() >= before, "{claims}");
            for name in ["auth_time", "acr"] {
                assert_eq!(claims.get(name), is_told.then(|| &said[name]), "{name} in {claims}");
            }
        }
        let mca = json!(["mca"]);
        assert_eq!(login.get("amr"), Some(if is_told { &said["amr"] } else { &mca }));
        assert_eq!(share.get("amr"), is_told.then(|| &said["amr"]));
    }
}

/// Somebody else has granted it: nothing of the gateway's takes it for a sign-in of who brings it.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_jwt_signs_nobody_in() {
    let gateway = Gateway::start().await;
    let (ada, scanner, desk) = (Phone::of("ada", &gateway), Browser::new(&gateway), Browser::new(&gateway));
    let id = id_of(&ada.share(&gateway, json!({})).await);
    scanner.scan(&id, json!({})).await;
    let seen = json(ada.read(&id).await).await.1["scanned_by"]["id"].clone();
    ada.act_with(&id, "confirm", json!({"scanner": seen})).await;
    let shared = json(scanner.read(&id).await).await.1["token"]["access_token"].clone();
    let id = desk.create().await;
    ada.approve(&id).await;
    let own = json(desk.read(&id).await).await.1["token"]["access_token"].clone();
    for (jwt, expected) in [(own, StatusCode::NO_CONTENT), (shared, StatusCode::UNAUTHORIZED)] {
        for (method, path) in [(Method::GET, "/v1/verify?client_id=web"), (Method::POST, "/v1/redeem?client_id=web")] {
            let request = reqwest::Client::new().request(method, gateway.url(path));
            let answer = request.bearer_auth(jwt.as_str().unwrap()).send().await.unwrap();
            assert_eq!(answer.status(), expected, "{path}");
            if expected == StatusCode::UNAUTHORIZED {
                assert!(!answer.headers().contains_key("set-cookie"));
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["code"], "invalid_session");
                assert!(problem["detail"].as_str().unwrap().contains("share"), "{problem}");
            }
        }
    }
}
