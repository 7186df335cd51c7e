//! The metrics of the public listeners' connections.

use parked_streams::LossReason;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::define::define_metrics;
use super::labels::Reason;

define_metrics! {
    /// Metrics of connections.
    pub struct ConnectionMetrics {
        pub open: Gauge = "connections_open", "Open connections on the public listeners";
        pub detached: Gauge = "connections_detached",
            "Open connections that carry only an event stream, at a few hundred bytes each";
        lost: Family<Reason, Counter> = "connections_lost",
            "Event streams' connections that ended before their stream, by reason: closed or reset (by the peer), vanished (it acknowledged nothing), slow (it read nothing), flooding (it sent too much), failed (a fault of the gateway)",
            series LossReason::ALL.map(LossReason::as_str);
    }
}

impl ConnectionMetrics {
    /// Counts a connection that ended before its event stream.
    pub fn lost(&self, reason: LossReason) {
        self.lost.get_or_create(&reason.as_str().into()).inc();
    }
}
