//! The filler keys of `expiry`: keys with a time to live, as many as in a busy Redis. Redis must search all of them for
//! expired keys.
//!
//! The run removes them at its end. If it cannot, they expire.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;

use crate::primaries::Primaries;

/// The minimum time to live of a filler key. It is longer than a run, so none expires during one.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(3600);
/// The range of times to live above the minimum.
const SPREAD: Duration = Duration::from_secs(600);
/// How many keys one pipeline writes or removes.
const BATCH: u64 = 5_000;

/// The filler keys of a run. [`FillerKeys::add`] writes them.
pub struct FillerKeys {
    primaries: Arc<Primaries>,
    prefix: String,
    wanted: u64,
    /// How many may exist in Redis.
    written: u64,
}

impl FillerKeys {
    pub fn new(primaries: Arc<Primaries>, prefix: &str, wanted: u64) -> Self {
        Self { primaries, prefix: format!("{prefix}other:"), wanted, written: 0 }
    }

    /// Returns how many keys were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns how many keys to write in total.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Returns whether all keys were written.
    pub fn is_complete(&self) -> bool {
        self.written >= self.wanted
    }

    /// Writes the next batch.
    ///
    /// # Errors
    /// If Redis refuses a command.
    ///
    /// # Cancel safety
    /// A cancelled batch counts as written, so that [`FillerKeys::remove`] removes it.
    pub async fn add(&mut self) -> Result<(), RedisError> {
        let first = self.written;
        self.written = self.wanted.min(first + BATCH);
        let spread = u64::try_from(SPREAD.as_millis()).unwrap_or(u64::MAX);
        let minimum = u64::try_from(TIME_TO_LIVE.as_millis()).unwrap_or(u64::MAX);
        let keys = (first..self.written).map(|number| format!("{}{number}", self.prefix));
        let mut number = first;
        let write = |pipe: &mut redis::Pipeline, key: &str| {
            pipe.cmd("SET").arg(key).arg("").arg("PX").arg(minimum + number % spread).ignore();
            number += 1;
        };
        self.primaries.run(keys, write).await
    }

    /// Removes all filler keys.
    ///
    /// # Errors
    /// If Redis refuses a command.
    pub async fn remove(&mut self) -> Result<(), RedisError> {
        while self.written > 0 {
            let first = self.written.saturating_sub(BATCH);
            let keys = (first..self.written).map(|number| format!("{}{number}", self.prefix));
            self.primaries.remove(keys).await?;
            self.written = first;
        }
        Ok(())
    }
}
