//! What a client gets is, byte for byte, what it would get if its stream had stayed with HTTP; the connection lives on.

use std::net::Ipv4Addr;
use std::path::Path;

use futures_util::future::join_all;

use super::{metric_is, parked};
use crate::support::gateway::{Builder, Phone, token};
use crate::support::nginx::{Place, upstream};
use crate::support::wire::Chunk;
use crate::support::{Edge, Gateway, Guest, Wire};

/// How a stream is asked for, and what shall tell its end.
#[derive(Debug, Clone, Copy)]
struct Manner {
    version: &'static str,
    fields: &'static str,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// The last chunk; the connection stays.
    LastChunk,
    /// The last chunk, and then the connection's end.
    LastChunkAndClose,
    /// The connection's end.
    Close,
}

const MANNERS: [Manner; 6] = [
    Manner { version: "HTTP/1.1", fields: "", end: End::LastChunk },
    Manner { version: "HTTP/1.1", fields: "Connection: keep-alive\r\n", end: End::LastChunk },
    Manner { version: "HTTP/1.1", fields: "Connection: x, Close\r\n", end: End::LastChunkAndClose },
    Manner { version: "HTTP/1.1", fields: "Last-Event-ID: 0\r\nTE: trailers\r\n", end: End::LastChunk },
    Manner { version: "HTTP/1.0", fields: "", end: End::Close },
    Manner { version: "HTTP/1.0", fields: "Connection: keep-alive\r\n", end: End::Close },
];

/// All that a client got for one stream, without what differs from one stream to the next.
#[derive(Debug, PartialEq)]
struct Transcript {
    head: String,
    /// The data of each chunk but heartbeats; none where there are no chunks.
    chunks: Vec<String>,
    /// The body's blocks but heartbeats.
    blocks: Vec<String>,
}

/// What a stream says that has nothing to say.
const HEARTBEAT: &str = "event: heartbeat\ndata: {}\n\n";
/// How the sizes of chunks are written: by the gateway, and by nginx.
const UPPER: fn(usize) -> String = |size| format!("{size:X}");
const LOWER: fn(usize) -> String = |size| format!("{size:x}");

/// Waits through a whole sign-in on `wire`, with heartbeats before and after the scan.
async fn sign_in(
    mut wire: Wire,
    manner: Manner,
    guest: &Guest,
    phone: &Phone,
    size: fn(usize) -> String,
) -> Transcript {
    let id = guest.create().await;
    let path = format!("/v1/tickets/{id}/events");
    wire.send(&guest.ask(&path, manner.version, manner.fields)).await;
    wire.until("event: pending").await;
    let pulse = |wire: &Wire| wire.unread.windows(HEARTBEAT.len()).filter(|part| *part == HEARTBEAT.as_bytes()).count();
    while pulse(&wire) < 2 {
        assert_ne!(wire.receive().await.unwrap(), 0);
    }
    assert_eq!(phone.act(&id, "scan").await.status(), 200);
    wire.until("event: scanned").await;
    let beats = pulse(&wire);
    while pulse(&wire) == beats {
        assert_ne!(wire.receive().await.unwrap(), 0);
    }
    assert_eq!(phone.act(&id, "confirm").await.status(), 200);

    let head = wire.head().await;
    let is_chunked = head.to_lowercase().contains("\r\ntransfer-encoding: chunked\r\n");
    assert_eq!(is_chunked, manner.end != End::Close, "{manner:?}: {head}");
    let (chunks, body) = if is_chunked {
        let chunks = wire.chunks().await;
        for Chunk { size: written, data } in &chunks {
            assert_eq!(*written, size(data.len()));
        }
        let text = |chunk: Chunk| String::from_utf8(chunk.data).unwrap();
        let chunks: Vec<_> = chunks.into_iter().map(text).collect();
        let body = chunks.concat();
        (chunks, body)
    } else {
        (Vec::new(), String::from_utf8(wire.rest().await).unwrap())
    };
    match manner.end {
        End::LastChunk => serves_on(&mut wire, guest, &id).await,
        End::LastChunkAndClose => assert_eq!(wire.rest().await, b"", "after the last chunk"),
        End::Close => {}
    }
    assert!(body.ends_with("\n\n"));
    let same = |text: &str| without_chance(text, &id);
    Transcript {
        head: same(&head),
        chunks: chunks.iter().filter(|chunk| *chunk != HEARTBEAT).map(|chunk| same(chunk)).collect(),
        blocks: body
            .split_terminator("\n\n")
            .filter(|block| !block.starts_with("event: heartbeat"))
            .map(same)
            .collect(),
    }
}

