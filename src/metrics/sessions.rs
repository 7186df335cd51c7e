//! The metrics of the sessions of signed-in people.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::define::define_metrics;
use super::labels::Reason;

/// Why a session ended. Sessions that expire are not counted: the store drops them without a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The person signed out.
    SignedOut,
    /// The person signed in again in the same browser.
    Replaced,
}

impl SessionEnd {
    const ALL: [Self; 2] = [Self::SignedOut, Self::Replaced];

    /// Returns the label in the metrics and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::Replaced => "replaced",
        }
    }
}

define_metrics! {
    /// Metrics of the sessions of signed-in people.
    pub struct SessionMetrics {
        pub started: Counter = "sessions_started", "Sessions started: people who signed in to the gateway in a browser";
        ended: Family<Reason, Counter> = "sessions_ended",
            "Sessions ended before they expired, by reason: signed_out, replaced (by another sign-in in the same browser)",
            series SessionEnd::ALL.map(SessionEnd::as_str);
    }
}

impl SessionMetrics {
    /// Counts a session that ended.
    pub fn ended(&self, end: SessionEnd) {
        self.ended.get_or_create(&end.as_str().into()).inc();
    }
}
