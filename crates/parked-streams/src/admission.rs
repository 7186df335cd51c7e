//! Which peers may have a connection.

use std::net::IpAddr;

/// Bounds the connections of each peer.
///
/// It is asked about TCP connections alone: who may open a Unix socket is the file system's to say.
pub trait Admission: Send + Sync + 'static {
    /// Counts a new connection of a peer, before anything is read from it. An IPv4 address mapped into IPv6 comes as IPv4.
    ///
    /// With `false` the connection is closed at once and without an answer, and is not [released](Self::release).
    fn admit(&self, peer: IpAddr) -> bool;

    /// Counts the end of a connection that was admitted.
    fn release(&self, peer: IpAddr);
}

/// Admits everybody.
pub(crate) struct Everybody;

impl Admission for Everybody {
    fn admit(&self, _peer: IpAddr) -> bool {
        true
    }

    fn release(&self, _peer: IpAddr) {}
}
