//! The nodes that the router knows, and the slot map with the owners of keys.
//!
//! Invariant: a watched ticket has a subscription at one node, or at two while it moves. A node that owns no slot and
//! has no subscription is removed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use tokio::time::Instant;

use crate::store::contract::StoreError;
use crate::store::redis::address::Address;
use crate::store::redis::error::{from_redis, unavailable};
use crate::store::redis::node::Node;
use crate::store::redis::reports::Reports;
use crate::store::redis::settings::RedisSettings;
use crate::store::redis::slots::{Confidence, SlotMap};
use crate::ticket::TicketId;

/// How long a slot map with a lower epoch is rejected as outdated. After that it is accepted: the installation may have
/// been rebuilt.
const MAX_EPOCH_AGE: Duration = Duration::from_secs(10);

/// The nodes and the slot map.
pub(super) struct Nodes {
    settings: RedisSettings,
    reports: Reports,
    slots: SlotMap,
    /// When a reply that was not outdated last confirmed the slot map.
    confirmed_at: Instant,
    /// The primaries, and nodes that a command was redirected to.
    by_address: HashMap<Address, Arc<Node>>,
    /// Tickets with a subscription at the target of an ASK redirect.
    redirected: HashSet<TicketId>,
}

impl Nodes {
    /// Starts to connect to the primaries of `slots`.
    pub(super) fn start(settings: RedisSettings, reports: Reports, slots: SlotMap) -> Self {
        let (confirmed_at, by_address, redirected) = (Instant::now(), HashMap::new(), HashSet::new());
        let mut started = Self { settings, reports, slots, confirmed_at, by_address, redirected };
        started.reconcile();
        started
    }

    pub(super) fn slots(&self) -> &SlotMap {
        &self.slots
    }

    /// Returns the primaries.
    pub(super) fn primaries(&self) -> Vec<Arc<Node>> {
        self.slots.primaries().into_iter().filter_map(|address| self.by_address.get(address).cloned()).collect()
    }

    /// Returns the owner of a slot.
    ///
    /// # Errors
    /// No node owns it, or the owner's address cannot be used.
    pub(super) fn owner(&mut self, slot: u16) -> Result<Arc<Node>, StoreError> {
        let address = self.slots.owner(slot).cloned();
        self.required(address)
    }

    /// Returns the owner of a ticket's key.
    ///
    /// # Errors
    /// As [`Nodes::owner`].
    pub(super) fn owner_of_ticket(&mut self, id: &TicketId) -> Result<Arc<Node>, StoreError> {
        let address = self.slots.owner_of_tag(id).cloned();
        self.required(address)
    }

    fn required(&mut self, owner: Option<Address>) -> Result<Arc<Node>, StoreError> {
        let address = owner.ok_or_else(|| unavailable("no node of the Cluster owns the slot of the key"))?;
        self.node(&address).map_err(|error| from_redis(&error))
    }

    /// Returns the node at `address`; starts to connect to it if it is new.
    ///
    /// # Errors
    /// The address cannot be used.
    pub(super) fn node(&mut self, address: &Address) -> Result<Arc<Node>, RedisError> {
        if let Some(node) = self.by_address.get(address) {
            return Ok(Arc::clone(node));
        }
        let node = Arc::new(Node::start(&self.settings, address, &self.reports)?);
        self.by_address.insert(address.clone(), Arc::clone(&node));
        Ok(node)
    }

    /// Moves the subscription of a ticket to the target of an ASK redirect.
    ///
    /// # Errors
    /// As [`Nodes::node`].
    pub(super) fn move_subscription(&mut self, id: &TicketId, address: &Address) -> Result<Arc<Node>, RedisError> {
        let node = self.node(address)?;
        let others = self.by_address.values().filter(|other| !Arc::ptr_eq(other, &node));
        for moved in others.filter_map(|other| other.subscriber.release(id)) {
            node.subscriber.take_over(moved);
            self.redirected.insert(*id);
        }
        Ok(node)
    }

    /// Ends the subscription of a ticket at every node: it may be on its way to another.
    pub(super) fn unwatch(&self, id: &TicketId) {
        for node in self.by_address.values() {
            node.subscriber.unwatch(id);
        }
    }

    /// Applies a slot map that discovery has found; returns the confidence in it.
    pub(super) fn apply(&mut self, found: SlotMap) -> Confidence {
        self.rehome();
        self.remove_idle();
        let is_outdated = found.epoch < self.slots.epoch;
        if is_outdated && self.confirmed_at.elapsed() < MAX_EPOCH_AGE {
            tracing::debug!(known = self.slots.epoch, found = found.epoch, "ignored an outdated reply about primaries");
            return Confidence::Unconfirmed;
        }
        let confidence = found.confidence;
        self.confirmed_at = Instant::now();
        let found = found.filled_from(&self.slots);
        let is_changed = !found.has_same_owners(&self.slots);
        self.slots = found;
        if is_changed {
            self.reports.metrics.redis.layout_changes.inc();
            let primaries = self.slots.primaries().into_iter().map(Address::to_string).collect::<Vec<_>>().join(" ");
            tracing::info!(primaries, epoch = self.slots.epoch, "the primaries have changed");
            self.reconcile();
        }
        confidence
    }

    /// Reconciles the nodes with the slot map: connects to every primary, and moves each subscription to the owner of
    /// its ticket.
    fn reconcile(&mut self) {
        let primaries: Vec<_> = self.slots.primaries().into_iter().cloned().collect();
        for address in &primaries {
            if let Err(error) = self.node(address) {
                tracing::error!(%error, %address, "cannot use the address of a primary; its tickets are unreachable");
            }
        }
        for node in self.by_address.values() {
            let has_moved =
                |id: &TicketId| self.slots.owner_of_tag(id).is_some_and(|owner| *owner != node.endpoint.address);
            for moved in node.subscriber.release_if(has_moved) {
                if let Some(owner) = self.slots.owner_of_tag(&moved.id).and_then(|owner| self.by_address.get(owner)) {
                    owner.subscriber.take_over(moved);
                }
            }
        }
        self.remove_idle();
    }

    /// Moves redirected subscriptions back to the owners of their slots. If the slot is still migrating, the next
    /// command redirects again; if it is not, nothing else would move the subscription back.
    fn rehome(&mut self) {
        for id in self.redirected.drain() {
            let Some(owner) = self.slots.owner_of_tag(&id).and_then(|owner| self.by_address.get(owner)) else {
                continue;
            };
            let others = self.by_address.values().filter(|node| !Arc::ptr_eq(node, owner));
            for moved in others.filter_map(|node| node.subscriber.release(&id)) {
                owner.subscriber.take_over(moved);
            }
        }
    }

    /// Removes nodes that own no slot and have no subscription, and updates the gauges.
    fn remove_idle(&mut self) {
        let primaries: Vec<_> = self.slots.primaries().into_iter().cloned().collect();
        self.by_address.retain(|address, node| primaries.contains(address) || !node.subscriber.is_idle());
        let interrupted: usize = self.by_address.values().map(|node| node.subscriber.interrupted()).sum();
        let metrics = &self.reports.metrics.redis;
        metrics.primaries.set(i64::try_from(primaries.len()).unwrap_or(i64::MAX));
        metrics.tickets_unwatched.set(i64::try_from(interrupted).unwrap_or(i64::MAX));
    }
}
