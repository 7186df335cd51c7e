//! Every metric: its name, unit, labels and help. What they are called is a contract with whoever runs the gateway.
//!
//! Names carry the prefix `scangate_`; counters end in `_total`. No label ever holds an id, an address or a name: the
//! number of series is fixed by the code.

mod connectors;
mod identity;
mod redis;

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use parked_streams::LossReason;

pub use connectors::ConnectorMetrics;
pub use identity::IdentityMetrics;
pub use redis::RedisMetrics;

/// The one label of most counters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: &'static str,
}

/// Label of the tickets by outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    outcome: &'static str,
}

/// Label of the store's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    operation: &'static str,
}

/// Label of the redirections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    kind: &'static str,
}

/// Label of the answered requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answer {
    status: u16,
}

/// What a stream or long poll ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The last event was `confirmed`.
    Confirmed,
    /// The last event was `cancelled`.
    Cancelled,
    /// The last event was `expired`.
    Expired,
    /// A long poll was answered.
    Answered,
    /// The last event had been seen before: 204.
    Seen,
    /// The client went away.
    Gone,
    /// The store failed.
    Store,
    /// The gateway drains.
    Drain,
}

impl StreamEnd {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Confirmed,
        Self::Cancelled,
        Self::Expired,
        Self::Answered,
        Self::Seen,
        Self::Gone,
        Self::Store,
        Self::Drain,
    ];

    /// Returns the metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Answered => "answered",
            Self::Seen => "seen",
            Self::Gone => "gone",
            Self::Store => "store",
            Self::Drain => "drain",
        }
    }
}

