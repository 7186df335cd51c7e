//! The addresses of listeners and of peers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on.
///
/// Its text form is `ADDRESS:PORT` for TCP and `unix:PATH` for a Unix socket:
///
/// ```
/// use parked_streams::ListenAddress;
///
/// let address: ListenAddress = "[::1]:8080".parse()?;
/// assert!(matches!(address, ListenAddress::Tcp(_)));
/// assert_eq!("unix:/run/app.sock".parse::<ListenAddress>()?.to_string(), "unix:/run/app.sock");
/// # Ok::<(), parked_streams::ParseListenAddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address. With port 0, the system chooses a free port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ParseListenAddressError;

    fn from_str(text: &str) -> Result<Self, ParseListenAddressError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(ParseListenAddressError::MissingPath),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text.parse().map(Self::Tcp).map_err(|_error| ParseListenAddressError::Invalid),
        }
    }
}

/// The error of parsing a [`ListenAddress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseListenAddressError {
    /// The path after `unix:` is missing.
    MissingPath,
    /// The text has neither of the two forms. A host name is not accepted.
    Invalid,
}

impl fmt::Display for ParseListenAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MissingPath => "the path after unix: is missing; write unix:PATH",
            Self::Invalid => "neither ADDRESS:PORT (such as 127.0.0.1:8080 or [::]:8080) nor unix:PATH",
        })
    }
}

impl std::error::Error for ParseListenAddressError {}

/// The other end of a connection. The server adds it to the extensions of every request.
///
/// An axum handler gets it with the extractor `Extension<Peer>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The remote address of a TCP connection.
    Tcp(SocketAddr),
    /// A process on this machine that may open the Unix socket.
    Unix,
}

impl Peer {
    /// Returns the IP address of a TCP peer. An IPv4 address that is mapped into IPv6 is returned as IPv4.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_is_read_from_its_text_form() {
        for text in ["127.0.0.1:0", "[::]:8080", "unix:/run/app.sock", "unix:app.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        assert_eq!("unix:".parse::<ListenAddress>(), Err(ParseListenAddressError::MissingPath));
        for text in ["", "8080", ":8080", "localhost:8080", "127.0.0.1", "Unix:/run/app.sock"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(ParseListenAddressError::Invalid), "{text}");
        }
    }

    #[test]
    fn a_mapped_address_is_returned_as_ipv4() {
        let peer = Peer::Tcp("[::ffff:192.0.2.1]:1234".parse().unwrap());
        assert_eq!(peer.ip(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(Peer::Unix.ip(), None);
    }
}
