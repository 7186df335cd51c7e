//! The metrics of the Redis engine.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::define::define_metrics;
use super::labels::{Kind, Outcome};

define_metrics! {
    /// Metrics of the Redis engine.
    pub struct RedisMetrics {
        pub subscriber_reconnects: Counter = "subscriber_reconnects", "Times a subscriber lost its Redis connection";
        pub subscriber_missed: Counter = "subscriber_missed",
            "Watched tickets that were read again because changes may have gone unreported";
        pub tickets_unwatched: Gauge = "tickets_unwatched",
            "Watched tickets whose changes Redis does not report at the moment; the gateway reads them every two seconds";
        pub primaries: Gauge = "redis_primaries", "Redis primaries that store tickets";
        pub layout_changes: Counter = "redis_layout_changes",
            "Times the primaries changed: a failover, or migrated slots";
        redirects: Family<Kind, Counter> = "redis_redirects",
            "Commands that a node of the Cluster redirected to another, by kind: moved, ask",
            series ["moved", "ask"];
        unreplicated: Family<Outcome, Counter> = "redis_unreplicated",
            "Changes with fewer replicas than required, by outcome: acknowledged (no more were connected), refused (a replica did not acknowledge in time, or the primary was unconfirmed)",
            series ["acknowledged", "refused"];
    }
}

impl RedisMetrics {
    /// Counts a command that a node of a Cluster redirected: `moved` or `ask`.
    pub fn redirected(&self, kind: &'static str) {
        self.redirects.get_or_create(&kind.into()).inc();
    }

    /// Counts a change with fewer replicas than required: `acknowledged` or `refused`.
    pub fn unreplicated(&self, outcome: &'static str) {
        self.unreplicated.get_or_create(&outcome.into()).inc();
    }
}
