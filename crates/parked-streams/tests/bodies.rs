//! Streams with bodies of any kind: with random pauses and sizes, endless, or panicking.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use futures_util::FutureExt as _;
use parked_streams::{LossReason, Settings};
use proptest::prelude::*;
use tokio::sync::broadcast;

use crate::support::{Counts, IN_TIME, Site, Wire, contains, event_stream, request};

fn settings(park: bool, write_timeout: Duration) -> Settings {
    Settings { park, write_timeout, ..Settings::default() }
}

/// The behaviour of a body before it yields a chunk.
#[derive(Debug, Clone, Copy)]
enum Pause {
    /// The chunk is ready.
    No,
    /// The body is pending, and wakes itself at once.
    Yield,
    /// The body sleeps.
    Sleep,
}

#[derive(Debug, Clone)]
struct Case {
    chunks: Vec<(Pause, usize)>,
    /// A pause before the end.
    last: Pause,
    version: &'static str,
    fields: &'static str,
    /// Whether the client sends its next request at once, if the connection allows one.
    is_pipelined: bool,
    is_tcp: bool,
    /// Whether the client does not read at first.
    is_slow: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let pause = || prop_oneof![2 => Just(Pause::No), 1 => Just(Pause::Yield), 2 => Just(Pause::Sleep)];
    let size = prop_oneof![2 => Just(0_usize), 1 => Just(9), 1 => Just(10), 1 => Just(15), 1 => Just(16), 1 => Just(256),
        6 => 1..2_000_usize, 3 => 2_000..100_000_usize];
    let version_and_fields = prop_oneof![
        3 => Just(("HTTP/1.1", "")),
        1 => Just(("HTTP/1.1", "Connection: close\r\n")),
        1 => Just(("HTTP/1.0", "")),
    ];
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.3));
    (prop::collection::vec((pause(), size), 0..24), pause(), version_and_fields, flags).prop_map(
        |(chunks, last, (version, fields), (is_pipelined, is_tcp, is_slow))| Case {
            chunks,
            last,
            version,
            fields,
            is_pipelined,
            is_tcp,
            is_slow,
        },
    )
}

async fn pause(pause: Pause) {
    match pause {
        Pause::No => {}
        Pause::Yield => tokio::task::yield_now().await,
        Pause::Sleep => tokio::time::sleep(Duration::from_millis(2)).await,
    }
}

/// The current case, and whether any part of a stream was sent while it was parked.
#[derive(Clone)]
struct Fixture {
    case: Arc<Mutex<Option<Case>>>,
    counts: Arc<Counts>,
    was_parked: Arc<AtomicBool>,
}

async fn serve_case(State(fixture): State<Fixture>) -> Response {
    let case = fixture.case.lock().unwrap().clone().unwrap();
    event_stream(async_stream::stream! {
        let mut letters = (b'a'..=b'z').cycle();
        for (before, size) in case.chunks {
            pause(before).await;
            if fixture.counts.parked() > 0 {
                fixture.was_parked.store(true, Relaxed);
            }
            yield std::iter::repeat_n(letters.next().unwrap(), size).collect();
        }
        pause(case.last).await;
    })
}

/// Returns all bytes that a server sends in a case, until the end of the connection, without the `Date` headers.
async fn record(site: &Site, fixture: &Fixture, case: &Case) -> Vec<u8> {
    *fixture.case.lock().unwrap() = Some(case.clone());
    let first = format!("GET /case {}\r\nHost: test\r\n{}\r\n", case.version, case.fields);
    let second = "GET /plain HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let mut wire = site.ask(case.is_tcp, &first).await;
    let keeps_alive = case.version == "HTTP/1.1" && case.fields.is_empty();
    if keeps_alive && case.is_pipelined {
        wire.send(second).await;
    }
    if case.is_slow {
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    if keeps_alive && !case.is_pipelined {
        wire.until("\r\n0\r\n\r\n").await;
        wire.send(second).await;
    }
    without_dates(&wire.rest().await)
}

fn without_dates(bytes: &[u8]) -> Vec<u8> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| !line.starts_with(b"date: ")).flatten().copied().collect()
}

