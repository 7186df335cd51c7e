//! Tests with two nodes: tickets move between them, and they lose their connections.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

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

/// A node and its subscriptions. It executes and answers commands in the order in which they were sent.
#[derive(Default)]
struct Node {
    subscriptions: Subscriptions,
    in_flight: VecDeque<Sent>,
    subscribed: BTreeSet<TicketId>,
}

enum Sent {
    Subscribe(Vec<TicketId>),
    Unsubscribe(Vec<TicketId>),
}

impl Node {
    /// Makes the node answer the oldest command; returns the resumed tickets.
    fn answer(&mut self) -> Vec<TicketId> {
        match self.in_flight.pop_front() {
            Some(Sent::Subscribe(ids)) => {
                self.subscribed.extend(ids.iter().copied());
                self.subscriptions.acknowledge(&ids)
            }
            Some(Sent::Unsubscribe(ids)) => {
                self.subscribed.retain(|id| !ids.contains(id));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Returns whether the ticket is subscribed, and no command in flight changes that.
    fn is_subscribed(&self, id: &TicketId) -> bool {
        let leaves = |sent: &Sent| matches!(sent, Sent::Unsubscribe(ids) if ids.contains(id));
        self.subscribed.contains(id) && !self.in_flight.iter().any(leaves)
    }

    fn subscribe(&mut self, count: usize) {
        let ids = self.subscriptions.take_to_subscribe(count);
        self.in_flight.push_back(Sent::Subscribe(ids));
    }

    fn unsubscribe(&mut self, count: usize) -> Vec<TicketId> {
        let left = self.subscriptions.take_to_unsubscribe(count);
        self.in_flight.push_back(Sent::Unsubscribe(left.clone()));
        left
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn redis_ends_up_subscribed_to_the_watched_tickets_and_every_gap_is_reported(
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let ids: Vec<TicketId> = (0..8).map(|_| crate::random::ticket_id()).collect();
        let mut nodes = [Node::default(), Node::default()];
        for node in &mut nodes {
            node.subscriptions.reset(true);
        }
        let mut home = [0_usize; 8];
        let mut watched: BTreeSet<usize> = BTreeSet::new();
        let mut waits: Vec<(usize, oneshot::Receiver<()>)> = Vec::new();
        // Tickets that may have changed without a report.
        let mut missed: BTreeSet<TicketId> = BTreeSet::new();
        for op in ops {
            match op {
                Op::Watch(index) => {
                    watched.insert(index);
                    let node = &mut nodes[home[index]];
                    match node.subscriptions.watch(&ids[index]) {
                        Some(wait) => waits.push((index, wait)),
                        None => prop_assert!(node.is_subscribed(&ids[index])),
                    }
                }
                Op::Unwatch(index) => {
                    watched.remove(&index);
                    missed.remove(&ids[index]);
                    waits.retain(|(waiting, _)| *waiting != index);
                    nodes[home[index]].subscriptions.unwatch(&ids[index]);
                }
                Op::TakeToSubscribe(node, count) => nodes[node].subscribe(count),
                Op::Acknowledge(node) => {
                    for resumed in nodes[node].answer() {
                        missed.remove(&resumed);
                    }
                }
                Op::Unsubscribe(node, count) => {
                    for left in nodes[node].unsubscribe(count) {
                        let is_watched = watched.iter().any(|&index| ids[index] == left && home[index] == node);
                        prop_assert!(!is_watched);
                    }
                }
                Op::Reconnect(node) => {
                    for &index in watched.iter().filter(|&&index| home[index] == node) {
                        if nodes[node].subscriptions.entries[&ids[index]].progress == Progress::Acknowledged {
                            missed.insert(ids[index]);
                        }
                    }
                    nodes[node].subscribed.clear();
                    nodes[node].in_flight.clear();
                    nodes[node].subscriptions.reset(true);
                }
                Op::Move(index) => {
                    let (from, to) = (home[index], 1 - home[index]);
                    home[index] = to;
                    let is_it = |id: &TicketId| *id == ids[index];
                    for moved in nodes[from].subscriptions.release_if(is_it) {
                        // Callers rely on the subscription, and no node reports changes during the move.
                        if moved.was_subscribed {
                            missed.insert(moved.id);
                        }
                        nodes[to].subscriptions.take_over(moved);
                    }
                }
            }
            for (index, wait) in &mut waits {
                if wait.try_recv().is_ok() {
                    prop_assert!(nodes.iter().any(|node| node.is_subscribed(&ids[*index])), "acknowledged before Redis was subscribed");
                }
            }
        }
        for node in &mut nodes {
            node.subscribe(usize::MAX);
            while !node.in_flight.is_empty() {
                for resumed in node.answer() {
                    missed.remove(&resumed);
                }
            }
        }
        for (number, node) in nodes.iter_mut().enumerate() {
            node.unsubscribe(usize::MAX);
            node.answer();
            let here: BTreeSet<_> =
                watched.iter().filter(|&&index| home[index] == number).map(|&index| ids[index]).collect();
            prop_assert_eq!(&node.subscribed, &here);
            prop_assert_eq!(node.subscriptions.entries.len(), here.len());
            prop_assert_eq!((node.subscriptions.interrupted(), node.subscriptions.interrupted_ids().len()), (0, 0));
            prop_assert!(node.subscriptions.waiting.is_empty());
            prop_assert_eq!(node.subscriptions.is_idle(), here.is_empty());
        }
        prop_assert_eq!(missed, BTreeSet::new());
    }
}
