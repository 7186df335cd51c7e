//! Substitute requests for request heads that hyper cannot parse.
//!
//! hyper answers such a head with a bare status. If the service is to answer instead, the server sends it a small request
//! built from the readable parts of the head. hyper also serves this request, so it consists of bytes that hyper can parse.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};

/// Marks the substitute for a request whose head hyper could not parse. It contains the status to respond with: 400, 414 or
/// 431.
///
/// The server adds it to the request's extensions if
/// [`Settings::pass_unreadable_heads`](crate::Settings::pass_unreadable_heads) is set. The request is a `GET`, or a `HEAD` if
/// the original is one. It keeps the original's path and the headers `Accept`, `Accept-Language`, `X-Forwarded-For` and
/// `X-Request-ID`, where they are readable. The connection closes after the response.
///
/// ```
/// use axum::extract::Request;
/// use axum::http::StatusCode;
/// use axum::middleware::Next;
/// use axum::response::{IntoResponse as _, Response};
/// use parked_streams::UnreadableHead;
///
/// /// The outermost middleware of a service.
/// async fn refuse_unreadable_heads(request: Request, next: Next) -> Response {
///     match request.extensions().get() {
///         Some(UnreadableHead(status)) => (*status, "invalid request head").into_response(),
///         None => next.run(request).await,
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableHead(pub StatusCode);

/// The headers that a substitute request keeps: the client's address, the accepted responses, and the request's id.
const KEPT_HEADERS: [HeaderName; 4] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-request-id"),
];
/// The maximum length of the kept headers together, and of the path, in bytes. Browsers and proxies send less.
const MAX_KEPT_BYTES: usize = 4 * 1024;

/// Returns the status of the response, and the head of a substitute for the request that begins with `unread`. `status` is
/// hyper's.
pub(crate) fn substitute_request(status: StatusCode, unread: &[u8]) -> (StatusCode, Bytes) {
    let is_one_line = !unread.is_empty() && !unread.contains(&b'\n');
    let status = match status {
        // The request line is longer than the bound.
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE if is_one_line => StatusCode::URI_TOO_LONG,
        status => status,
    };
    let mut lines = unread.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    // A response to `HEAD` must not have a body.
    let method = if request_line.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
    let target = request_line.split(|byte| *byte == b' ').nth(1).and_then(|target| Uri::try_from(target).ok());
    let path = target.as_ref().map(Uri::path).filter(|path| path.starts_with('/') && path.len() <= MAX_KEPT_BYTES);
    // A reserved name, which no host has (RFC 2606 §2).
    let host = "unreadable.invalid";
    let mut head =
        format!("{method} {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n", path.unwrap_or("/")).into_bytes();
    let mut room = MAX_KEPT_BYTES;
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let is_kept = HeaderName::from_bytes(&line[..colon]).is_ok_and(|name| KEPT_HEADERS.contains(&name));
        if is_kept && HeaderValue::from_bytes(&line[colon + 1..]).is_ok() && line.len() <= room {
            room -= line.len();
            head.extend_from_slice(line);
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    (status, head.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substitute(status: u16, unread: &str) -> (u16, String) {
        let (status, head) = substitute_request(StatusCode::from_u16(status).unwrap(), unread.as_bytes());
        (status.as_u16(), String::from_utf8(head.to_vec()).unwrap())
    }

    #[test]
    fn a_substitute_keeps_the_path_and_a_few_headers() {
        let unread =
            "HEAD /s/x?secret HTTP/1.1\r\nHost: a\r\nACCEPT: text/html\r\nCookie: x\r\nAccept-Language: zh\r\nX-Forwa";
        let head = "HEAD /s/x HTTP/1.1\r\nhost: unreadable.invalid\r\nconnection: close\r\nACCEPT: text/html\r\nAccept-Language: zh\r\n\r\n";
        assert_eq!(substitute(431, unread), (431, head.to_owned()));
        let (status, head) = substitute(400, "\u{0}\r\n");
        assert_eq!((status, head.lines().next().unwrap()), (400, "GET / HTTP/1.1"));
        assert_eq!(substitute(431, "").0, 431);
    }

    #[test]
    fn a_request_line_that_is_too_long_gets_a_status_of_its_own() {
        let (status, head) = substitute(431, &format!("GET /{} HTT", "x".repeat(16_000)));
        assert_eq!((status, head.lines().next().unwrap()), (414, "GET / HTTP/1.1"));
    }

    #[test]
    fn no_line_injects_a_header_or_exceeds_the_bound() {
        let unread = format!("GET / HTTP/1.1\naccept: a\rb\naccept: {}\n\naccept: late\n", "x".repeat(5_000));
        let (_, head) = substitute(431, &unread);
        assert!(!head.contains("accept"), "{head}");
    }
}
