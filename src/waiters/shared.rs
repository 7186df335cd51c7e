//! The state that the registry and all registrations share: the table behind a lock, its bounds, and its notifications.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::settings::{RegisterError, WaiterLimits};
use super::table::{NONE, Table, Wake};
use crate::callers::Caller;
use crate::metrics::{Metrics, StreamEnd};
use crate::random;
use crate::store::{Changes, Store};
use crate::ticket::{TicketId, millis};

/// Heartbeats are due at multiples of this many milliseconds, so that the process sends several together and sleeps in
/// between. A larger value would delay a confirmation that arrives during such a batch.
pub(super) const HEARTBEAT_TICK: u64 = 100;
/// The maximum number of parties that register at the same time. When all streams of a lost replica arrive here, Redis
/// gets at most this many concurrent requests, so confirmations are not delayed.
pub(super) const MAX_REGISTERING: usize = 256;

pub(super) struct Shared {
    pub(super) limits: WaiterLimits,
    metrics: Arc<Metrics>,
    /// The time of the wheel's tick 0.
    pub(super) started: Instant,
    table: Mutex<Table>,
    pub(super) registering: Semaphore,
    is_draining: AtomicBool,
    /// Notified when a timer is due earlier than the timer task's next wake.
    pub(super) due_earlier: Notify,
    /// Notified when registrations may have missed a change.
    pub(super) missed: Notify,
}

impl Shared {
    pub(super) fn new(limits: WaiterLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            limits,
            metrics,
            started: Instant::now(),
            table: Mutex::new(Table::new()),
            registering: Semaphore::new(MAX_REGISTERING),
            is_draining: AtomicBool::new(false),
            due_earlier: Notify::new(),
            missed: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }

    /// Converts `instant` to ticks of the wheel. A tick is a millisecond.
    pub(super) fn ticks(&self, instant: Instant) -> u64 {
        millis(instant.duration_since(self.started))
    }

    /// Returns the interval between heartbeats in ticks, a multiple of [`HEARTBEAT_TICK`].
    pub(super) fn heartbeat_ticks(&self) -> u64 {
        (millis(self.limits.heartbeat) / HEARTBEAT_TICK).max(1) * HEARTBEAT_TICK
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Refuses further registrations, and returns the keys of the existing ones.
    pub(super) fn start_drain(&self) -> Vec<usize> {
        self.is_draining.store(true, Ordering::Release);
        self.lock().entries.iter().map(|(key, _)| key).collect()
    }

    pub(super) fn signal_all(&self, keys: &[usize], wake: Wake) {
        let mut table = self.lock();
        for &key in keys {
            table.signal(key, wake);
        }
    }

    /// Adds an entry, if no bound is reached; returns its key.
    pub(super) fn add(&self, id: TicketId, caller: Caller) -> Result<u32, RegisterError> {
        let now = self.ticks(Instant::now());
        let mut table = self.lock();
        // Checked under the lock, so that a drain that starts next sees this entry.
        if self.is_draining() {
            return Err(RegisterError::Draining);
        }
        if table.entries.len() >= self.limits.per_process.min(NONE as usize) {
            return Err(RegisterError::ProcessFull);
        }
        if let Some(tier) = table.by_caller.first_full_tier(caller, self.limits.per_address) {
            return Err(RegisterError::CallerFull(tier));
        }
        if table.of_ticket(&id) >= self.limits.per_ticket {
            return Err(RegisterError::TicketFull);
        }
        // The first heartbeat is at a random time, so that streams that opened together do not send all heartbeats together.
        let heartbeat_at = now + random::within(HEARTBEAT_TICK..=self.heartbeat_ticks());
        let key = table.insert(id, caller, heartbeat_at / HEARTBEAT_TICK * HEARTBEAT_TICK);
        self.schedule(&mut table, key);
        drop(table);
        self.metrics.streams.open.inc();
        self.metrics.streams.opened.inc();
        Ok(key)
    }

    /// Removes an entry. The store stops watching its ticket if it was the ticket's last.
    pub(super) fn remove(&self, key: u32, store: &dyn Store, end: StreamEnd) {
        let mut table = self.lock();
        let (entry, was_last) = table.remove(key);
        if was_last {
            // Under the lock, so that it cannot overtake the watch of the next registration for the same ticket.
            store.unwatch(&entry.id);
        }
        drop(table);
        self.metrics.streams.open.dec();
        self.metrics.streams.closed(end);
        // Dropped after the lock: dropping a waker may run any code.
        drop(entry);
    }

    pub(super) fn poll_next(&self, key: u32, context: &Context<'_>) -> Poll<Wake> {
        let mut table = self.lock();
        let entry = &mut table.entries[key as usize];
        if let Some(wake) = entry.signals.take() {
            return Poll::Ready(wake);
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            let outdated = entry.waker.replace(context.waker().clone());
            drop(table);
            // Dropped after the lock: dropping a waker may run any code.
            drop(outdated);
        }
        Poll::Pending
    }

    pub(super) fn refresh_at(&self, key: u32, instant: Instant) {
        // Rounded up: an early refresh would find nothing new.
        let tick = self.ticks(instant) + 1;
        let mut table = self.lock();
        table.entries[key as usize].refresh_at = tick;
        self.schedule(&mut table, key);
    }

    /// Sets the wheel to the entry's earliest timer.
    fn schedule(&self, table: &mut Table, key: u32) {
        let due = table.schedule(key);
        if due < table.timer_wakes_at {
            table.timer_wakes_at = due;
            self.due_earlier.notify_one();
        }
    }
}

impl Changes for Shared {
    fn changed(&self, id: &TicketId) {
        self.lock().signal_ticket(id, Wake::Refresh);
    }

    fn missed(&self, ids: Vec<TicketId>) {
        let mut table = self.lock();
        for id in &ids {
            table.queue_missed(id);
        }
        drop(table);
        self.missed.notify_one();
    }
}
