//! Reports refused tokens to operators: the metric counts each one, and the log has one line per reason and minute.
//!
//! The log has no part of a token, only the reason and the required issuer and audience.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::fault::VerifyError;
use crate::metrics::Metrics;

/// The shortest time between two log lines of one reason: anyone can send bad tokens, and must not fill the log.
const QUIET: Duration = Duration::from_secs(60);

pub(super) struct Refusals {
    metrics: Arc<Metrics>,
    /// For each reason, the time of its last log line and the number of refusals since. It has one entry per reason at most.
    logged: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Refusals {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.identity.init_refused_series(VerifyError::reasons());
        Self { metrics, logged: Mutex::default() }
    }

    pub(super) fn note(&self, error: VerifyError, issuer: &str, audience: &str) {
        let reason = error.as_str();
        self.metrics.identity.refused(reason);
        if let Some(suppressed) = self.start_line(reason, Instant::now()) {
            tracing::warn!(
                reason,
                suppressed,
                expected_issuer = issuer,
                expected_audience = audience,
                "refused a token of the identity provider: {error}"
            );
        }
    }

    /// Returns whether this refusal gets a log line: the number of refusals since the last one, or `None`.
    fn start_line(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut logged = self.logged.lock();
        match logged.get_mut(reason) {
            Some((at, suppressed)) if now.duration_since(*at) < QUIET => {
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
    async fn one_of_a_kind_is_told_at_a_time_and_none_is_lost() {
        let refusals = Refusals::new(Arc::default());
        let start = Instant::now();
        assert_eq!(refusals.start_line("expired", start), Some(0));
        for _ in 0..5 {
            assert_eq!(refusals.start_line("expired", start + QUIET / 2), None);
        }
        assert_eq!(refusals.start_line("other_issuer", start + QUIET / 2), Some(0));
        assert_eq!(refusals.start_line("expired", start + QUIET), Some(5));
        assert_eq!(refusals.start_line("expired", start + QUIET * 2), Some(0));
    }
}
