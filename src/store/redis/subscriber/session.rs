//! One connection of a subscriber, from its opening to its end.
//!
//! Two tasks share it. The reader drains notifications and does nothing else, so that Redis's output buffer for this
//! connection stays empty. The session sends commands and pings, and receives their replies.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Msg, RedisError, Value};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::state::Shared;
use crate::store::redis::error::FlagsError;
use crate::store::redis::keys::Keys;
use crate::store::redis::notify_flags;
use crate::store::redis::timeout::in_time;
use crate::ticket::TicketId;

/// The interval between pings.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(5);
/// The maximum number of channels in one SUBSCRIBE or UNSUBSCRIBE.
const MAX_CHANNELS: usize = 500;
/// The maximum number of these commands and pings in flight. If each waited for the reply to the previous one, 100,000
/// tickets would be unwatched for 16 s after a reconnect to a Redis with a round-trip time of 80 ms.
const MAX_IN_FLIGHT: usize = 16;

/// Runs one session. Sets `was_established` once watches may be acknowledged.
///
/// # Errors
/// Always: a session ends only with an error.
pub(super) async fn run(shared: &Arc<Shared>, was_established: &mut bool) -> Result<Infallible, RedisError> {
    match notify_flags::ensure(&shared.endpoint).await {
        // The monitor then makes every stream re-read its ticket every few seconds, which is better than no connection.
        Ok(()) | Err(FlagsError::Missing(_)) => {}
        Err(error) => return Err(std::io::Error::other(error.to_string()).into()),
    }
    let (sink, messages) = shared.endpoint.open_subscriber().await?.split();
    let ended = CancellationToken::new();
    let _end_reader = ended.clone().drop_guard();
    crate::task::spawn("redis-reader", read(Arc::clone(shared), messages, ended.clone()));

    let mut session = Session { shared, sink, in_flight: FuturesOrdered::new() };
    session.verify().await?;
    // From here on, watches may be acknowledged, so changes after the end of this session may be missed.
    *was_established = true;
    shared.subscriptions.lock().reset(true);
    shared.subscribe_wanted.notify_one();
    session.serve(&ended).await
}

/// The meaning of a notification.
#[derive(Debug, PartialEq)]
enum Event {
    /// A ticket has changed or expired.
    Changed(TicketId),
    /// Another gateway found that changes may have been missed.
    Missed,
}

/// Reads notifications until the connection or the session ends.
async fn read(shared: Arc<Shared>, messages: PubSubStream, ended: CancellationToken) {
    let keys = &shared.endpoint.keys;
    let missed_channel = keys.missed_channel();
    let mut events = messages.filter_map(|message| event(&message, keys, &missed_channel));
    let reading = async {
        while let Some(event) = events.next().await {
            match event {
                Event::Changed(id) => shared.reports.changes.changed(&id),
                Event::Missed => {
                    tracing::warn!("a gateway found that Redis reported no changes; re-reading every ticket");
                    shared.report_all_missed();
                }
            }
        }
    };
    tokio::select! {
        () = reading => ended.cancel(),
        () = ended.cancelled() => {}
    }
}

fn event(message: &Msg, keys: &Keys, missed_channel: &str) -> Option<Event> {
    // One script sets fields and expiry, and Redis reports both. Waking for both would cost a second read, and an
    // expiry on its own changes nothing.
    if message.get_payload_bytes() == b"expire" {
        return None;
    }
    let channel = message.get_channel_name();
    match keys.ticket_of(channel) {
        Some(id) => Some(Event::Changed(id)),
        None => (channel == missed_channel).then_some(Event::Missed),
    }
}

struct Session<'a> {
    shared: &'a Shared,
    sink: PubSubSink,
    /// Commands that Redis has not answered yet, in the order of sending.
    in_flight: FuturesOrdered<BoxFuture<'static, Result<CommandReply, RedisError>>>,
}

/// A reply from Redis.
enum CommandReply {
    Ping,
    Subscribed(Vec<TicketId>),
    Unsubscribed,
}

