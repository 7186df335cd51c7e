//! The address of a node: a host name or an IP address with a port, or the path of a Unix socket.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The address on which a node listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    /// A name or an IP address; for a Unix socket its path.
    host: Arc<str>,
    /// 0 for a Unix socket.
    port: u16,
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Parses an address as Redis writes it in a redirect, such as `127.0.0.1:6379`. Redis writes IPv6 addresses without
    /// brackets.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        (!host.is_empty()).then_some(Self::new(host, port.parse().ok()?))
    }

    /// Returns the same port on another host.
    pub(super) fn with_host(&self, host: &str) -> Self {
        Self::new(host, self.port)
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether the address is on this machine.
    pub(super) fn is_local(&self) -> bool {
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        self.port == 0 || self.host() == "localhost" || self.host.parse().is_ok_and(is_loopback)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            0 => write!(f, "{}", self.host),
            port if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_redirect_is_parsed_or_refused(text in ".{0,40}") {
            let _ = Address::parse(&text);
        }
    }
}
