//! The metrics of sign-ins at identity providers.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::define::define_metrics;
use super::labels::{Operation, Outcome, Reason};

/// The requests to a provider.
const OPERATIONS: [&str; 3] = ["discovery", "token", "userinfo"];
/// The results of a request.
const RESULTS: [&str; 2] = ["ok", "failed"];
/// The outcomes of a sign-in; failures are counted by reason.
const OUTCOMES: [&str; 2] = ["begun", "finished"];

/// Labels of a request to a provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    result: &'static str,
}

impl From<(&'static str, &'static str)> for Call {
    fn from((operation, result): (&'static str, &'static str)) -> Self {
        Self { operation, result }
    }
}

define_metrics! {
    /// Metrics of sign-ins at identity providers.
    pub struct ProviderSignInMetrics {
        outcomes: Family<Outcome, Counter> = "provider_sign_ins",
            "Sign-ins at an identity provider by outcome: begun, finished", series OUTCOMES;
        failed: Family<Reason, Counter> = "provider_sign_ins_failed",
            "Sign-ins at an identity provider that failed, by reason";
        calls: Family<Call, Counter> = "provider_requests",
            "Requests to an identity provider, by operation and result: ok, failed (no usable response, or a refusal)",
            series OPERATIONS.into_iter().flat_map(|operation| RESULTS.map(|result| (operation, result)));
        durations: Family<Operation, Histogram> = "provider_request" in Seconds,
            "Time that a request to an identity provider took", series OPERATIONS;
    }
}

impl ProviderSignInMetrics {
    /// Creates the series of every reason for a failure, at zero.
    pub fn init_failed_series(&self, reasons: impl Iterator<Item = &'static str>) {
        for reason in reasons {
            drop(self.failed.get_or_create(&reason.into()));
        }
    }

    /// Counts a sign-in that began.
    pub fn begun(&self) {
        self.outcomes.get_or_create(&"begun".into()).inc();
    }

    /// Counts a sign-in that finished.
    pub fn finished(&self) {
        self.outcomes.get_or_create(&"finished".into()).inc();
    }

    /// Counts a sign-in that failed.
    pub fn failed(&self, reason: &'static str) {
        self.failed.get_or_create(&reason.into()).inc();
    }

    /// Records a request to a provider.
    pub fn called(&self, operation: &'static str, took: Duration, is_ok: bool) {
        let result = if is_ok { "ok" } else { "failed" };
        self.calls.get_or_create(&(operation, result).into()).inc();
        self.durations.get_or_create(&operation.into()).observe(took.as_secs_f64());
    }
}
