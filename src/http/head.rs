//! Checks the rules of HTTP for a request's head before any route sees it (RFC 9112 §3.2 and §6.1), and responds to heads that
//! the server could not parse.

use std::net::Ipv6Addr;

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use parked_streams::UnreadableHead;

use super::fields;
use super::problem::{self, Problem};

/// The methods of all routes together, for requests to no route in particular.
const ALL_METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// Refuses a head that the server could not parse, that does not name exactly one host, that declares a transfer coding other
/// than chunked, or whose target no route can match.
pub(super) async fn check(mut request: Request, next: Next) -> Response {
    if let Some(UnreadableHead(status)) = request.extensions().get() {
        return unreadable(*status).into_response();
    }
    if let Err(problem) = set_host(&mut request) {
        return problem.into_response();
    }
    if !is_plainly_framed(request.headers()) {
        // If a proxy parsed the framing differently, the next bytes may belong to another request (request smuggling).
        let problem =
            malformed("chunked is the only supported transfer coding; send the body in chunks or with its length.");
        return ([(header::CONNECTION, "close")], problem).into_response();
    }
    match (request.method(), request.uri().path()) {
        // `OPTIONS *` asks about the server as a whole (RFC 9110 §9.3.7).
        (&Method::OPTIONS, "*") => (StatusCode::NO_CONTENT, [(header::ALLOW, ALL_METHODS)]).into_response(),
        (_, path) if path.starts_with('/') => next.run(request).await,
        (&Method::CONNECT, _) => {
            ([(header::ALLOW, ALL_METHODS)], Problem::from(&problem::METHOD_NOT_ALLOWED)).into_response()
        }
        _ => malformed("The request target must be a path that begins with a slash.").into_response(),
    }
}

/// Returns whether the body has no transfer coding, or only chunked, once (RFC 9112 §6.1). The server undoes only the last
/// coding, and would pass on a body that is still encoded by the others.
fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = fields::members(headers, header::TRANSFER_ENCODING).filter(|coding| !coding.is_empty());
    let is_chunked = codings.next().is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    is_chunked && codings.next().is_none()
}

fn unreadable(status: StatusCode) -> Problem {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Problem::from(&problem::HEAD_TOO_LARGE),
        StatusCode::URI_TOO_LONG => Problem::from(&problem::URI_TOO_LONG),
        _ => malformed("The request's head is not valid HTTP/1.1; see RFC 9112."),
    }
}

fn malformed(detail: &'static str) -> Problem {
    Problem::from(&problem::MALFORMED_REQUEST).detail(detail)
}

/// Sets `Host` to the one host that the request is for.
///
/// # Errors
/// 400 if the request names no host, several, or a malformed one (RFC 9112 §3.2).
fn set_host(request: &mut Request) -> Result<(), Problem> {
    let given = single_host(request.headers())?;
    if given.is_none() && request.version() > Version::HTTP_10 {
        return Err(malformed("The Host header is missing; send the host of the URL."));
    }
    // A target in absolute form names the host and overrides `Host` (RFC 9112 §3.2.2).
    if let Some(target) = target_host(request.uri())? {
        request.headers_mut().insert(header::HOST, target);
    }
    Ok(())
}

fn single_host(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Problem> {
    let mut all = headers.get_all(header::HOST).iter();
    let (first, second) = (all.next(), all.next());
    if second.is_some() {
        return Err(malformed("There are several Host headers; send one."));
    }
    match first {
        Some(host) if !is_host(host.as_bytes()) => {
            Err(malformed("The Host header is not a host with an optional port; send the host of the URL."))
        }
        host => Ok(host),
    }
}

fn target_host(uri: &Uri) -> Result<Option<HeaderValue>, Problem> {
    let Some(authority) = uri.authority() else { return Ok(None) };
    let refused = || malformed("The request target is not an http address of this gateway; send only its path.");
    let is_http = uri.scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https"));
    // This also refuses an authority with a user name (RFC 9110 §4.2.4): a host cannot contain `@`.
    if !is_http || !is_host(authority.as_str().as_bytes()) {
        return Err(refused());
    }
    HeaderValue::from_str(authority.as_str()).map(Some).map_err(|_| refused())
}

/// Returns whether `value` is `uri-host [ ":" port ]` (RFC 9110 §7.2) with a non-empty host.
fn is_host(value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else { return false };
    let (is_host, port) = if let Some(literal) = value.strip_prefix('[') {
        let Some((address, port)) = literal.split_once(']') else { return false };
        (address.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = value.split_at(value.find(':').unwrap_or(value.len()));
        (is_name(name.as_bytes()), port)
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.is_empty() || digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    is_host && is_port
}

/// Returns whether `name` is a `reg-name` (RFC 3986 §3.2.2) of at least one character.
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((first, behind)) = rest.split_first() {
        rest = match first {
            b'%' => match behind {
                [high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => behind,
                _ => return false,
            },
            byte if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => behind,
            _ => return false,
        };
    }
    !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_must_match_the_grammar() {
        for host in
            ["x", "example.com", "EXAMPLE.com.", "127.0.0.1:8080", "[::1]", "[2001:db8::1]:443", "a:", "a_b", "a%20b"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":",
            ":80",
            "a b",
            "a,b c",
            "a/b",
            "a@b",
            "user:pass@b",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:+1",
            "::1",
            "[::1",
            "[::1]x",
            "[a]",
            "[]",
            "[v1.x]",
            "[fe80::1%25eth0]",
            "a%",
            "a%2",
            "a%zz",
            "a?b",
            "a#b",
            "a\\b",
            "ä",
            "http://a",
            "a\tb",
            "\"a\"",
            "<a>",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
        assert!(!is_host(b"a\xff"));
    }
}