#[test]
fn any_body_is_the_same_on_the_wire() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let start = |park| async move {
        let mut fixture = None;
        let site = Site::start(settings(park, IN_TIME), |counts| {
            let on = Fixture { case: Arc::default(), counts: Arc::clone(counts), was_parked: Arc::default() };
            fixture = Some(on.clone());
            Router::new().route("/case", get(serve_case)).route("/plain", get(async || "plain")).with_state(on)
        });
        let site = site.await;
        (site, fixture.unwrap())
    };
    let (parking, keeping) = runtime.block_on(async { tokio::join!(start(true), start(false)) });
    proptest!(ProptestConfig { cases: 96, max_shrink_iters: 64, failure_persistence: None, ..ProptestConfig::default() }, |(case in case())| {
        let (parked, kept) = runtime.block_on(async {
            tokio::join!(record(&parking.0, &parking.1, &case), record(&keeping.0, &keeping.1, &case))
        });
        let yielded: usize = case.chunks.iter().map(|(_, size)| size).sum();
        prop_assert!(kept.len() > yielded, "{} bytes for a body of {}", kept.len(), yielded);
        let differs = kept.iter().zip(&parked).position(|(kept, parked)| kept != parked);
        prop_assert!(kept == parked, "{} and {} bytes, which differ from {:?} on", kept.len(), parked.len(), differs);
    });
    assert!(parking.1.was_parked.load(Relaxed), "no stream was ever parked");
    assert!(!keeping.1.was_parked.load(Relaxed));
    runtime.block_on(parking.0.parked(0));
}

/// Bytes that hyper has not written when the body becomes pending must not be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_not_parked_before_all_of_it_is_written() {
    const FRAME: usize = 1_000;

    let resume = Arc::new(tokio::sync::Notify::new());
    let pending = Arc::new(tokio::sync::Notify::new());
    let route = {
        let (resume, pending) = (Arc::clone(&resume), Arc::clone(&pending));
        async move |Path(count): Path<usize>| {
            event_stream(async_stream::stream! {
                for index in 0..count {
                    yield frame(index, FRAME);
                }
                pending.notify_one();
                resume.notified().await;
                // More data than one stream may send before others are served.
                for index in count..count + 200 {
                    yield frame(index, FRAME);
                }
            })
        }
    };
    let site = Site::start(settings(true, IN_TIME), |_| Router::new().route("/{count}", get(route))).await;
    let (mut were_parked, mut were_not) = (0, 0);
    // The system buffers about 200 unread frames, and hyper a dozen more. The interesting counts are in between.
    for count in (4..400).step_by(3) {
        let mut wire = site.ask(false, &request(&format!("/{count}"))).await;
        // If the body does not become pending, hyper's buffer is full, and hyper polls the body again when this side reads.
        if tokio::time::timeout(Duration::from_millis(50), pending.notified()).await.is_ok() {
            tokio::task::yield_now().await;
            let is_parked = site.counts.parked() == 1;
            *if is_parked { &mut were_parked } else { &mut were_not } += 1;
        }
        resume.notify_one();
        wire.head().await;
        for (index, chunk) in wire.chunks().await.into_iter().enumerate() {
            assert!(chunk == frame(index, FRAME), "chunk {index} of {count} differs");
            assert!(index < count + 200);
        }
        let _ = pending.notified().now_or_never();
    }
    assert!(were_parked > 0 && were_not > 0, "{were_parked} were parked, {were_not} were not");
}

fn frame(index: usize, size: usize) -> Bytes {
    let mut frame = index.to_string().into_bytes();
    frame.resize(size, b'.');
    frame.into()
}

/// Bodies of all kinds. Each begins with a comment.
fn kinds(ticks: &broadcast::Sender<u64>) -> Router {
    let ticks = ticks.clone();
    let follow = async move || {
        let mut ticks = ticks.subscribe();
        event_stream(async_stream::stream! {
            yield Bytes::from_static(b":opened\n\n");
            while let Ok(tick) = ticks.recv().await {
                yield Bytes::from(format!("data: {tick}\n\n"));
            }
        })
    };
    let endless = async || {
        event_stream(async_stream::stream! {
            yield Bytes::from_static(b":opened\n\n");
            tokio::time::sleep(Duration::from_millis(1)).await;
            loop {
                yield Bytes::from_static(&[b'x'; 10_000]);
            }
        })
    };
    let panicking = async |State(panics): State<Arc<tokio::sync::Notify>>| {
        event_stream(async_stream::stream! {
            yield Bytes::from_static(b":opened\n\n");
            panics.notified().await;
            if !is_panic_disabled() {
                panic!("on purpose");
            }
            yield Bytes::new();
        })
    };
    let panics = async |State(panics): State<Arc<tokio::sync::Notify>>| panics.notify_waiters();
    Router::new()
        .route("/follow", get(follow))
        .route("/endless", get(endless))
        .route("/panicking", get(panicking))
        .route("/panic", get(panics))
        .with_state(Arc::default())
}

/// Returns false, but the compiler does not know it, so the code after the panic is not unreachable.
fn is_panic_disabled() -> bool {
    std::hint::black_box(false)
}

