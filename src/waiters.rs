//! Which tickets have waiting parties in this process, and what wakes them.
//!
//! A stream or long poll takes a [`Registration`]; the seat is told to look again when its ticket changes, when the ticket's time
//! is over, when a heartbeat is due, and when the gateway drains. What there is to see is read from the store: a wake
//! carries nothing. Bounds per ticket, per caller and per process are kept here.
//!
//! Most seats wait for minutes in which nothing happens, so what counts is their size: a seat is a place in one slab
//! (`seats`) and a waker, with one `wheel` for everybody's heartbeats and deadlines. There is no channel, timer or task of its own.
//!
//! Invariant: a ticket is watched in the store exactly as long as it has a seat here.

mod table;
mod timer_wheel;

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::callers::{Caller, Tier};
use crate::metrics::{Metrics, StreamEnd};
use crate::store::{Changes, Store, StoreError};
use crate::ticket::{TicketId, millis};
use table::{NEVER, NONE, Table};

/// How long after its deadline a ticket is looked at. A Redis key is expired only once its deadline lies in the past, so
/// looking in the same millisecond would find it still there.
const AFTER_DEADLINE: Duration = Duration::from_millis(2);
/// Heartbeats are due at multiples of this many milliseconds: some are sent in one go, and the process sleeps in between.
/// Not too many, or a confirmation that comes just then waits behind them.
const HEARTBEAT_TICK: u64 = 100;
/// When changes may have gone unreported this many seats look again at once …
const RESYNC_BATCH: usize = 256;
/// … and this long is waited before the next ones: 10,000 seats take one second.
const RESYNC_PAUSE: Duration = Duration::from_millis(25);
/// How often some of the streams are sent away while the gateway drains.
const DRAIN_TICK: Duration = Duration::from_millis(50);
/// How many seats are taken at the same time: when all of a lost replica's streams come here, Redis is asked for that many
/// of them at once, and confirmations find their way between.
const MAX_OPENING: usize = 256;
/// How long a party waits for its turn to take a seat before it is sent away to come back.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// When the store failed a waiting party, it looks again after this long, give or take a half.
const RETRY_READ: Duration = Duration::from_millis(1500);

/// Bounds and times of the waiting parties.
#[derive(Debug, Clone, Copy)]
pub struct WaiterLimits {
    /// Table for one ticket.
    pub per_ticket: usize,
    /// Table for one client address (one /64 for IPv6); wider networks have as many more as [`Tier::factor`] says.
    pub per_address: usize,
    /// Table in this process.
    pub per_process: usize,
    /// How often a silent stream says that it is there.
    pub heartbeat: Duration,
    /// Over how long a drain spreads the ends of the streams.
    pub drain_spread: Duration,
}

/// Why there is no seat.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// [`WaiterLimits::per_ticket`] is reached.
    #[error("too many streams wait for this ticket")]
    TicketFull,
    /// [`WaiterLimits::per_address`] is reached, for the address or a network that it is in.
    #[error("too many streams from this address or network")]
    CallerFull(Tier),
    /// [`WaiterLimits::per_process`] is reached.
    #[error("the gateway holds as many streams as it may")]
    ProcessFull,
    /// So many are opened that this one's turn did not come in time.
    #[error("too many streams are being opened")]
    Opening,
    /// The gateway is about to stop.
    #[error("the gateway is about to stop")]
    Draining,
    /// The ticket could not be watched.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a seat was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Read the ticket: it may have changed, or its time may be over.
    Refresh,
    /// It is time for a sign of life.
    Heartbeat,
    /// The gateway wants the stream to end.
    Drain,
}

/// The registry of this process. Clones share it.
#[derive(Clone)]
pub struct Waiters {
    shared: Arc<Shared>,
}

struct Shared {
    limits: WaiterLimits,
    metrics: Arc<Metrics>,
    /// When the wheel's first tick was.
    started: Instant,
    seats: Mutex<Table>,
    opening: Semaphore,
    is_draining: AtomicBool,
    /// Told when something is due earlier than the wheel's task knows.
    due_earlier: Notify,
    /// Told when there are seats that missed something.
    missed: Notify,
}

