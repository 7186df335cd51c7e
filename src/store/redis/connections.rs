//! The connections to one node that commands go over: a few lanes, each shared by all commands that are under way on it.
//!
//! Commands of many requests follow one another on a lane without waiting for answers, so Redis is sent them in batches
//! when there are many, and a command costs one round trip: a connection that is taken out of a pool for each command, and
//! proved first, costs two. The pool makes connections and bounds the waits for them; a lane keeps one until it fails.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use deadpool_redis::{Connection, Pool};
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::command::{Command, Done, Failure, UnconfirmedPrimary};
use super::endpoint::from_pool;
use super::redirect::is_no_primary;
use super::replication::Replication;

/// How often a command is sent at most: a second time, over a fresh connection, if the first one's had broken or was silent,
/// as are those that a firewall has forgotten. Redis that is silent itself lets no fresh one come to be.
const ATTEMPTS: usize = 2;
/// For so long after a connection could not be made, everybody is told so at once: whoever waits for a dead node would
/// otherwise wait behind all the others who try it.
const REFUSAL: Duration = Duration::from_millis(100);

pub(super) struct Connections {
    pool: Pool,
    all: Vec<Slot>,
    replication: Option<Replication>,
    next: AtomicUsize,
}

/// One shared connection. The lock is held only to look, or while a new one is made, for which everybody waits.
#[derive(Default)]
struct Slot {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    connection: Option<(Connection, LastReply, Arc<Waits>)>,
    /// Counts the connections that were given up, so that each is given up once.
    generation: usize,
    /// When a connection could not be made the last time, and why.
    refused: Option<(Instant, RedisError)>,
}

/// When a connection has answered the last time.
#[derive(Clone)]
struct LastReply(Arc<std::sync::Mutex<Instant>>);

impl LastReply {
    fn now() -> Self {
        Self(Arc::new(std::sync::Mutex::new(Instant::now())))
    }