/// Asks for something else on the same connection.
async fn serves_on(wire: &mut Wire, guest: &Guest, id: &str) {
    assert_eq!(wire.unread, b"", "after the last chunk");
    wire.send(&guest.ask(&format!("/v1/tickets/{id}"), "HTTP/1.1", "Connection: close\r\n")).await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""state":"confirmed""#), "{answer}");
}

/// Takes out what no two streams have in common, and checks that it is of the right kind.
fn without_chance(text: &str, id: &str) -> String {
    let mut text = text.replace(id, "ID");
    for (before, is_part) in [
        ("retry: ", char::is_ascii_digit as fn(&char) -> bool),
        (r#""expires_in":"#, |c| c.is_ascii_digit() || *c == '.'),
        (r#""access_token":""#, |c| c.is_ascii_alphanumeric() || "-_.".contains(*c)),
        ("date: ", |c| *c != '\r'),
        ("Date: ", |c| *c != '\r'),
        ("x-request-id: ", |c| *c != '\r'),
        ("https://localhost:", char::is_ascii_digit),
    ] {
        let mut parts = text.split(before);
        let mut plain = parts.next().unwrap().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|c| is_part(&c));
            assert!(rest.len() < part.len(), "nothing after {before:?} in {text}");
            plain.push_str(before);
            plain.push('*');
            plain.push_str(rest);
        }
        text = plain;
    }
    text
}

fn gateway(detach: bool, builder: Builder) -> Builder {
    builder.arg("--heartbeat", "1s").arg("--detach", if detach { "true" } else { "false" })
}

/// Returns what every manner gives over TCP and over a Unix socket.
async fn transcripts(detach: bool, socket: &Path) -> Vec<Transcript> {
    let listen = format!("unix:{},127.0.0.1:0", socket.display());
    let gateway = gateway(detach, Gateway::builder()).arg("--listen", &listen).start().await;
    let (guest, phone) = (Guest::of(&gateway).await, Phone::of("ada", &gateway));
    let watch = async {
        if detach {
            parked(&gateway, MANNERS.len() * 2).await;
        }
    };
    let (guest, phone, gateway) = (&guest, &phone, &gateway);
    let all = join_all(MANNERS.iter().flat_map(|&manner| {
        [true, false].map(|is_tcp| async move {
            let wire = if is_tcp { Wire::tcp(&gateway.base).await } else { Wire::unix(socket).await };
            sign_in(wire, manner, guest, phone, UPPER).await
        })
    }));
    let ((), transcripts) = tokio::join!(watch, all);
    if !detach {
        assert_eq!(gateway.metric("scangate_connections_detached").await, 0.0);
    }
    transcripts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_stream_is_the_same_on_the_wire() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (directory.path().join("one.sock"), directory.path().join("other.sock"));
    let (detached, kept) = tokio::join!(transcripts(true, &one), transcripts(false, &other));
    for (index, (detached, kept)) in detached.iter().zip(&kept).enumerate() {
        assert_eq!(detached, kept, "{:?}", MANNERS[index / 2]);
        assert_eq!(kept.blocks.len(), 3, "{kept:?}");
        assert_eq!(kept.blocks, detached.blocks);
        // However it is framed.
        assert_eq!(kept.blocks, self::kept_blocks(&detached.chunks, &detached.blocks));
    }
    for (index, name) in ["retry: *\nevent: pending\n", "event: scanned\n", "event: confirmed\n"].iter().enumerate() {
        assert!(detached[0].blocks[index].starts_with(name), "{:?}", detached[0]);
    }
}

/// Returns the blocks that chunks are made of, or `blocks` where there are no chunks.
fn kept_blocks(chunks: &[String], blocks: &[String]) -> Vec<String> {
    if chunks.is_empty() {
        return blocks.to_vec();
    }
    chunks.concat().split_terminator("\n\n").map(str::to_owned).collect()
}

