//! The connections to one node that all commands share.
//!
//! Commands follow one another on a connection without waiting for replies. So Redis receives them in batches under
//! load, and a command costs one round trip. A pooled connection per command would cost two, because the pool checks it
//! first. A connection is kept until it fails; then the next command opens a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::command::{Command, CommandError, Reply, UnconfirmedPrimary};
use super::endpoint::Endpoint;
use super::redirect::is_from_replica;
use super::replication::Replication;

/// The maximum number of times a command is sent. It is sent a second time, over a new connection, if the first
/// connection broke or became silent, for example because a firewall dropped it. If Redis itself is silent, no new
/// connection opens.
const MAX_ATTEMPTS: usize = 2;
/// After a failed attempt to connect, commands fail at once for this long. Otherwise a command to a dead node would wait
/// behind every other command's attempt.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// The shared connections to one node.
pub(super) struct Connections {
    endpoint: Arc<Endpoint>,
    shared: Vec<SharedConnection>,
    replication: Option<Replication>,
    next: AtomicUsize,
}

/// A connection that is opened when a command needs it. The lock is held briefly, or while the connection opens: every
/// command waits for that.
#[derive(Default)]
struct SharedConnection {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<OpenConnection>,
    /// The number of connections discarded before, so that each is discarded once.
    generation: usize,
    /// When the last attempt to connect failed, and why.
    failed: Option<(Instant, RedisError)>,
}

#[derive(Clone)]
struct OpenConnection {
    connection: MultiplexedConnection,
    last_reply: LastReply,
    waits: Arc<SharedWaits>,
    generation: usize,
}

/// The time of a connection's last reply.
#[derive(Clone)]
struct LastReply(Arc<parking_lot::Mutex<Instant>>);

impl LastReply {
    fn now() -> Self {
        Self(Arc::new(parking_lot::Mutex::new(Instant::now())))
    }

