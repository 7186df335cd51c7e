//! Many streams on one gateway: what they cost and give back, their heartbeats and ends, its bounds, its drain.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::{IN_TIME, memory_kib, metric_is, parked, roomy};
use crate::support::gateway::{Browser, Phone};
use crate::support::guest::Waiting;
use crate::support::{Gateway, Guest, Redis, Wire, within};

const HEARTBEAT: &[u8] = b"event: heartbeat\ndata: {}\n\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_costs_far_less_than_a_connection_of_http() {
    const STREAMS: usize = 2_000;

    let mut grown = Vec::new();
    for detach in ["true", "false"] {
        let gateway = roomy().arg("--detach", detach).start().await;
        let guest = Guest::of(&gateway).await;
        // What the first ones need is there for all.
        let first = guest.wait_often_at(&gateway, 100).await;
        let before = memory_kib(&gateway.process);
        let streams = guest.wait_often_at(&gateway, STREAMS).await;
        metric_is(&gateway, "scangate_streams_open", |open| open == (STREAMS + 100) as f64).await;
        parked(&gateway, if detach == "true" { STREAMS + 100 } else { 0 }).await;
        grown.push(memory_kib(&gateway.process).saturating_sub(before));
        drop((first, streams));
    }
    println!("{STREAMS} streams take {} KiB detached, {} KiB kept", grown[0], grown[1]);
    assert!(grown[0] * 5 < grown[1] * 2, "{grown:?} KiB");
}

