//! Keyspace notifications → changes: one connection per process, subscribed to exactly the watched tickets.
//!
//! Notifications are fire-and-forget, so this file keeps the rules that make them safe: a watch returns only after Redis
//! acknowledged it; a notification only wakes; after every reconnect all is subscribed again and the gap is reported; a
//! ping that is not answered in time is a dead connection.
//!
//! What is wanted is a set, not a queue ([`Interest`]): [`Subscriber::watch`] and [`Subscriber::unwatch`] change the set, the
//! task brings Redis into line with it in batches. It is bounded by the bound on open streams.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_redis::Pool;
use futures_util::StreamExt as _;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{RedisError, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::interest::Interest;
use super::topology::{Topology, timed_out};
use super::{FlagsError, Keys, RedisSettings, StoreError, flags};
use crate::metrics::Metrics;
use crate::store::Changes;
use crate::ticket::TicketId;

/// How many channels one SUBSCRIBE or UNSUBSCRIBE names at most.
const BATCH: usize = 500;
/// How long it may take until Redis is told that a ticket is wanted no more: others may leave in the meantime, and nobody
/// waits for it.
const LINGER: Duration = Duration::from_millis(50);
/// How often the connection has to prove itself.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether Redis still reports what happens to keys: others may change its settings.
const FLAGS_EVERY: Duration = Duration::from_secs(5);
/// The longest pause before another try to connect; the first ones are shorter.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The process's one subscriber. Dropping it ends its task.
pub(super) struct Subscriber {
    shared: Arc<Shared>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

struct Shared {
    topology: Topology,
    timeout: Duration,
    pool: Pool,
    keys: Keys,
    changes: Arc<dyn Changes>,
    metrics: Arc<Metrics>,
    interest: Mutex<Interest>,
    /// Told when there is something to subscribe to.
    interest_grew: Notify,
    /// Told when there is something to unsubscribe from.
    interest_shrank: Notify,
    last_answer: Mutex<Option<Instant>>,
}

impl Subscriber {
    pub(super) fn start(
        settings: &RedisSettings,
        pool: Pool,
        keys: Keys,
        changes: Arc<dyn Changes>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shared = Arc::new(Shared {
            topology: settings.topology.clone(),
            timeout: settings.timeout,
            pool,
            keys,
            changes,
            metrics,
            interest: Mutex::default(),
            interest_grew: Notify::new(),
            interest_shrank: Notify::new(),
            last_answer: Mutex::new(None),
        });
        let tasks = [
            crate::task::spawn("keyspace", run(Arc::clone(&shared))),
            crate::task::spawn("keyspace-flags", keep_flags(Arc::clone(&shared))),
        ];
        Self { shared, tasks }
    }

    /// Returns once Redis has acknowledged the subscription; see `Store::watch`.
    pub(super) async fn watch(&self, id: &TicketId, timeout: Duration) -> Result<(), StoreError> {
        let Some(acknowledged) = self.shared.interest().watch(id) else { return Ok(()) };
        self.shared.interest_grew.notify_one();
        match tokio::time::timeout(timeout, acknowledged).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(StoreError::Unavailable("the subscription was not acknowledged in time".to_owned()))
            }
        }
    }

    pub(super) fn unwatch(&self, id: &TicketId) {
        if self.shared.interest().unwatch(id) {
            self.shared.interest_shrank.notify_one();
        }
    }

    /// Says whether the connection has proved itself of late.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let last_answer = *self.shared.last_answer.lock().unwrap_or_else(PoisonError::into_inner);
        match last_answer {
            Some(at) if at.elapsed() < PING_EVERY + self.shared.timeout => Ok(()),
            Some(at) => Err(StoreError::Unavailable(format!(
                "the subscriber's last answered ping was {} s ago",
                at.elapsed().as_secs()
            ))),
            None => Err(StoreError::Unavailable("the subscriber is not connected yet".to_owned())),
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Keeps one session after another going, for ever.
async fn run(shared: Arc<Shared>) {
    let mut failures = 0_u32;
    let mut first = true;
    loop {
        let mut lived = false;
        let Err(error) = session(&shared, first, &mut lived).await;
        shared.interest().begin_anew(false);
        *shared.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if lived {
            failures = 0;
            first = false;
            shared.metrics.subscriber_reconnects.inc();
            tracing::warn!(%error, "the subscriber lost Redis; streams stay open, connecting again");
        } else if failures == 0 {
            tracing::warn!(%error, "the subscriber cannot connect to Redis; trying again");
        } else {
            tracing::debug!(%error, failures, "the subscriber cannot connect to Redis yet");
        }
        tokio::time::sleep(backoff(failures)).await;
        failures += 1;
    }
}

fn backoff(failures: u32) -> Duration {
    let full = Duration::from_millis(50).saturating_mul(1 << failures.min(8)).min(MAX_BACKOFF);
    full.mul_f64(rand::random_range(0.5..=1.0))
}

/// Sets flags again that somebody has taken away. Beside the subscriber: whatever this waits for, pings go on.
async fn keep_flags(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(FLAGS_EVERY).await;
        match tokio::time::timeout(shared.timeout, flags::repair(&shared.pool)).await {
            Ok(Ok(true)) => {
                tracing::warn!("somebody had changed Redis's notify-keyspace-events; every stream is read again");
                shared.report_gap();
            }
            Ok(Err(error @ FlagsError::Missing(_))) => tracing::error!(%error, "changes are told late"),
            // Nothing is wrong, or Redis does not answer, which the subscriber notices by itself.
            _ => {}
        }
    }
}

/// One connection from its opening to its end, which is always an error.
async fn session(shared: &Arc<Shared>, first: bool, lived: &mut bool) -> Result<std::convert::Infallible, RedisError> {
    flags::ensure(&shared.pool, &shared.topology, &shared.keys, shared.timeout)
        .await
        .map_err(|error| RedisError::from(std::io::Error::other(error.to_string())))?;
    let (sink, messages) = shared.topology.subscriber(shared.timeout).await?.split();
    let ended = CancellationToken::new();
    let _end_reader = ended.clone().drop_guard();
    crate::task::spawn("keyspace-reader", read(Arc::clone(shared), messages, ended.clone()));

    let mut session = Session { shared, sink, is_gap_open: !first };
    session.prove_itself().await?;
    // From here on watches may be acknowledged, so whatever comes after this session's end is a gap.
    *lived = true;
    shared.interest().begin_anew(true);
    shared.interest_grew.notify_one();
    session.keep(&ended).await
}

/// Drains the socket; never does work of its own, so that Redis's output buffer for us stays empty.
async fn read(shared: Arc<Shared>, mut messages: PubSubStream, ended: CancellationToken) {
    let reading = async {
        while let Some(message) = messages.next().await {
            if let Some(id) = shared.keys.id(message.get_channel_name()) {
                shared.changes.changed(&id);
            }
        }
    };
    tokio::select! {
        () = reading => ended.cancel(),
        () = ended.cancelled() => {}
    }
}

struct Session<'a> {
    shared: &'a Shared,
    sink: PubSubSink,
    /// Whether something may have gone unreported since the last connection was lost.
    is_gap_open: bool,
}