    fn record(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Returns whether the connection received nothing in the second half of the time since `asked_at`. Then the
    /// connection is dead: a slow node would have replied to other commands.
    fn is_silent_since(&self, asked_at: Instant) -> bool {
        self.0.lock().elapsed() > asked_at.elapsed() / 2
    }
}

/// The waits for replicas over one connection.
///
/// A wait covers everything written over the connection before it. It takes a round trip to the replicas, and until it
/// ends, Redis processes no other command on that connection. So 50 concurrent commands that waited separately would
/// take 50 round trips.
#[derive(Default)]
struct SharedWaits {
    begun: AtomicU64,
    /// The number and the result of the last finished wait.
    last: Mutex<Option<(u64, WaitResult)>>,
}

type WaitResult = Result<Option<UnconfirmedPrimary>, CommandError>;

impl SharedWaits {
    /// Returns the result of a wait that begins after the call: another caller's, or `wait`.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on other callers; one of them begins a new wait.
    async fn join(&self, wait: impl Future<Output = WaitResult>) -> WaitResult {
        // A wait that has begun may have been sent before the caller's write.
        let next = self.begun.load(Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if let Some((number, result)) = &*last
            && *number >= next
        {
            return result.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let result = wait.await;
        *last = Some((number, result.clone()));
        result
    }
}

impl Connections {
    /// Prepares `count` connections. Each opens when a command needs it.
    pub(super) fn new(endpoint: Arc<Endpoint>, count: usize) -> Self {
        let shared = (0..count).map(|_| SharedConnection::default()).collect();
        Self { endpoint, shared, replication: None, next: AtomicUsize::new(0) }
    }

    /// Prepares connections for commands that wait for replicas: during a wait, Redis processes no other command on the
    /// connection.
    pub(super) fn replicated(endpoint: Arc<Endpoint>, count: usize, replication: Replication) -> Self {
        Self { replication: Some(replication), ..Self::new(endpoint, count) }
    }

    /// Sends `command`, and sends it again if the connection breaks or becomes silent. Redis may then receive it twice.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(super) async fn send(&self, command: &Command<'_>, is_ask: bool) -> Result<Reply, CommandError> {
        let shared = &self.shared[self.next.fetch_add(1, Ordering::Relaxed) % self.shared.len()];
        let mut attempt = 1;
        loop {
            let OpenConnection { mut connection, last_reply, waits, generation } = shared.open(&self.endpoint).await?;
            let asked_at = Instant::now();
            let reply = async {
                let value = command.send(&mut connection, is_ask).await?;
                let unconfirmed = match &self.replication {
                    Some(replication) if command.is_replicated() => {
                        waits.join(replication.wait(&mut connection)).await?
                    }
                    _ => None,
                };
                Ok(Reply { value, unconfirmed })
            };
            let error = match reply.await {
                Err(CommandError::Redis(error)) if needs_new_connection(&error) => error,
                other => {
                    last_reply.record();
                    return other;
                }
            };
            if error.is_timeout() && !last_reply.is_silent_since(asked_at) {
                return Err(error.into());
            }
            shared.discard(generation).await;
            if attempt == MAX_ATTEMPTS || !(error.is_connection_dropped() || error.is_timeout()) {
                return Err(error.into());
            }
            attempt += 1;
        }
    }

    /// Records that the node was the primary when it gave this reply.
    pub(super) fn confirm(&self, primary: &UnconfirmedPrimary) {
        if let Some(replication) = &self.replication {
            replication.confirm(primary);
        }
    }
}

impl SharedConnection {
    /// Returns the connection, and opens it if necessary.
    async fn open(&self, endpoint: &Endpoint) -> Result<OpenConnection, RedisError> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open {
            return Ok(open.clone());
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < CONNECT_PAUSE
        {
            return Err(error.clone());
        }
        match endpoint.open_shared().await {
            Ok(connection) => {
                let (last_reply, waits) = (LastReply::now(), Arc::default());
                let open = OpenConnection { connection, last_reply, waits, generation: state.generation };
                state.failed = None;
                state.open = Some(open.clone());
                Ok(open)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Discards the connection of this generation, so that the next command opens a new one. Does nothing if another
    /// command has already discarded it.
    async fn discard(&self, generation: usize) {
        let mut state = self.state.lock().await;
        if state.generation == generation && state.open.take().is_some() {
            state.generation += 1;
        }
    }
}

/// Returns whether the command may succeed over a new connection: this one is broken or silent, or connects to the
/// wrong server.
fn needs_new_connection(error: &RedisError) -> bool {
    is_from_replica(error) || error.is_unrecoverable_error() || error.is_timeout() || error.kind() == ErrorKind::Io
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn commands_of_one_connection_share_the_next_wait_and_never_one_that_has_begun() {
        let (waits, begun, may_end) = (SharedWaits::default(), AtomicUsize::new(0), Semaphore::new(0));
        let wait = async || {
            let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
            may_end.acquire().await.unwrap().forget();
            Ok(Some(UnconfirmedPrimary {
                asked_at: Instant::now(),
                connected: number,
                reached: 0,
                is_replica_missing: false,
            }))
        };
        let join = async || waits.join(wait()).await.unwrap().unwrap().connected;
        let concurrent = async {
            // The first caller's wait has begun by now.
            tokio::task::yield_now().await;
            let all = join_all((0..50).map(|_| join()));
            let (shared, ()) = tokio::join!(all, async { may_end.add_permits(2) });
            shared
        };
        let (first, others) = tokio::join!(biased; join(), concurrent);
        assert_eq!((first, others), (1, vec![2; 50]));
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_next_caller_begins_a_new_wait_after_one_was_dropped() {
        let waits = SharedWaits::default();
        let dropped = tokio::time::timeout(Duration::ZERO, waits.join(std::future::pending())).await;
        assert!(dropped.is_err());
        assert!(waits.join(async { Ok(None) }).await.unwrap().is_none());
    }
}
