//! The metrics of the connectors.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What a service was asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    connector: &'static str,
    operation: &'static str,
    result: &'static str,
}

/// What came of a callback.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Callback {
    connector: &'static str,
    result: &'static str,
}

/// What the connectors count.
#[derive(Debug, Default)]
pub struct ConnectorMetrics {
    calls: Family<Call, Counter>,
    callbacks: Family<Callback, Counter>,
}

impl ConnectorMetrics {
    /// What WeChat is asked for.
    const OPERATIONS: [&str; 3] = ["stable_token", "qrcode", "user_info"];
    /// What may come of it.
    const RESULTS: [&str; 3] = ["ok", "refused", "failed"];
    /// What may come of a callback.
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

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "connector_requests",
            "Requests to the hosts of a connector's service, by operation and result: ok, refused (by its own code), failed (no good answer)",
            self.calls.clone(),
        );
        registry.register(
            "connector_callbacks",
            "Callbacks of a connector's service, by what came of them; late and repeated ones are counted as such as well",
            self.callbacks.clone(),
        );
        for operation in Self::OPERATIONS {
            for result in Self::RESULTS {
                drop(self.calls.get_or_create(&Call { connector: "wechat", operation, result }));
            }
        }
        for result in Self::CALLBACKS {
            drop(self.callbacks.get_or_create(&Callback { connector: "wechat", result }));
        }
    }

    /// Counts a request to one host.
    pub fn requested(&self, connector: &'static str, operation: &'static str, result: &'static str) {
        self.calls.get_or_create(&Call { connector, operation, result }).inc();
    }

    /// Counts a callback.
    pub fn called_back(&self, connector: &'static str, result: &'static str) {
        self.callbacks.get_or_create(&Callback { connector, result }).inc();
    }
}
