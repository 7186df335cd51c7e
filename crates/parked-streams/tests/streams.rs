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

/// Streams that send each value of `values` and end when its sender is dropped. `/plain` responds at once.
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

struct Fixture {
    site: Site,
    values: Option<watch::Sender<u32>>,
    alive: Arc<AtomicUsize>,
}

impl Fixture {
    async fn start(settings: Settings) -> Self {
        let (values, alive) = (watch::Sender::new(1), Arc::default());
        let site = Site::start(settings, |_| router(&values, &alive)).await;
        Self { site, values: Some(values), alive }
    }

    fn send(&self, value: u32) {
        self.values.as_ref().unwrap().send(value).unwrap();
    }

    /// Ends every stream: drops the only sender of values.
    fn end_streams(&mut self) {
        self.values = None;
    }

    async fn bodies(&self, count: usize) {
        eventually("the expected number of bodies", || self.alive.load(Relaxed) == count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_parked_after_its_first_event_and_sends_later_ones() {
    let fixture = Fixture::start(Settings::default()).await;
    for is_tcp in [true, false] {
        let mut wire = fixture.site.ask(is_tcp, &request("/events")).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(wire.chunk().await, b"data: 1\n\n");
        fixture.site.parked(1).await;
        fixture.send(2);
        assert_eq!(wire.chunk().await, b"data: 2\n\n");
        assert_eq!(fixture.site.counts.parked(), 1);
        drop(wire);
        fixture.site.open(0).await;
        fixture.send(1);
    }
    assert_eq!(fixture.site.counts.ever_parked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_http_again_after_its_stream() {
    let mut fixture = Fixture::start(Settings::default()).await;
    let mut early = fixture.site.ask(true, &request("/events")).await;
    let mut late = fixture.site.ask(false, &request("/events")).await;
    let mut closing = fixture.site.ask(true, "GET /events HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
    let mut old = fixture.site.ask(true, "GET /events HTTP/1.0\r\n\r\n").await;
    fixture.site.parked(4).await;
    // A request sent during the stream gets its response afterwards.
    early.send(&request("/plain")).await;
    fixture.end_streams();
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
    fixture.site.open(2).await;
    assert_eq!(LossReason::ALL.map(|reason| fixture.site.counts.lost(reason)), [0; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_parked_connection_drops_its_body_and_is_observed() {
    let fixture = Fixture::start(Settings::default()).await;
    let mut wire = fixture.site.ask(false, &request("/events")).await;
    // A Unix socket that is closed with unread bytes resets.
    wire.until("data: 1\n\n").await;
    let socket = TcpStream::connect(&fixture.site.address).await.unwrap();
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    let mut resetting = Wire::over(socket);
    resetting.send(&request("/events")).await;
    let mut flooding = fixture.site.ask(true, &request("/events")).await;
    fixture.site.parked(3).await;
    drop(wire);
    drop(resetting);
    flooding.send(&"x".repeat(16 * 1024 + 1)).await;
    fixture.site.open(0).await;
    fixture.bodies(0).await;
    fixture.site.parked(0).await;
    for reason in LossReason::ALL {
        let is_expected = matches!(reason, LossReason::Closed | LossReason::Reset | LossReason::Flooding);
        assert_eq!(fixture.site.counts.lost(reason), usize::from(is_expected), "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_connection_that_is_not_parked_drops_its_body() {
    let fixture = Fixture::start(Settings { park: false, ..Settings::default() }).await;
    let mut wire = fixture.site.ask(true, &request("/events")).await;
    wire.until("data: 1\n\n").await;
    drop(wire);
    fixture.site.open(0).await;
    fixture.bodies(0).await;
    assert_eq!(fixture.site.counts.ever_parked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_response_to_a_get_is_parked() {
    let fixture = Fixture::start(Settings::default()).await;
    let mut posted = fixture.site.ask(true, "POST /events HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").await;
    posted.until("data: 1\n\n").await;
    let mut parked = fixture.site.ask(true, &request("/events")).await;
    parked.until("data: 1\n\n").await;
    fixture.site.parked(1).await;
    fixture.send(2);
    posted.until("data: 2\n\n").await;
    assert_eq!(fixture.site.counts.ever_parked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_more_than_is_read_gets_its_response() {
    let fixture = Fixture::start(Settings::default()).await;
    let length = 256 * 1024;
    let mut wire = fixture.site.tcp().await;
    wire.send(&format!("POST /ignore HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n")).await;
    wire.send(&"x".repeat(length)).await;
    let response = wire.text().await;
    assert!(contains(response.as_bytes(), "ignored"), "{response}");
}
