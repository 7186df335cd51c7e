//! How a response body is delimited on the wire (RFC 9112 §6 and §7.1), and which responses can be parked.

use std::io::Write as _;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use http_body::Body;

/// How a response body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By the chunked transfer coding, in HTTP/1.1.
    Chunked {
        /// Whether the connection may serve another request afterwards.
        keep_alive: bool,
    },
    /// By the end of the connection, in HTTP/1.0.
    UntilClose,
}

impl Framing {
    /// Appends `data` to `outgoing`, byte for byte as hyper would.
    pub(crate) fn write_frame(self, data: &[u8], outgoing: &mut Vec<u8>) {
        match self {
            // An empty chunk would end the body.
            _ if data.is_empty() => {}
            Self::Chunked { .. } => {
                // Writing to a `Vec` does not fail.
                let _ = write!(outgoing, "{:X}\r\n", data.len());
                outgoing.extend_from_slice(data);
                outgoing.extend_from_slice(b"\r\n");
            }
            Self::UntilClose => outgoing.extend_from_slice(data),
        }
    }

    /// Appends the end of the body.
    pub(crate) fn write_end(self, outgoing: &mut Vec<u8>) {
        match self {
            Self::Chunked { .. } => outgoing.extend_from_slice(b"0\r\n\r\n"),
            Self::UntilClose => {}
        }
    }
}

/// The framing of a request's response if it can be parked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestFraming(Option<Framing>);

impl RequestFraming {
    /// Reads a request's framing before the service gets it. Only the response to a `GET` without a body can be parked.
    pub(crate) fn of<B: Body>(request: &Request<B>) -> Self {
        if request.method() != Method::GET || !request.body().is_end_stream() {
            return Self(None);
        }
        Self(match request.version() {
            Version::HTTP_11 => Some(Framing::Chunked { keep_alive: !has_close_option(request.headers()) }),
            Version::HTTP_10 => Some(Framing::UntilClose),
            _ => None,
        })
    }

    /// Returns the framing of a response that can be parked: a 200 of `text/event-stream` without a `Content-Length`.
    pub(crate) fn of_event_stream(self, status: StatusCode, headers: &HeaderMap) -> Option<Framing> {
        let is_event_stream = status == StatusCode::OK
            && !headers.contains_key(header::CONTENT_LENGTH)
            && headers
                .get(header::CONTENT_TYPE)
                .is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/event-stream"));
        match self.0.filter(|_| is_event_stream)? {
            Framing::Chunked { keep_alive } => {
                Some(Framing::Chunked { keep_alive: keep_alive && !has_close_option(headers) })
            }
            Framing::UntilClose => Some(Framing::UntilClose),
        }
    }
}

/// Returns whether `Connection` has the option `close` (RFC 9112 §9.6).
fn has_close_option(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Empty, Full};

    use super::*;

    const KEPT: Option<Framing> = Some(Framing::Chunked { keep_alive: true });
    const CLOSED: Option<Framing> = Some(Framing::Chunked { keep_alive: false });

    fn get() -> http::request::Builder {
        Request::get("/events")
    }

    fn request(builder: http::request::Builder) -> RequestFraming {
        RequestFraming::of(&builder.body(Empty::<Bytes>::new()).unwrap())
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |&(name, value): &(&'static str, &'static str)| {
            (header::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn data_is_sent_in_chunks_and_an_empty_frame_does_not_end_the_body() {
        let framing = Framing::Chunked { keep_alive: true };
        let mut outgoing = Vec::new();
        framing.write_frame(b"", &mut outgoing);
        framing.write_frame(b"data: 0123456\n\n", &mut outgoing);
        framing.write_end(&mut outgoing);
        assert_eq!(outgoing, b"F\r\ndata: 0123456\n\n\r\n0\r\n\r\n");
    }

    #[test]
    fn http_1_0_gets_the_bare_bytes() {
        let mut outgoing = Vec::new();
        Framing::UntilClose.write_frame(b"data: 1\n\n", &mut outgoing);
        Framing::UntilClose.write_end(&mut outgoing);
        assert_eq!(outgoing, b"data: 1\n\n");
    }

    #[test]
    fn only_a_get_without_a_body_can_be_parked() {
        assert_eq!(request(get()).0, KEPT);
        assert_eq!(request(get().version(Version::HTTP_10)).0, Some(Framing::UntilClose));
        assert_eq!(request(get().version(Version::HTTP_2)).0, None);
        assert_eq!(request(Request::head("/events")).0, None);
        assert_eq!(request(Request::post("/events")).0, None);
        assert_eq!(RequestFraming::of(&get().body(Full::new(Bytes::from_static(b"x"))).unwrap()).0, None);
    }

    #[test]
    fn only_an_event_stream_without_a_length_is_parked() {
        let framing =
            |status, fields: &[(&'static str, &'static str)]| request(get()).of_event_stream(status, &headers(fields));
        let media_type = ("content-type", "text/event-stream; charset=utf-8");
        assert_eq!(framing(StatusCode::OK, &[media_type]), KEPT);
        assert_eq!(framing(StatusCode::CREATED, &[media_type]), None);
        assert_eq!(framing(StatusCode::OK, &[media_type, ("content-length", "9")]), None);
        assert_eq!(framing(StatusCode::OK, &[("content-type", "text/plain")]), None);
        assert_eq!(framing(StatusCode::OK, &[]), None);
    }

    #[test]
    fn either_side_can_ask_to_close() {
        let event_stream = ("content-type", "text/event-stream");
        let asks = request(get().header("connection", "x, Close"));
        assert_eq!(asks.of_event_stream(StatusCode::OK, &headers(&[event_stream])), CLOSED);
        let closing = headers(&[event_stream, ("connection", "close")]);
        assert_eq!(request(get()).of_event_stream(StatusCode::OK, &closing), CLOSED);
        let other = request(get().header("connection", "keep-alive, closed"));
        assert_eq!(other.of_event_stream(StatusCode::OK, &headers(&[event_stream])), KEPT);
    }
}
