//! The bound on the connections of each peer.

use std::net::IpAddr;

/// Decides which TCP connections to accept, for example to bound the connections of one address or network.
///
/// The server calls it only for TCP connections. File permissions decide which processes may open a Unix socket.
///
/// Both methods run on the task that accepts connections or on one that serves them, so they must not block.
///
/// ```
/// use std::collections::HashMap;
/// use std::net::IpAddr;
/// use std::sync::Mutex;
///
/// use parked_streams::Admission;
///
/// /// Accepts up to 100 connections from each address.
/// #[derive(Default)]
/// struct HundredEach(Mutex<HashMap<IpAddr, usize>>);
///
/// impl Admission for HundredEach {
///     fn admit(&self, peer: IpAddr) -> bool {
///         let mut open = self.0.lock().unwrap();
///         let count = open.entry(peer).or_default();
///         let is_admitted = *count < 100;
///         *count += usize::from(is_admitted);
///         is_admitted
///     }
///
///     fn release(&self, peer: IpAddr) {
///         let mut open = self.0.lock().unwrap();
///         if let Some(count) = open.get_mut(&peer) {
///             *count -= 1;
///             if *count == 0 {
///                 open.remove(&peer);
///             }
///         }
///     }
/// }
/// ```
pub trait Admission: Send + Sync + 'static {
    /// Returns whether to accept a new connection from `peer`. The server has read nothing from it yet.
    ///
    /// If it returns `false`, the server closes the connection at once, without a response and without calling
    /// [`release`](Self::release). An IPv4 address that is mapped into IPv6 is passed as IPv4.
    fn admit(&self, peer: IpAddr) -> bool;

    /// Records that a connection from `peer` has closed. The server calls it once for each admitted connection.
    fn release(&self, peer: IpAddr);
}

/// Admits every connection.
pub(crate) struct AdmitAll;

impl Admission for AdmitAll {
    fn admit(&self, _peer: IpAddr) -> bool {
        true
    }

    fn release(&self, _peer: IpAddr) {}
}
