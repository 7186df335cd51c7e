//! The settings of the Redis engine.

use std::time::Duration;

use super::topology::Topology;

/// The settings of the Redis engine.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// The installation to connect to.
    pub topology: Topology,
    /// The prefix of every key.
    pub prefix: String,
    /// How many connections to each node commands share.
    pub connections: usize,
    /// How many replicas must have a change before it is acknowledged; fewer if fewer are connected.
    pub wait_replicas: usize,
    /// The limit of every wait: for a connection, for connecting, for a reply.
    pub timeout: Duration,
}
