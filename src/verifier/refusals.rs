//! Reports refused tokens to operators: the metric counts each one, and the log has one line per reason and minute.
//!
//! A wrong setting refuses every token, so one line with the cause is enough. `log_limit` also limits the lines of the refused
//! requests, with their addresses. The log has no part of a token, only the reason and the required issuer and audience.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::fault::VerifyError;
use crate::metrics::Metrics;

/// The minimum time between two log lines of one reason: anyone can send bad tokens, and must not fill the log.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Refusals {
    metrics: Arc<Metrics>,
    /// For each reason, the time of its last log line and the number of refusals since. There is at most one entry per reason.
    logged: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Refusals {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.identity.init_refused_series(VerifyError::reasons());
        Self { metrics, logged: Mutex::default() }
    }

    pub(super) fn record(&self, error: VerifyError, issuers: &str, audiences: &str) {
        let reason = error.as_str();
        self.metrics.identity.refused(reason);
        if let Some(suppressed) = self.suppressed_if_due(reason, Instant::now()) {
            tracing::warn!(
                reason,
                suppressed,
                expected_issuer = issuers,
                expected_audience = audiences,
                "refused a token of the identity provider: {error}"
            );
        }
    }

    /// Returns the number of refusals since the last log line of this reason if a new line is due, otherwise `None`.
    fn suppressed_if_due(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut logged = self.logged.lock();
        match logged.get_mut(reason) {
            Some((at, suppressed)) if now.duration_since(*at) < LOG_INTERVAL => {
                *suppressed += 1;
                None
            }
            known => {
                let suppressed = known.map_or(0, |(_, suppressed)| *suppressed);
                logged.insert(reason, (now, 0));
                Some(suppressed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_line_per_reason_and_interval_and_every_refusal_is_counted() {
        let refusals = Refusals::new(Arc::default());
        let start = Instant::now();
        assert_eq!(refusals.suppressed_if_due("expired", start), Some(0));
        for _ in 0..5 {
            assert_eq!(refusals.suppressed_if_due("expired", start + LOG_INTERVAL / 2), None);
        }
        assert_eq!(refusals.suppressed_if_due("other_issuer", start + LOG_INTERVAL / 2), Some(0));
        assert_eq!(refusals.suppressed_if_due("expired", start + LOG_INTERVAL), Some(5));
        assert_eq!(refusals.suppressed_if_due("expired", start + LOG_INTERVAL * 2), Some(0));
    }
}
