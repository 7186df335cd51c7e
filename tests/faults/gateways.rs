//! Gateways die in the middle of sign-ins: whoever comes back to another one is handed the same JWT.

use std::collections::HashSet;
use std::sync::Mutex;

use eventsource_stream::Eventsource as _;

use super::*;
use crate::support::free_port;
use crate::support::gateway::{keys, token, verify_with};

/// Two gateways on one Redis, with the same keys, at addresses that they keep.
struct Pair {
    redis: Redis,
    keys: tempfile::TempDir,
    listen: [String; 2],
    gateways: [Gateway; 2],
}

impl Pair {
    async fn start() -> Self {
        let (redis, keys) = (Redis::start(), keys());
        let listen = [0, 1].map(|_| format!("127.0.0.1:{}", free_port()));
        let gateways = [Self::launch(&redis, &keys, &listen[0]).await, Self::launch(&redis, &keys, &listen[1]).await];
        Self { redis, keys, listen, gateways }
    }

    async fn launch(redis: &Redis, keys: &tempfile::TempDir, listen: &str) -> Gateway {
        let builder = patient(Gateway::builder().redis(redis)).arg("--public-url", "http://localhost:8080");
        builder.arg("--keys-dir", keys.path().to_str().unwrap()).arg("--listen", listen).start().await
    }

    async fn restart(&mut self, index: usize) {
        self.gateways[index] = Self::launch(&self.redis, &self.keys, &self.listen[index]).await;
    }

    async fn key_set(&self) -> Value {
        reqwest::get(self.gateways[1].url("/.well-known/jwks.json")).await.unwrap().json().await.unwrap()
    }
}

fn access_token(frame: &Frame) -> &str {
    frame.data["token"]["access_token"].as_str().expect("no token")
}

