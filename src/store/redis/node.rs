//! One node that keeps tickets: how to reach it, the connections that commands share, its subscriber.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_redis::{Connection, Manager, Pool, Runtime};
use futures_util::future::join_all;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, RedisError};

use super::command::{Command, Done, Failure, UnconfirmedPrimary};
use super::connections::{Connections, from_pool};
use super::keys::Keys;
use super::replication::Replication;
use super::subscriber::Subscriber;
use super::topology::{Address, Topology};
use super::{RedisSettings, Reports};
use crate::ticket::TicketId;

/// Connections that the pool may make beside those of the lanes: for looking after flags.
const SPARE_CONNECTIONS: usize = 2;

/// How many keys are tried to find one that a node does not keep. Of three primaries none keeps all of so many, but once in
/// seven thousand times.
const KEYS_TRIED: usize = 8;

/// How to reach a node.
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) keys: Keys,
    /// The bound of a command in all.
    pub(super) timeout: Duration,
    topology: Topology,
    pool: Pool,
}

impl Endpoint {
    /// Prepares up to `size` connections for commands; none is made yet.
    ///
    /// Each wait within a command is given a part of its time, so that a command can step over a dead connection, and one
    /// that has waited too long gives up before it costs a good one. Connecting is given half of it: that takes up to four round
    /// trips (TCP, two for TLS 1.2, the login), an answer one.
    ///
    /// # Errors
    /// The client's, if the address is none that it can use.
    pub(super) fn new(settings: &RedisSettings, address: &Address, size: usize) -> Result<Self, RedisError> {
        let RedisSettings { topology, timeout, .. } = settings;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(*timeout / 2))
            .set_response_timeout(Some(*timeout / 2));
        let manager = Manager::new_with_config(topology.at(address), config)?;
        let pool = Pool::builder(manager)
            .max_size(size)
            .wait_timeout(Some(*timeout / 4))
            .create_timeout(Some(*timeout / 2))
            .recycle_timeout(Some(*timeout / 4))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Self {
            address: address.clone(),
            keys: Keys::new(&settings.prefix, topology.database()),
            timeout: *timeout,
            topology: topology.clone(),
            pool,
        })
    }

    /// Takes a connection for commands that are few and may wait.
    ///
    /// # Errors
    /// What kept it from being made.
    pub(super) async fn connect(&self) -> Result<Connection, RedisError> {
        self.pool.get().await.map_err(from_pool)
    }

    /// Returns whether the server is a node of a Cluster: it then keeps not every key. Deletes nothing.
    pub(super) async fn is_in_a_cluster(&self) -> bool {
        let Ok(connection) = self.connect().await else { return false };
        // All at once: one after the other they would take as many round trips.
        let touched = join_all((0..KEYS_TRIED).map(|_| {
            let mut connection: MultiplexedConnection = (*connection).clone();
            let key = self.keys.key(&TicketId::random());
            async move { redis::cmd("PEXPIREAT").arg(key).arg(1).query_async::<i64>(&mut connection).await }
        }));
        touched.await.into_iter().any(|answer| answer.is_err_and(|error| error.is_cluster_error()))
    }

    /// Opens a connection for subscriptions alone.
    ///
    /// # Errors
    /// As [`Topology::subscriber`].
    pub(super) async fn subscriber(&self) -> Result<PubSub, RedisError> {
        self.topology.subscriber(&self.address, self.timeout).await
    }
}

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
        let RedisSettings { lanes, wait_replicas, timeout, .. } = settings;
        let connections = if *wait_replicas > 0 { 2 * lanes } else { *lanes };
        let endpoint = Arc::new(Endpoint::new(settings, address, connections + SPARE_CONNECTIONS)?);
        let waiting_lanes = (*wait_replicas > 0).then(|| {
            // Less than a connection's own patience, or the connection would be given up.
            let replication = Replication::new(*wait_replicas, *timeout / 4, reports.clone());
            Connections::waiting(endpoint.pool.clone(), *lanes, replication)
        });
        Ok(Self {
            lanes: Connections::new(endpoint.pool.clone(), *lanes),
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
