//! Facts about URLs, and answers of other services read up to a bound.
//!
//! Several modules need the same few rules: which URLs lead only to this machine, which are safe from readers and
//! writers on the way, and which are nothing but an origin. Each rule is written here once.

use std::error::Error;

use tokio_stream::StreamExt as _;
use url::{Host, Url};

/// Parses `text` as an http(s) URL that is nothing but an origin: no login, path, query or fragment.
#[must_use]
pub fn parse_origin(text: &str) -> Option<Url> {
    let is_origin = |url: &Url| {
        matches!(url.scheme(), "https" | "http")
            && url.host().is_some()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    };
    Url::parse(text).ok().filter(is_origin)
}

/// Returns whether the URL's host can only be this machine.
#[must_use]
pub fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Returns whether the URL's host is an address of a home or office network, which the Internet does not route.
#[must_use]
pub fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_private() || address.is_link_local(),
        Some(Host::Ipv6(address)) => address.is_unique_local() || address.is_unicast_link_local(),
        Some(Host::Domain(_)) | None => false,
    }
}

/// Returns whether others can read and change what is sent to the URL: it is http, and leaves this machine.
#[must_use]
pub fn is_plain_http(url: &Url) -> bool {
    url.scheme() == "http" && !is_local(url)
}

/// Why the body of an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed.
    #[error("{}", root_cause(.0))]
    Http(#[from] reqwest::Error),
    /// The body is larger than the bound.
    #[error("the answer is too large")]
    TooLarge,
}

/// Reads the body of an answer of at most `max_bytes`.
///
/// # Errors
/// [`BodyError`]. A larger body is not read to its end.
pub async fn read_body(response: reqwest::Response, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > max_bytes {
            return Err(BodyError::TooLarge);
        }
    }
    Ok(body)
}

/// Returns the innermost cause of a failed request, such as a refused connection, an unknown name or an untrusted
/// certificate. The error's own text says only that the request failed.
#[must_use]
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_origin_is_parsed_as_one() {
        for text in ["https://app.example.com", "http://localhost:8080/", "HTTPS://app.example.com:443"] {
            assert!(parse_origin(text).is_some(), "{text}");
        }
        for text in
            ["", "*", "ftp://h", "https://h/path", "https://h/?q", "https://h/#f", "https://a@h", "https://:b@h"]
        {
            assert!(parse_origin(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_local_and_only_unrouted_addresses_are_private() {
        for (text, local, private) in [
            ("http://localhost", true, false),
            ("http://app.localhost", true, false),
            ("http://127.0.0.8", true, false),
            ("http://[::1]", true, false),
            ("http://192.168.1.20", false, true),
            ("http://169.254.0.1", false, true),
            ("http://[fd00::1]", false, true),
            ("http://[fe80::1]", false, true),
            ("http://203.0.113.7", false, false),
            ("http://localhost.example.com", false, false),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((is_local(&url), is_private(&url), is_plain_http(&url)), (local, private, !local), "{text}");
        }
        assert!(!is_plain_http(&Url::parse("https://203.0.113.7").unwrap()));
    }
}