impl Waiters {
    /// Makes an empty registry. Nothing is due, and nobody told what they missed, unless [`Waiters::run`] runs.
    #[must_use]
    pub fn new(limits: WaiterLimits, metrics: Arc<Metrics>) -> Self {
        let shared = Shared {
            limits,
            metrics,
            started: Instant::now(),
            seats: Mutex::new(Table::new()),
            opening: Semaphore::new(MAX_OPENING),
            is_draining: AtomicBool::new(false),
            due_earlier: Notify::new(),
            missed: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns where a store reports changes to.
    #[must_use]
    pub fn changes(&self) -> Arc<dyn Changes> {
        Arc::clone(&self.shared) as Arc<dyn Changes>
    }

    /// Waits for the caller's turn to take a seat, which lasts as long as what is returned.
    ///
    /// # Errors
    /// [`RegisterError::Opening`] after ten seconds.
    pub async fn opening_permit(&self) -> Result<SemaphorePermit<'_>, RegisterError> {
        match tokio::time::timeout(PERMIT_TIMEOUT, self.shared.opening.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(RegisterError::Opening),
        }
    }

    /// Takes a seat for `id` and returns once the store will report every change; only then is it safe to read.
    ///
    /// # Errors
    /// [`RegisterError`], one variant for each bound.
    pub async fn register(
        &self,
        store: &Arc<dyn Store>,
        id: TicketId,
        address: IpAddr,
    ) -> Result<Registration, RegisterError> {
        let key = self.shared.take(id, Caller::of(address))?;
        let mut seat = Registration {
            shared: Arc::clone(&self.shared),
            store: Arc::clone(store),
            deadline: NEVER,
            key,
            end: StreamEnd::Gone,
        };
        if let Err(error) = store.watch(&id).await {
            seat.set_end(StreamEnd::Store);
            return Err(error.into());
        }
        Ok(seat)
    }

    /// Wakes seats when something is due for them, and has them look again when they missed something. Runs for ever.
    pub async fn run(self) {
        tokio::join!(self.run_wheel(), self.run_resync());
    }

    /// Gives no seat from now on, and wakes every seat with [`Wake::Drain`], evenly over the drain time. Returns when that is
    /// over, or sooner if `may_hurry` and nobody is waiting any more.
    pub async fn drain(&self, may_hurry: bool) {
        self.shared.is_draining.store(true, Ordering::Release);
        let spread = self.shared.limits.drain_spread;
        let keys: Vec<_> = self.shared.lock().entries.iter().map(|(key, _)| key).collect();
        let started = Instant::now();
        let mut told = 0;
        loop {
            let passed = started.elapsed();
            let due = if passed < spread { share(keys.len(), passed, spread) } else { keys.len() };
            self.shared.signal_all(&keys[told..due], Wake::Drain);
            told = due;
            if passed >= spread || (may_hurry && self.count() == 0) {
                return;
            }
            tokio::time::sleep(DRAIN_TICK).await;
        }
    }

    /// Returns how often a silent stream says that it is there, in seconds, rounded up.
    #[must_use]
    pub fn heartbeat_secs(&self) -> u64 {
        let heartbeat = self.shared.limits.heartbeat;
        heartbeat.as_secs() + u64::from(heartbeat.subsec_nanos() > 0)
    }

    /// Returns whether [`Waiters::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining.load(Ordering::Acquire)
    }

    /// Returns how many seats are taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.lock().entries.len()
    }

    async fn run_wheel(&self) {
        let shared = &self.shared;
        loop {
            let next = {
                let mut seats = shared.lock();
                let now = shared.ticks(Instant::now());
                seats.fire_due(now, shared.heartbeat());
                let next = seats.wheel.next();
                seats.wheel_wakes = next.unwrap_or(NEVER);
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
            let told = self.shared.lock().signal_missed(RESYNC_BATCH);
            if told == 0 {
                self.shared.missed.notified().await;
            } else {
                tokio::time::sleep(RESYNC_PAUSE).await;
            }
        }
    }
}

impl Changes for Shared {
    fn changed(&self, id: &TicketId) {
        self.lock().signal_ticket(id, Wake::Refresh);
    }

