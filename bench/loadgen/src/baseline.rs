//! The baseline of `expiry`: one plain key per ticket, with the same deadline, and a subscriber that waits for its keyspace
//! notification. Systems that rely only on keyspace notifications work like this.
//!
//! Invariant: a key is written once and never accessed again, so only Redis decides when it reports the expiry.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use redis::aio::{PubSubSink, PubSubStream};

use crate::measurements::Latencies;
use crate::primaries::{Clock, Primaries};
use crate::spawn;

/// How long to wait for notifications after the last deadline.
pub const GRACE: Duration = Duration::from_secs(20);
/// The maximum number of channels in one SUBSCRIBE and of keys in one pipeline.
const BATCH: usize = 500;
/// A key with a shorter remaining time is skipped: it might expire before it is written.
const MIN_TIME_LEFT: Duration = Duration::from_millis(100);
/// How long Redis may take to confirm a SUBSCRIBE.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Plain keys, and the subscriptions to their channels.
pub struct Baseline {
    primaries: Arc<Primaries>,
    prefix: String,
    /// One per primary: the servers of a Cluster report only their own keys.
    sinks: Vec<PubSubSink>,
    last_deadline: Instant,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    clocks: Vec<Clock>,
    /// The keys without a notification, by channel: the index of the primary, and the deadline by its clock in milliseconds.
    waiting: HashMap<String, (usize, u64)>,
    results: BaselineResults,
}

/// The results of the plain keys.
#[derive(Debug, Default, Clone)]
pub struct BaselineResults {
    pub made: u64,
    pub delivered: u64,
    pub lag: Latencies,
    /// The uncertainty of the lag: that of the readings of Redis's clock.
    pub clock_error: Duration,
    /// Keys that were skipped because they had too little time left.
    pub skipped: u64,
    /// Subscriber connections that broke. The notifications of their keys were lost.
    pub broken_connections: u64,
}

impl Baseline {
    /// Connects without subscribing to anything.
    ///
    /// # Errors
    /// If Redis does not respond.
    pub async fn start(primaries: Arc<Primaries>, prefix: &str) -> anyhow::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut sinks = Vec::new();
        for index in 0..primaries.count() {
            let (sink, messages) = primaries.subscriber(index).await?;
            sinks.push(sink);
            spawn(receive(messages, Arc::clone(&shared)));
        }
        let baseline =
            Self { primaries, prefix: format!("{prefix}plain:"), sinks, last_deadline: Instant::now(), shared };
        baseline.read_clocks().await?;
        Ok(baseline)
    }

    /// Writes a key for each deadline, and subscribes to its channel.
    ///
    /// # Errors
    /// If Redis refuses a command.
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
        let soonest = Instant::now() + MIN_TIME_LEFT;
        let mut keys = Vec::new();
        let mut millis = HashMap::new();
        let mut channels = vec![Vec::new(); self.sinks.len()];
        {
            let mut shared = self.shared.lock();
            for &deadline in deadlines {
                if deadline < soonest {
                    shared.results.skipped += 1;
                    continue;
                }
                self.last_deadline = self.last_deadline.max(deadline);
                let key = format!("{}{}", self.prefix, shared.results.made);
                let (index, channel) = (self.primaries.index_of(&key), self.primaries.channel(&key));
                let at = shared.clocks[index].millis(deadline);
                shared.results.made += 1;
                shared.waiting.insert(channel.clone(), (index, at));
                channels[index].push(channel);
                millis.insert(key.clone(), at);
                keys.push(key);
            }
        }
        // Subscribes before the key exists, so that no notification is missed.
        for (sink, channels) in self.sinks.iter_mut().zip(&channels) {
            if !channels.is_empty() {
                let subscribed = tokio::time::timeout(SUBSCRIBE_TIMEOUT, sink.subscribe(channels)).await;
                subscribed.context("Redis did not confirm a SUBSCRIBE in time")??;
            }
        }
        let write = |pipe: &mut redis::Pipeline, key: &str| {
            pipe.cmd("SET").arg(key).arg("").ignore();
            pipe.cmd("PEXPIREAT").arg(key).arg(millis[key]).ignore();
        };
        self.primaries.run(&keys, write).await?;
        Ok(())
    }

    /// Reads the clocks of Redis again, because they may drift from ours.
    async fn read_clocks(&self) -> anyhow::Result<()> {
        let mut clocks = Vec::new();
        for index in 0..self.primaries.count() {
            clocks.push(self.primaries.clock(index).await?);
        }
        let mut shared = self.shared.lock();
        let error = clocks.iter().map(|clock| clock.error).max().unwrap_or_default();
        shared.results.clock_error = shared.results.clock_error.max(error);
        shared.clocks = clocks;
        Ok(())
    }

    /// Returns how long to wait for the remaining notifications.
    pub fn time_left(&self) -> Duration {
        (self.last_deadline + GRACE).saturating_duration_since(Instant::now())
    }

    /// Returns a function that tests whether Redis has reported every key.
    pub fn is_complete(&self) -> impl Fn() -> bool + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.lock().waiting.is_empty()
    }

    /// Returns the results so far.
    pub fn results(&self) -> BaselineResults {
        self.shared.lock().results.clone()
    }

    /// Stops counting notifications, and removes the remaining keys.
    ///
    /// # Errors
    /// If Redis refuses a command.
    pub async fn remove(&mut self) -> anyhow::Result<()> {
        let made = {
            let mut shared = self.shared.lock();
            // Redis reports the expiry of an expired key when the key is removed.
            shared.waiting.clear();
            shared.results.made
        };
        let keys: Vec<_> = (0..made).map(|number| format!("{}{number}", self.prefix)).collect();
        for batch in keys.chunks(BATCH) {
            self.primaries.remove(batch).await?;
        }
        Ok(())
    }
}

/// Receives the notifications of one primary until the connection ends.
async fn receive(mut messages: PubSubStream, shared: Arc<Mutex<Shared>>) {
    while let Some(message) = messages.next().await {
        let at = Instant::now();
        if message.get_payload_bytes() != b"expired" {
            continue;
        }
        let mut shared = shared.lock();
        let Some((index, millis)) = shared.waiting.remove(message.get_channel_name()) else { continue };
        let lag = shared.clocks[index].since(millis, at);
        shared.results.delivered += 1;
        shared.results.lag.record(lag);
    }
    shared.lock().results.broken_connections += 1;
}