/// Returns the `jti` that was fixed for a ticket, by what its gateway has logged.
fn claimed_jti(gateway: &Gateway, id: &str) -> Option<String> {
    let lines = gateway.process.lines().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let mut claims = lines.filter(|line| line["message"] == "claimed" && line["ticket"] == id);
    claims.next().map(|line| line["jti"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dies_between_confirmation_and_event_loses_neither() {
    let mut pair = Pair::start().await;
    let browser = Browser::new(&pair.gateways[0]);
    let (id, mut events) = wait_with(&browser).await;
    let ada = Phone::of("ada", &pair.gateways[1]);
    ada.act(&id, "scan").await;
    let seen = events.expect("scanned").await.id;
    // It does not get to hear of the confirmation.
    pair.gateways[0].process.signal("STOP");
    assert_eq!(ada.act(&id, "confirm").await.status(), StatusCode::OK);
    pair.gateways[0].process.kill();
    drop(events);

    let back = browser.at(&pair.gateways[1]);
    let frame = EventStream::new(back.events_after(&id, &seen).await).expect("confirmed").await;
    assert_eq!(verify_with(&pair.key_set().await, access_token(&frame), "web")["sub"], "ada");
    assert_eq!(back.events_after(&id, &frame.id).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_dies_after_the_claim_leaves_the_same_token_to_another() {
    let mut pair = Pair::start().await;
    let browser = Browser::new(&pair.gateways[0]);
    let (id, mut events) = wait_with(&browser).await;
    let ada = Phone::of("ada", &pair.gateways[1]);
    ada.act(&id, "scan").await;
    let seen = events.expect("scanned").await.id;
    ada.act(&id, "confirm").await;
    let jti = eventually("the claim", || async { claimed_jti(&pair.gateways[0], &id) }).await;
    pair.gateways[0].process.kill();
    // Nobody has read what was on its way.
    drop(events);

    let back = browser.at(&pair.gateways[1]);
    let key_set = pair.key_set().await;
    for _ in 0..2 {
        let frame = EventStream::new(back.events_after(&id, &seen).await).expect("confirmed").await;
        let claims = verify_with(&key_set, access_token(&frame), "web");
        assert_eq!((claims["sub"].as_str(), claims["jti"].as_str()), (Some("ada"), Some(&*jti)));
    }
    assert_eq!(claimed_jti(&pair.gateways[1], &id), None, "it was claimed twice");
}

/// Does a request at whichever of the addresses answers it with success, again and again.
async fn insist_anywhere(listen: &[String; 2], what: &str, request: impl Fn(&str) -> reqwest::RequestBuilder) -> Value {
    for attempt in 0..400 {
        if let Ok(response) = request(&format!("http://{}", listen[attempt % 2])).send().await {
            let status = response.status();
            let body: Result<Value, _> = response.json().await;
            match body {
                Ok(body) if status.is_success() => return body,
                Ok(body) => assert!(status.is_server_error(), "{what}: {status} {body}"),
                Err(_) => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} is refused again and again");
}

/// Follows a ticket's stream as a browser does, coming back to the other address when it breaks, until `204` says that all
/// was seen. `seen` is what its last event was. Returns every token, and how often it came back.
async fn follow(http: &reqwest::Client, listen: &[String; 2], id: &str, seen: &Mutex<String>) -> (Vec<String>, usize) {
    let mut tokens = Vec::new();
    for attempt in 0..400 {
        let request = http.get(format!("http://{}/v1/tickets/{id}/events", listen[attempt % 2]));
        let last = seen.lock().unwrap().clone();
        let request = if last.is_empty() { request } else { request.header("last-event-id", last) };
        match request.send().await {
            Ok(response) if response.status() == StatusCode::NO_CONTENT => return (tokens, attempt),
            Ok(response) => {
                assert_eq!(response.status(), StatusCode::OK, "after {:?}", seen.lock().unwrap());
                let mut events = response.bytes_stream().eventsource();
                while let Some(Ok(event)) = events.next().await {
                    match event.event.as_str() {
                        "pending" | "scanned" => {}
                        "heartbeat" => continue,
                        "confirmed" => {
                            let data: Value = serde_json::from_str(&event.data).unwrap();
                            tokens.push(data["token"]["access_token"].as_str().unwrap().to_owned());
                        }
                        other => panic!("{other}, where the sign-in was or is to be confirmed"),
                    }
                    // As if the first answer with the token had not been read, it is asked for once more.
                    if event.event != "confirmed" || tokens.len() > 1 {
                        *seen.lock().unwrap() = event.id;
                    }
                }
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it comes back again and again");
}

async fn every_confirmation_ends_in_one_token(logins: usize, at_once: usize) {
    let mut pair = Pair::start().await;
    let (key_set, listen) = (pair.key_set().await, pair.listen.clone());
    let phone = reqwest::Client::new();
    let logins = futures_util::stream::iter(0..logins).map(async |index| {
        let person = format!("person{index}");
        let browser = reqwest::Client::builder().cookie_store(true).build().unwrap();
        let ticket = insist_anywhere(&listen, "create", |base| {
            let request = browser.post(format!("{base}/v1/tickets")).json(&json!({}));
            request.header("sec-fetch-site", "same-origin").header("origin", "http://localhost:8080")
        });
        let ticket = ticket.await;
        let id = ticket["ticket_id"].as_str().unwrap();
        let seen = Mutex::default();
        let approving = async {
            for action in ["scan", "confirm"] {
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..400))).await;
                let request = |base: &str| {
                    let request = phone.post(format!("{base}/v1/tickets/{id}/{action}"));
                    request.bearer_auth(token(&person)).json(&json!({}))
                };
                insist_anywhere(&listen, action, request).await;
            }
            Instant::now()
        };
        let following = async {
            let followed = follow(&browser, &listen, id, &seen).await;
            (followed, Instant::now())
        };
        let (acknowledged, ((tokens, attempts), told)) = tokio::join!(approving, following);
        let jtis: HashSet<_> = tokens
            .iter()
            .map(|token| {
                let claims = verify_with(&key_set, token, "web");
                assert_eq!(claims["sub"], *person);
                claims["jti"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(jtis.len(), 1, "{jtis:?}");
        (told.saturating_duration_since(acknowledged), attempts)
    });
    let mut kills = 0;
    let killing = async {
        loop {
            tokio::time::sleep(Duration::from_millis(rand::random_range(20..500))).await;
            let index = usize::from(rand::random::<bool>());
            pair.gateways[index].process.kill();
            kills += 1;
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..200))).await;
            pair.restart(index).await;
        }
    };
    let ended: Vec<_> = tokio::select! {
        ended = logins.buffer_unordered(at_once).collect() => ended,
        () = killing => unreachable!(),
    };
    let count = ended.len();
    let (times, attempts): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
    println!(
        "{count} sign-ins, {kills} kills, {} times a browser came back; from confirmation to the last event seen: {}",
        attempts.iter().sum::<usize>(),
        spread(times).0
    );
    assert!(kills > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_confirmation_ends_in_one_token_however_often_gateways_are_killed() {
    every_confirmation_ends_in_one_token(40, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; tests/run --soak"]
async fn a_thousand_confirmations_end_in_one_token_each_however_often_gateways_are_killed() {
    every_confirmation_ends_in_one_token(1_000, 8).await;
}
