//! Several replicas on one Redis: one is killed, or all are restarted one after the other, while people wait and confirm.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use super::{IN_TIME, metric_is, roomy};
use crate::support::gateway::{Builder, Phone, keys, token, verify_with};
use crate::support::nginx::Place;
use crate::support::wire::{Chunk, contains};
use crate::support::{Edge, Guest, Redis, Wire, free_port, within};

/// How streams reach a replica.
enum Way {
    /// The first time the first, then the second.
    Direct([String; 2]),
    /// Whichever nginx takes, from one of this machine's addresses.
    Edge(Arc<Edge>, Ipv4Addr),
}

impl Way {
    async fn connect(&self, time: usize) -> io::Result<Wire> {
        match self {
            Self::Direct(bases) => Wire::try_tcp(&bases[time.min(1)]).await,
            Self::Edge(edge, source) => Wire::tls(edge, *source).await,
        }
    }
}

/// Waits as a browser's `EventSource` does, coming back with what was seen last, until the ticket is over. Returns the
/// last event's data; `waits` counts the others.
async fn follow(guest: Guest, id: String, waits: Arc<AtomicUsize>, way: Way) -> Value {
    let mut seen = String::new();
    let mut pause = Duration::ZERO;
    for time in 0.. {
        tokio::time::sleep(pause).await;
        pause = Duration::from_millis(100);
        let Ok(mut wire) = way.connect(time).await else { continue };
        let fields = if seen.is_empty() { String::new() } else { format!("Last-Event-ID: {seen}\r\n") };
        let request = guest.ask(&format!("/v1/tickets/{id}/events"), "HTTP/1.1", &fields);
        if wire.try_send(request.as_bytes()).await.is_err() {
            continue;
        }
        let (mut head, mut text) = (None, String::new());
        while let Ok(1..) = wire.receive().await {
            if head.is_none() && contains(&wire.unread, "\r\n\r\n") {
                head = Some(wire.head().await);
            }
            let Some(head) = &head else { continue };
            assert!(head.starts_with("HTTP/1.1 200 "), "after {seen:?}: {head}");
            let mut is_over = false;
            if head.contains("Transfer-Encoding: chunked") || head.contains("transfer-encoding: chunked") {
                while let Some((chunk, length)) = Chunk::first_of(&wire.unread) {
                    wire.unread.drain(..length);
                    is_over = chunk.data.is_empty();
                    text.push_str(std::str::from_utf8(&chunk.data).unwrap());
                }
            } else {
                // What nginx says by itself: a `retry` and nothing more.
                text.push_str(&String::from_utf8(std::mem::take(&mut wire.unread)).unwrap());
                is_over = text.ends_with("\n\n");
            }
            while let Some((block, rest)) = text.split_once("\n\n") {
                let field = |name| block.lines().find_map(|line| line.strip_prefix(name));
                if let Some(millis) = field("retry: ") {
                    // A browser waits as long as it is told; a tenth of that is enough to see it come back.
                    pause = Duration::from_millis(millis.parse::<u64>().unwrap() / 10);
                }
                if let Some(id) = field("id: ") {
                    id.clone_into(&mut seen);
                }
                match field("event: ") {
                    Some("heartbeat" | "reconnect") => {}
                    Some("pending" | "scanned") => _ = waits.fetch_add(1, Relaxed),
                    Some("confirmed") => return serde_json::from_str(field("data: ").unwrap()).unwrap(),
                    Some(other) => panic!("{other}, where the sign-in was confirmed"),
                    None => {}
                }
                text = rest.to_owned();
            }
            if is_over {
                break;
            }
        }
    }
    unreachable!("there are more numbers than that")
}

/// Does both steps, each until it is acknowledged.
async fn approve(phone: &Phone, id: &str) {
    for action in ["scan", "confirm"] {
        within(IN_TIME, action, || async {
            let response = phone.act(id, action).await;
            let (status, text) = (response.status(), response.text().await.unwrap());
            assert!(status == 200 || status == 429 || status.is_server_error(), "{action}: {status} {text}");
            if status != 200 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (status == 200).then_some(())
        })
        .await;
    }
}

fn subject(index: usize) -> String {
    format!("person{index}")
}

