//! How to reach a node.

use std::time::Duration;

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use futures_util::future::join_all;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, RedisError};

use super::address::Address;
use super::keys::Keys;
use super::settings::RedisSettings;
use super::timeout::timed_out;
use super::topology::Topology;
use crate::random;

/// Connections that the pool may make beside those of the lanes: for looking after flags.
pub(super) const SPARE_CONNECTIONS: usize = 2;

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
    pub(super) pool: Pool,
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
            let key = self.keys.key(&random::ticket_id());
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

/// Returns what kept the pool from giving a connection.
pub(super) fn from_pool(error: PoolError) -> RedisError {
    match error {
        PoolError::Backend(error) => error,
        PoolError::Timeout(_) => timed_out(),
        other => std::io::Error::other(other.to_string()).into(),
    }
}