/// All of them, registered once.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Streams and long polls that wait right now.
    pub streams_open: Gauge,
    /// Streams and long polls that were let in.
    pub streams_opened: Counter,
    streams_closed: Family<Reason, Counter>,
    tickets: Family<Outcome, Counter>,
    confirm_to_event: Histogram,
    expiry_lag: Histogram,
    store: Family<Operation, Histogram>,
    store_errors: Family<Operation, Counter>,
    /// Those of the Redis engine.
    pub redis: RedisMetrics,
    /// Those of the connectors.
    pub connectors: ConnectorMetrics,
    refused: Family<Reason, Counter>,
    requests: Family<Answer, Counter>,
    /// Connections open right now, on the public listeners.
    pub connections_open: Gauge,
    /// Those of them that carry nothing but an idle event stream.
    pub connections_detached: Gauge,
    connections_lost: Family<Reason, Counter>,
    /// The identity provider's.
    pub identity: IdentityMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Makes them all, at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("scangate");
        let seconds = || Family::<Operation, Histogram>::new_with_constructor(|| Histogram::new(latency_buckets()));
        let metrics = Self {
            streams_open: Gauge::default(),
            streams_opened: Counter::default(),
            streams_closed: Family::default(),
            tickets: Family::default(),
            confirm_to_event: Histogram::new(latency_buckets()),
            expiry_lag: Histogram::new(latency_buckets()),
            store: seconds(),
            store_errors: Family::default(),
            redis: RedisMetrics::default(),
            connectors: ConnectorMetrics::default(),
            refused: Family::default(),
            requests: Family::default(),
            connections_open: Gauge::default(),
            connections_detached: Gauge::default(),
            connections_lost: Family::default(),
            identity: IdentityMetrics::default(),
            registry: Registry::default(),
        };
        registry.register("streams_open", "Streams and long polls that wait right now", metrics.streams_open.clone());
        registry.register("streams_opened", "Streams and long polls that were let in", metrics.streams_opened.clone());
        registry.register(
            "streams_closed",
            "Streams and long polls that ended, by reason: the last event's name, answered (a long poll), seen (204), gone (the client left), store (it failed), drain",
            metrics.streams_closed.clone(),
        );
        registry.register(
            "tickets",
            "Tickets by outcome: created, scanned, confirmed, claimed, cancelled (transitions made here), expired (as told to a waiting party here)",
            metrics.tickets.clone(),
        );
        registry.register_with_unit(
            "confirm_to_event",
            "From the confirmation to the recipient's event being handed to its connection",
            Unit::Seconds,
            metrics.confirm_to_event.clone(),
        );
        registry.register_with_unit(
            "expiry_lag",
            "From a ticket's deadline to its expired event being handed to a connection",
            Unit::Seconds,
            metrics.expiry_lag.clone(),
        );
        registry.register_with_unit("store", "Time that a store operation took", Unit::Seconds, metrics.store.clone());
        registry.register("store_errors", "Store operations that failed", metrics.store_errors.clone());
        metrics.redis.register(&mut registry);
        metrics.connectors.register(&mut registry);
        registry.register(
            "refused",
            "Requests refused, by the problem's code or, where there is one, the bound that was reached",
            metrics.refused.clone(),
        );
        registry.register("requests", "Requests answered, by status", metrics.requests.clone());
        registry.register(
            "connections_open",
            "Open connections on the public listeners",
            metrics.connections_open.clone(),
        );
        registry.register(
            "connections_detached",
            "Open connections that carry an event stream and nothing else, held at a few hundred bytes each",
            metrics.connections_detached.clone(),
        );
        registry.register(
            "connections_lost",
            "Event streams' connections that ended before their stream, by reason: closed or reset (by the client), vanished (it acknowledged nothing), slow (it read nothing), flooding (it sent too much), failed (a fault of the gateway)",
            metrics.connections_lost.clone(),
        );
        metrics.identity.register(&mut registry);
        let metrics = Self { registry, ..metrics };
        metrics.start_at_zero();
        metrics
    }

    /// Makes every series whose labels are known beforehand, so that the first failure is a rise and not a new series.
    fn start_at_zero(&self) {
        for outcome in ["created", "scanned", "confirmed", "claimed", "cancelled", "expired"] {
            drop(self.tickets.get_or_create(&Outcome { outcome }));
        }
        for operation in ["create", "get", "replace", "persist", "watch", "check", "put_value", "value", "remove_value"]
        {
            drop(self.store.get_or_create(&Operation { operation }));
            drop(self.store_errors.get_or_create(&Operation { operation }));
        }
        for lost in LossReason::ALL {
            drop(self.connections_lost.get_or_create(&Reason { reason: lost.as_str() }));
        }
        for end in StreamEnd::ALL {
            drop(self.streams_closed.get_or_create(&Reason { reason: end.as_str() }));
        }
    }

    /// Makes the series of refusals that can be.
    pub fn expect_refusals(&self, reasons: impl Iterator<Item = &'static str>) {
        for reason in reasons {
            drop(self.refused.get_or_create(&Reason { reason }));
        }
    }

    /// Counts an answered request.
    pub fn request(&self, status: u16) {
        self.requests.get_or_create(&Answer { status }).inc();
    }

    /// Counts a refusal by its problem code.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a transition or expiry.
    pub fn ticket(&self, outcome: &'static str) {
        self.tickets.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts the end of a stream.
    pub fn stream_closed(&self, end: StreamEnd) {
        self.streams_closed.get_or_create(&Reason { reason: end.as_str() }).inc();
    }

    /// Counts an event stream's connection that ended before its stream.
    pub fn connection_lost(&self, lost: LossReason) {
        self.connections_lost.get_or_create(&Reason { reason: lost.as_str() }).inc();
    }

    /// Notes how long a confirmation took to reach the recipient's connection.
    pub fn confirm_to_event(&self, took: Duration) {
        self.confirm_to_event.observe(took.as_secs_f64());
    }

    /// Notes how late an expiry was told.
    pub fn expiry_lag(&self, late: Duration) {
        self.expiry_lag.observe(late.as_secs_f64());
    }

    /// Notes a store operation.
    pub fn store_operation(&self, operation: &'static str, took: Duration, failed: bool) {
        self.store.get_or_create(&Operation { operation }).observe(took.as_secs_f64());
        if failed {
            self.store_errors.get_or_create(&Operation { operation }).inc();
        }
    }

    /// Returns all of them in the OpenMetrics text format.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// From half a millisecond to ten seconds.
fn latency_buckets() -> impl Iterator<Item = f64> {
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0].into_iter()
}