/// Opens streams that receive every tick, on both kinds of sockets.
async fn followers(site: &Site) -> Vec<Wire> {
    let mut followers = Vec::new();
    for is_tcp in [true, false, true, false] {
        let mut wire = site.ask(is_tcp, &request("/follow")).await;
        wire.until(":opened\n\n").await;
        followers.push(wire);
    }
    followers
}

static TICKS: AtomicU64 = AtomicU64::new(0);

/// Sends a tick to all followers, and waits until they have received it.
async fn send_tick(ticks: &broadcast::Sender<u64>, followers: &mut [Wire]) {
    let tick = TICKS.fetch_add(1, Relaxed);
    ticks.send(tick).unwrap();
    for wire in followers {
        wire.until(&format!("data: {tick}\n\n")).await;
    }
}

async fn a_client_that_does_not_read_is_disconnected(is_tcp: bool) {
    let (ticks, _) = broadcast::channel(16);
    let site = Site::start(settings(true, Duration::from_secs(1)), |_| kinds(&ticks)).await;
    let mut followers = followers(&site).await;
    let mut slow = site.ask(is_tcp, &request("/endless")).await;
    slow.until(":opened\n\n").await;
    site.parked(5).await;
    send_tick(&ticks, &mut followers).await;
    let started = std::time::Instant::now();
    while site.counts.parked() > 4 {
        send_tick(&ticks, &mut followers).await;
        assert!(started.elapsed() < IN_TIME, "a client that does not read is never disconnected");
    }
    send_tick(&ticks, &mut followers).await;
    let (slow_count, vanished) = (site.counts.lost(LossReason::Slow), site.counts.lost(LossReason::Vanished));
    assert_eq!(slow_count + vanished, 1);
    assert!(is_tcp || slow_count == 1, "no client vanishes from a Unix socket");
    assert_eq!(site.counts.open(), 4);
    // The client receives everything written before, then the end of the connection without the last chunk.
    while slow.receive().await.is_ok_and(|count| count > 0) {}
    assert!(!slow.unread.ends_with(b"0\r\n\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_disconnected_on_tcp() {
    a_client_that_does_not_read_is_disconnected(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_disconnected_on_a_unix_socket() {
    a_client_that_does_not_read_is_disconnected(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_receives_everything() {
    let case = Case {
        chunks: (0..60).map(|index| (if index % 3 == 0 { Pause::Sleep } else { Pause::No }, 100_000)).collect(),
        last: Pause::Sleep,
        version: "HTTP/1.1",
        fields: "Connection: close\r\n",
        is_pipelined: false,
        is_tcp: false,
        is_slow: true,
    };
    let mut fixture = None;
    let site = Site::start(settings(true, IN_TIME), |counts| {
        let on = Fixture { case: Arc::default(), counts: Arc::clone(counts), was_parked: Arc::default() };
        fixture = Some(on.clone());
        Router::new().route("/case", get(serve_case)).with_state(on)
    })
    .await;
    let fixture = fixture.unwrap();
    *fixture.case.lock().unwrap() = Some(case);
    let mut wire = site.ask(false, "GET /case HTTP/1.1\r\nHost: test\r\n\r\n").await;
    wire.head().await;
    let mut chunks = Vec::new();
    for index in 0..60 {
        // Longer than the body pauses, so that the body waits for this side most of the time.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let chunk = wire.chunk().await;
        assert!(chunk.iter().all(|&letter| letter == b'a' + index % 26), "chunk {index}");
        chunks.push(chunk.len());
    }
    assert_eq!(chunks, [100_000; 60]);
    assert_eq!(wire.chunk().await, b"");
    assert!(fixture.was_parked.load(Relaxed));
    site.parked(0).await;
    for reason in LossReason::ALL {
        assert_eq!(site.counts.lost(reason), 0, "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_panics_ends_its_own_stream_only() {
    let (ticks, _) = broadcast::channel(16);
    let site = Site::start(settings(true, IN_TIME), |_| kinds(&ticks)).await;
    let mut followers = followers(&site).await;
    let mut panicking = Vec::new();
    // On every worker.
    for index in 0..8 {
        let mut wire = site.ask(index % 2 == 0, &request("/panicking")).await;
        wire.until(":opened\n\n").await;
        panicking.push(wire);
    }
    site.parked(12).await;
    site.ask(true, &request("/panic")).await.head().await;
    site.parked(4).await;
    assert_eq!(site.counts.lost(LossReason::Failed), 8);
    for wire in &mut panicking {
        while wire.receive().await.is_ok_and(|count| count > 0) {}
        assert!(!contains(&wire.unread, "\r\n0\r\n\r\n"), "the body looks complete");
    }
    send_tick(&ticks, &mut followers).await;
    // New ones are parked as before.
    let mut more = self::followers(&site).await;
    site.parked(8).await;
    send_tick(&ticks, &mut more).await;
}
