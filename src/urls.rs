//! Checks of URLs: whether a URL is only an origin, is local, or is protected in transit. Several modules apply these rules.

use url::{Host, Url};

/// Parses `text` as an http(s) URL that is only an origin: no login, path, query or fragment.
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

/// Returns whether others can read and change requests to the URL: its scheme is http, and its host is another machine.
#[must_use]
pub fn is_plain_http(url: &Url) -> bool {
    url.scheme() == "http" && !is_local(url)
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
