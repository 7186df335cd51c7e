//! How the engine is set up, and where it tells what it notices.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::topology::Topology;
use crate::metrics::Metrics;
use crate::store::contract::Changes;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where Redis is.
    pub topology: Topology,
    /// What every key begins with.
    pub prefix: String,
    /// How many connections to each node commands share.
    pub connections: usize,
    /// How many replicas must have a change before it counts as stored, as far as so many are connected.
    pub wait_replicas: usize,
    /// The bound of every wait: for a connection, for connecting, for an answer.
    pub timeout: Duration,
}

/// Where the engine tells what it notices.
#[derive(Clone)]
pub(super) struct Reports {
    pub(super) changes: Arc<dyn Changes>,
    pub(super) metrics: Arc<Metrics>,
    /// Told when there is reason to look who is primary.
    pub(super) look_again: Arc<Notify>,
}
