//! One waiting party's handle on the registry.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::shared::Shared;
use super::table::{NEVER, Wake};
use crate::metrics::StreamEnd;
use crate::random;
use crate::store::Store;

/// The delay of the refresh after a deadline. Redis expires a key only once its deadline lies in the past; a read in the same
/// millisecond would still find it.
pub(super) const EXPIRY_READ_DELAY: Duration = Duration::from_millis(2);
/// The delay of the next refresh after the store failed, plus or minus half of it.
const RETRY_DELAY: Duration = Duration::from_millis(1500);

/// One waiting party's registration. Dropping it removes it from the registry.
pub struct Registration {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    /// The last known deadline of the ticket, in ticks.
    deadline: u64,
    pub(super) key: u32,
    end: StreamEnd,
}

impl Registration {
    pub(super) fn new(shared: Arc<Shared>, store: Arc<dyn Store>, key: u32) -> Self {
        Self { shared, store, deadline: NEVER, key, end: StreamEnd::Gone }
    }

    /// Schedules a refresh for the ticket's deadline: the read that began at `asked` returned that it had `remaining`
    /// left.
    ///
    /// The deadline is counted from the start of the read, because a reply may wait while many streams open. An early
    /// refresh still finds the ticket and schedules the next one; a late one would delay the `expired` event.
    pub fn set_deadline(&mut self, asked: Instant, remaining: Duration) {
        let deadline = asked + remaining;
        self.deadline = self.shared.ticks(deadline);
        self.shared.refresh_at(self.key, deadline + EXPIRY_READ_DELAY);
    }

    /// Schedules a refresh in a second or two, after the store failed.
    pub fn refresh_soon(&mut self) {
        self.shared.refresh_at(self.key, Instant::now() + RETRY_DELAY.mul_f64(random::within(0.5..1.5)));
    }

    /// Sets the reason with which the metrics count the end of this registration. The default is that the caller left.
    pub fn set_end(&mut self, end: StreamEnd) {
        self.end = end;
    }

    /// Returns how long ago the last known deadline passed, or `None` if it is in the future.
    #[must_use]
    pub fn overdue(&self) -> Option<Duration> {
        let now = self.shared.ticks(Instant::now());
        now.checked_sub(self.deadline).map(Duration::from_millis)
    }

    /// Waits for the next wake.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing: the next call returns the same wake.
    pub async fn next(&mut self) -> Wake {
        poll_fn(|context| self.shared.poll_next(self.key, context)).await
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.remove(self.key, &*self.store, self.end);
    }
}
