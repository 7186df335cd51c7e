//! Which tickets are watched, and what Redis knows of it. A data structure alone; `keyspace` brings Redis into line with it.
//!
//! There is an entry for each idle stream's ticket, so an entry is small, and what is needed only for a moment is kept apart.
//!
//! Invariants: whoever waits is told once the subscription was acknowledged after they began to; a ticket that is wanted is
//! subscribed, about to be, or on its way; one that is not wanted is forgotten as soon as Redis is not subscribed to it.

use std::collections::{HashMap, HashSet};

use tokio::sync::oneshot;

use crate::ticket::TicketId;

/// A table that would hold this many is too small to be made smaller.
const SMALL: usize = 1024;

#[derive(Default)]
pub(super) struct Interest {
    /// Tickets that are wanted, or of which Redis is still to be told that they are not.
    tickets: HashMap<TicketId, Standing>,
    /// Those who wait for an acknowledgement.
    waiting: HashMap<TicketId, Vec<oneshot::Sender<()>>>,
    to_subscribe: HashSet<TicketId>,
    to_unsubscribe: HashSet<TicketId>,
    /// Whether there is a connection. Without one nothing has to be unsubscribed, so nothing is remembered of it.
    is_connected: bool,
    /// How many tickets were watched when the last connection was lost and are not yet again.
    lost: usize,
}

#[derive(Clone, Copy, Default)]
struct Standing {
    is_wanted: bool,
    subscription: Subscription,
    /// Whether it is one of [`Interest::lost`].
    is_lost: bool,
}

/// How far a subscription has come on the present connection.
#[derive(Clone, Copy, Default, PartialEq)]
enum Subscription {
    /// Redis does not know of it.
    #[default]
    None,
    /// The command is on its way.
    Sent,
    /// It is acknowledged.
    Acknowledged,
}

impl Interest {
    /// Wants a ticket. Returns what tells of the acknowledgement, or `None` if Redis is subscribed already.
    pub(super) fn watch(&mut self, id: &TicketId) -> Option<oneshot::Receiver<()>> {
        let standing = self.tickets.entry(*id).or_default();
        standing.is_wanted = true;
        self.to_unsubscribe.remove(id);
        match standing.subscription {
            Subscription::Acknowledged => return None,
            Subscription::Sent => {}
            Subscription::None => drop(self.to_subscribe.insert(*id)),
        }
        let (acknowledge, acknowledged) = oneshot::channel();
        self.waiting.entry(*id).or_default().push(acknowledge);
        Some(acknowledged)
    }

    /// Wants a ticket no more. Returns whether Redis is to be told.
    pub(super) fn unwatch(&mut self, id: &TicketId) -> bool {
        self.waiting.remove(id);
        self.to_subscribe.remove(id);
        let Some(standing) = self.tickets.get_mut(id) else { return false };
        standing.is_wanted = false;
        self.lost -= usize::from(std::mem::take(&mut standing.is_lost));
        if !self.is_connected || standing.subscription == Subscription::None {
            self.tickets.remove(id);
            return false;
        }
        self.to_unsubscribe.insert(*id)
    }

    /// Notes that nothing is subscribed, as on a new connection or on none; all that is wanted is to be subscribed again.
    pub(super) fn begin_anew(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        self.tickets.retain(|_, standing| {
            standing.subscription = Subscription::None;
            standing.is_lost = standing.is_wanted;
            standing.is_wanted
        });
        self.lost = self.tickets.len();
        self.to_unsubscribe.clear();
        self.to_subscribe = self.tickets.keys().copied().collect();
    }

    /// Takes up to `count` tickets to subscribe to.
    pub(super) fn take_to_subscribe(&mut self, count: usize) -> Vec<TicketId> {
        let taken = take(&mut self.to_subscribe, count);
        for id in &taken {
            if let Some(standing) = self.tickets.get_mut(id) {
                standing.subscription = Subscription::Sent;
            }
        }
        taken
    }

    /// Takes up to `count` tickets to unsubscribe from.
    pub(super) fn take_to_unsubscribe(&mut self, count: usize) -> Vec<TicketId> {
        let taken = take(&mut self.to_unsubscribe, count);
        for id in &taken {
            self.tickets.remove(id);
        }
        if self.tickets.capacity() > SMALL && self.tickets.len() < self.tickets.capacity() / 8 {
            self.tickets.shrink_to(self.tickets.len() * 2);
        }
        taken
    }

