//! Connection metrics, and the connection limit per caller.
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

use crate::callers::{Caller, CallerCounts, is_trusted_proxy};
use crate::http::bounds::CONNECTIONS;
use crate::metrics::Metrics;

/// An address may hold at most 1/4 of all connections, even if its own limit is higher.
const ADDRESS_DIVISOR: usize = 4;
/// A network may hold at most 1/2 of all connections. One party may own a whole network.
const NETWORK_DIVISOR: usize = 2;

/// The settings of one server's connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSettings {
    /// The maximum number of open connections.
    pub max_connections: usize,
    /// The maximum number of connections per address, except trusted proxies. Wider networks may have
    /// [`Tier::factor`](crate::callers::Tier::factor) times as many.
    pub per_address: usize,
    /// Whether idle event streams are parked.
    pub park: bool,
    /// How long data may wait for a peer that does not read it.
    pub write_timeout: Duration,
}

/// Starts a server for `router` on the current runtime. `http::head` responds to request heads that cannot be parsed.
///
/// # Errors
/// The system's error, at the limit on open files.
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

/// Limits the connections of each caller, and counts those that it refuses.
struct CallerLimit {
    settings: ConnectionSettings,
    /// Proxies carry the requests of many callers, so they may have any number of connections.
    trusted_proxies: Vec<IpNet>,
    /// The number of open connections of each caller that is not a proxy.
    by_caller: Mutex<CallerCounts>,
    metrics: Arc<Metrics>,
}

impl Admission for CallerLimit {
    fn admit(&self, peer: IpAddr) -> bool {
        if is_trusted_proxy(&self.trusted_proxies, peer) {
            return true;
        }
        let caller = Caller::of(peer);
        let all = self.settings.max_connections;
        let per_address = self.settings.per_address.min((all / ADDRESS_DIVISOR).max(1));
        let mut by_caller = self.by_caller.lock();
        if let Some(tier) = by_caller.first_full_tier_within(caller, per_address, all / NETWORK_DIVISOR) {
            self.metrics.refused(CONNECTIONS[tier as usize]);
            return false;
        }
        by_caller.add(caller);
        true
    }

    fn release(&self, peer: IpAddr) {
        if !is_trusted_proxy(&self.trusted_proxies, peer) {
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
