//! The means to reach one node: its kinds of connections, and their bounds.
//!
//! There are three kinds. *Shared* connections carry the commands of sign-ins; `connections` keeps them open. *Pooled*
//! connections are borrowed for short checks; the pool takes them back and replaces broken ones. A *subscriber*
//! connection carries only subscriptions.

use std::time::Duration;

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, RedisError};

use super::address::Address;
use super::keys::Keys;
use super::settings::RedisSettings;
use super::timeout::{in_time, timed_out};

/// The maximum number of pooled connections: for the startup checks, for the subscriber before it subscribes, and for
/// the check of notification flags.
const MAX_POOLED: usize = 3;

/// A node's address, and the means to connect to it.
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) keys: Keys,
    /// The limit of a whole command.
    pub(super) timeout: Duration,
    client: Client,
    config: AsyncConnectionConfig,
    pool: Pool,
}

impl Endpoint {
    /// Prepares to connect; does not connect yet.
    ///
    /// Each wait within a command gets a part of the command's time. So a command can replace a dead connection, and a
    /// command that has waited too long fails before its connection is declared dead. Connecting gets half of the time:
    /// it takes up to four round trips (TCP, two for TLS 1.2, the login), a reply takes one.
    ///
    /// # Errors
    /// The client's error, if it cannot use the address.
    pub(super) fn new(settings: &RedisSettings, address: &Address) -> Result<Self, RedisError> {
        let RedisSettings { topology, timeout, .. } = settings;
        let info = topology.connection_info(address);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(*timeout / 2))
            .set_response_timeout(Some(*timeout / 2));
        let manager = Manager::new_with_config(info.clone(), config.clone())?;
        let pool = Pool::builder(manager)
            .max_size(MAX_POOLED)
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
            client: Client::open(info)?,
            config,
            pool,
        })
    }

    /// Borrows a connection from the pool for a few commands; dropping it returns it. Before the pool hands out a used
    /// connection, it sends a ping, which takes a round trip, and replaces the connection if there is no reply.
    ///
    /// # Errors
    /// If the pool cannot provide a connection.
    pub(super) async fn pooled_connection(&self) -> Result<Connection, RedisError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(_) => timed_out(),
            other => std::io::Error::other(other.to_string()).into(),
        })
    }

    /// Opens a connection that commands share.
    ///
    /// # Errors
    /// The client's error.
    pub(super) async fn open_shared(&self) -> Result<MultiplexedConnection, RedisError> {
        self.client.get_multiplexed_async_connection_with_config(&self.config).await
    }

    /// Opens a connection that carries only subscriptions.
    ///
    /// # Errors
    /// The client's error, or an I/O timeout after `timeout`: the client itself would wait forever here.
    pub(super) async fn open_subscriber(&self) -> Result<PubSub, RedisError> {
        in_time(self.timeout, self.client.get_async_pubsub()).await
    }
}
