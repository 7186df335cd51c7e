//! Tells operators of tokens that are refused: every one in the metric, one of a kind per minute in the log.
//!
//! Nothing of a token is logged, only why it is refused and what it would have had to say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::fault::VerifyError;
use crate::metrics::Metrics;

/// How long after a line on one reason the next may follow: anybody can send bad tokens, and must not fill the log.
const QUIET: Duration = Duration::from_secs(60);

pub(super) struct Refusals {
    metrics: Arc<Metrics>,
    /// When each reason was last told of, and how many came since that were not. As many entries as there are reasons.
    told: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Refusals {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.identity.expect_refusals(VerifyError::reasons());
        Self { metrics, told: Mutex::default() }
    }

    pub(super) fn note(&self, error: VerifyError, issuer: &str, audience: &str) {
        let reason = error.as_str();
        self.metrics.identity.refused(reason);
        if let Some(untold) = self.is_to_be_told(reason, Instant::now()) {
            tracing::warn!(
                reason,
                untold,
                expected_issuer = issuer,
                expected_audience = audience,
                "a token of the identity provider was refused: {error}"
            );
        }
    }

    /// Returns how many of the same were left untold before, if this one is to be told.
    fn is_to_be_told(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(reason) {
            Some((at, untold)) if now.duration_since(*at) < QUIET => {
                *untold += 1;
                None
            }
            known => {
                let untold = known.map_or(0, |(_, untold)| *untold);
                told.insert(reason, (now, 0));
                Some(untold)
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
        assert_eq!(refusals.is_to_be_told("expired", start), Some(0));
        for _ in 0..5 {
            assert_eq!(refusals.is_to_be_told("expired", start + QUIET / 2), None);
        }
        assert_eq!(refusals.is_to_be_told("other_issuer", start + QUIET / 2), Some(0));
        assert_eq!(refusals.is_to_be_told("expired", start + QUIET), Some(5));
        assert_eq!(refusals.is_to_be_told("expired", start + QUIET * 2), Some(0));
    }
}
