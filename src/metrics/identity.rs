//! The metrics of the identity provider: its keys, and the tokens that are refused.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Reason;

/// What the verifier counts.
#[derive(Debug, Default)]
pub struct IdentityMetrics {
    /// Times the identity provider's keys were fetched without success.
    pub errors: Counter,
    refused: Family<Reason, Counter>,
    keys: Gauge,
    keys_left_out: Gauge,
    keys_fetched: Gauge,
}

impl IdentityMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "identity_errors",
            "Times the identity provider's keys could not be fetched",
            self.errors.clone(),
        );
        registry.register(
            "identity_refused",
            "Tokens of the identity provider that were refused, by reason",
            self.refused.clone(),
        );
        registry.register(
            "identity_keys",
            "Keys of the identity provider that can verify signatures, as of the last fetch that succeeded",
            self.keys.clone(),
        );
        registry.register(
            "identity_keys_left_out",
            "Keys of the identity provider that cannot, as of the last fetch that succeeded",
            self.keys_left_out.clone(),
        );
        registry.register_with_unit(
            "identity_keys_fetched_timestamp",
            "When the identity provider's keys were last fetched with success, since 1970; 0 if never",
            Unit::Seconds,
            self.keys_fetched.clone(),
        );
    }

    /// Makes the series of refused tokens that can be.
    pub fn expect_refusals(&self, reasons: impl Iterator<Item = &'static str>) {
        for reason in reasons {
            drop(self.refused.get_or_create(&Reason { reason }));
        }
    }

    /// Counts a token of the identity provider that was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// Sets what a fetch of the identity provider's keys has brought, and when, in seconds since 1970.
    pub fn set_keys(&self, usable: usize, left_out: usize, at: u64) {
        self.keys.set(i64::try_from(usable).unwrap_or(i64::MAX));
        self.keys_left_out.set(i64::try_from(left_out).unwrap_or(i64::MAX));
        self.keys_fetched.set(i64::try_from(at).unwrap_or(i64::MAX));
    }
}
