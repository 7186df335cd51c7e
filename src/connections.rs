//! What the gateway adds to the server of `parked_streams`: its metrics, and how many connections each caller may have.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ipnet::IpNet;
use parked_streams::{Admission, LossReason, Observer, Server, Settings};
use parking_lot::Mutex;

use crate::callers::{Caller, Holdings};
use crate::http::bounds::CONNECTIONS;
use crate::metrics::Metrics;

/// How many addresses it takes at least to have all connections.
const MIN_ADDRESSES: usize = 4;
/// How many networks it takes at least: a single party may hold one whole.
const MIN_NETWORKS: usize = 2;

/// Bounds of the connections of a server.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// Connections that may be open.
    pub max_connections: usize,
    /// Those of one address, if that is none of a trusted proxy; wider networks have as many more as
    /// [`Tier::factor`](crate::callers::Tier::factor) says.
    pub per_address: usize,
    /// Whether idle event streams are parked.
    pub park: bool,
    /// How long bytes may wait for a peer that does not take them.
    pub write_timeout: Duration,
}

/// Sets up a server of `router`.
///
/// # Errors
/// The system's, if it has no file to give.
pub fn server(
    router: Router,
    settings: ConnectionSettings,
    trusted_proxies: Vec<IpNet>,
    metrics: &Arc<Metrics>,
) -> io::Result<Server<Router>> {
    let ConnectionSettings { max_connections, park, write_timeout, .. } = settings;
    let by_caller = Mutex::default();
    let limit = CallerLimit { settings, trusted_proxies, by_caller, metrics: Arc::clone(metrics) };
    Server::builder(router)
        .settings(Settings { max_connections, park, write_timeout, pass_unreadable_heads: true, ..Settings::default() })
        .observer(Arc::clone(metrics) as Arc<dyn Observer>)
        .admission(Arc::new(limit))
        .start()
}

/// Bounds the connections of each caller, and counts those refused.
struct CallerLimit {
    settings: ConnectionSettings,
    /// Peers that carry other people's requests, and may have any number of connections.
    trusted_proxies: Vec<IpNet>,
    /// The connections of all other peers.
    by_caller: Mutex<Holdings>,
    metrics: Arc<Metrics>,
}

impl CallerLimit {
    fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }
}

impl Admission for CallerLimit {
    fn admit(&self, peer: IpAddr) -> bool {
        if self.is_trusted(peer) {
            return true;
        }
        let caller = Caller::of(peer);
        // However few there may be in all, no address takes more than a part of them, and no network around it.
        let all = self.settings.max_connections;
        let per_address = self.settings.per_address.min((all / MIN_ADDRESSES).max(1));
        let mut by_caller = self.by_caller.lock();
        if let Some(tier) = by_caller.full_within(caller, per_address, all / MIN_NETWORKS) {
            self.metrics.refused(CONNECTIONS[tier as usize]);
            return false;
        }
        by_caller.add(caller);
        true
    }

    fn release(&self, peer: IpAddr) {
        if !self.is_trusted(peer) {
            self.by_caller.lock().remove(Caller::of(peer));
        }
    }
}

impl Observer for Metrics {
    fn connection_opened(&self) {
        self.connections_open.inc();
    }

    fn connection_closed(&self) {
        self.connections_open.dec();
    }

    fn stream_parked(&self) {
        self.connections_detached.inc();
    }

    fn stream_unparked(&self) {
        self.connections_detached.dec();
    }

    fn stream_lost(&self, reason: LossReason) {
        self.connection_lost(reason);
    }
}
