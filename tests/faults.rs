//! What breaks in the night: Redis dies, freezes, comes back empty; the identity provider is down. Nothing that was
//! acknowledged may be lost, and no stream may stay on a stale state.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use futures_util::StreamExt as _;
use futures_util::future::join_all;

use crate::support::events::Frame;
use crate::support::gateway::{Browser, Builder, Phone, verified_claims};
use crate::support::{EventStream, Gateway, Proxy, Redis, SOON, eventually, within};

/// A Redis that has every acknowledged write on disk, as the documentation asks for where nothing may be lost.
fn durable_redis() -> Redis {
    Redis::with(&["--appendonly", "yes", "--appendfsync", "always"])
}

async fn gateway_on(redis: &Redis) -> Gateway {
    settings(Gateway::builder().redis(redis)).start().await
}

/// One that waits for Redis for long, for tests in which that is busy and never silent.
async fn patient_gateway_on(redis: &Redis) -> Gateway {
    patient(Gateway::builder().redis(redis)).start().await
}

fn patient(builder: Builder) -> Builder {
    builder.arg("--redis-timeout", "8s").arg("--streams-per-address", "100000")
}

/// Those of a gateway that is to notice faults soon, and has many streams of one browser.
fn settings(builder: Builder) -> Builder {
    builder.arg("--redis-timeout", "1s").arg("--streams-per-address", "100000")
}

/// Makes a ticket and opens its stream.
async fn wait_with(browser: &Browser) -> (String, EventStream) {
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    events.expect("pending").await;
    (id, events)
}

async fn is_ready(gateway: &Gateway) -> bool {
    reqwest::get(format!("{}/readyz", gateway.admin)).await.unwrap().status() == StatusCode::OK
}

/// Makes tickets and opens their streams, some at the same time.
async fn crowd(browser: &Browser, count: usize) -> Vec<(String, EventStream)> {
    // The test process holds one end of each connection.
    crate::support::raise_open_files();
    // One cookie for all of them.
    browser.create().await;
    let all = (0..count).map(|_| wait_with(browser));
    futures_util::stream::iter(all).buffer_unordered(16).collect().await
}

/// Does `action` until it is acknowledged; returns how often it was not.
async fn insist(phone: &Phone, id: &str, action: &str) -> usize {
    for refusals in 0..200 {
        let response = phone.act(id, action).await;
        if response.status() == StatusCode::OK {
            return refusals;
        }
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", response.text().await.unwrap());
        // Sooner than the answer asks for, but not all of a crowd at once.
        tokio::time::sleep(Duration::from_millis(rand::random_range(100..500))).await;
    }
    panic!("{action} is refused again and again");
}

/// Waits for the event called `name`. Events before it are those of states that come before.
async fn until(events: &mut EventStream, name: &str) -> Frame {
    const ORDER: [&str; 4] = ["pending", "scanned", "confirmed", "expired"];
    let rank = |name: &str| ORDER.iter().position(|&other| other == name).expect("no such event was expected");
    loop {
        let frame = events.next().await.unwrap_or_else(|| panic!("the stream ended before {name}"));
        if frame.event == name {
            return frame;
        }
        assert!(rank(&frame.event) < rank(name), "{frame:?} before {name}");
    }
}

/// Scans and confirms at one gateway what waits at another, and tells how long after each acknowledgement its stream told
/// of it, and how often the phone was refused.
async fn approve_and_be_told(phone: &Phone, id: &str, events: &mut EventStream) -> (Duration, usize) {
    let mut longest = Duration::ZERO;
    let mut refusals = 0;
    for (action, event) in [("scan", "scanned"), ("confirm", "confirmed")] {
        refusals += insist(phone, id, action).await;
        let acknowledged = Instant::now();
        let frame = until(events, event).await;
        longest = longest.max(acknowledged.elapsed());
        assert_eq!(frame.data["token"]["access_token"].is_string(), event == "confirmed");
    }
    (longest, refusals)
}

/// Returns the median and the longest, as text, and the longest.
fn spread(mut times: Vec<Duration>) -> (String, Duration) {
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    (format!("p50 {median:.1?}, longest {longest:.1?}"), longest)
}

mod clocks;
mod cluster;
mod cost;
mod far;
mod gateways;
mod identity_provider;
mod logins;
mod memory;
mod network;
mod notifications;
mod overruns;
mod sentinel;
mod standalone;
