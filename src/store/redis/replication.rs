//! Waits until enough replicas have a change: the configured number, or as many as are connected.
//!
//! Replication is asynchronous: a primary that fails loses what its replicas have not received. A change survives if one
//! replica has it. If no replica is connected, one node has already failed; refusing every sign-in until it returns would
//! do more harm. Operators who want that set Redis's own `min-replicas-to-write`.
//!
//! A replica also disconnects when it is promoted, and the old primary notices it last. So the primary is unconfirmed
//! ([`UnconfirmedPrimary`]) if fewer replicas are connected than a moment ago or than configured, or if the last count
//! is outdated. Then only `router` can find out whether the node is still the primary.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue as _, RedisError, Value};
use tokio::time::Instant;

use super::command::{CommandError, UnconfirmedPrimary};
use super::reports::Reports;
use crate::ticket::millis;

/// How long a count of replicas is valid. A failover takes longer, from the moment the new primary disconnects until the
/// other replicas do.
const COUNT_LIFETIME: Duration = Duration::from_secs(1);
/// A replica that lags and makes no progress for this long is treated as disconnected. Redis itself waits for
/// `repl-timeout`.
const MAX_STALL: Duration = Duration::from_secs(2);

/// Waits for the replicas of one primary.
pub(super) struct Replication {
    /// How many replicas must have a change.
    count: usize,
    /// How long to wait for them, in milliseconds.
    wait_millis: u64,
    observed: Mutex<Observed>,
    reports: Reports,
}

/// The state of the replicas in the last replies.
#[derive(Default)]
struct Observed {
    /// How many were connected, and when, while the node was confirmed to be the primary.
    connected: Option<(Instant, usize)>,
    /// The lagging replicas: their offset, and since when they have it.
    lagging: HashMap<Replica, (i64, Instant)>,
    /// Whether a log line has reported too few replicas.
    is_shortage_logged: bool,
}

/// A replica's host and port.
type Replica = (String, String);

impl Replication {
    /// Prepares to wait for `count` replicas, at most `timeout`.
    pub(super) fn new(count: usize, timeout: Duration, reports: Reports) -> Self {
        Self { count, wait_millis: millis(timeout), observed: Mutex::default(), reports }
    }

    /// Waits until enough replicas have everything written over `connection` before. Other commands may write over it
    /// at the same time; then the replicas must have these writes, too.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(super) async fn wait(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<UnconfirmedPrimary>, CommandError> {
        let mut target = self.count.min(self.observed.lock().recently_connected().unwrap_or(self.count));
        loop {
            // In one pipeline, so that no replica can disconnect unnoticed between the two replies.
            let mut both = redis::pipe();
            both.cmd("WAIT").arg(target).arg(self.wait_millis).cmd("ROLE");
            // The reply is dated from the question: it may have been in transit for long.
            let asked_at = Instant::now();
            let (reached, role): (usize, Vec<Value>) = both.query_async(connection).await?;
            let mut observed = self.observed.lock();
            let connected = observed.count_connected(&role)?;
            observed.log_shortage(connected, self.count);
            let required = self.count.min(connected);
            if reached < required && target < required {
                // A replica has connected since the last count.
                target = required;
                continue;
            }
            if reached < required {
                self.reports.metrics.redis.unreplicated("refused");
                return Err(CommandError::TooFewReplicas { reached, count: required });
            }
            let before = observed.recently_connected();
            let is_replica_missing = reached < self.count || before.is_some_and(|before| connected < before);
            if is_replica_missing || before.is_none() {
                return Ok(Some(UnconfirmedPrimary { asked_at, connected, reached, is_replica_missing }));
            }
            observed.connected = Some((asked_at, connected));
            return Ok(None);
        }
    }

    /// Records that the node was the primary when it gave this reply.
    pub(super) fn confirm(&self, primary: &UnconfirmedPrimary) {
        self.observed.lock().connected = Some((primary.asked_at, primary.connected));
        if primary.reached < self.count {
            self.reports.metrics.redis.unreplicated("acknowledged");
        }
    }
}

impl Observed {
    fn recently_connected(&self) -> Option<usize> {
        self.connected.filter(|(at, _)| at.elapsed() < COUNT_LIFETIME).map(|(_, count)| count)
    }

    /// Counts the replicas in a reply to `ROLE`, without those that lag and have made no progress for [`MAX_STALL`].
    fn count_connected(&mut self, role: &[Value]) -> Result<usize, RedisError> {
        let [_, Value::Int(written), Value::Array(replicas)] = role else {
            // No other node has the change.
            return Err(std::io::Error::other("the primary has become a replica").into());
        };
        let mut before = std::mem::take(&mut self.lagging);
        let mut connected = 0;
        for replica in replicas {
            let (host, port, offset) = <(String, String, i64)>::from_redis_value_ref(replica)?;
            let replica = (host, port);
            if offset >= *written {
                connected += 1;
                continue;
            }
            let since = before
                .remove(&replica)
                .filter(|(earlier, _)| *earlier == offset)
                .map_or_else(Instant::now, |(_, since)| since);
            connected += usize::from(since.elapsed() < MAX_STALL);
            self.lagging.insert(replica, (offset, since));
        }
        Ok(connected)
    }

    /// Logs once that too few replicas are connected, and again after there were enough.
    fn log_shortage(&mut self, connected: usize, configured: usize) {
        if connected < configured && !self.is_shortage_logged {
            tracing::warn!(connected, configured, "fewer replicas are connected than configured");
        }
        self.is_shortage_logged = connected < configured;
    }
}
