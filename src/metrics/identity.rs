//! The metrics of the identity provider: its keys, and the tokens that the verifier refused.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::define::define_metrics;
use super::labels::Reason;

define_metrics! {
    /// Metrics of the identity provider.
    pub struct IdentityMetrics {
        pub errors: Counter = "identity_errors", "Times the identity provider's keys could not be fetched";
        refused: Family<Reason, Counter> = "identity_refused",
            "Tokens of the identity provider that were refused, by reason";
        keys: Gauge = "identity_keys",
            "Keys of the identity provider that can verify signatures, as of the last fetch that succeeded";
        keys_left_out: Gauge = "identity_keys_left_out",
            "Keys of the identity provider that cannot verify signatures, as of the last fetch that succeeded";
        keys_fetched: Gauge = "identity_keys_fetched_timestamp" in Seconds,
            "The time of the last successful fetch of the identity provider's keys, since 1970; 0 if there was none";
    }
}

impl IdentityMetrics {
    /// Creates the series of every reason for a refusal, at zero.
    pub fn init_refused_series(&self, reasons: impl Iterator<Item = &'static str>) {
        for reason in reasons {
            drop(self.refused.get_or_create(&reason.into()));
        }
    }

    /// Counts a refused token.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&reason.into()).inc();
    }

    /// Sets the result of a successful fetch: the number of keys that can verify, the number of skipped keys, and the time in
    /// seconds since 1970.
    pub fn set_keys(&self, usable: usize, left_out: usize, at: u64) {
        self.keys.set(i64::try_from(usable).unwrap_or(i64::MAX));
        self.keys_left_out.set(i64::try_from(left_out).unwrap_or(i64::MAX));
        self.keys_fetched.set(i64::try_from(at).unwrap_or(i64::MAX));
    }
}
