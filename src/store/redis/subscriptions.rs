//! The watched tickets of one node and the state of their subscriptions. A data structure without I/O; `subscriber`
//! synchronises Redis with it.
//!
//! Every idle stream's ticket has an entry, so an entry is small. Short-lived state is stored separately.
//!
//! Invariants: a waiter is woken only by an acknowledgement that follows its call. A watched ticket is subscribed,
//! queued to be subscribed, or its command is in flight. A ticket that is no longer watched is removed once Redis has
//! no subscription for it.

use std::collections::{HashMap, HashSet};

use tokio::sync::oneshot;

use crate::ticket::TicketId;

/// The table shrinks only if it could hold more entries than this.
const MIN_SHRINK_CAPACITY: usize = 1024;

/// The subscriptions at one node.
#[derive(Default)]
pub(super) struct Subscriptions {
    /// The watched tickets, and those that still need an UNSUBSCRIBE.
    entries: HashMap<TicketId, Entry>,
    /// Callers that wait for an acknowledgement.
    waiting: HashMap<TicketId, Vec<oneshot::Sender<()>>>,
    to_subscribe: HashSet<TicketId>,
    to_unsubscribe: HashSet<TicketId>,
    /// Whether there is a connection. Without one, there is nothing to unsubscribe from.
    is_connected: bool,
    /// How many watched tickets have an interrupted subscription: Redis does not report their changes.
    interrupted: usize,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    is_watched: bool,
    progress: Progress,
    /// Whether the subscription was acknowledged before, and is not now.
    is_interrupted: bool,
}

/// The state of a subscription on the current connection.
#[derive(Clone, Copy, Default, PartialEq)]
enum Progress {
    /// Redis does not know it.
    #[default]
    None,
    /// The command is in flight.
    Sent,
    /// Redis has acknowledged it.
    Acknowledged,
    /// Redis has acknowledged it, but the ticket has been at another node since. It must be acknowledged again.
    Outdated,
}

impl Subscriptions {
    /// Watches a ticket. Returns a receiver of the acknowledgement, or `None` if Redis has already acknowledged it.
    pub(super) fn watch(&mut self, id: &TicketId) -> Option<oneshot::Receiver<()>> {
        let entry = self.entries.entry(*id).or_default();
        entry.is_watched = true;
        self.to_unsubscribe.remove(id);
        match entry.progress {
            Progress::Acknowledged => return None,
            Progress::Sent => {}
            Progress::None | Progress::Outdated => drop(self.to_subscribe.insert(*id)),
        }
        let (acknowledge, acknowledged) = oneshot::channel();
        self.waiting.entry(*id).or_default().push(acknowledge);
        Some(acknowledged)
    }

    /// Stops watching a ticket. Returns whether an UNSUBSCRIBE must follow.
    pub(super) fn unwatch(&mut self, id: &TicketId) -> bool {
        self.waiting.remove(id);
        self.to_subscribe.remove(id);
        let Some(entry) = self.entries.get_mut(id) else { return false };
        entry.is_watched = false;
        self.interrupted -= usize::from(std::mem::take(&mut entry.is_interrupted));
        if !self.is_connected || entry.progress == Progress::None {
            self.entries.remove(id);
            return false;
        }
        self.to_unsubscribe.insert(*id)
    }

    /// Starts over, with a new connection or without one: every watched ticket must be subscribed.
    pub(super) fn reset(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        self.interrupted = 0;
        self.entries.retain(|_, entry| {
            // A subscription that was never acknowledged cannot be interrupted.
            entry.is_interrupted |= entry.progress == Progress::Acknowledged;
            entry.progress = Progress::None;
            self.interrupted += usize::from(entry.is_interrupted && entry.is_watched);
            entry.is_watched
        });
        self.to_unsubscribe.clear();
        self.to_subscribe = self.entries.keys().copied().collect();
    }