    fn missed(&self, ids: Vec<TicketId>) {
        let mut seats = self.lock();
        for id in &ids {
            seats.note_missed(id);
        }
        drop(seats);
        self.missed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `instant` in ticks of the wheel, of which each is a millisecond.
    fn ticks(&self, instant: Instant) -> u64 {
        millis(instant.duration_since(self.started))
    }

    /// Returns the heartbeat in ticks, in whole [`HEARTBEAT_TICK`]s.
    fn heartbeat(&self) -> u64 {
        (millis(self.limits.heartbeat) / HEARTBEAT_TICK).max(1) * HEARTBEAT_TICK
    }

    fn signal_all(&self, keys: &[usize], wake: Wake) {
        let mut seats = self.lock();
        for &key in keys {
            seats.signal(key, wake);
        }
    }

    fn take(&self, id: TicketId, caller: Caller) -> Result<u32, RegisterError> {
        let now = self.ticks(Instant::now());
        let mut seats = self.lock();
        // Under the lock: whoever drains next sees this seat.
        if self.is_draining.load(Ordering::Acquire) {
            return Err(RegisterError::Draining);
        }
        if seats.entries.len() >= self.limits.per_process.min(NONE as usize) {
            return Err(RegisterError::ProcessFull);
        }
        if let Some(tier) = seats.by_caller.full_at(caller, self.limits.per_address) {
            return Err(RegisterError::CallerFull(tier));
        }
        if seats.of_ticket(&id) >= self.limits.per_ticket {
            return Err(RegisterError::TicketFull);
        }
        // The first one at random: streams that came together do not have all their heartbeats together.
        let heartbeat_at = now + crate::random::within(HEARTBEAT_TICK..=self.heartbeat());
        let key = seats.insert(id, caller, heartbeat_at / HEARTBEAT_TICK * HEARTBEAT_TICK);
        self.schedule(&mut seats, key);
        drop(seats);
        self.metrics.streams_open.inc();
        self.metrics.streams_opened.inc();
        Ok(key)
    }

    fn give_back(&self, seat: &Registration) {
        let mut seats = self.lock();
        let (place, was_last) = seats.remove(seat.key);
        if was_last {
            // Under the lock, so that it cannot overtake the watch of a newcomer to the same ticket.
            seat.store.unwatch(&place.id);
        }
        drop(seats);
        self.metrics.streams_open.dec();
        self.metrics.stream_closed(seat.end);
        // Not under the lock: whatever a waker holds, it may end here.
        drop(place);
    }

    fn poll_next(&self, key: u32, context: &Context<'_>) -> Poll<Wake> {
        let mut seats = self.lock();
        let place = &mut seats.entries[key as usize];
        if let Some(wake) = place.signals.take() {
            return Poll::Ready(wake);
        }
        if !place.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            let outdated = place.waker.replace(context.waker().clone());
            drop(seats);
            // Not under the lock: whatever a waker holds, it may end here.
            drop(outdated);
        }
        Poll::Pending
    }

    fn refresh_at(&self, key: u32, instant: Instant) {
        // Rounded up: too early would be in vain.
        let tick = self.ticks(instant) + 1;
        let mut seats = self.lock();
        seats.entries[key as usize].refresh_at = tick;
        self.schedule(&mut seats, key);
    }

    /// Sets the wheel to what is due first for a place.
    fn schedule(&self, seats: &mut Table, key: u32) {
        let due = seats.schedule(key);
        if due < seats.wheel_wakes {
            seats.wheel_wakes = due;
            self.due_earlier.notify_one();
        }
    }
}

/// Returns how many of `count` are due when `passed` of `whole` has passed.
fn share(count: usize, passed: Duration, whole: Duration) -> usize {
    let (count, passed, whole) = (count as u128, passed.as_micros(), whole.as_micros().max(1));
    usize::try_from(count * passed / whole).unwrap_or(usize::MAX)
}

/// One waiting party's seat. Dropping it gives it back.
pub struct Registration {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    /// The last known deadline, in ticks.
    deadline: u64,
    key: u32,
    end: StreamEnd,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.give_back(self);
    }
}

impl Registration {
    /// Says that the ticket was read since `asked` and had `remaining` left: the seat looks again when that is over.
    ///
    /// Counted from before the reading, whose answer may have waited where many streams are opened: a look that is early
    /// for that reason finds the ticket and says anew how much is left, but one that is late could not be made up for.
    pub fn set_deadline(&mut self, asked: Instant, remaining: Duration) {
        let deadline = asked + remaining;
        self.deadline = self.shared.ticks(deadline);
        self.shared.refresh_at(self.key, deadline + AFTER_DEADLINE);
    }

    /// Says that the store failed: the seat looks again in a second or two.
    pub fn refresh_soon(&mut self) {
        self.shared.refresh_at(self.key, Instant::now() + RETRY_READ.mul_f64(crate::random::within(0.5..1.5)));
    }

    /// Says what the seat ends with, for the metric; unsaid, the client has gone.
    pub fn set_end(&mut self, end: StreamEnd) {
        self.end = end;
    }

    /// Returns how long ago the ticket's time was over, as far as it was known.
    #[must_use]
    pub fn overdue(&self) -> Option<Duration> {
        let now = self.shared.ticks(Instant::now());
        now.checked_sub(self.deadline).map(Duration::from_millis)
    }

    /// Waits for the next reason to do something.
    ///
    /// # Cancel safety
    /// Dropped, it loses nothing: the next call returns what this one would have.
    pub async fn next(&mut self) -> Wake {
        poll_fn(|context| self.shared.poll_next(self.key, context)).await
    }
}

#[cfg(test)]
mod tests;
