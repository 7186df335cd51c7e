//! Which tickets have waiting parties in this process, and what wakes them.
//!
//! A stream or long poll takes a [`Seat`]; the seat is told to look again when its ticket changes, when the ticket's time
//! is over, when a heartbeat is due, and when the gateway drains. What there is to see is read from the store: a wake
//! carries nothing. Bounds per ticket, per address and per process are kept here.
//!
//! Invariant: a ticket is watched in the store exactly as long as it has a seat here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::store::{Changes, Store, StoreError};
use crate::ticket::TicketId;

/// How long after its deadline a ticket is looked at. A Redis key is expired only once its deadline lies in the past, so
/// looking in the same millisecond would find it still there.
const AFTER_DEADLINE: Duration = Duration::from_millis(2);
/// After a gap this many tickets are read again at once …
const RESYNC_BATCH: usize = 256;
/// … and this long is waited before the next ones: 10,000 tickets take one second.
const RESYNC_PAUSE: Duration = Duration::from_millis(25);
/// When the store failed a waiting party, it looks again after this long, give or take a half.
const RETRY_READ: Duration = Duration::from_secs(1);

/// Bounds and times of the waiting parties.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Seats for one ticket.
    pub per_ticket: usize,
    /// Seats for one client address (one /64 for IPv6).
    pub per_address: usize,
    /// Seats in this process.
    pub per_process: usize,
    /// How often a silent stream says that it is there.
    pub heartbeat: Duration,
    /// Over how long a drain spreads the ends of the streams.
    pub drain_spread: Duration,
}

/// Why there is no seat.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    /// [`StreamLimits::per_ticket`] is reached.
    #[error("too many streams wait for this ticket")]
    TicketFull,
    /// [`StreamLimits::per_address`] is reached.
    #[error("too many streams from this address")]
    AddressFull,
    /// [`StreamLimits::per_process`] is reached.
    #[error("the gateway holds as many streams as it may")]
    ProcessFull,
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
    Look,
    /// It is time for a sign of life.
    Heartbeat,
    /// The gateway wants the stream to end.
    Drain,
}

/// The registry of this process. Clones share it.
#[derive(Clone)]
pub struct Streams {
    shared: Arc<Shared>,
}

struct Shared {
    limits: StreamLimits,
    metrics: Arc<Metrics>,
    seats: Mutex<Seats>,
    gap: Notify,
    draining: watch::Sender<bool>,
}

#[derive(Default)]
struct Seats {
    by_ticket: HashMap<TicketId, Arc<Held>>,
    by_address: HashMap<IpAddr, usize>,
    total: usize,
}

/// A ticket that somebody here waits for.
struct Held {
    wake: watch::Sender<()>,
    /// Set once the store has acknowledged the watch.
    watched: OnceCell<()>,
    seats: std::sync::atomic::AtomicUsize,
}

impl Streams {
    /// Makes an empty registry.
    #[must_use]
    pub fn new(limits: StreamLimits, metrics: Arc<Metrics>) -> Self {
        let shared = Shared {
            limits,
            metrics,
            seats: Mutex::default(),
            gap: Notify::new(),
            draining: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns where a store reports changes to.
    #[must_use]
    pub fn changes(&self) -> Arc<dyn Changes> {
        Arc::clone(&self.shared) as Arc<dyn Changes>
    }

    /// Takes a seat for `id` and returns once the store will report every change; only then is it safe to read.
    ///
    /// # Errors
    /// [`SeatError`], one variant for each bound.
    pub async fn seat(&self, store: &Arc<dyn Store>, id: TicketId, address: IpAddr) -> Result<Seat, SeatError> {
        let address = address_group(address);
        let held = self.shared.take(id, address)?;
        let mut seat = Seat {
            wake: held.wake.subscribe(),
            draining: self.shared.draining.subscribe(),
            drain_after: None,
            deadline: None,
            last_deadline: None,
            retry: None,
            heartbeat: Instant::now() + self.shared.limits.heartbeat,
            guard: SeatGuard {
                shared: Arc::clone(&self.shared),
                store: Arc::clone(store),
                held: Arc::clone(&held),
                id,
                address,
                reason: "gone",
            },
        };
        if let Err(error) = held.watched.get_or_try_init(|| store.watch(&id)).await {
            seat.closes_with("store");
            return Err(error.into());
        }
        Ok(seat)
    }

    /// Tells every seat to look again whenever the store reported a gap, a batch at a time. Runs for ever.
    pub async fn resync(self) {
        loop {
            self.shared.gap.notified().await;
            let held: Vec<_> = self.shared.lock().by_ticket.values().cloned().collect();
            for batch in held.chunks(RESYNC_BATCH) {
                for held in batch {
                    held.wake.send_replace(());
                }
                tokio::time::sleep(RESYNC_PAUSE).await;
            }
        }
    }

    /// Wakes every seat with [`Wake::Drain`], spread over the drain time, and gives no seat from now on.
    pub fn drain(&self) {
        self.shared.draining.send_replace(true);
    }

    /// Returns whether [`Streams::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.shared.draining.borrow()
    }

    /// Returns how many seats are taken.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.lock().total
    }
}

