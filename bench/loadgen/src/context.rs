//! The state that the tasks of one worker share: settings, targets, the clock of the run, and measurements.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::api::{Api, Approver};
use crate::measurements::Measurements;
use crate::openid::App;
use crate::settings::Settings;

/// The time between two checks for silent streams.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The state that all tasks of one worker share.
pub struct Context {
    pub settings: Settings,
    pub api: Api,
    /// The approvers; at least one in scenarios with logins.
    pub approvers: Vec<Approver>,
    /// The app that logins sign in to; without it, they use the API.
    pub app: Option<App>,
    /// When the run started, by this process's clock.
    pub started: Instant,
    /// The state of each presenter.
    pub presenters: Vec<PresenterState>,
    /// The deadlines of tickets, since the start of the run, that were not reported to the coordinator yet.
    deadlines: Mutex<Vec<Duration>>,
    measurements: Mutex<Measurements>,
}

/// The part of a presenter's state that other tasks read: the check for missed heartbeats, and the approvers.
#[derive(Default)]
pub struct PresenterState {
    /// When the stream last received anything, in milliseconds since the start of the run; 0 without a stream.
    received_ms: AtomicU32,
    /// The longest silence without a missed heartbeat, in milliseconds; 0 if no heartbeats are expected.
    max_silence_ms: AtomicU32,
    /// Whether a missed heartbeat was counted for the current silence.
    is_late: AtomicBool,
    ticket: Mutex<Option<WaitingTicket>>,
}

/// The ticket that a presenter waits for.
struct WaitingTicket {
    id: String,
    confirmation: Option<Arc<Confirmation>>,
}

/// A confirmation of a ticket whose presenter waits.
#[derive(Default)]
pub struct Confirmation {
    /// When the latest confirm request was sent.
    pub requested_at: Mutex<Option<Instant>>,
    /// Whether the stream has received the event.
    pub is_delivered: AtomicBool,
}

impl Context {
    pub fn new(
        settings: Settings,
        api: Api,
        approvers: Vec<Approver>,
        app: Option<App>,
        started: Instant,
        presenters: usize,
    ) -> Self {
        let presenters = std::iter::repeat_with(PresenterState::default).take(presenters).collect();
        Self {
            settings,
            api,
            approvers,
            app,
            started,
            presenters,
            deadlines: Mutex::default(),
            measurements: Mutex::default(),
        }
    }

    /// Calls `change` with the measurements.
    pub fn measure<T>(&self, change: impl FnOnce(&mut Measurements) -> T) -> T {
        change(&mut self.measurements.lock())
    }

    /// Returns the time since the start of the run.
    pub fn elapsed(&self) -> Duration {
        self.since_start(Instant::now())
    }

    /// Returns the time from the start of the run to `instant`.
    pub fn since_start(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.started)
    }

    /// Stores a ticket's deadline for the next report to the coordinator.
    pub fn add_deadline(&self, at: Duration) {
        self.deadlines.lock().push(at);
    }

    /// Returns the deadlines that were added since the last call.
    pub fn take_deadlines(&self) -> Vec<Duration> {
        std::mem::take(&mut self.deadlines.lock())
    }

    /// Records that the stream of `presenter` received something at `at`.
    pub fn received(&self, presenter: &PresenterState, at: Instant) {
        presenter.received_ms.store(millis(self.since_start(at)).max(1), Ordering::Relaxed);
        presenter.is_late.store(false, Ordering::Relaxed);
    }

    /// Counts missed heartbeats until the process ends. One pass over all streams every second replaces one timer per stream.
    pub async fn count_missed_heartbeats(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            let now = millis(self.elapsed());
            let missed = self.presenters.iter().filter(|presenter| presenter.becomes_late(now)).count();
            if missed > 0 {
                self.measure(|measured| measured.heartbeats_missed += u64::try_from(missed).unwrap_or(u64::MAX));
            }
        }
    }
}

impl PresenterState {
    /// Records an open stream of the ticket `id`. A stream that is silent for 1.5 × `heartbeat` has missed a heartbeat.
    pub fn set_open(&self, id: &str, heartbeat: Option<Duration>) {
        let max_silence = heartbeat.map_or(Duration::ZERO, |heartbeat| heartbeat * 3 / 2);
        self.max_silence_ms.store(millis(max_silence), Ordering::Relaxed);
        let mut ticket = self.ticket();
        // A reconnected stream has the same ticket, and its confirmation may be in progress.
        if ticket.as_ref().is_none_or(|ticket| ticket.id != id) {
            *ticket = Some(WaitingTicket { id: id.to_owned(), confirmation: None });
        }
    }

    /// Records that no stream is open.
    pub fn set_closed(&self) {
        self.received_ms.store(0, Ordering::Relaxed);
    }

    /// Reserves the ticket for a confirmation, unless it is reserved already. The stream may be closed: an approver does not
    /// wait for the presenter's connection.
    pub fn reserve(&self) -> Option<(String, Arc<Confirmation>)> {
        let mut ticket = self.ticket();
        let ticket = ticket.as_mut().filter(|ticket| ticket.confirmation.is_none())?;
        let confirmation = Arc::new(Confirmation::default());
        ticket.confirmation = Some(Arc::clone(&confirmation));
        Some((ticket.id.clone(), confirmation))
    }

    /// Ends the wait for the ticket, and returns its confirmation.
    pub fn end_wait(&self) -> Option<Arc<Confirmation>> {
        self.set_closed();
        self.ticket().take().and_then(|ticket| ticket.confirmation)
    }

    fn ticket(&self) -> MutexGuard<'_, Option<WaitingTicket>> {
        self.ticket.lock()
    }

    fn becomes_late(&self, now: u32) -> bool {
        let received = self.received_ms.load(Ordering::Relaxed);
        let max_silence = self.max_silence_ms.load(Ordering::Relaxed);
        let is_late = received != 0 && max_silence != 0 && now.saturating_sub(received) > max_silence;
        is_late && !self.is_late.swap(true, Ordering::Relaxed)
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_stream_misses_one_heartbeat_until_it_receives_data() {
        let presenter = PresenterState::default();
        presenter.set_open("a", Some(Duration::from_secs(1)));
        assert!(!presenter.becomes_late(100_000));
        presenter.received_ms.store(1_000, Ordering::Relaxed);
        assert!(!presenter.becomes_late(2_500));
        assert!(presenter.becomes_late(2_501));
        assert!(!presenter.becomes_late(9_000));
    }

    #[test]
    fn a_stream_without_a_heartbeat_interval_misses_none() {
        let presenter = PresenterState::default();
        presenter.set_open("", None);
        presenter.received_ms.store(1_000, Ordering::Relaxed);
        assert!(!presenter.becomes_late(u32::MAX));
    }

    #[test]
    fn a_ticket_is_reserved_once_and_keeps_its_confirmation_over_a_reconnect() {
        let presenter = PresenterState::default();
        assert!(presenter.reserve().is_none(), "a presenter without a ticket");
        presenter.set_open("a", None);
        assert_eq!(presenter.reserve().unwrap().0, "a");
        assert!(presenter.reserve().is_none());
        presenter.set_open("a", None);
        assert!(presenter.end_wait().is_some());
        presenter.set_open("b", None);
        assert!(presenter.end_wait().is_none());
    }
}
