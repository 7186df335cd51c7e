//! Where Redis is and how to get connections to it: one for the commands' pool, one for the subscriber.
//!
//! Standalone is what there is. Sentinel and Cluster are further variants of [`Topology`]; nothing outside this file
//! asks which one it is.

use std::time::Duration;

use deadpool_redis::{Manager, Pool, Runtime};
use redis::aio::PubSub;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo as _, RedisError};

/// How long the system waits for Redis's to acknowledge what was sent before it gives the connection up.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// A Redis installation, as its URL names it. `Debug` hides the password.
#[derive(Clone)]
pub enum Topology {
    /// One server: `redis://`, `rediss://` (TLS) or `redis+unix://`.
    Standalone(Box<ConnectionInfo>),
}

/// Why a Redis URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// The scheme is none that this version knows.
    #[error("the Redis URL must begin with redis://, rediss:// or redis+unix://")]
    Scheme,
    /// The rest of it is wrong.
    #[error("the Redis URL cannot be read: {0}")]
    Malformed(String),
}

impl Topology {
    /// Reads a URL such as `redis://user:password@host:6379/0`.
    ///
    /// # Errors
    /// [`TopologyError`], whose message never repeats the URL, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, TopologyError> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("redis" | "rediss" | "redis+unix")) {
            return Err(TopologyError::Scheme);
        }
        let info = url.into_connection_info().map_err(|error| {
            TopologyError::Malformed(error.detail().unwrap_or("expected redis://host:port/db").to_owned())
        })?;
        // Requests are small and wait for their answer: Nagle's algorithm would only delay them.
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(USER_TIMEOUT);
        let info = info.set_tcp_settings(tcp);
        Ok(Self::Standalone(Box::new(info)))
    }

    /// Returns the number of the database, which stands in the notification channels' names.
    pub(super) fn database(&self) -> i64 {
        let Self::Standalone(info) = self;
        info.redis_settings().db()
    }

    /// Returns where it is, without credentials.
    #[must_use]
    pub fn address(&self) -> String {
        let Self::Standalone(info) = self;
        info.addr().to_string()
    }

    /// Makes the pool for commands of which each is given `timeout` in all.
    ///
    /// Each wait within a command is given a part of that, so that a command can step over a dead connection, and one that
    /// has waited too long gives up before it costs a good one.
    pub(super) fn pool(&self, size: usize, timeout: Duration) -> Result<Pool, TopologyError> {
        let Self::Standalone(info) = self;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout / 4))
            .set_response_timeout(Some(timeout / 2));
        let malformed = |error: &dyn std::fmt::Display| TopologyError::Malformed(error.to_string());
        let manager = Manager::new_with_config((**info).clone(), config).map_err(|error| malformed(&error))?;
        Pool::builder(manager)
            .max_size(size)
            .wait_timeout(Some(timeout / 4))
            .create_timeout(Some(timeout / 4))
            .recycle_timeout(Some(timeout / 4))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| malformed(&error))
    }

    /// Opens a connection for subscriptions alone.
    ///
    /// # Errors
    /// The client's error, or an I/O timeout after `timeout`: the client itself waits for ever here.
    pub(super) async fn subscriber(&self, timeout: Duration) -> Result<PubSub, RedisError> {
        let Self::Standalone(info) = self;
        let client = Client::open((**info).clone())?;
        tokio::time::timeout(timeout, client.get_async_pubsub()).await.map_err(|_elapsed| timed_out())?
    }
}

impl std::fmt::Debug for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Standalone({})", self.address())
    }
}

/// The error for what did not answer in time.
pub(super) fn timed_out() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_password_shows_neither_in_debug_nor_in_errors() {
        let topology = Topology::parse("redis://ada:hunter2@localhost:6380/3").unwrap();
        assert_eq!(format!("{topology:?}"), "Standalone(localhost:6380)");
        assert_eq!(topology.database(), 3);
        let error = Topology::parse("redis://ada:hunter2@local host:x/y").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn an_unknown_scheme_is_named_as_such() {
        assert_eq!(Topology::parse("http://localhost").unwrap_err(), TopologyError::Scheme);
        assert_eq!(Topology::parse("localhost:6379").unwrap_err(), TopologyError::Scheme);
    }

    proptest! {
        #[test]
        fn any_url_is_read_or_refused(rest in ".{0,60}") {
            let _ = Topology::parse(&format!("redis://{rest}"));
            let _ = Topology::parse(&rest);
        }
    }
}
