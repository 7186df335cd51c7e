//! How many replicas have to have a change before it counts: as many as were asked for, as far as so many are there.
//!
//! Replication is asynchronous: a primary that is lost takes with it what its replicas did not have yet. A change that
//! a replica has survives the loss of its primary. Where no replica is there any more, the loss of one node has
//! happened already, and refusing every sign-in until it is back would be the greater harm; who wants that sets
//! Redis's own `min-replicas-to-write`.
//!
//! A replica also leaves when it is made the primary, which the old one is told last. So whenever fewer are there than
//! a moment ago, or than asked for, or nobody has looked for a while, that is a [`UnconfirmedPrimary`], and only `router` can say whether
//! the node is still the primary.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue as _, RedisError, Value};
use tokio::time::Instant;

use super::command::{Failure, UnconfirmedPrimary};
use super::settings::Reports;
use crate::ticket::millis;

/// For so long it counts how many replicas were seen. Less than a failover takes, from when the new primary leaves until the
/// other replicas do.
const MEMORY: Duration = Duration::from_secs(1);
/// After so long a replica that is behind and gets no further is as good as none. Redis itself waits for `repl-timeout`.
const SILENCE: Duration = Duration::from_secs(2);

/// What one primary's replicas have to have.
pub(super) struct Replication {
    /// How many of them are waited for.
    count: usize,
    /// For how long, in milliseconds.
    millis: u64,
    seen: Mutex<Seen>,
    reports: Reports,
}

/// What was seen of the replicas.
#[derive(Default)]
struct Seen {
    /// How many were there, and when, while it was certain that this is the primary.
    there: Option<(Instant, usize)>,
    /// Those that are behind: how far they are, and since when.
    behind: HashMap<Replica, (i64, Instant)>,
    /// Whether it was said that there are too few.
    is_said: bool,
}

/// A replica's host and port.
type Replica = (String, String);

impl Replication {
    /// Prepares to wait for `count` replicas, no longer than `timeout`.
    pub(super) fn new(count: usize, timeout: Duration, reports: Reports) -> Self {
        Self { count, millis: millis(timeout), seen: Mutex::default(), reports }
    }

    /// Returns once enough replicas have what was written over `connection`. Others may write over it as well: what they
    /// have to have is then more, never less.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn wait(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<UnconfirmedPrimary>, Failure> {
        let mut target = self.count.min(self.seen().recently().unwrap_or(self.count));
        loop {
            // In one go: replicas that leave in between leave no doubt unseen.
            let mut both = redis::pipe();
            both.cmd("WAIT").arg(target).arg(self.millis).cmd("ROLE");
            // What is said counts from when it was asked: the answer may have been on its way for long.
            let asked = Instant::now();
            let (reached, role): (usize, Vec<Value>) = both.query_async(connection).await?;
            let mut seen = self.seen();
            let there = seen.count(&role)?;
            seen.say(there, self.count);
            let wanted = self.count.min(there);
            if reached < wanted && target < wanted {
                // They have come just now.
                target = wanted;
                continue;
            }
            if reached < wanted {
                self.reports.metrics.redis.unreplicated("refused");
                return Err(Failure::TooFewReplicas { reached, count: wanted });
            }
            let before = seen.recently();
            let is_missing = reached < self.count || before.is_some_and(|before| there < before);
            if is_missing || before.is_none() {
                return Ok(Some(UnconfirmedPrimary { asked, there, reached, is_missing }));
            }
            seen.there = Some((asked, there));
            return Ok(None);
        }
    }

    /// Takes note that this was the primary when `doubt` arose.
    pub(super) fn settle(&self, doubt: &UnconfirmedPrimary) {
        self.seen().there = Some((doubt.asked, doubt.there));
        if doubt.reached < self.count {
            self.reports.metrics.redis.unreplicated("acknowledged");
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn recently(&self) -> Option<usize> {
        self.there.filter(|(at, _)| at.elapsed() < MEMORY).map(|(_, there)| there)
    }

    /// Counts the replicas in an answer to `ROLE`, but for those that have been behind and silent for a while.
    fn count(&mut self, role: &[Value]) -> Result<usize, RedisError> {
        let [_, Value::Int(written), Value::Array(replicas)] = role else {
            // Nobody has what it was told.
            return Err(std::io::Error::other("the primary has become a replica").into());
        };
        let mut before = std::mem::take(&mut self.behind);
        let mut there = 0;
        for replica in replicas {
            let (host, port, has) = <(String, String, i64)>::from_redis_value_ref(replica)?;
            let replica = (host, port);
            if has >= *written {
                there += 1;
                continue;
            }
            let since =
                before.remove(&replica).filter(|(had, _)| *had == has).map_or_else(Instant::now, |(_, since)| since);
            there += usize::from(since.elapsed() < SILENCE);
            self.behind.insert(replica, (has, since));
        }
        Ok(there)
    }

    /// Says once that there are too few.
    fn say(&mut self, there: usize, wanted: usize) {
        if there < wanted && !self.is_said {
            tracing::warn!(there, wanted, "fewer replicas are there than changes should wait for");
        }
        self.is_said = there < wanted;
    }
}
