//! How a request is refused that was not read whole: one whose head hyper could not take, and one whose body nobody wanted.
//!
//! The router answers for the former. It is handed a request that stands for the one that could not be read, so that the
//! answer has all that every answer has. As hyper writes that answer too, the request is made of bytes: [`stand_in_request`].

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Marks a request that stands for one whose head could not be read; why not, as the status to answer with.
///
/// Such a request has the headers that say who asks and which kind of answer they prefer, as far as they could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableHead(pub StatusCode);

/// The headers that are kept of a head that could not be read: who asks, and which kind of answer they prefer.
const KEPT: [HeaderName; 4] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-request-id"),
];
/// How many bytes of such headers are kept. More than browsers and proxies send.
const MAX_KEPT_BYTES: usize = 4 * 1024;
/// How long a peer may go on sending what nobody reads, after it was answered.
const LINGER: Duration = Duration::from_secs(5);
/// How much it may send in that time, in bytes.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// Returns the status to refuse with, and the head of a request that stands for the one which `unread` is the beginning of.
pub(super) fn stand_in_request(status: StatusCode, unread: &[u8]) -> (StatusCode, Bytes) {
    let is_one_line = !unread.is_empty() && !unread.contains(&b'\n');
    let status = match status {
        // Not even the first line fits.
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE if is_one_line => StatusCode::URI_TOO_LONG,
        status => status,
    };
    let mut lines = unread.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    // To `HEAD` there is no body.
    let method = if first.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
    let target = first.split(|byte| *byte == b' ').nth(1).and_then(|target| Uri::try_from(target).ok());
    let path = target.as_ref().map(Uri::path).filter(|path| path.starts_with('/') && path.len() <= MAX_KEPT_BYTES);
    let mut head =
        format!("{method} {} HTTP/1.1\r\nhost: unreadable.invalid\r\nconnection: close\r\n", path.unwrap_or("/"))
            .into_bytes();
    let mut room = MAX_KEPT_BYTES;
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let is_kept = HeaderName::from_bytes(&line[..colon]).is_ok_and(|name| KEPT.contains(&name));
        if is_kept && HeaderValue::from_bytes(&line[colon + 1..]).is_ok() && line.len() <= room {
            room -= line.len();
            head.extend_from_slice(line);
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    (status, head.into())
}

/// Reads what a peer goes on sending, until it has read its answer and closes, within bounds.
///
/// A socket that is closed with bytes unread resets the connection, and the answer may be lost (RFC 9112 §9.6).
pub(super) async fn linger(stream: &mut (impl AsyncRead + Unpin)) {
    let mut scratch = [0; 4096];
    let mut left = MAX_LINGER_BYTES;
    let reading = async {
        while left > 0 {
            match stream.read(&mut scratch).await {
                Ok(1..) => left = left.saturating_sub(scratch.len()),
                Ok(0) | Err(_) => return,
            }
        }
    };
    // At the end of the time there is nothing left to wait for.
    let _ = tokio::time::timeout(LINGER, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stood_in(status: u16, unread: &str) -> (u16, String) {
        let (status, head) = stand_in_request(StatusCode::from_u16(status).unwrap(), unread.as_bytes());
        (status.as_u16(), String::from_utf8(head.to_vec()).unwrap())
    }

    #[test]
    fn what_stands_for_an_unread_head_is_a_small_one() {
        let unread =
            "HEAD /s/x?secret HTTP/1.1\r\nHost: a\r\nACCEPT: text/html\r\nCookie: x\r\nAccept-Language: zh\r\nX-Forwa";
        let head = "HEAD /s/x HTTP/1.1\r\nhost: unreadable.invalid\r\nconnection: close\r\nACCEPT: text/html\r\nAccept-Language: zh\r\n\r\n";
        assert_eq!(stood_in(431, unread), (431, head.to_owned()));
        let (status, head) = stood_in(400, "\u{0}\r\n");
        assert_eq!((status, head.lines().next().unwrap()), (400, "GET / HTTP/1.1"));
        let (status, head) = stood_in(431, &format!("GET /{} HTT", "x".repeat(16_000)));
        assert_eq!((status, head.lines().next().unwrap()), (414, "GET / HTTP/1.1"));
        assert_eq!(stood_in(431, "").0, 431);
        // Neither a request hidden in a line, nor more than there is room for.
        let (_, head) =
            stood_in(431, &format!("GET / HTTP/1.1\naccept: a\rb\naccept: {}\n\naccept: late\n", "x".repeat(5_000)));
        assert!(!head.contains("accept"), "{head}");
    }
}
