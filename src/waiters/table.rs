//! The entries of the waiting parties, by key, ticket, caller and next due timer. A data structure without lock, clock or
//! I/O; `shared` holds its lock.
//!
//! Invariant: the entries of one ticket form a list that starts in `by_ticket`; `by_caller` counts the entries of each caller.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use slab::Slab;

use super::timer_wheel::TimerWheel;
use crate::callers::{Caller, CallerCounts, SMALL, shrink_after_peak};
use crate::ticket::TicketId;

/// The reason why a registration was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Read the ticket: it may have changed, or its deadline may have passed.
    Refresh,
    /// Send a heartbeat.
    Heartbeat,
    /// End the stream: the gateway drains.
    Drain,
}

pub(super) struct Table {
    pub(super) entries: Slab<Entry>,
    pub(super) wheel: TimerWheel,
    /// When the timer task wakes next, in ticks.
    pub(super) timer_wakes_at: u64,
    /// The first entry of each ticket. Each entry names the next one.
    pub(super) by_ticket: HashMap<TicketId, u32>,
    pub(super) by_caller: CallerCounts,
    /// Keys of entries that may have missed a change and wait for their refresh, a batch at a time. [`Signals::MISSED`] keeps
    /// a key from being queued twice. A queued entry may have been removed since.
    missed: VecDeque<u32>,
}

/// One waiting party. There is one for each idle stream, so it must be small.
pub(super) struct Entry {
    /// The waiting task's waker; none before its first wait.
    pub(super) waker: Option<Waker>,
    /// When the next refresh is due, for the deadline or after the store failed, in ticks. No notification reports
    /// these times.
    pub(super) refresh_at: u64,
    /// When the next heartbeat is due, in ticks.
    pub(super) heartbeat_at: u64,
    pub(super) id: TicketId,
    pub(super) caller: Caller,
    /// The next entry of the same ticket.
    next: u32,
    /// The wakes that the party has not taken yet.
    pub(super) signals: Signals,
}

/// The key of no entry.
pub(super) const NONE: u32 = u32::MAX;
/// The tick of a timer that is not set.
pub(super) const NEVER: u64 = u64::MAX;

/// A set of wakes.
#[derive(Clone, Copy, Default)]
pub(super) struct Signals(u8);

impl Signals {
    /// Marks an entry that is queued in [`Table::missed`].
    const MISSED: u8 = 8;

    const fn bit(wake: Wake) -> u8 {
        match wake {
            Wake::Refresh => 1,
            Wake::Drain => 2,
            Wake::Heartbeat => 4,
        }
    }

    fn add(&mut self, wake: Wake) {
        self.0 |= Self::bit(wake);
    }

