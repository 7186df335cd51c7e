//! The gateway's part of a connection: its metrics, and the bound on the connections of each caller.
//!
//! `parked_streams` accepts connections and serves HTTP. It reports events to [`Metrics`] and asks `CallerLimit` about
//! each new connection.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ipnet::IpNet;
use parked_streams::{Admission, LossReason, Observer, Server, Settings};
use parking_lot::Mutex;

use crate::callers::{Caller, CallerCounts};
use crate::http::bounds::CONNECTIONS;
use crate::metrics::Metrics;

/// How many addresses it takes at least to use all connections, however few there are.
const MIN_ADDRESSES: usize = 4;
/// How many networks it takes at least. One party may hold a whole network.
const MIN_NETWORKS: usize = 2;

/// The settings of one server's connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// The most connections that may be open.
    pub max_connections: usize,
    /// The most connections of one address that is not a trusted proxy. Wider networks may have
    /// [`Tier::factor`](crate::callers::Tier::factor) times as many.
    pub per_address: usize,
    /// Whether idle event streams are parked.
    pub park: bool,
    /// How long data may wait for a client that does not take it.
    pub write_timeout: Duration,
}

/// Starts a server of `router` on the current runtime. The router answers request heads that cannot be parsed, in
/// `http::head`.
///
/// # Errors
/// The system's, at the limit on open files.
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

/// Bounds the connections of each caller, and counts those that it refuses.
struct CallerLimit {
    settings: ConnectionSettings,
    /// Proxies carry the requests of many callers, so they may have any number of connections.
    trusted_proxies: Vec<IpNet>,
    /// The number of open connections of each other caller.
    by_caller: Mutex<CallerCounts>,
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
        // One address takes at most a quarter of all connections, and one network half of them.
        let all = self.settings.max_connections;
        let per_address = self.settings.per_address.min((all / MIN_ADDRESSES).max(1));
        let mut by_caller = self.by_caller.lock();
        if let Some(tier) = by_caller.first_full_tier_within(caller, per_address, all / MIN_NETWORKS) {
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
        self.connections.open.inc();
    }

    fn connection_closed(&self) {
        self.connections.open.dec();
    }

    fn stream_parked(&self) {
        self.connections.detached.inc();
    }

    fn stream_unparked(&self) {
        self.connections.detached.dec();
    }

    fn stream_lost(&self, reason: LossReason) {
        self.connections.lost(reason);
    }
}
