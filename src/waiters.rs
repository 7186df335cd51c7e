//! The parties that wait for a ticket in this process, and the events that wake them.
//!
//! A stream or long poll registers for its ticket. It is woken to refresh when the ticket changes or its deadline passes, to
//! send a heartbeat, and to end when the gateway drains. A wake carries no data: the woken party reads the ticket from the
//! store. This module enforces the bounds per ticket, per caller and per process.
//!
//! Most registrations wait for minutes without an event, so they must be small. A registration is one entry in a slab
//! (`table`) and a waker; one timer wheel serves all heartbeats and deadlines. No registration has a channel, timer or
//! task.
//!
//! Invariant: the store watches a ticket exactly while this process has a registration for it.

mod registration;
mod settings;
mod shared;
mod table;
mod timer_wheel;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::callers::Caller;
use crate::metrics::{Metrics, StreamEnd};
use crate::store::{Changes, Store};
use crate::ticket::TicketId;
pub use registration::Registration;
pub use settings::{RegisterError, WaiterLimits};
use shared::Shared;
use table::NEVER;
pub use table::Wake;

/// The number of registrations that may have missed a change and are woken together. The pause after them bounds the
/// load on the store: 10,000 registrations take one second.
const RESYNC_BATCH: usize = 256;
/// The pause between two such batches.
const RESYNC_PAUSE: Duration = Duration::from_millis(25);
/// The interval at which a drain ends the next streams.
const DRAIN_TICK: Duration = Duration::from_millis(50);
/// How long a party waits for a permit to register before the gateway asks it to reconnect.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The registry of this process. Clones share it.
#[derive(Clone)]
pub struct Waiters {
    shared: Arc<Shared>,
}

impl Waiters {
    /// Creates an empty registry. Timers and resynchronisation need [`Waiters::run`].
    #[must_use]
    pub fn new(limits: WaiterLimits, metrics: Arc<Metrics>) -> Self {
        Self { shared: Arc::new(Shared::new(limits, metrics)) }
    }

    /// Returns the receiver of a store's change reports.
    #[must_use]
    pub fn changes(&self) -> Arc<dyn Changes> {
        Arc::clone(&self.shared) as Arc<dyn Changes>
    }

    /// Waits for one of the permits that bound how many parties register at the same time. The caller holds it until it has
    /// registered and read its ticket.
    ///
    /// # Errors
    /// [`RegisterError::TooManyAtOnce`] after ten seconds.
    pub async fn registration_permit(&self) -> Result<SemaphorePermit<'_>, RegisterError> {
        match tokio::time::timeout(PERMIT_TIMEOUT, self.shared.registering.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(RegisterError::TooManyAtOnce),
        }
    }

    /// Registers a party for ticket `id`. Returns once the store reports every change; only then is it safe to read.
    ///
    /// # Errors
    /// [`RegisterError`], one variant for each bound.
    pub async fn register(
        &self,
        store: &Arc<dyn Store>,
        id: TicketId,
        address: IpAddr,
    ) -> Result<Registration, RegisterError> {
        let key = self.shared.add(id, Caller::of(address))?;
        let mut registration = Registration::new(Arc::clone(&self.shared), Arc::clone(store), key);
        if let Err(error) = store.watch(&id).await {
            registration.set_end(StreamEnd::Store);
            return Err(error.into());
        }
        Ok(registration)
    }

    /// Wakes registrations whose heartbeat or deadline is due, and those that may have missed a change. Never returns.
    pub async fn run(self) {
        tokio::join!(self.run_timers(), self.run_resync());
    }

    /// Refuses further registrations, and wakes each existing one with [`Wake::Drain`], evenly over the drain time.
    /// Returns when that time has passed. With `ends_when_empty`, it returns as soon as no registration is left.
    pub async fn drain(&self, ends_when_empty: bool) {
        let spread = self.shared.limits.drain_spread;
        let keys = self.shared.start_drain();
        let started = Instant::now();
        let mut woken = 0;
        loop {
            let passed = started.elapsed();
            let due = if passed < spread { share(keys.len(), passed, spread) } else { keys.len() };
            self.shared.signal_all(&keys[woken..due], Wake::Drain);
            woken = due;
            if passed >= spread || (ends_when_empty && self.count() == 0) {
                return;
            }
            tokio::time::sleep(DRAIN_TICK).await;
        }
    }

    /// Returns the interval between two heartbeats of a stream, in seconds, rounded up.
    #[must_use]
    pub fn heartbeat_secs(&self) -> u64 {
        let heartbeat = self.shared.limits.heartbeat;
        heartbeat.as_secs() + u64::from(heartbeat.subsec_nanos() > 0)
    }

    /// Returns whether [`Waiters::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Returns the number of registrations.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.lock().entries.len()
    }

    async fn run_timers(&self) {
        let shared = &self.shared;
        loop {
            let next = {
                let mut table = shared.lock();
                let now = shared.ticks(Instant::now());
                table.fire_due(now, shared.heartbeat_ticks());
                let next = table.wheel.next();
                table.timer_wakes_at = next.unwrap_or(NEVER);
                next
            };
            let sleep = async {
                match next {
                    Some(tick) => tokio::time::sleep_until(shared.started + Duration::from_millis(tick)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = shared.due_earlier.notified() => {}
            }
        }
    }

    async fn run_resync(&self) {
        loop {
            let woken = self.shared.lock().signal_missed(RESYNC_BATCH);
            if woken == 0 {
                self.shared.missed.notified().await;
            } else {
                tokio::time::sleep(RESYNC_PAUSE).await;
            }
        }
    }
}

/// Returns how many of `count` are due when `passed` of `whole` has passed.
fn share(count: usize, passed: Duration, whole: Duration) -> usize {
    let (count, passed, whole) = (count as u128, passed.as_micros(), whole.as_micros().max(1));
    usize::try_from(count * passed / whole).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
