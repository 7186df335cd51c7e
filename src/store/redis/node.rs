//! One node that keeps tickets: the connections that commands share, its subscriber.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::RedisError;

use super::address::Address;
use super::command::{Command, Done, Failure, UnconfirmedPrimary};
use super::connections::Connections;
use super::endpoint::{Endpoint, SPARE_CONNECTIONS};
use super::replication::Replication;
use super::settings::{RedisSettings, Reports};
use super::subscriber::Subscriber;

/// A node. Dropping it ends its subscriber.
pub(super) struct Node {
    pub(super) endpoint: Arc<Endpoint>,
    /// What most commands go over.
    lanes: Connections,
    /// What commands go over that wait for replicas; the same if none are waited for.
    waiting_lanes: Option<Connections>,
    pub(super) subscriber: Subscriber,
    was_silent: AtomicBool,
}

impl Node {
    /// Begins to connect to it.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub(super) fn start(settings: &RedisSettings, address: &Address, reports: &Reports) -> Result<Self, RedisError> {
        let RedisSettings { connections: count, wait_replicas, timeout, .. } = settings;
        let connections = if *wait_replicas > 0 { 2 * count } else { *count };
        let endpoint = Arc::new(Endpoint::new(settings, address, connections + SPARE_CONNECTIONS)?);
        let waiting_lanes = (*wait_replicas > 0).then(|| {
            // Less than a connection's own patience, or the connection would be given up.
            let replication = Replication::new(*wait_replicas, *timeout / 4, reports.clone());
            Connections::waiting(endpoint.pool.clone(), *count, replication)
        });
        Ok(Self {
            lanes: Connections::new(endpoint.pool.clone(), *count),
            waiting_lanes,
            subscriber: Subscriber::start(Arc::clone(&endpoint), reports.clone()),
            was_silent: AtomicBool::new(false),
            endpoint,
        })
    }

    /// Takes note that it did not answer: it may be frozen, and replaced meanwhile.
    pub(super) fn note_silence(&self) {
        self.was_silent.store(true, Ordering::Relaxed);
    }

    /// Returns whether it did not answer since it was asked last who is primary.
    pub(super) fn was_silent(&self) -> bool {
        self.was_silent.load(Ordering::Relaxed)
    }

    /// Takes note that it has been asked.
    pub(super) fn settle_silence(&self) {
        self.was_silent.store(false, Ordering::Relaxed);
    }

    /// Sends a command.
    ///
    /// # Errors
    /// As [`Connections::send`].
    pub(super) async fn send(&self, command: &Command<'_>, is_asking: bool) -> Result<Done, Failure> {
        match &self.waiting_lanes {
            Some(lanes) if command.is_waiting() => lanes.send(command, is_asking).await,
            _ => self.lanes.send(command, is_asking).await,
        }
    }

    /// Takes note that it was the primary when `doubt` arose.
    pub(super) fn settle(&self, doubt: &UnconfirmedPrimary) {
        if let Some(lanes) = &self.waiting_lanes {
            lanes.settle(doubt);
        }
    }
}
