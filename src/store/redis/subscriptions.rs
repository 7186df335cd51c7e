//! Which tickets are watched, and what Redis knows of it. A data structure alone; `subscriber` brings Redis into line with it.
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
pub(super) struct Subscriptions {
    /// Tickets that are wanted, or of which Redis is still to be told that they are not.
    tickets: HashMap<TicketId, Entry>,
    /// Those who wait for an acknowledgement.
    waiting: HashMap<TicketId, Vec<oneshot::Sender<()>>>,
    to_subscribe: HashSet<TicketId>,
    to_unsubscribe: HashSet<TicketId>,
    /// Whether there is a connection. Without one nothing has to be unsubscribed, so nothing is remembered of it.
    is_connected: bool,
    /// How many tickets were watched, and are not at the moment: their changes go unreported.
    lost: usize,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    is_wanted: bool,
    subscription: Subscription,
    /// Whether it is one of [`Subscriptions::lost`].
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
    /// It is, but from before the ticket was elsewhere: it is to be acknowledged once more.
    Outdated,
}

impl Subscriptions {
    /// Wants a ticket. Returns what tells of the acknowledgement, or `None` if Redis is subscribed already.
    pub(super) fn watch(&mut self, id: &TicketId) -> Option<oneshot::Receiver<()>> {
        let standing = self.tickets.entry(*id).or_default();
        standing.is_wanted = true;
        self.to_unsubscribe.remove(id);
        match standing.subscription {
            Subscription::Acknowledged => return None,
            Subscription::Sent => {}
            Subscription::None | Subscription::Outdated => drop(self.to_subscribe.insert(*id)),
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
    pub(super) fn reset(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        self.lost = 0;
        self.tickets.retain(|_, standing| {
            // Who still waits for the first acknowledgement has nothing to lose yet.
            standing.is_lost |= standing.subscription == Subscription::Acknowledged;
            standing.subscription = Subscription::None;
            self.lost += usize::from(standing.is_lost && standing.is_wanted);
            standing.is_wanted
        });
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

    /// Takes up to `count` tickets to unsubscribe from. Not those of which the subscription is on its way: whoever wants one of
    /// them again would be told of its acknowledgement when Redis is about to end it.
    pub(super) fn take_to_unsubscribe(&mut self, count: usize) -> Vec<TicketId> {
        let is_on_its_way =
            |id: &&TicketId| self.tickets.get(*id).is_some_and(|it| it.subscription == Subscription::Sent);
        let taken: Vec<_> = self.to_unsubscribe.iter().filter(|id| !is_on_its_way(id)).take(count).copied().collect();
        for id in &taken {
            self.to_unsubscribe.remove(id);
            self.tickets.remove(id);
        }
        if self.to_unsubscribe.is_empty() {
            // The memory with them.
            self.to_unsubscribe = HashSet::new();
        }
        if self.tickets.capacity() > SMALL && self.tickets.len() < self.tickets.capacity() / 8 {
            self.tickets.shrink_to(self.tickets.len() * 2);
        }
        taken
    }

    /// Returns whether there is something to unsubscribe from.
    pub(super) fn has_to_unsubscribe(&self) -> bool {
        !self.to_unsubscribe.is_empty()
    }

    /// Notes that Redis has acknowledged subscriptions, and tells those who wait for them. Returns those that were lost
    /// until now: what happened to them in the meantime nobody has reported.
    pub(super) fn acknowledge(&mut self, ids: &[TicketId]) -> Vec<TicketId> {
        let mut found = Vec::new();
        for id in ids {
            // It may have been unwatched in the meantime, and is then to be unsubscribed.
            if let Some(standing) = self.tickets.get_mut(id) {
                standing.subscription = Subscription::Acknowledged;
                if std::mem::take(&mut standing.is_lost) {
                    self.lost -= 1;
                    found.push(*id);
                }
            }
            tell(self.waiting.remove(id).unwrap_or_default());
        }
        found
    }

    /// Gives up those tickets that `is_elsewhere` says are kept by another node, with those who wait for them.
    pub(super) fn give_away(&mut self, is_elsewhere: impl Fn(&TicketId) -> bool) -> Vec<Moving> {
        let wanted = self.tickets.iter().filter(|(_, standing)| standing.is_wanted).map(|(id, _)| *id);
        let moving: Vec<_> = wanted.filter(is_elsewhere).collect();
        moving.into_iter().filter_map(|id| self.give_one_away(&id)).collect()
    }

    /// Gives one up, if it is wanted here.
    pub(super) fn give_one_away(&mut self, id: &TicketId) -> Option<Moving> {
        let standing = self.tickets.get(id).filter(|standing| standing.is_wanted)?;
        let was_watched = standing.is_lost || standing.subscription == Subscription::Acknowledged;
        let waiting = self.waiting.remove(id).unwrap_or_default();
        self.unwatch(id);
        Some(Moving { id: *id, was_watched, waiting })
    }

    /// Takes over a ticket that another node kept. If it was watched there, it is lost until this node acknowledges that it
    /// is subscribed, once more if it was already: what happened elsewhere in between, this node does not know.
    pub(super) fn take_over(&mut self, moving: Moving) {
        let Moving { id, was_watched, waiting } = moving;
        let standing = self.tickets.entry(id).or_default();
        if was_watched && standing.subscription == Subscription::Acknowledged {
            standing.subscription = Subscription::Outdated;
        }
        if was_watched && !std::mem::replace(&mut standing.is_lost, true) {
            self.lost += 1;
        }
        match self.watch(&id) {
            // Beside the one who is told here and does not listen.
            Some(_) => self.waiting.entry(id).or_default().extend(waiting),
            None => tell(waiting),
        }
    }

    /// Returns how many tickets were watched and are not at the moment: their changes go unreported.
    pub(super) fn lost(&self) -> usize {
        self.lost
    }

    /// Returns which ones those are.
    pub(super) fn lost_ids(&self) -> Vec<TicketId> {
        if self.lost == 0 {
            return Vec::new();
        }
        let lost = self.tickets.iter().filter(|(_, standing)| standing.is_lost && standing.is_wanted);
        lost.map(|(id, _)| *id).collect()
    }

    /// Returns which tickets are wanted.
    pub(super) fn ids(&self) -> Vec<TicketId> {
        self.tickets.iter().filter(|(_, standing)| standing.is_wanted).map(|(id, _)| *id).collect()
    }

    /// Returns how many tickets are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Returns whether nobody wants anything here.
    pub(super) fn is_idle(&self) -> bool {
        !self.tickets.values().any(|standing| standing.is_wanted)
    }
}

/// A ticket on its way from one node's interest to another's.
pub(super) struct Moving {
    pub(super) id: TicketId,
    /// Whether somebody relies on being told of its changes already.
    was_watched: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

fn tell(waiting: Vec<oneshot::Sender<()>>) {
    for acknowledge in waiting {
        // Whoever stopped waiting does not mind.
        let _ = acknowledge.send(());
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
    use std::collections::{BTreeSet, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::random;

    #[derive(Debug, Clone)]
    enum Op {
        Watch(usize),
        Unwatch(usize),
        TakeToSubscribe(usize, usize),
        Acknowledge(usize),
        Unsubscribe(usize, usize),
        Reconnect(usize),
        Move(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let node = || 0..2_usize;
        prop_oneof![
            4 => (0..8_usize).prop_map(Op::Watch),
            4 => (0..8_usize).prop_map(Op::Unwatch),
            3 => (node(), 1..5_usize).prop_map(|(node, count)| Op::TakeToSubscribe(node, count)),
            3 => node().prop_map(Op::Acknowledge),
            3 => (node(), 1..5_usize).prop_map(|(node, count)| Op::Unsubscribe(node, count)),
            1 => node().prop_map(Op::Reconnect),
            2 => (0..8_usize).prop_map(Op::Move),
        ]
    }

    /// A node and what is wanted of it. It does and answers commands in the order in which they were sent.
    #[derive(Default)]
    struct Node {
        interest: Subscriptions,
        on_their_way: VecDeque<Sent>,
        subscribed: BTreeSet<TicketId>,
    }

    enum Sent {
        Subscribe(Vec<TicketId>),
        Unsubscribe(Vec<TicketId>),
    }

    impl Node {
        /// Has the node answer the oldest command; returns what was found again.
        fn answer(&mut self) -> Vec<TicketId> {
            match self.on_their_way.pop_front() {
                Some(Sent::Subscribe(ids)) => {
                    self.subscribed.extend(ids.iter().copied());
                    self.interest.acknowledge(&ids)
                }
                Some(Sent::Unsubscribe(ids)) => {
                    self.subscribed.retain(|id| !ids.contains(id));
                    Vec::new()
                }
                None => Vec::new(),
            }
        }

        /// Tells whether it is subscribed, and no command on its way changes that.
        fn is_subscribed(&self, id: &TicketId) -> bool {
            let leaves = |sent: &Sent| matches!(sent, Sent::Unsubscribe(ids) if ids.contains(id));
            self.subscribed.contains(id) && !self.on_their_way.iter().any(leaves)
        }

        fn subscribe(&mut self, count: usize) {
            let ids = self.interest.take_to_subscribe(count);
            self.on_their_way.push_back(Sent::Subscribe(ids));
        }

        fn unsubscribe(&mut self, count: usize) -> Vec<TicketId> {
            let left = self.interest.take_to_unsubscribe(count);
            self.on_their_way.push_back(Sent::Unsubscribe(left.clone()));
            left
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn redis_ends_up_with_what_is_wanted_and_nothing_missed_goes_unreported(
            ops in prop::collection::vec(op(), 1..80),
        ) {
            let ids: Vec<TicketId> = (0..8).map(|_| random::ticket_id()).collect();
            let mut nodes = [Node::default(), Node::default()];
            for node in &mut nodes {
                node.interest.reset(true);
            }
            let mut home = [0_usize; 8];
            let mut wanted: BTreeSet<usize> = BTreeSet::new();
            let mut waits: Vec<(usize, oneshot::Receiver<()>)> = Vec::new();
            // Watched, and may have changed untold since.
            let mut missed: BTreeSet<TicketId> = BTreeSet::new();
            for op in ops {
                match op {
                    Op::Watch(index) => {
                        wanted.insert(index);
                        let node = &mut nodes[home[index]];
                        match node.interest.watch(&ids[index]) {
                            Some(wait) => waits.push((index, wait)),
                            None => prop_assert!(node.is_subscribed(&ids[index])),
                        }
                    }
                    Op::Unwatch(index) => {
                        wanted.remove(&index);
                        missed.remove(&ids[index]);
                        waits.retain(|(waiting, _)| *waiting != index);
                        nodes[home[index]].interest.unwatch(&ids[index]);
                    }
                    Op::TakeToSubscribe(node, count) => nodes[node].subscribe(count),
                    Op::Acknowledge(node) => {
                        for found in nodes[node].answer() {
                            missed.remove(&found);
                        }
                    }
                    Op::Unsubscribe(node, count) => {
                        for left in nodes[node].unsubscribe(count) {
                            let is_wanted = wanted.iter().any(|&index| ids[index] == left && home[index] == node);
                            prop_assert!(!is_wanted);
                        }
                    }
                    Op::Reconnect(node) => {
                        for &index in wanted.iter().filter(|&&index| home[index] == node) {
                            if nodes[node].interest.tickets[&ids[index]].subscription == Subscription::Acknowledged {
                                missed.insert(ids[index]);
                            }
                        }
                        nodes[node].subscribed.clear();
                        nodes[node].on_their_way.clear();
                        nodes[node].interest.reset(true);
                    }
                    Op::Move(index) => {
                        let (from, to) = (home[index], 1 - home[index]);
                        home[index] = to;
                        let is_it = |id: &TicketId| *id == ids[index];
                        for moving in nodes[from].interest.give_away(is_it) {
                            // Whoever was told relies on it, and nobody tells of what happens on the way.
                            if moving.was_watched {
                                missed.insert(moving.id);
                            }
                            nodes[to].interest.take_over(moving);
                        }
                    }
                }
                for (index, wait) in &mut waits {
                    if wait.try_recv().is_ok() {
                        prop_assert!(nodes.iter().any(|node| node.is_subscribed(&ids[*index])), "told before Redis was");
                    }
                }
            }
            for node in &mut nodes {
                node.subscribe(usize::MAX);
                while !node.on_their_way.is_empty() {
                    for found in node.answer() {
                        missed.remove(&found);
                    }
                }
            }
            for (number, node) in nodes.iter_mut().enumerate() {
                node.unsubscribe(usize::MAX);
                node.answer();
                let here: BTreeSet<_> =
                    wanted.iter().filter(|&&index| home[index] == number).map(|&index| ids[index]).collect();
                prop_assert_eq!(&node.subscribed, &here);
                prop_assert_eq!(node.interest.len(), here.len());
                prop_assert_eq!((node.interest.lost(), node.interest.lost_ids().len()), (0, 0));
                prop_assert!(node.interest.waiting.is_empty());
                prop_assert_eq!(node.interest.is_idle(), here.is_empty());
            }
            prop_assert_eq!(missed, BTreeSet::new());
        }
    }
}