    /// Notes that Redis has acknowledged subscriptions, and tells those who wait for them.
    pub(super) fn acknowledge(&mut self, ids: &[TicketId]) {
        for id in ids {
            // It may have been unwatched in the meantime, and is then to be unsubscribed.
            if let Some(standing) = self.tickets.get_mut(id) {
                standing.subscription = Subscription::Acknowledged;
                self.lost -= usize::from(std::mem::take(&mut standing.is_lost));
            }
            for acknowledge in self.waiting.remove(id).unwrap_or_default() {
                // Whoever stopped waiting does not mind.
                let _ = acknowledge.send(());
            }
        }
    }

    /// Returns how many of the tickets that were watched at [`Interest::begin_anew`] still are and are not yet subscribed
    /// again: while there are any, changes may go unreported.
    pub(super) fn lost(&self) -> usize {
        self.lost
    }

    /// Returns how many tickets are known.
    pub(super) fn len(&self) -> usize {
        self.tickets.len()
    }
}

fn take(set: &mut HashSet<TicketId>, count: usize) -> Vec<TicketId> {
    if set.len() <= count {
        // All of them, and the memory with them.
        return std::mem::take(set).into_iter().collect();
    }
    let taken: Vec<_> = set.iter().take(count).copied().collect();
    for id in &taken {
        set.remove(id);
    }
    taken
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Watch(usize),
        Unwatch(usize),
        TakeToSubscribe(usize),
        Acknowledge,
        Unsubscribe(usize),
        Reconnect,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..8_usize).prop_map(Op::Watch),
            4 => (0..8_usize).prop_map(Op::Unwatch),
            2 => (1..5_usize).prop_map(Op::TakeToSubscribe),
            2 => Just(Op::Acknowledge),
            2 => (1..5_usize).prop_map(Op::Unsubscribe),
            1 => Just(Op::Reconnect),
        ]
    }

    /// Redis, as the one task that speaks to it sees it: commands are answered before the next one is sent.
    #[derive(Default)]
    struct Redis {
        on_its_way: Vec<TicketId>,
        subscribed: BTreeSet<TicketId>,
    }

    impl Redis {
        fn answer(&mut self, interest: &mut Interest) {
            let answered = std::mem::take(&mut self.on_its_way);
            self.subscribed.extend(answered.iter().copied());
            interest.acknowledge(&answered);
        }
    }

    proptest! {
        #[test]
        fn redis_ends_up_with_what_is_wanted(ops in prop::collection::vec(op(), 1..80)) {
            let ids: Vec<TicketId> = (0..8).map(|_| TicketId::random()).collect();
            let (mut interest, mut redis) = (Interest::default(), Redis::default());
            interest.begin_anew(true);
            let mut wanted: BTreeSet<TicketId> = BTreeSet::new();
            let mut waits: Vec<(TicketId, oneshot::Receiver<()>)> = Vec::new();
            for op in ops {
                match op {
                    Op::Watch(index) => {
                        wanted.insert(ids[index]);
                        match interest.watch(&ids[index]) {
                            Some(wait) => waits.push((ids[index], wait)),
                            None => prop_assert!(redis.subscribed.contains(&ids[index])),
                        }
                    }
                    Op::Unwatch(index) => {
                        wanted.remove(&ids[index]);
                        waits.retain(|(id, _)| *id != ids[index]);
                        interest.unwatch(&ids[index]);
                    }
                    Op::TakeToSubscribe(count) if redis.on_its_way.is_empty() => {
                        redis.on_its_way = interest.take_to_subscribe(count);
                    }
                    Op::Acknowledge => redis.answer(&mut interest),
                    Op::Unsubscribe(count) if redis.on_its_way.is_empty() => {
                        for id in interest.take_to_unsubscribe(count) {
                            prop_assert!(!wanted.contains(&id));
                            redis.subscribed.remove(&id);
                        }
                    }
                    Op::Reconnect => {
                        redis = Redis::default();
                        interest.begin_anew(true);
                    }
                    Op::TakeToSubscribe(_) | Op::Unsubscribe(_) => {}
                }
                for (id, wait) in &mut waits {
                    if wait.try_recv().is_ok() {
                        prop_assert!(redis.subscribed.contains(id), "told before Redis was");
                    }
                }
            }
            redis.answer(&mut interest);
            redis.on_its_way = interest.take_to_subscribe(usize::MAX);
            redis.answer(&mut interest);
            for id in interest.take_to_unsubscribe(usize::MAX) {
                redis.subscribed.remove(&id);
            }
            prop_assert_eq!(&redis.subscribed, &wanted);
            prop_assert_eq!(interest.len(), wanted.len());
            prop_assert_eq!(interest.lost(), 0);
            prop_assert!(interest.waiting.is_empty());
        }
    }
}