/// Checks that every stream ended with the token of the person who confirmed its ticket.
async fn each_has_its_token(streams: JoinSet<(usize, Value)>, count: usize, jwks: &Value) {
    let ended = tokio::time::timeout(IN_TIME, streams.join_all()).await.expect("a confirmation was lost");
    assert_eq!(ended.len(), count);
    for (index, data) in ended {
        let claims = verify_with(jwks, data["token"]["access_token"].as_str().expect("no token"), "web");
        assert_eq!(claims["sub"], subject(index));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_confirmation_is_lost_when_a_replica_is_killed_under_its_streams() {
    const STREAMS: usize = 500;

    let (redis, keys) = (Redis::start(), keys());
    let start = || roomy().redis(&redis).arg("--keys-dir", keys.path().to_str().unwrap()).start();
    let (mut one, other) = (start().await, start().await);
    let guest = Guest::of(&other).await;
    let is_waiting = Arc::new(AtomicUsize::new(0));
    let (mut streams, mut ids) = (JoinSet::new(), Vec::new());
    for index in 0..STREAMS {
        let id = guest.create().await;
        ids.push(id.clone());
        let (guest, is_waiting) = (guest.clone(), is_waiting.clone());
        let bases = [one.base.clone(), other.base.clone()];
        streams.spawn(async move { (index, follow(guest, id, is_waiting, Way::Direct(bases)).await) });
    }
    metric_is(&one, "scangate_connections_detached", |parked| parked == STREAMS as f64).await;
    assert_eq!(is_waiting.load(Relaxed), STREAMS);

    // Half of them are confirmed from before it dies until after the streams are back.
    let confirming = async {
        for (index, id) in ids.iter().enumerate().take(STREAMS / 2) {
            approve(&Phone::of(&subject(index), &other), id).await;
        }
    };
    let killing = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        one.process.kill();
    };
    tokio::join!(confirming, killing);
    for (index, id) in ids.iter().enumerate().skip(STREAMS / 2) {
        approve(&Phone::of(&subject(index), &other), id).await;
    }
    let jwks = reqwest::get(other.url("/.well-known/jwks.json")).await.unwrap().json().await.unwrap();
    each_has_its_token(streams, STREAMS, &jwks).await;
    metric_is(&other, "scangate_streams_open", |open| open == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_nginx_loses_neither_ticket_nor_confirmation() {
    const STREAMS: usize = 300;
    /// How many come from one address: the edge has bounds of its own.
    const EACH: usize = 50;

    let (redis, keys, place) = (Redis::start(), keys(), Place::choose());
    let replica = |listen: &str| -> Builder {
        let url = place.url();
        let builder = roomy().redis(&redis).arg("--public-url", &url).arg("--listen", listen).arg("--drain", "3s");
        builder.arg("--keys-dir", keys.path().to_str().unwrap())
    };
    let addresses = [0, 1].map(|_| format!("127.0.0.1:{}", free_port()));
    let mut replicas = Vec::new();
    for address in &addresses {
        replicas.push(replica(address).start().await);
    }
    let edge = Arc::new(Edge::start(place, &[&addresses[0], &addresses[1]]));
    let guest = Guest::of(&replicas[0]).await;
    let is_waiting = Arc::new(AtomicUsize::new(0));
    let (mut streams, mut ids) = (JoinSet::new(), Vec::new());
    for index in 0..STREAMS {
        let id = guest.create().await;
        ids.push(id.clone());
        let (guest, is_waiting, edge) = (guest.clone(), is_waiting.clone(), edge.clone());
        let source = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(index / EACH).unwrap());
        streams.spawn(async move { (index, follow(guest, id, is_waiting, Way::Edge(edge, source)).await) });
    }
    let all_wait = async || (is_waiting.load(Relaxed) >= STREAMS).then_some(());
    within(IN_TIME, "every stream's first event", all_wait).await;
    for replica in &replicas {
        assert!(replica.metric("scangate_connections_detached").await > 0.0, "one replica has all of them");
    }

    let is_restarted = AtomicBool::new(false);
    let phone = |index| Phone::through(edge.http().build().unwrap(), &edge.base, token(&subject(index)));
    let restarting = async {
        for (running, address) in replicas.iter_mut().zip(&addresses) {
            running.process.signal("TERM");
            let code = within(IN_TIME, "the exit", || std::future::ready(running.process.exit_code())).await;
            assert_eq!(code, 0, "{}", running.log());
            *running = replica(address).start().await;
        }
        is_restarted.store(true, Relaxed);
    };
    let confirming = async {
        let mut during = 0;
        for (index, id) in ids.iter().enumerate() {
            during += usize::from(!is_restarted.load(Relaxed));
            approve(&phone(index), id).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        during
    };
    let ((), during) = tokio::join!(restarting, confirming);
    println!("{during} of {STREAMS} sign-ins were confirmed during the restart");
    let jwks = edge.http().build().unwrap().get(edge.url("/.well-known/jwks.json")).send().await.unwrap();
    each_has_its_token(streams, STREAMS, &jwks.json().await.unwrap()).await;
}