impl Session<'_> {
    async fn keep(mut self, ended: &CancellationToken) -> Result<std::convert::Infallible, RedisError> {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaving = pin!(self.shared.leaving(false));
        loop {
            // One batch a turn: however fast tickets come and go, pings get theirs.
            tokio::select! {
                () = self.shared.interest_grew.notified() => {
                    if self.subscribe().await? == BATCH {
                        self.shared.interest_grew.notify_one();
                    }
                    self.close_gap();
                }
                () = &mut leaving => {
                    let is_more = self.unsubscribe().await? == BATCH;
                    self.close_gap();
                    leaving.set(self.shared.leaving(is_more));
                }
                _ = ping.tick() => self.ping().await?,
                () = ended.cancelled() => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
            }
        }
    }

    /// Makes sure, before anything relies on it, that this connection answers and may subscribe.
    async fn prove_itself(&mut self) -> Result<(), RedisError> {
        let canary = self.shared.keys.channel(&TicketId::random());
        in_time(self.shared.timeout, self.sink.subscribe(&canary)).await?;
        in_time(self.shared.timeout, self.sink.unsubscribe(&canary)).await?;
        self.ping().await
    }

    /// Reports the gap once everything that was watched before it is watched again, however much has been added since.
    fn close_gap(&mut self) {
        let interest = self.shared.interest();
        if !self.is_gap_open || interest.lost() > 0 {
            return;
        }
        let watched = interest.len();
        drop(interest);
        self.is_gap_open = false;
        tracing::info!(watched, "the subscriber has Redis back; every stream is read again");
        self.shared.report_gap();
    }

    async fn ping(&mut self) -> Result<(), RedisError> {
        in_time(self.shared.timeout, self.sink.ping::<Value>()).await?;
        self.answered();
        Ok(())
    }

    fn answered(&self) {
        *self.shared.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Subscribes to a batch of what is wanted; returns how many those were.
    async fn subscribe(&mut self) -> Result<usize, RedisError> {
        let ids = self.shared.interest().take_to_subscribe(BATCH);
        if !ids.is_empty() {
            in_time(self.shared.timeout, self.sink.subscribe(self.channels(&ids))).await?;
            self.shared.interest().acknowledge(&ids);
            self.answered();
        }
        Ok(ids.len())
    }

    /// Unsubscribes from a batch of what is wanted no more; returns how many those were.
    async fn unsubscribe(&mut self) -> Result<usize, RedisError> {
        let ids = self.shared.interest().take_to_unsubscribe(BATCH);
        if !ids.is_empty() {
            in_time(self.shared.timeout, self.sink.unsubscribe(self.channels(&ids))).await?;
            self.answered();
        }
        Ok(ids.len())
    }

    fn channels(&self, ids: &[TicketId]) -> Vec<String> {
        ids.iter().map(|id| self.shared.keys.channel(id)).collect()
    }
}

impl Shared {
    /// Waits until there is something to unsubscribe from, and then a little for more; not at all if `is_more` anyway.
    async fn leaving(&self, is_more: bool) {
        if is_more {
            return;
        }
        self.interest_shrank.notified().await;
        tokio::time::sleep(LINGER).await;
    }

    fn report_gap(&self) {
        self.metrics.subscriber_resyncs.inc();
        self.changes.gap();
    }

    fn interest(&self) -> MutexGuard<'_, Interest> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client has no timeout of its own here: into a half-open connection it would wait for ever.
async fn in_time<T>(timeout: Duration, reply: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    tokio::time::timeout(timeout, reply).await.map_err(|_elapsed| timed_out())?
}