    /// Takes the most urgent wake.
    pub(super) fn take(&mut self) -> Option<Wake> {
        let wake =
            [Wake::Refresh, Wake::Drain, Wake::Heartbeat].into_iter().find(|&wake| self.0 & Self::bit(wake) != 0)?;
        self.0 &= !Self::bit(wake);
        Some(wake)
    }
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            entries: Slab::new(),
            wheel: TimerWheel::new(),
            timer_wakes_at: NEVER,
            by_ticket: HashMap::new(),
            by_caller: CallerCounts::default(),
            missed: VecDeque::new(),
        }
    }

    /// Adds an entry. The caller sets its timer with [`Table::schedule`].
    pub(super) fn insert(&mut self, id: TicketId, caller: Caller, heartbeat_at: u64) -> u32 {
        let entry = Entry {
            waker: None,
            refresh_at: NEVER,
            heartbeat_at,
            id,
            caller,
            next: self.by_ticket.get(&id).copied().unwrap_or(NONE),
            signals: Signals::default(),
        };
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer than NONE entries")]
        let key = self.entries.insert(entry) as u32;
        self.by_ticket.insert(id, key);
        self.by_caller.add(caller);
        key
    }

    /// Removes an entry. Returns it, and whether it was its ticket's last.
    pub(super) fn remove(&mut self, key: u32) -> (Entry, bool) {
        self.wheel.clear(key);
        let entry = self.entries.remove(key as usize);
        self.by_caller.remove(entry.caller);
        let was_last = self.unlink(&entry, key);
        self.shrink();
        (entry, was_last)
    }

    /// Wakes every entry of a ticket.
    pub(super) fn signal_ticket(&mut self, id: &TicketId, wake: Wake) {
        let mut key = self.by_ticket.get(id).copied().unwrap_or(NONE);
        while key != NONE {
            self.signal(key as usize, wake);
            key = self.entries[key as usize].next;
        }
    }

    /// Queues every entry of a ticket for a refresh.
    pub(super) fn queue_missed(&mut self, id: &TicketId) {
        let mut key = self.by_ticket.get(id).copied().unwrap_or(NONE);
        while key != NONE {
            let entry = &mut self.entries[key as usize];
            if entry.signals.0 & Signals::MISSED == 0 {
                entry.signals.0 |= Signals::MISSED;
                self.missed.push_back(key);
            }
            key = entry.next;
        }
    }

    /// Wakes up to `count` queued entries for their refresh. Returns how many it took from the queue.
    pub(super) fn signal_missed(&mut self, count: usize) -> usize {
        let count = count.min(self.missed.len());
        let due: Vec<u32> = self.missed.drain(..count).collect();
        for &key in &due {
            if let Some(entry) = self.entries.get_mut(key as usize) {
                entry.signals.0 &= !Signals::MISSED;
                self.signal(key as usize, Wake::Refresh);
            }
        }
        if self.missed.is_empty() {
            self.missed = VecDeque::new();
        }
        count
    }

    /// Counts the entries of a ticket.
    pub(super) fn of_ticket(&self, id: &TicketId) -> usize {
        let first = self.by_ticket.get(id).copied();
        let next = |&key: &u32| Some(self.entries[key as usize].next).filter(|&key| key != NONE);
        std::iter::successors(first, next).count()
    }

    /// Takes a removed entry out of its ticket's list. Returns whether it was the last one.
    fn unlink(&mut self, entry: &Entry, key: u32) -> bool {
        let Some(first) = self.by_ticket.get_mut(&entry.id) else { return true };
        if *first == key {
            *first = entry.next;
            if entry.next == NONE {
                self.by_ticket.remove(&entry.id);
                return true;
            }
            return false;
        }
        let mut other = *first;
        while self.entries[other as usize].next != key {
            other = self.entries[other as usize].next;
        }
        self.entries[other as usize].next = entry.next;
        false
    }

    /// Wakes an entry, if it still exists.
    pub(super) fn signal(&mut self, key: usize, wake: Wake) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.signals.add(wake);
            if let Some(waker) = &entry.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Sets the wheel to the entry's earliest timer. Returns its tick.
    pub(super) fn schedule(&mut self, key: u32) -> u64 {
        let entry = &self.entries[key as usize];
        let due = entry.refresh_at.min(entry.heartbeat_at);
        self.wheel.set(key, due);
        due
    }

    /// Wakes every entry with a timer that is due at tick `now`.
    pub(super) fn fire_due(&mut self, now: u64, heartbeat: u64) {
        let mut due = Vec::new();
        self.wheel.advance(now, |key| due.push(key));
        for key in due {
            let entry = &mut self.entries[key as usize];
            let refresh_due = entry.refresh_at <= now;
            if refresh_due {
                entry.refresh_at = NEVER;
            }
            let heartbeat_due = entry.heartbeat_at <= now;
            if heartbeat_due {
                // Each entry keeps its phase, even if it missed heartbeats; so streams that were delayed together spread again.
                let missed = (now - entry.heartbeat_at) / heartbeat;
                entry.heartbeat_at += (missed + 1) * heartbeat;
            }
            if refresh_due {
                self.signal(key as usize, Wake::Refresh);
            }
            if heartbeat_due {
                self.signal(key as usize, Wake::Heartbeat);
            }
            self.schedule(key);
        }
    }

    /// Frees memory after a peak.
    fn shrink(&mut self) {
        shrink_after_peak(&mut self.by_ticket);
        if self.entries.is_empty() && self.entries.capacity() > SMALL {
            self.entries = Slab::new();
            self.wheel.reset();
        }
    }
}
