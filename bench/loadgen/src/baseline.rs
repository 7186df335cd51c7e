//! What `expiry` is compared with: a plain key for each ticket, with the same deadline, whose channel somebody has subscribed
//! to and waits, as systems do that rely on keyspace notifications alone.
//!
//! Invariant: a key is written once and not touched again, nor is there anything else that would: when it is reported to have
//! expired is up to Redis.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use redis::aio::{PubSubSink, PubSubStream};

use crate::measurements::Times;
use crate::primaries::{Clock, Primaries};
use crate::spawn;

/// How long after the last deadline is waited for notifications.
pub const GRACE: Duration = Duration::from_secs(20);
/// How many channels one SUBSCRIBE names at most, and how many keys are written in one go.
const BATCH: usize = 500;
/// A key that has less time than this is not made: it might be over before it is written.
const SHORTEST: Duration = Duration::from_millis(100);
/// How long Redis may take to confirm a SUBSCRIBE.
const SUBSCRIBE_TIME: Duration = Duration::from_secs(10);

/// Baseline keys, and somebody who waits for each.
pub struct Baseline {
    primaries: Arc<Primaries>,
    prefix: String,
    /// One for each primary: a Cluster's servers report their own keys only.
    sinks: Vec<PubSubSink>,
    last_deadline: Instant,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    clocks: Vec<Clock>,
    /// The deadlines, in Redis's milliseconds, of the keys that have not been reported, and where they are; by channel.
    waiting: HashMap<String, (usize, u64)>,
    outcome: Outcome,
}

/// What came of plain keys.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    pub made: u64,
    pub delivered: u64,
    pub lag: Times,
    /// By how much the lag may be wrong: as Redis's clock could be read.
    pub clock_error: Duration,
    /// Keys that were not made because their time was almost over.
    pub too_late: u64,
    /// Connections that broke, after which nothing was delivered.
    pub broken: u64,
}

impl Baseline {
    /// Connects, and waits for nothing yet.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn start(primaries: Arc<Primaries>, prefix: &str) -> anyhow::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut sinks = Vec::new();
        for index in 0..primaries.count() {
            let (sink, messages) = primaries.subscriber(index).await?;
            sinks.push(sink);
            spawn(listen(messages, Arc::clone(&shared)));
        }
        let plain = Self { primaries, prefix: format!("{prefix}plain:"), sinks, last_deadline: Instant::now(), shared };
        plain.read_clocks().await?;
        Ok(plain)
    }

    /// Makes a key for each of these deadlines.
    ///
    /// # Errors
    /// When Redis does not take them.
    pub async fn add(&mut self, deadlines: &[Instant]) -> anyhow::Result<()> {
        if deadlines.is_empty() {
            return Ok(());
        }
        self.read_clocks().await?;
        for batch in deadlines.chunks(BATCH) {
            self.add_batch(batch).await?;
        }
        Ok(())
    }

    async fn add_batch(&mut self, deadlines: &[Instant]) -> anyhow::Result<()> {
        let soonest = Instant::now() + SHORTEST;
        let mut keys = Vec::new();
        let mut millis = HashMap::new();
        let mut channels = vec![Vec::new(); self.sinks.len()];
        {
            let mut shared = lock(&self.shared);
            for &deadline in deadlines {
                if deadline < soonest {
                    shared.outcome.too_late += 1;
                    continue;
                }
                self.last_deadline = self.last_deadline.max(deadline);
                let key = format!("{}{}", self.prefix, shared.outcome.made);
                let (index, channel) = (self.primaries.of(&key), self.primaries.channel(&key));
                let at = shared.clocks[index].millis(deadline);
                shared.outcome.made += 1;
                shared.waiting.insert(channel.clone(), (index, at));
                channels[index].push(channel);
                millis.insert(key.clone(), at);
                keys.push(key);
            }
        }
        // Whoever waits is there before the key is.
        for (sink, channels) in self.sinks.iter_mut().zip(&channels) {
            if !channels.is_empty() {
                let subscribed = tokio::time::timeout(SUBSCRIBE_TIME, sink.subscribe(channels)).await;
                subscribed.context("Redis does not confirm a SUBSCRIBE")??;
            }
        }
        let write = |pipe: &mut redis::Pipeline, key: &str| {
            pipe.cmd("SET").arg(key).arg("").ignore();
            pipe.cmd("PEXPIREAT").arg(key).arg(millis[key]).ignore();
        };
        self.primaries.run(&keys, write).await?;
        Ok(())
    }

    /// Reads Redis's clocks again: ours may run at another pacer.
    async fn read_clocks(&self) -> anyhow::Result<()> {
        let mut clocks = Vec::new();
        for index in 0..self.primaries.count() {
            clocks.push(self.primaries.clock(index).await?);
        }
        let mut shared = lock(&self.shared);
        let error = clocks.iter().map(|clock| clock.error).max().unwrap_or_default();
        shared.outcome.clock_error = shared.outcome.clock_error.max(error);
        shared.clocks = clocks;
        Ok(())
    }

    /// Returns how much longer notifications are waited for.
    pub fn time_left(&self) -> Duration {
        (self.last_deadline + GRACE).saturating_duration_since(Instant::now())
    }

    /// Returns a question that can be asked at any time: whether all have been reported.
    pub fn is_over(&self) -> impl Fn() -> bool + use<> {
        let shared = Arc::clone(&self.shared);
        move || lock(&shared).waiting.is_empty()
    }

    /// Returns what came of them until now.
    pub fn outcome(&self) -> Outcome {
        lock(&self.shared).outcome.clone()
    }

    /// Waits for nothing any more, and removes what is left.
    ///
    /// # Errors
    /// When Redis does not do it.
    pub async fn remove(&mut self) -> anyhow::Result<()> {
        let made = {
            let mut shared = lock(&self.shared);
            // Removing a key whose time is over has Redis report it.
            shared.waiting.clear();
            shared.outcome.made
        };
        let keys: Vec<_> = (0..made).map(|number| format!("{}{number}", self.prefix)).collect();
        for batch in keys.chunks(BATCH) {
            self.primaries.remove(batch).await?;
        }
        Ok(())
    }
}

/// Hears what one primary says, until it says nothing more.
async fn listen(mut messages: PubSubStream, shared: Arc<Mutex<Shared>>) {
    while let Some(message) = messages.next().await {
        let at = Instant::now();
        if message.get_payload_bytes() != b"expired" {
            continue;
        }
        let mut shared = lock(&shared);
        let Some((index, millis)) = shared.waiting.remove(message.get_channel_name()) else { continue };
        let late = shared.clocks[index].since(millis, at);
        shared.outcome.delivered += 1;
        shared.outcome.lag.record(late);
    }
    lock(&shared).outcome.broken += 1;
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
