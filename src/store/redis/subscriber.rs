//! Keyspace notifications → changes: one connection per primary, subscribed to exactly the watched tickets that it keeps.
//!
//! Notifications are fire-and-forget, so this file keeps the rules that make them safe: a watch returns only after Redis
//! acknowledged it; a notification only wakes; after every reconnect all is subscribed again, and each ticket is reported
//! as missed when it is; until then it is reported so again and again, so that nobody relies on a connection that does not
//! come; a ping that is not answered in time is a dead connection.
//!
//! What is wanted is a set, not a queue ([`Subscriptions`]): [`Subscriber::watch`] and [`Subscriber::unwatch`] change the set, the
//! task brings Redis into line with it in batches. It is bounded by the bound on open streams.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{RedisError, Value};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::error::FlagsError;
use super::notify_flags;
use super::settings::Reports;
use super::subscriptions::{Moving, Subscriptions};
use super::timeout::in_time;
use crate::store::contract::StoreError;
use crate::ticket::TicketId;

/// How many channels one SUBSCRIBE or UNSUBSCRIBE names at most.
const BATCH: usize = 500;
/// How many of these, and pings, are on their way at most. One after the other, each would wait for a round trip: 100,000
/// tickets would be 16 s without being watched after a lost connection to a Redis that is 80 ms away.
const MAX_ON_THEIR_WAY: usize = 16;
/// How long it may take until Redis is told that a ticket is wanted no more: others may leave in the meantime, and nobody
/// waits for it.
const LINGER: Duration = Duration::from_millis(50);
/// How often the connection has to prove itself.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether Redis still reports what happens to keys, as others may change its settings; and how often
/// tickets are reported as missed while they are not subscribed, or Redis reports nothing.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// At every how many of these looks it is tried out, where the settings may not be read.
const PROBE_EVERY: u64 = 3;
/// The longest pause before another try to connect; the first ones are shorter.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// A node's subscriber. Dropping it ends its tasks.
pub(super) struct Subscriber {
    shared: Arc<Shared>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

struct Shared {
    endpoint: Arc<Endpoint>,
    reports: Reports,
    interest: Mutex<Subscriptions>,
    /// Told when there is something to subscribe to.
    interest_grew: Notify,
    /// Told when there is something to unsubscribe from.
    interest_shrank: Notify,
    last_answer: Mutex<Option<Instant>>,
}

impl Subscriber {
    pub(super) fn start(endpoint: Arc<Endpoint>, reports: Reports) -> Self {
        let shared = Arc::new(Shared {
            endpoint,
            reports,
            interest: Mutex::default(),
            interest_grew: Notify::new(),
            interest_shrank: Notify::new(),
            last_answer: Mutex::new(None),
        });
        let tasks = [
            crate::task::spawn("keyspace", run(Arc::clone(&shared))),
            crate::task::spawn("keyspace-look", look_after(Arc::clone(&shared))),
        ];
        Self { shared, tasks }
    }

    /// Wants a ticket. Returns what tells of the acknowledgement, or `None` if Redis is subscribed already.
    pub(super) fn watch(&self, id: &TicketId) -> Option<oneshot::Receiver<()>> {
        let acknowledged = self.shared.interest().watch(id);
        if acknowledged.is_some() {
            self.shared.interest_grew.notify_one();
        }
        acknowledged
    }

    pub(super) fn unwatch(&self, id: &TicketId) {
        if self.shared.interest().unwatch(id) {
            self.shared.interest_shrank.notify_one();
        }
    }

    /// Gives up those tickets that `is_elsewhere` says are kept by another node.
    pub(super) fn give_away(&self, is_elsewhere: impl Fn(&TicketId) -> bool) -> Vec<Moving> {
        let moving = self.shared.interest().give_away(is_elsewhere);
        self.shared.interest_shrank.notify_one();
        moving
    }

    /// Gives one up, if it is wanted here.
    pub(super) fn give_one_away(&self, id: &TicketId) -> Option<Moving> {
        let moving = self.shared.interest().give_one_away(id);
        self.shared.interest_shrank.notify_one();
        moving
    }

    pub(super) fn take_over(&self, moving: Moving) {
        self.shared.interest().take_over(moving);
        self.shared.interest_grew.notify_one();
    }

    /// Returns whether nobody wants anything of it.
    pub(super) fn is_idle(&self) -> bool {
        self.shared.interest().is_idle()
    }

    /// Returns how many tickets were watched and are not at the moment.
    pub(super) fn lost(&self) -> usize {
        self.shared.interest().lost()
    }

