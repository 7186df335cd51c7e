//! The connections that commands go over: a few lanes, each shared by all commands that are under way on it.
//!
//! Commands of many requests follow one another on a lane without waiting for answers, so Redis is sent them in batches
//! when there are many, and a command costs one round trip: a connection that is taken out of a pool for each command, and
//! proved first, costs two. The pool makes connections and bounds the waits for them; a lane keeps one until it fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_redis::{Connection, Pool};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ScriptInvocation, Value};
use tokio::sync::Mutex;

use super::{StoreError, from_pool, from_redis, unavailable};

/// How often a command is sent at most: a second time, over a fresh connection, if the first one's had broken.
const ATTEMPTS: usize = 2;

pub(super) struct Lanes {
    pool: Pool,
    all: Vec<Lane>,
    next: AtomicUsize,
    /// The bound of a command, finding a connection for it included.
    timeout: Duration,
}

/// What can be sent over a lane, more than once if need be.
pub(super) trait Command: Sync {
    fn send(&self, connection: &mut MultiplexedConnection) -> impl Future<Output = Result<Value, RedisError>> + Send;
}

impl Command for ScriptInvocation<'_> {
    async fn send(&self, connection: &mut MultiplexedConnection) -> Result<Value, RedisError> {
        self.invoke_async(connection).await
    }
}

impl Command for Cmd {
    async fn send(&self, connection: &mut MultiplexedConnection) -> Result<Value, RedisError> {
        self.query_async(connection).await
    }
}

/// One shared connection. The lock is held only to look, or while a new one is made, for which everybody waits.
#[derive(Default)]
struct Lane {
    connection: Mutex<Option<Connection>>,
    /// Counts the connections that were given up, so that each is given up once.
    given_up: AtomicUsize,
}

impl Lanes {
    /// Prepares `count` lanes; connections are made when they are needed.
    pub(super) fn new(pool: Pool, count: usize, timeout: Duration) -> Self {
        Self { pool, all: (0..count).map(|_| Lane::default()).collect(), next: AtomicUsize::new(0), timeout }
    }

    /// Sends `command`, and again if the connection breaks: what was on its way over it may or may not have been done.
    ///
    /// # Errors
    /// [`StoreError`] as the error of Redis is to be understood, or that there was no answer in time.
    pub(super) async fn run<T: FromRedisValue>(&self, command: &impl Command) -> Result<T, StoreError> {
        let answer = async {
            let mut attempt = 1;
            loop {
                let lane = &self.all[self.next.fetch_add(1, Ordering::Relaxed) % self.all.len()];
                let (mut connection, generation) = lane.connection(&self.pool).await?;
                let error = match command.send(&mut connection).await {
                    Ok(answer) => return redis::from_redis_value(answer).map_err(unavailable),
                    Err(error) => error,
                };
                if is_useless(&error) {
                    lane.give_up(generation).await;
                    if attempt < ATTEMPTS && error.is_connection_dropped() {
                        attempt += 1;
                        continue;
                    }
                }
                return Err(from_redis(&error));
            }
        };
        tokio::time::timeout(self.timeout, answer).await.map_err(|_elapsed| unavailable("no answer in time"))?
    }
}

impl Lane {
    /// Returns the connection and which one it is.
    async fn connection(&self, pool: &Pool) -> Result<(MultiplexedConnection, usize), StoreError> {
        let mut held = self.connection.lock().await;
        let generation = self.given_up.load(Ordering::Relaxed);
        if let Some(connection) = &*held {
            return Ok(((**connection).clone(), generation));
        }
        let connection = pool.get().await.map_err(|error| from_pool(&error))?;
        let shared = (*connection).clone();
        *held = Some(connection);
        Ok((shared, generation))
    }

    /// Sees to it that the next command gets a fresh connection, unless that has been done already.
    async fn give_up(&self, generation: usize) {
        let mut held = self.connection.lock().await;
        if self.given_up.load(Ordering::Relaxed) == generation
            && let Some(connection) = held.take()
        {
            self.given_up.store(generation + 1, Ordering::Relaxed);
            drop(Connection::take(connection));
        }
    }
}

/// Returns whether another connection would fare better: this one is broken or silent, or leads to the wrong server.
fn is_useless(error: &RedisError) -> bool {
    let is_elsewhere = matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN"));
    is_elsewhere || error.is_unrecoverable_error() || error.is_timeout() || error.kind() == ErrorKind::Io
}
