//! Limits an action to a fixed number per second.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

/// A pacer that is later than this skips the missed turns.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Limits its owner to a fixed number of turns per second.
pub struct Pacer {
    due: Instant,
    interval: Duration,
}

impl Pacer {
    /// Returns a pacer of `rate` turns per second that starts now. A rate of 0 sets no limit.
    pub fn new(rate: f64) -> Self {
        let interval = if rate > 0.0 { Duration::from_secs_f64(1.0 / rate) } else { Duration::ZERO };
        Self { due: Instant::now(), interval }
    }

    /// Waits for the next turn.
    pub async fn next(&mut self) {
        if self.interval.is_zero() {
            return;
        }
        let now = Instant::now();
        if self.due > now {
            sleep_until(self.due.into()).await;
        } else if now.duration_since(self.due) > MAX_DELAY {
            self.due = now;
        }
        self.due += self.interval;
    }
}
