//! Every metric: its name, unit, labels and help text. Names are a contract with operators.
//!
//! Names have the prefix `scangate_`; counters end in `_total`. No label contains an id, an address or a name, so the number of
//! series is fixed.

mod connections;
mod connectors;
mod define;
mod identity;
mod labels;
mod openid;
mod provider_sign_ins;
mod redis;
mod sessions;
mod streams;

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use connections::ConnectionMetrics;
pub use connectors::ConnectorMetrics;
use define::define_metrics;
pub use identity::IdentityMetrics;
use labels::{Operation, Outcome, Reason, Status};
pub use openid::OpenIdMetrics;
pub use provider_sign_ins::ProviderSignInMetrics;
pub use redis::RedisMetrics;
pub use sessions::{SessionEnd, SessionMetrics};
pub use streams::{StreamEnd, StreamMetrics};

/// The outcomes of a ticket.
const OUTCOMES: [&str; 7] = ["created", "opened", "scanned", "confirmed", "claimed", "cancelled", "expired"];
/// The operations of the store.
const OPERATIONS: [&str; 10] =
    ["create", "get", "replace", "persist", "watch", "check", "put_value", "replace_value", "value", "remove_value"];

/// Every metric, registered once.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Streams and long polls.
    pub streams: StreamMetrics,
    tickets: TicketMetrics,
    store: StoreMetrics,
    /// The Redis engine.
    pub redis: RedisMetrics,
    /// The connectors.
    pub connectors: ConnectorMetrics,
    requests: RequestMetrics,
    /// The public listeners' connections.
    pub connections: ConnectionMetrics,
    /// The identity provider.
    pub identity: IdentityMetrics,
    /// The sessions of signed-in people.
    pub sessions: SessionMetrics,
    /// Sign-ins at identity providers.
    pub provider_sign_ins: ProviderSignInMetrics,
    /// The OpenID Provider.
    pub openid: OpenIdMetrics,
}

define_metrics! {
    struct TicketMetrics {
        outcomes: Family<Outcome, Counter> = "tickets",
            "Tickets by outcome: created, opened, scanned, confirmed, claimed, cancelled (transitions made here), expired (as sent to a waiting party here)",
            series OUTCOMES;
        confirm_to_event: Histogram = "confirm_to_event" in Seconds,
            "Time from the confirmation until the recipient's event is passed to its connection";
        expiry_lag: Histogram = "expiry_lag" in Seconds,
            "Time from a ticket's deadline until its expired event is passed to a connection";
    }
}

define_metrics! {
    struct StoreMetrics {
        durations: Family<Operation, Histogram> = "store" in Seconds, "Time that a store operation took", series OPERATIONS;
        errors: Family<Operation, Counter> = "store_errors", "Store operations that failed", series OPERATIONS;
    }
}

define_metrics! {
    struct RequestMetrics {
        refused: Family<Reason, Counter> = "refused",
            "Requests refused, by the problem's code or, if a bound was reached, by the bound";
        responses: Family<Status, Counter> = "requests", "Requests answered, by status";
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates and registers every metric, at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("scangate");
        Self {
            streams: StreamMetrics::register(&mut registry),
            tickets: TicketMetrics::register(&mut registry),
            store: StoreMetrics::register(&mut registry),
            redis: RedisMetrics::register(&mut registry),
            connectors: ConnectorMetrics::register(&mut registry),
            requests: RequestMetrics::register(&mut registry),
            connections: ConnectionMetrics::register(&mut registry),
            identity: IdentityMetrics::register(&mut registry),
            sessions: SessionMetrics::register(&mut registry),
            provider_sign_ins: ProviderSignInMetrics::register(&mut registry),
            openid: OpenIdMetrics::register(&mut registry),
            registry,
        }
    }

    /// Creates the series of every reason for a refusal, at zero.
    pub fn init_refused_series(&self, reasons: impl Iterator<Item = &'static str>) {
        for reason in reasons {
            drop(self.requests.refused.get_or_create(&reason.into()));
        }
    }

    /// Counts a request by the status of its response.
    pub fn request(&self, status: u16) {
        self.requests.responses.get_or_create(&status.into()).inc();
    }

    /// Counts a refusal by its problem code.
    pub fn refused(&self, reason: &'static str) {
        self.requests.refused.get_or_create(&reason.into()).inc();
    }

    /// Counts a transition or expiry.
    pub fn ticket(&self, outcome: &'static str) {
        self.tickets.outcomes.get_or_create(&outcome.into()).inc();
    }

    /// Records the time from a confirmation until the recipient's connection got it.
    pub fn confirm_to_event(&self, took: Duration) {
        self.tickets.confirm_to_event.observe(took.as_secs_f64());
    }

    /// Records the time from a ticket's deadline until its `expired` event was sent.
    pub fn expiry_lag(&self, late: Duration) {
        self.tickets.expiry_lag.observe(late.as_secs_f64());
    }

    /// Records a store operation.
    pub fn store_operation(&self, operation: &'static str, took: Duration, failed: bool) {
        self.store.durations.get_or_create(&operation.into()).observe(took.as_secs_f64());
        if failed {
            self.store.errors.get_or_create(&operation.into()).inc();
        }
    }

    /// Encodes every metric in the OpenMetrics text format.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
