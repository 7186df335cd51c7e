//! When a stream is parked, and how it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use parked_streams::{LossReason, Settings};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_stream::{StreamExt as _, wrappers::WatchStream};

use crate::support::{Site, Wire, contains, event_stream, eventually, request};

/// Counts the bodies that exist.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Streams that send each value of `values` and end with it. `/plain` answers at once.
fn router(values: &watch::Sender<u32>, alive: &Arc<AtomicUsize>) -> Router {
    let (values, alive) = (values.subscribe(), Arc::clone(alive));
    let events = async move || {
        let guard = Alive::new(&alive);
        event_stream(WatchStream::new(values.clone()).map(move |value| {
            let _guard = &guard;
            Bytes::from(format!("data: {value}\n\n"))
        }))
    };
    Router::new()
        .route("/events", get(events.clone()).post(events))
        .route("/plain", get(async || "plain"))
        .route("/ignore", post(async || "ignored"))
}

struct Stage {
    site: Site,
    values: Option<watch::Sender<u32>>,
    alive: Arc<AtomicUsize>,
}

impl Stage {
    async fn start(settings: Settings) -> Self {
        let (values, alive) = (watch::Sender::new(1), Arc::default());
        let site = Site::start(settings, |_| router(&values, &alive)).await;
        Self { site, values: Some(values), alive }
    }

    fn send(&self, value: u32) {
        self.values.as_ref().unwrap().send(value).unwrap();
    }

    /// Ends every stream: each keeps a receiver alone.
    fn end_streams(&mut self) {
        self.values = None;
    }

    async fn bodies(&self, count: usize) {
        eventually("as many bodies as expected", || self.alive.load(Relaxed) == count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_parked_after_its_first_event_and_sends_later_ones() {
    let stage = Stage::start(Settings::default()).await;
    for is_tcp in [true, false] {
        let mut wire = stage.site.ask(is_tcp, &request("/events")).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(wire.chunk().await, b"data: 1\n\n");
        stage.site.parked(1).await;
        stage.send(2);
        assert_eq!(wire.chunk().await, b"data: 2\n\n");
        assert_eq!(stage.site.counts.parked(), 1);
        drop(wire);
        stage.site.open(0).await;
        stage.send(1);
    }
    assert_eq!(stage.site.counts.ever_parked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_gives_its_connection_back() {
    let mut stage = Stage::start(Settings::default()).await;
    let mut early = stage.site.ask(true, &request("/events")).await;
    let mut late = stage.site.ask(false, &request("/events")).await;
    let mut closing = stage.site.ask(true, "GET /events HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
    let mut old = stage.site.ask(true, "GET /events HTTP/1.0\r\n\r\n").await;
    stage.site.parked(4).await;
    // A request sent while the stream goes on is answered after it.
    early.send(&request("/plain")).await;
    stage.end_streams();
    for wire in [&mut early, &mut late] {
        wire.head().await;
        assert_eq!(wire.chunks().await, [b"data: 1\n\n"]);
    }
    late.send(&request("/plain")).await;
    for wire in [&mut early, &mut late] {
        assert!(wire.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
        wire.until("plain").await;
    }
    assert!(closing.text().await.ends_with("\r\n0\r\n\r\n"));
    assert!(old.text().await.ends_with("\r\n\r\ndata: 1\n\n"));
    stage.site.open(2).await;
    assert_eq!(LossReason::ALL.map(|reason| stage.site.counts.lost(reason)), [0; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_parked_connection_drops_its_body_and_is_told() {
    let stage = Stage::start(Settings::default()).await;
    let mut wire = stage.site.ask(false, &request("/events")).await;
    // A Unix socket that is closed with unread bytes resets.
    wire.until("data: 1\n\n").await;
    let socket = TcpStream::connect(&stage.site.address).await.unwrap();
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    let mut resetting = Wire::over(socket);
    resetting.send(&request("/events")).await;
    let mut flooding = stage.site.ask(true, &request("/events")).await;
    stage.site.parked(3).await;
    drop(wire);
    drop(resetting);
    flooding.send(&"x".repeat(16 * 1024 + 1)).await;
    stage.site.open(0).await;
    stage.bodies(0).await;
    stage.site.parked(0).await;
    for reason in LossReason::ALL {
        let is_expected = matches!(reason, LossReason::Closed | LossReason::Reset | LossReason::Flooding);
        assert_eq!(stage.site.counts.lost(reason), usize::from(is_expected), "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_connection_that_is_not_parked_drops_its_body() {
    let stage = Stage::start(Settings { park: false, ..Settings::default() }).await;
    let mut wire = stage.site.ask(true, &request("/events")).await;
    wire.until("data: 1\n\n").await;
    drop(wire);
    stage.site.open(0).await;
    stage.bodies(0).await;
    assert_eq!(stage.site.counts.ever_parked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_response_to_a_get_is_parked() {
    let stage = Stage::start(Settings::default()).await;
    let mut posted = stage.site.ask(true, "POST /events HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").await;
    posted.until("data: 1\n\n").await;
    let mut parked = stage.site.ask(true, &request("/events")).await;
    parked.until("data: 1\n\n").await;
    stage.site.parked(1).await;
    stage.send(2);
    posted.until("data: 2\n\n").await;
    assert_eq!(stage.site.counts.ever_parked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_more_than_is_read_gets_its_response() {
    let stage = Stage::start(Settings::default()).await;
    let length = 256 * 1024;
    let mut wire = stage.site.tcp().await;
    wire.send(&format!("POST /ignore HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n")).await;
    wire.send(&"x".repeat(length)).await;
    let response = wire.text().await;
    assert!(contains(response.as_bytes(), "ignored"), "{response}");
}
