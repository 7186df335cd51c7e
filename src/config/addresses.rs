//! Parses addresses in settings: listeners, host names, networks, and the public URL.

use ipnet::IpNet;
use parked_streams::ListenAddress;
use url::Url;

use crate::urls::parse_origin;

/// The longest host name, in bytes (RFC 1035 §2.3.4).
const MAX_HOST_BYTES: usize = 255;

pub(super) fn parse_listen(text: &str) -> Result<ListenAddress, String> {
    text.parse().map_err(|error| format!("--listen {text:?}: {error}"))
}

pub(super) fn parse_public_url(text: &str) -> Result<Url, String> {
    parse_origin(text).ok_or_else(|| {
        format!("--public-url {text:?} must be an origin such as https://login.example.com, without a path")
    })
}

/// Parses a host name without a port, and converts it to lower case.
pub(super) fn parse_host(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > MAX_HOST_BYTES || !text.bytes().all(allowed) {
        return Err(format!("{text:?} is not a host name such as gateway-1 or gateway.internal; omit the port"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Parses a network, or an address as the network of that one address.
pub(super) fn parse_network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(IpNet::from(address));
    }
    text.parse().map_err(|_error| format!("{text:?} is neither a network such as 10.0.0.0/8 nor an address"))
}