impl Session<'_> {
    async fn serve(mut self, ended: &CancellationToken) -> Result<Infallible, RedisError> {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unsubscribe_due = pin!(self.shared.unsubscribe_due(false));
        loop {
            let has_room = self.in_flight.len() < MAX_IN_FLIGHT;
            // Each iteration sends one batch, so pings are sent in time even while many tickets change.
            tokio::select! {
                () = self.shared.subscribe_wanted.notified(), if has_room => {
                    if self.subscribe().await == MAX_CHANNELS {
                        self.shared.subscribe_wanted.notify_one();
                    }
                }
                () = &mut unsubscribe_due, if has_room => {
                    let is_more = self.unsubscribe().await == MAX_CHANNELS;
                    unsubscribe_due.set(self.shared.unsubscribe_due(is_more));
                }
                _ = ping.tick(), if has_room => {
                    let mut sink = self.sink.clone();
                    self.send(async move { sink.ping::<Value>().await.map(|_pong| CommandReply::Ping) }).await;
                }
                Some(reply) = self.in_flight.next() => self.apply(reply?),
                () = ended.cancelled() => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
            }
        }
    }

    /// Sends a command at once, after those before it; [`Session::in_flight`] yields its reply.
    async fn send(&mut self, command: impl Future<Output = Result<CommandReply, RedisError>> + Send + 'static) {
        let mut reply: BoxFuture<'static, _> = Box::pin(in_time(self.shared.endpoint.timeout, command));
        self.in_flight.push_back(match futures_util::poll!(&mut reply) {
            Poll::Ready(reply) => Box::pin(std::future::ready(reply)),
            Poll::Pending => reply,
        });
    }

    fn apply(&self, reply: CommandReply) {
        self.record_reply();
        let CommandReply::Subscribed(ids) = reply else { return };
        let (resumed, still_interrupted, has_to_unsubscribe) = {
            let mut subscriptions = self.shared.subscriptions.lock();
            let resumed = subscriptions.acknowledge(&ids);
            (resumed, subscriptions.interrupted(), subscriptions.has_to_unsubscribe())
        };
        if has_to_unsubscribe {
            self.shared.unsubscribe_wanted.notify_one();
        }
        if !resumed.is_empty() {
            self.shared.report_missed(resumed);
            if still_interrupted == 0 {
                let node = &self.shared.endpoint.address;
                tracing::info!(%node, "Redis reports changes of every watched ticket again");
            }
        }
    }

    /// Checks that this connection answers and that this user may subscribe.
    async fn verify(&mut self) -> Result<(), RedisError> {
        let missed_channel = self.shared.endpoint.keys.missed_channel();
        in_time(self.shared.endpoint.timeout, self.sink.subscribe(missed_channel)).await?;
        in_time(self.shared.endpoint.timeout, self.sink.ping::<Value>()).await?;
        self.record_reply();
        Ok(())
    }

    fn record_reply(&self) {
        *self.shared.last_reply_at.lock() = Some(Instant::now());
    }

    /// Subscribes to a batch of tickets; returns how many.
    async fn subscribe(&mut self) -> usize {
        let ids = self.shared.subscriptions.lock().take_to_subscribe(MAX_CHANNELS);
        let count = ids.len();
        if count > 0 {
            let (mut sink, channels) = (self.sink.clone(), self.channels(&ids));
            self.send(async move { sink.subscribe(channels).await.map(|()| CommandReply::Subscribed(ids)) }).await;
        }
        count
    }

    /// Unsubscribes from a batch of tickets; returns how many.
    async fn unsubscribe(&mut self) -> usize {
        let ids = self.shared.subscriptions.lock().take_to_unsubscribe(MAX_CHANNELS);
        if !ids.is_empty() {
            let (mut sink, channels) = (self.sink.clone(), self.channels(&ids));
            self.send(async move { sink.unsubscribe(channels).await.map(|()| CommandReply::Unsubscribed) }).await;
        }
        ids.len()
    }

    fn channels(&self, ids: &[TicketId]) -> Vec<String> {
        ids.iter().map(|id| self.shared.endpoint.keys.channel(id)).collect()
    }
}