impl Changes for Shared {
    fn changed(&self, id: &TicketId) {
        if let Some(held) = self.lock().by_ticket.get(id) {
            held.wake.send_replace(());
        }
    }

    fn gap(&self) {
        self.gap.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, id: TicketId, address: IpAddr) -> Result<Arc<Held>, SeatError> {
        use std::sync::atomic::Ordering::Relaxed;

        if *self.draining.borrow() {
            return Err(SeatError::Draining);
        }
        let mut seats = self.lock();
        if seats.total >= self.limits.per_process {
            return Err(SeatError::ProcessFull);
        }
        if seats.by_address.get(&address).is_some_and(|&count| count >= self.limits.per_address) {
            return Err(SeatError::AddressFull);
        }
        if seats.by_ticket.get(&id).is_some_and(|held| held.seats.load(Relaxed) >= self.limits.per_ticket) {
            return Err(SeatError::TicketFull);
        }
        let held = Arc::clone(seats.by_ticket.entry(id).or_insert_with(|| {
            Arc::new(Held { wake: watch::Sender::new(()), watched: OnceCell::new(), seats: 0.into() })
        }));
        held.seats.fetch_add(1, Relaxed);
        *seats.by_address.entry(address).or_default() += 1;
        seats.total += 1;
        self.metrics.streams_open.inc();
        self.metrics.streams_opened.inc();
        Ok(held)
    }

    fn give_back(&self, guard: &SeatGuard) {
        use std::sync::atomic::Ordering::Relaxed;

        let mut seats = self.lock();
        seats.total -= 1;
        if let Some(count) = seats.by_address.get_mut(&guard.address) {
            *count -= 1;
            if *count == 0 {
                seats.by_address.remove(&guard.address);
            }
        }
        if guard.held.seats.fetch_sub(1, Relaxed) == 1 {
            seats.by_ticket.remove(&guard.id);
            // Under the lock, so that it cannot overtake the watch of a newcomer to the same ticket.
            guard.store.unwatch(&guard.id);
        }
        drop(seats);
        self.metrics.streams_open.dec();
        self.metrics.stream_closed(guard.reason);
    }
}

/// One waiting party's place. Dropping it gives it back.
pub struct Seat {
    wake: watch::Receiver<()>,
    draining: watch::Receiver<bool>,
    /// When this seat's turn to be drained comes, once draining has begun.
    drain_after: Option<Instant>,
    deadline: Option<Instant>,
    /// The deadline that was known last, kept when it has been acted on.
    last_deadline: Option<Instant>,
    retry: Option<Instant>,
    heartbeat: Instant,
    guard: SeatGuard,
}

struct SeatGuard {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    held: Arc<Held>,
    id: TicketId,
    address: IpAddr,
    reason: &'static str,
}

impl Drop for SeatGuard {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        shared.give_back(self);
    }
}

impl Seat {
    /// Says that the ticket was just read and has `remaining` left: the seat looks again when that is over.
    pub fn has_left(&mut self, remaining: Duration) {
        self.retry = None;
        let deadline = Instant::now() + remaining;
        self.deadline = Some(deadline + AFTER_DEADLINE);
        self.last_deadline = Some(deadline);
    }

    /// Says that the store failed: the seat looks again in about a second.
    pub fn retry_soon(&mut self) {
        self.retry = Some(Instant::now() + RETRY_READ.mul_f64(rand::random_range(0.5..1.5)));
    }

    /// Says what the seat ends with, for the metric; unsaid, the client has gone.
    pub fn closes_with(&mut self, reason: &'static str) {
        self.guard.reason = reason;
    }

    /// Returns how long ago the ticket's time was over, as far as it was known.
    #[must_use]
    pub fn overdue(&self) -> Option<Duration> {
        Instant::now().checked_duration_since(self.last_deadline?)
    }

    /// Waits for the next reason to do something.
    ///
    /// # Cancel safety
    /// Dropped, it loses nothing: the next call returns what this one would have.
    pub async fn next(&mut self) -> Wake {
        let look_at = [self.deadline, self.retry].into_iter().flatten().min();
        tokio::select! {
            biased;
            Ok(()) = self.wake.changed() => Wake::Look,
            () = at(look_at) => {
                // Should the store still show the ticket, or fail, it is looked at again, but not at once.
                self.deadline = None;
                self.retry_soon();
                Wake::Look
            }
            () = drained(&mut self.draining, &mut self.drain_after, self.guard.shared.limits.drain_spread) => Wake::Drain,
            () = tokio::time::sleep_until(self.heartbeat) => {
                self.heartbeat = Instant::now() + self.guard.shared.limits.heartbeat;
                Wake::Heartbeat
            }
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Waits until the gateway drains and then for this seat's turn within `spread`.
async fn drained(draining: &mut watch::Receiver<bool>, turn: &mut Option<Instant>, spread: Duration) {
    // The sender lives as long as the registry; should it be gone, draining is what is left to do.
    let _ = draining.wait_for(|draining| *draining).await;
    let turn = *turn.get_or_insert_with(|| Instant::now() + spread.mul_f64(rand::random_range(0.0..1.0)));
    tokio::time::sleep_until(turn).await;
}

/// Returns what counts as one address: an IPv6 subscriber holds a whole /64.
#[must_use]
pub fn address_group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
    }
}
