//! Finds the browser's address behind the trusted proxies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::header::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;
use parked_streams::Peer;

use super::fields::members;
use super::problem::{self, Problem};
use crate::callers::is_trusted_proxy;

/// The address of the browser, phone or program that sent the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrowserAddress(pub(super) IpAddr);

impl BrowserAddress {
    /// Finds the browser behind the trusted proxies: the last address in `X-Forwarded-For` that is not a trusted proxy.
    ///
    /// Each proxy appends the address of its peer. The sender could have forged everything further left.
    pub(super) fn find(peer: Peer, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> Self {
        let mut address = peer.ip().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        if !is_trusted_peer(peer, trusted_proxies) {
            return Self(address);
        }
        // Each entry is parsed on its own: text that the sender forged must not change the entries of the proxies.
        let hops: Vec<&[u8]> = members(headers, "x-forwarded-for").collect();
        for hop in hops.into_iter().rev() {
            let Some(hop) = str::from_utf8(hop).ok().and_then(parse_hop) else { break };
            address = hop;
            if !is_trusted_proxy(trusted_proxies, hop) {
                break;
            }
        }
        Self(address)
    }
}

/// Returns whether the peer is a proxy whose headers are trusted. Every process that can open the Unix socket is trusted.
pub(super) fn is_trusted_peer(peer: Peer, trusted_proxies: &[IpNet]) -> bool {
    peer.ip().is_none_or(|address| is_trusted_proxy(trusted_proxies, address))
}

/// Parses one entry of `X-Forwarded-For`. Some proxies add a port or brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let address = address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(|address: IpAddr| address.to_canonical())
}

impl<S: Sync> FromRequestParts<S> for BrowserAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // The middleware adds it to every request.
        parts.extensions.get().copied().ok_or_else(|| Problem::from(&problem::INTERNAL))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn find(peer: &str, forwarded: &[&str]) -> String {
        find_in_bytes(peer, &forwarded.iter().map(|line| line.as_bytes()).collect::<Vec<_>>())
    }

    fn find_in_bytes(peer: &str, forwarded: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line).unwrap());
        }
        let trusted = ["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        let peer = peer.parse().map_or(Peer::Unix, Peer::Tcp);
        BrowserAddress::find(peer, &headers, &trusted).0.to_string()
    }

    #[test]
    fn an_untrusted_peer_cannot_forge_an_address() {
        assert_eq!(find("192.0.2.7:5000", &["198.51.100.1"]), "192.0.2.7");
    }

    #[test]
    fn behind_trusted_proxies_the_last_untrusted_hop_is_the_address() {
        assert_eq!(find("127.0.0.1:5000", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(find("127.0.0.1:5000", &["198.51.100.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(find("127.0.0.1:5000", &["198.51.100.1", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(find("unix", &["203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_parsed() {
        assert_eq!(find("127.0.0.1:5000", &["203.0.113.9:1234"]), "203.0.113.9");
        assert_eq!(find("127.0.0.1:5000", &["[2001:db8::1]:1234"]), "2001:db8::1");
        assert_eq!(find("127.0.0.1:5000", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(find("[::ffff:192.0.2.7]:5000", &["198.51.100.1"]), "192.0.2.7");
    }

    #[test]
    fn behind_an_unreadable_entry_the_last_readable_hop_is_the_address() {
        assert_eq!(find("127.0.0.1:5000", &["203.0.113.9, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(find("127.0.0.1:5000", &["unknown"]), "127.0.0.1");
    }

    #[test]
    fn no_byte_that_a_caller_writes_changes_the_address() {
        for claimed in [&b"\xff"[..], b"Z\xfcrich", "198.51.100.1, \u{e9}".as_bytes(), b"\x80,\xff,198.51.100.1"] {
            // In one line, as from proxies that append, or in two.
            let line = [claimed, b"203.0.113.9, 10.0.0.2"].join(&b", "[..]);
            assert_eq!(find_in_bytes("127.0.0.1:5000", &[&line]), "203.0.113.9", "{line:?}");
            assert_eq!(find_in_bytes("127.0.0.1:5000", &[claimed, b"203.0.113.9"]), "203.0.113.9", "{claimed:?}");
        }
        // An unreadable entry among the proxies' own entries: entries before it cannot be trusted.
        assert_eq!(find_in_bytes("127.0.0.1:5000", &[b"203.0.113.9, \xff, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(find_in_bytes("127.0.0.1:5000", &["203.0.113.9, \u{a0}10.0.0.2".as_bytes()]), "127.0.0.1");
    }

    proptest! {
        #[test]
        fn any_forwarded_header_gives_an_address(value in prop::collection::vec(b' '..=255, 0..60)) {
            if HeaderValue::from_bytes(&value).is_ok() {
                find_in_bytes("127.0.0.1:5000", &[&value]);
            }
        }
    }
}
