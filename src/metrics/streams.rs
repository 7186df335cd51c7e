//! The metrics of the waiting parties' streams and long polls.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::define::define_metrics;
use super::labels::Reason;

define_metrics! {
    /// Metrics of streams and long polls.
    pub struct StreamMetrics {
        pub open: Gauge = "streams_open", "Streams and long polls that wait right now";
        pub opened: Counter = "streams_opened", "Streams and long polls that were opened";
        closed: Family<Reason, Counter> = "streams_closed",
            "Streams and long polls that ended, by reason: the last event's name, answered (a long poll), seen (204), gone (the caller left), store (it failed), drain",
            series StreamEnd::ALL.map(StreamEnd::as_str);
    }
}

impl StreamMetrics {
    /// Counts the end of a stream or long poll.
    pub fn closed(&self, end: StreamEnd) {
        self.closed.get_or_create(&end.as_str().into()).inc();
    }
}

/// The reason why a stream or long poll ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The last event was `confirmed`.
    Confirmed,
    /// The last event was `cancelled`.
    Cancelled,
    /// The last event was `expired`.
    Expired,
    /// A long poll got its response.
    Answered,
    /// The caller had already received the last event: 204.
    Seen,
    /// The caller closed the connection.
    Gone,
    /// The store failed.
    Store,
    /// The gateway drains.
    Drain,
}

impl StreamEnd {
    /// Every reason.
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

    /// Returns the metric's label value.
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
