//! The wire format of event streams (WHATWG HTML, §9.2 "Server-sent events").
//!
//! The fields contain only JSON, numbers and our own names, none of which has a line break. Every block has a name and data:
//! some parsers dispatch an empty event for a comment or a lone `retry` field.

use std::convert::Infallible;
use std::fmt::Display;
use std::io::Write as _;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use tokio_stream::Stream;

/// The media type of event streams.
pub(super) const CONTENT_TYPE: &str = "text/event-stream";
/// The event that shows that the stream is alive, shared by all streams. It is not a comment, because scripts never see
/// comments. It has no `id`, so the browser's last event id does not change.
pub(super) const HEARTBEAT: Bytes = Bytes::from_static(b"event: heartbeat\ndata: {}\n\n");

/// Appends the time to wait before reconnecting. The field belongs to the event that follows.
pub(super) fn retry(millis: u64, buffer: &mut Vec<u8>) {
    let _ = writeln!(buffer, "retry: {millis}");
}

/// Returns the event that makes the browser reconnect after this time.
pub(super) fn reconnect(millis: u64) -> Bytes {
    Bytes::from(format!("retry: {millis}\nevent: reconnect\ndata: {{}}\n\n"))
}

/// Appends an event.
pub(super) fn event(name: &str, id: impl Display, data: &impl Serialize, buffer: &mut Vec<u8>) {
    // Neither call fails: the buffer grows as needed, and all maps in the data have string keys.
    let _ = writeln!(buffer, "event: {name}\nid: {id}");
    buffer.extend_from_slice(b"data: ");
    let _ = serde_json::to_writer(&mut *buffer, data);
    buffer.extend_from_slice(b"\n\n");
}

/// Returns a response with an event stream.
pub(super) fn response(events: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Makes nginx pass each event on immediately.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(events)).into_response()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_can_end_its_field(text in any::<String>()) {
            let mut buffer = Vec::new();
            event("pending", 7, &text, &mut buffer);
            let written = String::from_utf8(buffer).unwrap();
            let lines: Vec<&str> = written.split(['\n', '\r']).collect();
            prop_assert_eq!(lines.len(), 5, "{}", &written);
            prop_assert_eq!(serde_json::from_str::<String>(lines[2].strip_prefix("data: ").unwrap()).unwrap(), text);
        }
    }
}
