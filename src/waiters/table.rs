//! The entries of the waiting parties: by key, by ticket, by caller and by what is due next. A data structure alone; who
//! holds the lock on it, and who calls, is the registry's business.
//!
//! Invariant: the entries of one ticket are a list that begins in `by_ticket`; a caller has as many entries as
//! `by_caller` counts.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use slab::Slab;

use super::Wake;
use super::timer_wheel::TimerWheel;
use crate::callers::{Caller, Holdings, SMALL, give_back};
use crate::ticket::TicketId;

pub(super) struct Table {
    pub(super) entries: Slab<Entry>,
    pub(super) wheel: TimerWheel,
    /// When the wheel's task wakes next, in ticks.
    pub(super) wheel_wakes: u64,
    /// The first place of each ticket; the others hang on to it.
    pub(super) by_ticket: HashMap<TicketId, u32>,
    pub(super) by_caller: Holdings,
    /// Places that are to look again, a few at a time. Each is here once, as its mark says; some may be free by now.
    missed: VecDeque<u32>,
}

/// What is known of one waiting party. There is one for each idle stream, so every byte counts.
pub(super) struct Entry {
    /// Who to wake; none before the first wait.
    pub(super) waker: Option<Waker>,
    /// When to look for what no notification tells: the deadline, or a store that failed. In ticks.
    pub(super) refresh_at: u64,
    /// When the next heartbeat is due, in ticks.
    pub(super) heartbeat_at: u64,
    pub(super) id: TicketId,
    pub(super) caller: Caller,
    /// The next place of the same ticket.
    next: u32,
    /// What it is yet to be told.
    pub(super) signals: Signals,
}

/// No place.
pub(super) const NONE: u32 = u32::MAX;
/// No time.
pub(super) const NEVER: u64 = u64::MAX;

/// A set of wakes.
#[derive(Clone, Copy, Default)]
pub(super) struct Signals(u8);

impl Signals {
    /// The mark of a place that is to look again in its turn.
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

    /// Takes the most pressing one.
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
            wheel_wakes: NEVER,
            by_ticket: HashMap::new(),
            by_caller: Holdings::default(),
            missed: VecDeque::new(),
        }
    }

    /// Takes a place. Its timer is still to be set.
    pub(super) fn insert(&mut self, id: TicketId, caller: Caller, heartbeat_at: u64) -> u32 {
        let place = Entry {
            waker: None,
            refresh_at: NEVER,
            heartbeat_at,
            id,
            caller,
            next: self.by_ticket.get(&id).copied().unwrap_or(NONE),
            signals: Signals::default(),
        };
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer than NONE entries")]
        let key = self.entries.insert(place) as u32;
        self.by_ticket.insert(id, key);
        self.by_caller.add(caller);
        key
    }

    /// Gives a place back; returns it, and whether it was its ticket's last.
    pub(super) fn remove(&mut self, key: u32) -> (Entry, bool) {
        self.wheel.clear(key);
        let place = self.entries.remove(key as usize);
        self.by_caller.remove(place.caller);
        let was_last = self.unlink(&place, key);
        self.shrink();
        (place, was_last)
    }

    /// Tells all seats of a ticket something.
    pub(super) fn signal_ticket(&mut self, id: &TicketId, wake: Wake) {
        let mut key = self.by_ticket.get(id).copied().unwrap_or(NONE);
        while key != NONE {
            self.signal(key as usize, wake);
            key = self.entries[key as usize].next;
        }
    }

    /// Has all seats of a ticket look again, in their turn.
    pub(super) fn note_missed(&mut self, id: &TicketId) {
        let mut key = self.by_ticket.get(id).copied().unwrap_or(NONE);
        while key != NONE {
            let place = &mut self.entries[key as usize];
            if place.signals.0 & Signals::MISSED == 0 {
                place.signals.0 |= Signals::MISSED;
                self.missed.push_back(key);
            }
            key = place.next;
        }
    }

    /// Has those look again whose turn it is, no more than `count`; returns how many those were.
    pub(super) fn signal_missed(&mut self, count: usize) -> usize {
        let count = count.min(self.missed.len());
        let due: Vec<u32> = self.missed.drain(..count).collect();
        for &key in &due {
            if let Some(place) = self.entries.get_mut(key as usize) {
                place.signals.0 &= !Signals::MISSED;
                self.signal(key as usize, Wake::Refresh);
            }
        }
        if self.missed.is_empty() {
            self.missed = VecDeque::new();
        }
        count
    }

    /// Counts the seats of a ticket.
    pub(super) fn of_ticket(&self, id: &TicketId) -> usize {
        let first = self.by_ticket.get(id).copied();
        let next = |&key: &u32| Some(self.entries[key as usize].next).filter(|&key| key != NONE);
        std::iter::successors(first, next).count()
    }

    /// Takes a place that was removed out of its ticket's; returns whether it was the last.
    fn unlink(&mut self, place: &Entry, key: u32) -> bool {
        let Some(first) = self.by_ticket.get_mut(&place.id) else { return true };
        if *first == key {
            *first = place.next;
            if place.next == NONE {
                self.by_ticket.remove(&place.id);
                return true;
            }
            return false;
        }
        let mut other = *first;
        while self.entries[other as usize].next != key {
            other = self.entries[other as usize].next;
        }
        self.entries[other as usize].next = place.next;
        false
    }

    /// Tells a seat something, if it is still there.
    pub(super) fn signal(&mut self, key: usize, wake: Wake) {
        if let Some(place) = self.entries.get_mut(key) {
            place.signals.add(wake);
            if let Some(waker) = &place.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Sets the wheel to what is due first for a place; returns when that is.
    pub(super) fn schedule(&mut self, key: u32) -> u64 {
        let place = &self.entries[key as usize];
        let due = place.refresh_at.min(place.heartbeat_at);
        self.wheel.set(key, due);
        due
    }

    /// Tells everybody for whom something is due at tick `now`.
    pub(super) fn fire_due(&mut self, now: u64, heartbeat: u64) {
        let mut due = Vec::new();
        self.wheel.advance(now, |key| due.push(key));
        for key in due {
            let place = &mut self.entries[key as usize];
            let look = place.refresh_at <= now;
            if look {
                place.refresh_at = NEVER;
            }
            let beat = place.heartbeat_at <= now;
            if beat {
                // In its own rhythm, whatever was missed: streams that were held up together are not bunched for ever.
                let missed = (now - place.heartbeat_at) / heartbeat;
                place.heartbeat_at += (missed + 1) * heartbeat;
            }
            if look {
                self.signal(key as usize, Wake::Refresh);
            }
            if beat {
                self.signal(key as usize, Wake::Heartbeat);
            }
            self.schedule(key);
        }
    }

    /// Gives memory back after a peak.
    fn shrink(&mut self) {
        give_back(&mut self.by_ticket);
        if self.entries.is_empty() && self.entries.capacity() > SMALL {
            self.entries = Slab::new();
            self.wheel.reset();
        }
    }
}