    fn again(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns whether nothing was heard for the second half of the time since `asked`: the connection is dead then, and not
    /// just slow, which a fresh one would be, too.
    fn is_silent_since(&self, asked: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > asked.elapsed() / 2
    }
}

/// The waits for replicas over one connection, which commands share.
///
/// A wait is for everything that was written over the connection before it. Meanwhile nothing else is answered there, and each
/// wait takes a round trip to the replicas: were every command to wait by itself, 50 at once would take 50 of them.
#[derive(Default)]
struct Waits {
    begun: AtomicU64,
    /// The last one that is over: its number and what came of it.
    last: Mutex<Option<(u64, Waited)>>,
}

type Waited = Result<Option<UnconfirmedPrimary>, Failure>;

impl Waits {
    /// Returns what came of a wait that began after the call: of another caller's, or of `wait`.
    ///
    /// # Cancel safety
    /// Dropped half-way, it is as if the caller had never come; another one begins anew.
    async fn join(&self, wait: impl Future<Output = Waited>) -> Waited {
        // One that has begun may have been sent before what the caller has written.
        let next = self.begun.load(Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if let Some((number, waited)) = &*last
            && *number >= next
        {
            return waited.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let waited = wait.await;
        *last = Some((number, waited.clone()));
        waited
    }
}

impl Connections {
    /// Prepares `count` lanes; connections are made when they are needed.
    pub(super) fn new(pool: Pool, count: usize) -> Self {
        let all = (0..count).map(|_| Slot::default()).collect();
        Self { pool, all, replication: None, next: AtomicUsize::new(0) }
    }

    /// Prepares lanes for commands that wait for replicas: nothing else is answered on their connection meanwhile.
    pub(super) fn waiting(pool: Pool, count: usize, replication: Replication) -> Self {
        Self { replication: Some(replication), ..Self::new(pool, count) }
    }

    /// Sends `command`, and again if the connection breaks or is silent: what was on its way over it may or may not have been done.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn send(&self, command: &Command<'_>, is_asking: bool) -> Result<Done, Failure> {
        let lane = &self.all[self.next.fetch_add(1, Ordering::Relaxed) % self.all.len()];
        let mut attempt = 1;
        loop {
            let (mut connection, heard, waits, generation) = lane.connection(&self.pool).await?;
            let asked = Instant::now();
            let answer = async {
                let value = command.send(&mut connection, is_asking).await?;
                let doubt = match &self.replication {
                    Some(replication) if command.is_waiting() => waits.join(replication.wait(&mut connection)).await?,
                    _ => None,
                };
                Ok(Done { value, doubt })
            };
            let error = match answer.await {
                Err(Failure::Redis(error)) if is_useless(&error) => error,
                other => {
                    heard.again();
                    return other;
                }
            };
            if error.is_timeout() && !heard.is_silent_since(asked) {
                return Err(error.into());
            }
            lane.give_up(generation).await;
            if attempt == ATTEMPTS || !(error.is_connection_dropped() || error.is_timeout()) {
                return Err(error.into());
            }
            attempt += 1;
        }
    }

    /// Takes note that the node was the primary when `doubt` arose.
    pub(super) fn settle(&self, doubt: &UnconfirmedPrimary) {
        if let Some(replication) = &self.replication {
            replication.settle(doubt);
        }
    }
}

impl Slot {
    /// Returns the connection, when it was heard of, who waits over it, and which one it is.
    async fn connection(
        &self,
        pool: &Pool,
    ) -> Result<(MultiplexedConnection, LastReply, Arc<Waits>, usize), RedisError> {
        let mut held = self.held.lock().await;
        if let Some((connection, heard, waits)) = &held.connection {
            return Ok(((**connection).clone(), heard.clone(), Arc::clone(waits), held.generation));
        }
        if let Some((at, error)) = &held.refused
            && at.elapsed() < REFUSAL
        {
            return Err(error.clone());
        }
        match pool.get().await.map_err(from_pool) {
            Ok(connection) => {
                let (shared, heard, waits) = ((*connection).clone(), LastReply::now(), Arc::<Waits>::default());
                held.refused = None;
                held.connection = Some((connection, heard.clone(), Arc::clone(&waits)));
                Ok((shared, heard, waits, held.generation))
            }
            Err(error) => {
                held.refused = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Sees to it that the next command gets a fresh connection, unless that has been done already.
    async fn give_up(&self, generation: usize) {
        let mut held = self.held.lock().await;
        if held.generation == generation
            && let Some((connection, ..)) = held.connection.take()
        {
            held.generation += 1;
            drop(Connection::take(connection));
        }
    }
}

/// Returns whether another connection would fare better: this one is broken or silent, or leads to the wrong server.
fn is_useless(error: &RedisError) -> bool {
    is_no_primary(error) || error.is_unrecoverable_error() || error.is_timeout() || error.kind() == ErrorKind::Io
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn commands_of_one_connection_share_the_next_wait_and_never_one_that_has_begun() {
        let (waits, begun, may_end) = (Waits::default(), AtomicUsize::new(0), Semaphore::new(0));
        let wait = async || {
            let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
            may_end.acquire().await.unwrap().forget();
            Ok(Some(UnconfirmedPrimary { asked: Instant::now(), there: number, reached: 0, is_missing: false }))
        };
        let join = async || waits.join(wait()).await.unwrap().unwrap().there;
        let crowd = async {
            // The first one's wait has begun by now.
            tokio::task::yield_now().await;
            let all = join_all((0..50).map(|_| join()));
            let (shared, ()) = tokio::join!(all, async { may_end.add_permits(2) });
            shared
        };
        let (first, others) = tokio::join!(biased; join(), crowd);
        assert_eq!((first, others), (1, vec![2; 50]));
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_is_begun_anew() {
        let waits = Waits::default();
        let given_up = tokio::time::timeout(Duration::ZERO, waits.join(std::future::pending())).await;
        assert!(given_up.is_err());
        assert!(waits.join(async { Ok(None) }).await.unwrap().is_none());
    }
}