    /// Takes up to `count` tickets to subscribe to.
    pub(super) fn take_to_subscribe(&mut self, count: usize) -> Vec<TicketId> {
        let taken = take(&mut self.to_subscribe, count);
        for id in &taken {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.progress = Progress::Sent;
            }
        }
        taken
    }

    /// Takes up to `count` tickets to unsubscribe from, but none whose subscription is in flight: a caller that watches it
    /// again would be woken by an acknowledgement that Redis is about to undo.
    pub(super) fn take_to_unsubscribe(&mut self, count: usize) -> Vec<TicketId> {
        let is_in_flight = |id: &&TicketId| self.entries.get(*id).is_some_and(|entry| entry.progress == Progress::Sent);
        let taken: Vec<_> = self.to_unsubscribe.iter().filter(|id| !is_in_flight(id)).take(count).copied().collect();
        for id in &taken {
            self.to_unsubscribe.remove(id);
            self.entries.remove(id);
        }
        if self.to_unsubscribe.is_empty() {
            // Frees the memory, too.
            self.to_unsubscribe = HashSet::new();
        }
        if self.entries.capacity() > MIN_SHRINK_CAPACITY && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        taken
    }

    /// Returns whether there is anything to unsubscribe from.
    pub(super) fn has_to_unsubscribe(&self) -> bool {
        !self.to_unsubscribe.is_empty()
    }

    /// Records that Redis has acknowledged subscriptions, and wakes the callers that wait for them. Returns the tickets
    /// whose subscription was interrupted until now: nothing has reported their changes since.
    pub(super) fn acknowledge(&mut self, ids: &[TicketId]) -> Vec<TicketId> {
        let mut resumed = Vec::new();
        for id in ids {
            // If it is no longer watched, it is queued for UNSUBSCRIBE.
            if let Some(entry) = self.entries.get_mut(id) {
                entry.progress = Progress::Acknowledged;
                if std::mem::take(&mut entry.is_interrupted) {
                    self.interrupted -= 1;
                    resumed.push(*id);
                }
            }
            wake(self.waiting.remove(id).unwrap_or_default());
        }
        resumed
    }

    /// Releases every watched ticket for which `has_moved` is true, with the callers that wait for it.
    pub(super) fn release_if(&mut self, has_moved: impl Fn(&TicketId) -> bool) -> Vec<MovedSubscription> {
        let moved: Vec<_> = self.watched().filter(|id| has_moved(id)).collect();
        moved.into_iter().filter_map(|id| self.release(&id)).collect()
    }

    /// Releases one ticket, if it is watched here.
    pub(super) fn release(&mut self, id: &TicketId) -> Option<MovedSubscription> {
        let entry = self.entries.get(id).filter(|entry| entry.is_watched)?;
        let was_subscribed = entry.is_interrupted || entry.progress == Progress::Acknowledged;
        let waiting = self.waiting.remove(id).unwrap_or_default();
        self.unwatch(id);
        Some(MovedSubscription { id: *id, was_subscribed, waiting })
    }

    /// Takes over a ticket that another node released. If it was subscribed there, its subscription is interrupted
    /// until this node acknowledges it, even if this node is already subscribed: this node did not report the changes
    /// at the other node.
    pub(super) fn take_over(&mut self, moved: MovedSubscription) {
        let MovedSubscription { id, was_subscribed, waiting } = moved;
        let entry = self.entries.entry(id).or_default();
        if was_subscribed && entry.progress == Progress::Acknowledged {
            entry.progress = Progress::Outdated;
        }
        if was_subscribed && !std::mem::replace(&mut entry.is_interrupted, true) {
            self.interrupted += 1;
        }
        match self.watch(&id) {
            // The receiver that `watch` returns is not needed: `waiting` gets the acknowledgement.
            Some(_) => self.waiting.entry(id).or_default().extend(waiting),
            None => wake(waiting),
        }
    }

    /// Returns how many watched tickets have an interrupted subscription.
    pub(super) fn interrupted(&self) -> usize {
        self.interrupted
    }

    /// Returns the watched tickets with an interrupted subscription.
    pub(super) fn interrupted_ids(&self) -> Vec<TicketId> {
        if self.interrupted == 0 {
            return Vec::new();
        }
        let interrupted = self.entries.iter().filter(|(_, entry)| entry.is_interrupted && entry.is_watched);
        interrupted.map(|(id, _)| *id).collect()
    }

    /// Returns the watched tickets.
    pub(super) fn watched(&self) -> impl Iterator<Item = TicketId> {
        self.entries.iter().filter(|(_, entry)| entry.is_watched).map(|(id, _)| *id)
    }

    /// Returns whether no ticket is watched here.
    pub(super) fn is_idle(&self) -> bool {
        self.watched().next().is_none()
    }
}

/// A ticket that moves from the subscriptions of one node to those of another.
pub(super) struct MovedSubscription {
    pub(super) id: TicketId,
    /// Whether Redis has acknowledged the subscription before, so that callers rely on it.
    was_subscribed: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

fn wake(waiting: Vec<oneshot::Sender<()>>) {
    for acknowledge in waiting {
        // A caller that has stopped waiting has dropped its receiver.
        let _ = acknowledge.send(());
    }
}

fn take(set: &mut HashSet<TicketId>, count: usize) -> Vec<TicketId> {
    if set.len() <= count {
        // Takes all of them, and frees the memory.
        return std::mem::take(set).into_iter().collect();
    }
    let taken: Vec<_> = set.iter().take(count).copied().collect();
    for id in &taken {
        set.remove(id);
    }
    taken
}

#[cfg(test)]
mod tests;
