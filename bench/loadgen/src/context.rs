//! What the people of one process share: the settings, the way to the targets, the clock of the run, and what is counted.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::{Api, Approver};
use crate::measurements::Measurements;
use crate::options::Settings;

/// How often it is looked for streams that are silent.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Shared by all people of one process.
pub struct Context {
    pub settings: Settings,
    pub api: Api,
    /// Those who scan; at least one where there are logins.
    pub approvers: Vec<Approver>,
    /// When the run began, by this process's clock.
    pub began: Instant,
    /// One for each person.
    pub seats: Vec<Slot>,
    /// When tickets expire, in the time of the run, of which the parent has not been told yet.
    deadlines: Mutex<Vec<Duration>>,
    measured: Mutex<Measurements>,
}

/// What the sweeper and the confirmer see of one person.
#[derive(Default)]
pub struct Slot {
    /// When the stream last said something, in milliseconds of the run; 0 while there is none.
    heard_ms: AtomicU32,
    /// A missed heartbeat has been counted.
    is_late: AtomicBool,
    held: Mutex<Option<Held>>,
}

/// The ticket of an open stream.
struct Held {
    id: String,
    confirmation: Option<Arc<Confirmation>>,
}

/// A confirmation that somebody makes of a ticket whose stream is open.
#[derive(Default)]
pub struct Confirmation {
    /// When the request that got through was sent.
    pub asked_at: Mutex<Option<Instant>>,
    /// The stream has been told.
    pub is_delivered: AtomicBool,
}

impl Context {
    pub fn new(settings: Settings, api: Api, approvers: Vec<Approver>, began: Instant, people: usize) -> Self {
        let seats = std::iter::repeat_with(Slot::default).take(people).collect();
        Self { settings, api, approvers, began, seats, deadlines: Mutex::default(), measured: Mutex::default() }
    }

    /// Counts.
    pub fn count<T>(&self, change: impl FnOnce(&mut Measurements) -> T) -> T {
        change(&mut self.measured.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the time of the run.
    pub fn now(&self) -> Duration {
        self.at(Instant::now())
    }

    /// Returns an instant in the time of the run.
    pub fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.began)
    }

    /// Notes when a ticket expires, for the parent.
    pub fn deadline(&self, at: Duration) {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner).push(at);
    }

    /// Returns what was noted since the last call.
    pub fn take_deadlines(&self) -> Vec<Duration> {
        std::mem::take(&mut self.deadlines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that the stream of `seat` says something.
    pub fn heard(&self, seat: &Slot, at: Instant) {
        let millis = u32::try_from(self.at(at).as_millis()).unwrap_or(u32::MAX).max(1);
        seat.heard_ms.store(millis, Ordering::Relaxed);
        seat.is_late.store(false, Ordering::Relaxed);
    }

    /// Counts heartbeats missed, for ever. One look at all streams every second, instead of a timer for each.
    pub async fn sweep(self: Arc<Self>) {
        let allowed = u32::try_from((self.settings.heartbeat * 3 / 2).as_millis()).unwrap_or(u32::MAX);
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            let now = u32::try_from(self.now().as_millis()).unwrap_or(u32::MAX);
            let missed = self.seats.iter().filter(|seat| seat.is_newly_late(now, allowed)).count();
            if missed > 0 {
                self.count(|measured| measured.heartbeats_missed += u64::try_from(missed).unwrap_or(u64::MAX));
            }
        }
    }
}

impl Slot {
    /// Notes that the stream of the ticket `id` is open.
    pub fn opened(&self, id: &str) {
        let mut held = self.held();
        // A stream that came back belongs to the same ticket, whose confirmation may be under way.
        if held.as_ref().is_none_or(|held| held.id != id) {
            *held = Some(Held { id: id.to_owned(), confirmation: None });
        }
    }

    /// Notes that there is no stream at present.
    pub fn closed(&self) {
        self.heard_ms.store(0, Ordering::Relaxed);
    }

    /// Chooses this ticket for a confirmation, if nobody else has. Its stream may be away at the moment: a person with a
    /// phone does not wait for it.
    pub fn choose(&self) -> Option<(String, Arc<Confirmation>)> {
        let mut held = self.held();
        let held = held.as_mut().filter(|held| held.confirmation.is_none())?;
        let confirmation = Arc::new(Confirmation::default());
        held.confirmation = Some(Arc::clone(&confirmation));
        Some((held.id.clone(), confirmation))
    }

    /// Ends with the ticket; returns the confirmation that was made of it, if any.
    pub fn leave(&self) -> Option<Arc<Confirmation>> {
        self.closed();
        self.held().take().and_then(|held| held.confirmation)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_newly_late(&self, now: u32, allowed: u32) -> bool {
        let heard = self.heard_ms.load(Ordering::Relaxed);
        let is_late = heard != 0 && now.saturating_sub(heard) > allowed;
        is_late && !self.is_late.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_stream_misses_one_heartbeat_until_it_speaks() {
        let seat = Slot::default();
        assert!(!seat.is_newly_late(100_000, 1_500));
        seat.heard_ms.store(1_000, Ordering::Relaxed);
        assert!(!seat.is_newly_late(2_500, 1_500));
        assert!(seat.is_newly_late(2_501, 1_500));
        assert!(!seat.is_newly_late(9_000, 1_500));
    }

    #[test]
    fn a_ticket_is_chosen_once_and_keeps_its_confirmation_over_a_reconnect() {
        let seat = Slot::default();
        assert!(seat.choose().is_none(), "there is no ticket");
        seat.opened("a");
        assert_eq!(seat.choose().unwrap().0, "a");
        assert!(seat.choose().is_none());
        seat.opened("a");
        assert!(seat.leave().is_some());
        seat.opened("b");
        assert!(seat.leave().is_none());
    }
}
