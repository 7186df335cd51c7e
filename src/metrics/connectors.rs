//! The metrics of the connectors.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::define::define_metrics;

/// The requests that the WeChat connector sends.
const OPERATIONS: [&str; 3] = ["stable_token", "qrcode", "user_info"];
/// The results of a request.
const RESULTS: [&str; 3] = ["ok", "refused", "failed"];
/// The results of a callback.
const CALLBACKS: [&str; 18] = [
    "checked",
    "asked",
    "asked_again",
    "confirmed",
    "mismatch",
    "declined",
    "too_late",
    "expired",
    "ignored",
    "repeated",
    "late",
    "forged",
    "stale",
    "replayed",
    "unreadable",
    "malformed",
    "overloaded",
    "failed",
];

/// Labels of a request to a connector's service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    connector: &'static str,
    operation: &'static str,
    result: &'static str,
}

impl From<(&'static str, &'static str)> for Call {
    fn from((operation, result): (&'static str, &'static str)) -> Self {
        Self { connector: "wechat", operation, result }
    }
}

/// Labels of a callback from a connector's service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Callback {
    connector: &'static str,
    result: &'static str,
}

impl From<&'static str> for Callback {
    fn from(result: &'static str) -> Self {
        Self { connector: "wechat", result }
    }
}

define_metrics! {
    /// Metrics of the connectors.
    pub struct ConnectorMetrics {
        calls: Family<Call, Counter> = "connector_requests",
            "Requests to the hosts of a connector's service, by operation and result: ok, refused (by the service's own code), failed (no usable response)",
            series OPERATIONS.into_iter().flat_map(|operation| RESULTS.map(|result| (operation, result)));
        callbacks: Family<Callback, Counter> = "connector_callbacks",
            "Callbacks of a connector's service, by result; late and repeated ones are counted as such as well",
            series CALLBACKS;
    }
}

impl ConnectorMetrics {
    /// Counts a request to one host.
    pub fn requested(&self, connector: &'static str, operation: &'static str, result: &'static str) {
        self.calls.get_or_create(&Call { connector, operation, result }).inc();
    }

    /// Counts a callback.
    pub fn called_back(&self, connector: &'static str, result: &'static str) {
        self.callbacks.get_or_create(&Callback { connector, result }).inc();
    }
}
