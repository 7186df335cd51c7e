//! Turns the keyspace notifications of one primary into changes: one connection, subscribed to exactly the watched tickets
//! whose keys the primary owns.
//!
//! Redis does not repeat a lost notification. These rules compensate for that:
//! - A watch returns only after Redis has acknowledged the subscription.
//! - A notification only wakes the waiter, which reads the ticket for its state.
//! - After every reconnect each ticket is subscribed again, and is reported as missed once that is acknowledged. Until
//!   then it is reported as missed every two seconds, in case no connection opens.
//! - A connection is dead if it does not answer a ping in time.
//!
//! `Subscriptions` is a set, not a queue: `watch` and `unwatch` change the set, and the task synchronises Redis with it
//! in batches. The limit on open streams bounds it. `subscriber/session` holds one connection, `subscriber/monitor`
//! runs periodic checks, `subscriber/state` holds their shared state.

mod monitor;
mod session;
mod state;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::endpoint::Endpoint;
use super::reports::Reports;
use super::subscriptions::MovedSubscription;
use crate::store::contract::StoreError;
use crate::ticket::TicketId;
use session::PING_INTERVAL;
use state::Shared;

/// The maximum pause before another attempt to connect; the first ones are shorter.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The subscriber of one node. Dropping it ends its tasks.
pub(super) struct Subscriber {
    shared: Arc<Shared>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Subscriber {
    pub(super) fn start(endpoint: Arc<Endpoint>, reports: Reports) -> Self {
        let shared = Arc::new(Shared::new(endpoint, reports));
        let tasks = [
            crate::task::spawn("redis-subscriber", keep_connected(Arc::clone(&shared))),
            crate::task::spawn("redis-monitor", monitor::run(Arc::clone(&shared))),
        ];
        Self { shared, tasks }
    }

    /// Watches a ticket. Returns a receiver of the acknowledgement, or `None` if Redis has already acknowledged it.
    pub(super) fn watch(&self, id: &TicketId) -> Option<oneshot::Receiver<()>> {
        let acknowledged = self.shared.subscriptions.lock().watch(id);
        if acknowledged.is_some() {
            self.shared.subscribe_wanted.notify_one();
        }
        acknowledged
    }

    pub(super) fn unwatch(&self, id: &TicketId) {
        if self.shared.subscriptions.lock().unwatch(id) {
            self.shared.unsubscribe_wanted.notify_one();
        }
    }

    /// Releases every watched ticket for which `has_moved` is true.
    pub(super) fn release_if(&self, has_moved: impl Fn(&TicketId) -> bool) -> Vec<MovedSubscription> {
        let moved = self.shared.subscriptions.lock().release_if(has_moved);
        self.shared.unsubscribe_wanted.notify_one();
        moved
    }

    /// Releases one ticket, if it is watched here.
    pub(super) fn release(&self, id: &TicketId) -> Option<MovedSubscription> {
        let moved = self.shared.subscriptions.lock().release(id);
        self.shared.unsubscribe_wanted.notify_one();
        moved
    }

    /// Takes over a ticket that another node's subscriber released.
    pub(super) fn take_over(&self, moved: MovedSubscription) {
        self.shared.subscriptions.lock().take_over(moved);
        self.shared.subscribe_wanted.notify_one();
    }

    /// Returns whether no ticket is watched here.
    pub(super) fn is_idle(&self) -> bool {
        self.shared.subscriptions.lock().is_idle()
    }

    /// Returns how many watched tickets have an interrupted subscription.
    pub(super) fn interrupted(&self) -> usize {
        self.shared.subscriptions.lock().interrupted()
    }

    /// Checks that the connection has recently answered.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let last_reply_at = *self.shared.last_reply_at.lock();
        match last_reply_at {
            Some(at) if at.elapsed() < PING_INTERVAL + self.shared.endpoint.timeout => Ok(()),
            Some(at) => Err(StoreError::Unavailable(format!(
                "the subscriber received its last reply {} s ago",
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

/// Runs one session after another.
async fn keep_connected(shared: Arc<Shared>) {
    let mut failures = 0_u32;
    loop {
        let mut was_established = false;
        let Err(error) = session::run(&shared, &mut was_established).await;
        shared.subscriptions.lock().reset(false);
        *shared.last_reply_at.lock() = None;
        let node = &shared.endpoint.address;
        if was_established {
            failures = 0;
            shared.reports.metrics.redis.subscriber_reconnects.inc();
            tracing::warn!(%error, %node, "lost the connection to Redis; streams stay open; reconnecting");
        } else if failures == 0 {
            tracing::warn!(%error, %node, "cannot subscribe to Redis; retrying");
        } else {
            tracing::debug!(%error, %node, failures, "cannot subscribe to Redis yet");
        }
        shared.reports.refresh_requested.notify_one();
        tokio::time::sleep(backoff(failures)).await;
        failures += 1;
    }
}

fn backoff(failures: u32) -> Duration {
    let full = Duration::from_millis(50).saturating_mul(1 << failures.min(8)).min(MAX_BACKOFF);
    full.mul_f64(crate::random::within(0.5..=1.0))
}
