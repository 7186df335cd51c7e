//! One node that stores tickets: the connections that commands share, and its subscriber.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::RedisError;

use super::address::Address;
use super::command::{Command, CommandError, Reply, UnconfirmedPrimary};
use super::connections::Connections;
use super::endpoint::Endpoint;
use super::replication::Replication;
use super::reports::Reports;
use super::settings::RedisSettings;
use super::subscriber::Subscriber;

/// A node. Dropping it ends its subscriber.
pub(super) struct Node {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) subscriber: Subscriber,
    /// Carries the commands that do not wait for replicas.
    connections: Connections,
    /// Carries the commands that wait for replicas; none if no command waits.
    replicated: Option<Connections>,
    has_failed: AtomicBool,
}

impl Node {
    /// Starts to connect to the node.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub(super) fn start(settings: &RedisSettings, address: &Address, reports: &Reports) -> Result<Self, RedisError> {
        let RedisSettings { connections, wait_replicas, timeout, .. } = settings;
        let endpoint = Arc::new(Endpoint::new(settings, address)?);
        let replicated = (*wait_replicas > 0).then(|| {
            // The wait is shorter than the response timeout of a connection, which would otherwise be declared dead.
            let replication = Replication::new(*wait_replicas, *timeout / 4, reports.clone());
            Connections::replicated(Arc::clone(&endpoint), *connections, replication)
        });
        Ok(Self {
            connections: Connections::new(Arc::clone(&endpoint), *connections),
            replicated,
            subscriber: Subscriber::start(Arc::clone(&endpoint), reports.clone()),
            has_failed: AtomicBool::new(false),
            endpoint,
        })
    }

    /// Records that a command failed at the node. It may have been frozen, and replaced meanwhile.
    pub(super) fn record_failure(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// Returns whether a command failed at the node since it was last confirmed to be the primary.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Clears what [`Node::record_failure`] recorded.
    pub(super) fn clear_failure(&self) {
        self.has_failed.store(false, Ordering::Relaxed);
    }

    /// Sends a command.
    ///
    /// # Errors
    /// As [`Connections::send`].
    pub(super) async fn send(&self, command: &Command<'_>, is_ask: bool) -> Result<Reply, CommandError> {
        match &self.replicated {
            Some(connections) if command.is_replicated() => connections.send(command, is_ask).await,
            _ => self.connections.send(command, is_ask).await,
        }
    }

    /// Records that the node was the primary when it gave this reply.
    pub(super) fn confirm(&self, primary: &UnconfirmedPrimary) {
        if let Some(connections) = &self.replicated {
            connections.confirm(primary);
        }
    }
}