    /// Says whether the connection has proved itself of late.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let last_answer = *self.shared.last_answer.lock().unwrap_or_else(PoisonError::into_inner);
        match last_answer {
            Some(at) if at.elapsed() < PING_EVERY + self.shared.endpoint.timeout => Ok(()),
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
    loop {
        let mut lived = false;
        let Err(error) = session(&shared, &mut lived).await;
        shared.interest().reset(false);
        *shared.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let node = &shared.endpoint.address;
        if lived {
            failures = 0;
            shared.reports.metrics.redis.subscriber_reconnects.inc();
            tracing::warn!(%error, %node, "the subscriber lost Redis; streams stay open, connecting again");
        } else if failures == 0 {
            tracing::warn!(%error, %node, "the subscriber cannot connect to Redis; trying again");
        } else {
            tracing::debug!(%error, %node, failures, "the subscriber cannot connect to Redis yet");
        }
        shared.reports.look_again.notify_one();
        tokio::time::sleep(backoff(failures)).await;
        failures += 1;
    }
}

fn backoff(failures: u32) -> Duration {
    let full = Duration::from_millis(50).saturating_mul(1 << failures.min(8)).min(MAX_BACKOFF);
    full.mul_f64(crate::random::within(0.5..=1.0))
}

/// Sets flags again that somebody has taken away, and has tickets read that Redis does not report on. Beside the session:
/// whatever this waits for, pings go on.
async fn look_after(shared: Arc<Shared>) {
    let mut is_silent = false;
    for look in 0_u64.. {
        tokio::time::sleep(LOOK_EVERY).await;
        let lost = shared.interest().lost_ids();
        if !lost.is_empty() {
            tracing::debug!(tickets = lost.len(), node = %shared.endpoint.address, "read without being told of changes");
            shared.reports.changes.missed(lost);
        }
        let was_silent = is_silent;
        match notify_flags::repair(&shared.endpoint, was_silent || look % PROBE_EVERY == 0).await {
            Ok(was_repaired) => {
                is_silent = false;
                if was_repaired || was_silent {
                    tracing::warn!("somebody had changed Redis's notify-keyspace-events; every stream is read again");
                    shared.report_all_missed();
                }
            }
            Err(error @ FlagsError::Missing(_)) => {
                is_silent = true;
                tracing::error!(%error, "changes are told late: every stream is read again every few seconds");
                shared.report_all_missed();
            }
            // Redis does not answer, which the subscriber notices by itself.
            Err(FlagsError::Unreachable(_) | FlagsError::Refused(_)) => {}
        }
    }
}

/// One connection from its opening to its end, which is always an error.
async fn session(shared: &Arc<Shared>, lived: &mut bool) -> Result<std::convert::Infallible, RedisError> {
    match notify_flags::ensure(&shared.endpoint).await {
        // Then every stream is read again every few seconds, which is better than none.
        Ok(()) | Err(FlagsError::Missing(_)) => {}
        Err(error) => return Err(std::io::Error::other(error.to_string()).into()),
    }
    let (sink, messages) = shared.endpoint.subscriber().await?.split();
    let ended = CancellationToken::new();
    let _end_reader = ended.clone().drop_guard();
    crate::task::spawn("keyspace-reader", read(Arc::clone(shared), messages, ended.clone()));

    let mut session = Session { shared, sink, on_their_way: FuturesOrdered::new() };
    session.prove_itself().await?;
    // From here on watches may be acknowledged, so whatever comes after this session's end is a gap.
    *lived = true;
    shared.interest().reset(true);
    shared.interest_grew.notify_one();
    session.keep(&ended).await
}

/// Drains the socket; never does work of its own, so that Redis's output buffer for us stays empty.
async fn read(shared: Arc<Shared>, mut messages: PubSubStream, ended: CancellationToken) {
    let keys = &shared.endpoint.keys;
    let gap_channel = keys.gap_channel();
    let reading = async {
        while let Some(message) = messages.next().await {
            // A change sets fields and expiry in one script, and the fields are told as well. To wake for both would be to read
            // twice; what sets the expiry alone changes nothing.
            if message.get_payload_bytes() == b"expire" {
                continue;
            }
            let channel = message.get_channel_name();
            if let Some(id) = keys.id(channel) {
                shared.reports.changes.changed(&id);
            } else if channel == gap_channel {
                tracing::warn!("a gateway found that Redis reported no changes; every stream is read again");
                shared.report_all_missed();
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
    /// Commands that Redis has not answered yet, in the order in which they were sent.
    on_their_way: FuturesOrdered<BoxFuture<'static, Result<Answered, RedisError>>>,
}

/// What Redis has answered.
enum Answered {
    Ping,
    Subscribed(Vec<TicketId>),
    Unsubscribed,
}

impl Session<'_> {
    async fn keep(mut self, ended: &CancellationToken) -> Result<std::convert::Infallible, RedisError> {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaving = pin!(self.shared.leaving(false));
        loop {
            let has_room = self.on_their_way.len() < MAX_ON_THEIR_WAY;
            // One batch a turn: however fast tickets come and go, pings get theirs.
            tokio::select! {
                () = self.shared.interest_grew.notified(), if has_room => {
                    if self.subscribe().await == BATCH {
                        self.shared.interest_grew.notify_one();
                    }
                }
                () = &mut leaving, if has_room => {
                    let is_more = self.unsubscribe().await == BATCH;
                    leaving.set(self.shared.leaving(is_more));
                }
                _ = ping.tick(), if has_room => {
                    let mut sink = self.sink.clone();
                    self.send(async move { sink.ping::<Value>().await.map(|_pong| Answered::Ping) }).await;
                }
                Some(answered) = self.on_their_way.next() => self.note(answered?),
                () = ended.cancelled() => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
            }
        }
    }

    /// Sends a command at once, after those before it; its answer comes by [`Session::on_their_way`].
    async fn send(&mut self, command: impl Future<Output = Result<Answered, RedisError>> + Send + 'static) {
        let mut answer: BoxFuture<'static, _> = Box::pin(in_time(self.shared.endpoint.timeout, command));
        self.on_their_way.push_back(match futures_util::poll!(&mut answer) {
            Poll::Ready(answer) => Box::pin(std::future::ready(answer)),
            Poll::Pending => answer,
        });
    }

    /// Takes note of an answer.
    fn note(&self, answered: Answered) {
        self.answered();
        let Answered::Subscribed(ids) = answered else { return };
        let (found, still_lost, are_leaving) = {
            let mut interest = self.shared.interest();
            (interest.acknowledge(&ids), interest.lost(), interest.has_to_unsubscribe())
        };
        if are_leaving {
            self.shared.interest_shrank.notify_one();
        }
        if !found.is_empty() {
            self.shared.report_missed(found);
            if still_lost == 0 {
                tracing::info!(node = %self.shared.endpoint.address, "Redis reports on every watched ticket again");
            }
        }
    }

    /// Makes sure, before anything relies on it, that this connection answers and may subscribe.
    async fn prove_itself(&mut self) -> Result<(), RedisError> {
        let gap_channel = self.shared.endpoint.keys.gap_channel();
        in_time(self.shared.endpoint.timeout, self.sink.subscribe(gap_channel)).await?;
        self.ping().await
    }

    async fn ping(&mut self) -> Result<(), RedisError> {
        in_time(self.shared.endpoint.timeout, self.sink.ping::<Value>()).await?;
        self.answered();
        Ok(())
    }

    fn answered(&self) {
        *self.shared.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Subscribes to a batch of what is wanted; returns how many those are.
    async fn subscribe(&mut self) -> usize {
        let ids = self.shared.interest().take_to_subscribe(BATCH);
        let count = ids.len();
        if count > 0 {
            let (mut sink, channels) = (self.sink.clone(), self.channels(&ids));
            self.send(async move { sink.subscribe(channels).await.map(|()| Answered::Subscribed(ids)) }).await;
        }
        count
    }

    /// Unsubscribes from a batch of what is wanted no more; returns how many those are.
    async fn unsubscribe(&mut self) -> usize {
        let ids = self.shared.interest().take_to_unsubscribe(BATCH);
        if !ids.is_empty() {
            let (mut sink, channels) = (self.sink.clone(), self.channels(&ids));
            self.send(async move { sink.unsubscribe(channels).await.map(|()| Answered::Unsubscribed) }).await;
        }
        ids.len()
    }

    fn channels(&self, ids: &[TicketId]) -> Vec<String> {
        ids.iter().map(|id| self.shared.endpoint.keys.channel(id)).collect()
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

    /// Has tickets read that may have changed unreported.
    fn report_missed(&self, ids: Vec<TicketId>) {
        self.reports.metrics.redis.subscriber_missed.inc_by(ids.len() as u64);
        self.reports.changes.missed(ids);
    }

    fn report_all_missed(&self) {
        let watched = self.interest().ids();
        self.report_missed(watched);
    }

    fn interest(&self) -> MutexGuard<'_, Subscriptions> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
