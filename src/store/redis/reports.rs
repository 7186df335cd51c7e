//! The receivers of the engine's events.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::store::contract::Changes;

/// The receivers of reports. Clones share them.
#[derive(Clone)]
pub(super) struct Reports {
    /// Receives changes of watched tickets.
    pub(super) changes: Arc<dyn Changes>,
    pub(super) metrics: Arc<Metrics>,
    /// Wakes the router's refresh when there is a reason to ask which nodes are primaries.
    pub(super) refresh_requested: Arc<Notify>,
}