/// Returns what every manner gives through nginx.
async fn transcripts_of_edge(detach: bool) -> Vec<Transcript> {
    let place = Place::choose();
    let gateway = gateway(detach, place.gateway()).start().await;
    let edge = Edge::start(place, &[upstream(&gateway)]);
    let (guest, phone) = (Guest::of(&gateway).await, edge.phone(token("ada")));
    let watch = async {
        if detach {
            parked(&gateway, MANNERS.len()).await;
        }
    };
    let (guest, phone, edge) = (&guest, &phone, &edge);
    let all = join_all(MANNERS.iter().map(|&manner| async move {
        let wire = Wire::tls(edge, Ipv4Addr::LOCALHOST).await.unwrap();
        sign_in(wire, manner, guest, phone, LOWER).await
    }));
    tokio::join!(watch, all).1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_stream_is_the_same_behind_nginx() {
    let (detached, kept) = tokio::join!(transcripts_of_edge(true), transcripts_of_edge(false));
    for ((detached, kept), manner) in detached.iter().zip(&kept).zip(MANNERS) {
        assert_eq!(detached, kept, "{manner:?}");
        assert_eq!(kept.blocks.len(), 3, "{kept:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_ahead_are_answered_in_order_after_the_stream() {
    let gateway = Gateway::start().await;
    let (guest, phone) = (Guest::of(&gateway).await, Phone::of("ada", &gateway));
    let id = guest.create().await;
    let ticket = guest.ask(&format!("/v1/tickets/{id}"), "HTTP/1.1", "");
    // Larger than what is read at once, smaller than what may come ahead.
    let padding = format!("X-Padding: {}\r\n", "x".repeat(7_000));
    let keys = guest.ask("/.well-known/jwks.json", "HTTP/1.1", &padding);
    let nothing = guest.ask("/nothing", "HTTP/1.1", "Connection: close\r\n");

    let mut wire = Wire::tcp(&gateway.base).await;
    wire.send(&format!("{}{ticket}", guest.ask_events(&id))).await;
    wire.until("event: pending").await;
    parked(&gateway, 1).await;
    // In pieces, none of which is a request.
    let (begin, end) = keys.split_at(keys.len() / 2);
    wire.send(begin).await;
    phone.act(&id, "scan").await;
    wire.until("event: scanned").await;
    wire.send(&format!("{end}{nothing}")).await;
    phone.act(&id, "confirm").await;

    assert!(wire.head().await.contains("text/event-stream"));
    assert!(wire.body().await.contains("event: confirmed"));
    let answers = String::from_utf8(wire.rest().await).unwrap();
    let found: Vec<_> = ["HTTP/1.1 200 OK\r\n", r#""state":"confirmed""#, r#"{"keys":["#, "HTTP/1.1 404 Not Found\r\n"]
        .iter()
        .map(|part| answers.find(part))
        .collect();
    assert!(found.iter().all(Option::is_some) && found.is_sorted(), "{found:?} in {answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 3, "{answers}");
    drop(phone);
    metric_is(&gateway, "scangate_connections_open", |open| open == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_one_stream_after_the_other() {
    let gateway = Gateway::start().await;
    let (guest, phone) = (Guest::of(&gateway).await, Phone::of("ada", &gateway));
    let mut wire = Wire::tcp(&gateway.base).await;
    for _ in 0..5 {
        let id = guest.create().await;
        wire.send(&guest.ask_events(&id)).await;
        wire.until("event: pending").await;
        parked(&gateway, 1).await;
        phone.act(&id, "scan").await;
        phone.act(&id, "cancel").await;
        wire.head().await;
        assert!(wire.body().await.contains("event: cancelled"));
        assert_eq!(wire.unread, b"");
    }
    assert_eq!(gateway.metric(r#"scangate_streams_closed_total{reason="cancelled"}"#).await, 5.0);
    assert_eq!(gateway.metric("scangate_connections_detached").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_floods_its_own_stream_is_cut_off() {
    let gateway = Gateway::start().await;
    let guest = Guest::of(&gateway).await;
    let mut flooding = guest.wait_at(&gateway).await;
    let other = guest.wait_at(&gateway).await;
    parked(&gateway, 2).await;
    // As much as may come ahead ...
    flooding.wire.send(&"x".repeat(16 * 1024)).await;
    assert_eq!(gateway.metric("scangate_connections_detached").await, 2.0);
    // ... and one more.
    flooding.wire.send("x").await;
    metric_is(&gateway, r#"scangate_connections_lost_total{reason="flooding"}"#, |lost| lost == 1.0).await;
    while flooding.wire.receive().await.is_ok_and(|count| count > 0) {}
    parked(&gateway, 1).await;
    assert_eq!(gateway.metric("scangate_streams_open").await, 1.0);
    Phone::of("ada", &gateway).approve(&other.id).await;
    let mut wire = other.wire;
    wire.until("event: confirmed").await;
}