// Other allocators keep most of it.
#[cfg(feature = "jemalloc")]
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_given_back_after_a_peak() {
    const STREAMS: usize = 3_000;

    let redis = Redis::start();
    // Tickets are in Redis: all that the gateway holds is streams. hyper keeps them, since parked ones are so small that what
    // the threads' own caches grow by on a busy machine is as much.
    let gateway = roomy().redis(&redis).arg("--ticket-ttl", "30m").arg("--detach", "false").start().await;
    let guest = Guest::of(&gateway).await;
    // What every thread keeps once it has worked is no matter of the peak.
    drop(guest.wait_often_at(&gateway, 200).await);
    metric_is(&gateway, "scangate_connections_open", |open| open == 0.0).await;
    let before = memory_kib(&gateway.process);
    let streams = guest.wait_often_at(&gateway, STREAMS).await;
    let peak = memory_kib(&gateway.process);
    // Otherwise there would be nothing to give back.
    assert!(peak > before + STREAMS as u64 * 4, "{peak} KiB with streams, {before} KiB without");
    drop(streams);
    metric_is(&gateway, "scangate_connections_open", |open| open == 0.0).await;
    let is_given_back = async || {
        let after = memory_kib(&gateway.process);
        (after.saturating_sub(before) * 2 < peak - before).then_some(after)
    };
    let after = within(IN_TIME, "half of the memory coming back", is_given_back).await;
    println!("{before} KiB, with {STREAMS} streams {peak} KiB, afterwards {after} KiB");
    // The subscriptions went, too.
    let channels: Vec<String> = redis.run(&["PUBSUB", "CHANNELS", "*{*"]);
    assert!(channels.len() < 10, "{} channels are left", channels.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_parked_stream_has_its_heartbeats() {
    const STREAMS: usize = 300;
    const BEATS: usize = 4;

    let gateway = roomy().arg("--heartbeat", "1s").start().await;
    let guest = Guest::of(&gateway).await;
    let started = Instant::now();
    let streams = guest.wait_often_at(&gateway, STREAMS).await;
    parked(&gateway, STREAMS).await;
    let mut counting = JoinSet::new();
    for mut waiting in streams {
        counting.spawn(async move {
            waiting.wire.head().await;
            let mut beats = 0;
            while beats < BEATS {
                let chunk = waiting.wire.chunk().await;
                assert_ne!(chunk.data, b"", "the stream ended");
                beats += usize::from(chunk.data == HEARTBEAT);
            }
            // As many as have come by now.
            while let Some((chunk, length)) = crate::support::wire::Chunk::first_of(&waiting.wire.unread) {
                waiting.wire.unread.drain(..length);
                beats += usize::from(chunk.data == HEARTBEAT);
            }
            (beats, started.elapsed(), waiting)
        });
    }
    let counted = counting.join_all().await;
    assert_eq!(counted.len(), STREAMS);
    for (beats, within, _) in &counted {
        // One early at first; a busy machine may have fewer, but none may have more.
        assert!(*beats <= within.as_secs() as usize + 2, "{beats} within {within:?}");
    }
    assert_eq!(gateway.metric("scangate_connections_detached").await, STREAMS as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_streams_are_told_when_their_time_is_over() {
    const STREAMS: usize = 200;

    let gateway = roomy().arg("--ticket-ttl", "5s").start().await;
    let guest = Guest::of(&gateway).await;
    let streams = guest.wait_often_at(&gateway, STREAMS).await;
    join_all(streams.into_iter().map(async |Waiting { id, mut wire }| {
        wire.head().await;
        let body = wire.body().await;
        assert!(
            body.ends_with(&format!("event: expired\nid: expired\ndata: {{\"ticket_id\":\"{id}\"}}\n\n")),
            "{body}"
        );
        assert_eq!(wire.unread, b"");
    }))
    .await;
    assert_eq!(gateway.metric(r#"scangate_streams_closed_total{reason="expired"}"#).await, STREAMS as f64);
    parked(&gateway, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_a_thousand_streams_one_after_the_other() {
    const STREAMS: usize = 1_000;
    const DRAIN: Duration = Duration::from_secs(10);

    let mut gateway = roomy().arg("--drain", "10s").start().await;
    let guest = Guest::of(&gateway).await;
    let streams = guest.wait_often_at(&gateway, STREAMS).await;
    let browser = Browser::new(&gateway);
    let (late, polled) = (guest.create().await, browser.create().await);
    let poll = tokio::spawn({
        let path = format!("/v1/tickets/{polled}?wait=60&revision=1");
        async move { browser.get(&path).await.status() }
    });
    metric_is(&gateway, "scangate_streams_open", |open| open == (STREAMS + 1) as f64).await;
    parked(&gateway, STREAMS).await;

    let told = Instant::now();
    gateway.process.signal("TERM");
    let mut ending = JoinSet::new();
    for Waiting { mut wire, .. } in streams {
        ending.spawn(async move {
            wire.head().await;
            let mut chunks = wire.chunks().await;
            let ended = told.elapsed();
            let last = String::from_utf8(chunks.pop().unwrap().data).unwrap();
            assert_eq!(wire.rest().await, b"", "after the last chunk");
            (ended, retry_of(&last))
        });
    }
    let ready = || reqwest::get(format!("{}/readyz", gateway.admin));
    within(IN_TIME, "unreadiness", || async { (ready().await.unwrap().status() == 503).then_some(()) }).await;
    // Other requests are served, and the next ones asked to go elsewhere.
    let page = reqwest::get(&gateway.base).await.unwrap();
    assert_eq!((page.status().as_u16(), &page.headers()["connection"]), (200, &"close".parse().unwrap()));
    // One that comes now is sent away, and will come back.
    let mut wire = Wire::tcp(&gateway.base).await;
    wire.send(&guest.ask_events(&late)).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    retry_of(&wire.body().await);

    let mut ends = ending.join_all().await;
    assert_eq!(poll.await.unwrap(), 200);
    ends.sort_unstable();
    assert_eq!(ends.len(), STREAMS);
    let within_part = |part: f64| ends.iter().filter(|(ended, _)| *ended < DRAIN.mul_f64(part)).count();
    // However busy the machine is, it makes ends later, not earlier.
    assert!(within_part(0.1) < STREAMS * 3 / 10, "{} within the first tenth", within_part(0.1));
    assert!(within_part(0.5) < STREAMS * 7 / 10, "{} within the first half", within_part(0.5));
    let retries: std::collections::HashSet<_> = ends.iter().map(|(_, retry)| retry).collect();
    assert!(retries.len() > STREAMS / 2, "{} different times to come back", retries.len());
    let code = within(IN_TIME, "the exit", || std::future::ready(gateway.process.exit_code())).await;
    assert_eq!(code, 0, "{}", gateway.log());
    assert!(!gateway.log().contains("are cut"), "{}", gateway.log());
}

/// Returns the time of a `retry` that comes with nothing but the word to come back.
fn retry_of(text: &str) -> u64 {
    let millis = text.strip_prefix("retry: ").and_then(|text| text.strip_suffix("\nevent: reconnect\ndata: {}\n\n"));
    let millis = millis.unwrap_or_else(|| panic!("{text:?} is no retry alone")).parse().unwrap();
    assert!((1_000..10_000).contains(&millis), "{millis}");
    millis
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_cap_wait_until_one_ends() {
    let gateway = Gateway::builder().arg("--max-connections", "4").start().await;
    let guest = Guest::of(&gateway).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(guest.create().await);
    }
    metric_is(&gateway, "scangate_connections_open", |open| open == 0.0).await;
    let open = async |id: &String| {
        let mut wire = Wire::tcp(&gateway.base).await;
        wire.send(&guest.ask_events(id)).await;
        wire
    };
    let mut served = Vec::new();
    for id in &ids[..4] {
        let mut wire = open(id).await;
        wire.until("}\n\n\r\n").await;
        served.push(wire);
    }
    parked(&gateway, 4).await;
    let mut waiting = [open(&ids[4]).await, open(&ids[5]).await];
    for round in 0..2 {
        for wire in &mut waiting[round..] {
            let early = tokio::time::timeout(Duration::from_millis(300), wire.receive()).await;
            assert!(early.is_err(), "it was served beyond the cap");
        }
        assert_eq!(gateway.metric("scangate_connections_open").await, 4.0);
        served.pop();
        waiting[round].until("event: pending").await;
    }
    // The next in the queue has its turn when a stream ends by itself.
    let mut last = open(&ids[0]).await;
    let phone = Phone::of("ada", &gateway);
    served.pop();
    served.pop();
    last.until("event: pending").await;
    phone.approve(&ids[4]).await;
    waiting[0].until("event: confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_cap_are_sent_away_to_come_back() {
    let gateway = Gateway::builder().arg("--streams-per-process", "3").start().await;
    let guest = Guest::of(&gateway).await;
    let mut served = guest.wait_often_at(&gateway, 3).await;
    let id = guest.create().await;
    let mut wire = Wire::tcp(&gateway.base).await;
    for _ in 0..3 {
        wire.send(&guest.ask_events(&id)).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("text/event-stream"), "{head}");
        retry_of(&wire.body().await);
        assert_eq!(wire.unread, b"");
    }
    served.pop();
    metric_is(&gateway, "scangate_streams_open", |open| open == 2.0).await;
    wire.send(&guest.ask_events(&id)).await;
    wire.until("event: pending").await;
    parked(&gateway, 3).await;
}
