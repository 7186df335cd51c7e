//! So many per second, evenly.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

/// What is behind by more than this is not caught up with.
const MAX_BEHIND: Duration = Duration::from_secs(1);

/// Lets its owner go on so many times per second.
pub struct Pacer {
    due: Instant,
    step: Duration,
}

impl Pacer {
    /// Makes one of `rate` per second, beginning now; 0 is no pacer at all.
    pub fn new(rate: f64) -> Self {
        let step = if rate > 0.0 { Duration::from_secs_f64(1.0 / rate) } else { Duration::ZERO };
        Self { due: Instant::now(), step }
    }

    /// Waits for the next turn.
    pub async fn next(&mut self) {
        if self.step.is_zero() {
            return;
        }
        let now = Instant::now();
        if self.due > now {
            sleep_until(self.due.into()).await;
        } else if now.duration_since(self.due) > MAX_BEHIND {
            self.due = now;
        }
        self.due += self.step;
    }
}
