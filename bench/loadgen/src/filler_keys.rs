//! The keys of others in `expiry`: as many with a time to live as a busy Redis holds, among which Redis looks for expired ones.
//!
//! They are removed at the end of a run. Should that not come, they expire by themselves.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;

use crate::primaries::Primaries;

/// How long they live at least. Longer than a run: none is to expire in it.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(3600);
/// The shortest lives by so much less than the longest.
const SPREAD: Duration = Duration::from_secs(600);
/// How many are written, or removed, in one go.
const BATCH: u64 = 5_000;

/// The keys of others. Nothing is there until [`FillerKeys::add`].
pub struct FillerKeys {
    primaries: Arc<Primaries>,
    prefix: String,
    wanted: u64,
    /// Those that may be there.
    made: u64,
}

impl FillerKeys {
    pub fn new(primaries: Arc<Primaries>, prefix: &str, wanted: u64) -> Self {
        Self { primaries, prefix: format!("{prefix}other:"), wanted, made: 0 }
    }

    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.made
    }

    /// Returns how many there are to be.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Returns whether all are there.
    pub fn is_complete(&self) -> bool {
        self.made >= self.wanted
    }

    /// Writes some more.
    ///
    /// # Errors
    /// When Redis does not take them.
    ///
    /// # Cancel safety
    /// Those that may have been written are known.
    pub async fn add(&mut self) -> Result<(), RedisError> {
        let first = self.made;
        self.made = self.wanted.min(first + BATCH);
        let spread = u64::try_from(SPREAD.as_millis()).unwrap_or(u64::MAX);
        let shortest = u64::try_from(TIME_TO_LIVE.as_millis()).unwrap_or(u64::MAX);
        let keys = (first..self.made).map(|number| format!("{}{number}", self.prefix));
        let mut number = first;
        let write = |pipe: &mut redis::Pipeline, key: &str| {
            pipe.cmd("SET").arg(key).arg("").arg("PX").arg(shortest + number % spread).ignore();
            number += 1;
        };
        self.primaries.run(keys, write).await
    }

    /// Removes all of them.
    ///
    /// # Errors
    /// When Redis does not do it.
    pub async fn remove(&mut self) -> Result<(), RedisError> {
        while self.made > 0 {
            let first = self.made.saturating_sub(BATCH);
            let keys = (first..self.made).map(|number| format!("{}{number}", self.prefix));
            self.primaries.remove(keys).await?;
            self.made = first;
        }
        Ok(())
    }
}
