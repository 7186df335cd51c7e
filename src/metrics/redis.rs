//! The metrics of the Redis engine.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Kind, Outcome};

/// What the Redis engine counts.
#[derive(Debug, Default)]
pub struct RedisMetrics {
    /// Times a subscriber had to connect again.
    pub subscriber_reconnects: Counter,
    /// Watched tickets that were read again because changes may have gone unreported.
    pub subscriber_missed: Counter,
    /// Watched tickets of which Redis reports no changes at the moment.
    pub tickets_unwatched: Gauge,
    /// Primaries that keep tickets.
    pub primaries: Gauge,
    /// Times other primaries were found to keep the tickets.
    pub layout_changes: Counter,
    redirects: Family<Kind, Counter>,
    unreplicated: Family<Outcome, Counter>,
}

impl RedisMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "subscriber_reconnects",
            "Times a subscriber lost its Redis connection",
            self.subscriber_reconnects.clone(),
        );
        registry.register(
            "subscriber_missed",
            "Watched tickets that were read again because changes may have gone unreported",
            self.subscriber_missed.clone(),
        );
        registry.register(
            "tickets_unwatched",
            "Watched tickets of which Redis reports no changes at the moment; they are read every two seconds",
            self.tickets_unwatched.clone(),
        );
        registry.register("redis_primaries", "Redis primaries that keep tickets", self.primaries.clone());
        registry.register(
            "redis_layout_changes",
            "Times other Redis primaries were found to keep the tickets: a failover, or slots that moved",
            self.layout_changes.clone(),
        );
        registry.register(
            "redis_redirects",
            "Commands that a node of the Cluster sent on to another, by kind: moved, ask",
            self.redirects.clone(),
        );
        registry.register(
            "redis_unreplicated",
            "Changes that fewer replicas had than asked for, by outcome: acknowledged (no more were there), refused (one did not have it in time, or it was not certain who is primary)",
            self.unreplicated.clone(),
        );
        for kind in ["moved", "ask"] {
            drop(self.redirects.get_or_create(&Kind { kind }));
        }
        for outcome in ["acknowledged", "refused"] {
            drop(self.unreplicated.get_or_create(&Outcome { outcome }));
        }
    }

    /// Counts a command that a node of a Cluster sent on to another: `moved` or `ask`.
    pub fn redirected(&self, kind: &'static str) {
        self.redirects.get_or_create(&Kind { kind }).inc();
    }

    /// Counts a change that fewer replicas had than asked for: `acknowledged` or `refused`.
    pub fn unreplicated(&self, outcome: &'static str) {
        self.unreplicated.get_or_create(&Outcome { outcome }).inc();
    }
}
