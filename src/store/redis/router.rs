//! Sends each command to the primary that owns its key, and keeps each ticket's subscription at that primary.
//!
//! A key's owner changes through a failover or a slot migration. The router notices it in three ways: it asks every
//! second (`discovery`), a node refuses or redirects a command, or a subscriber loses its node. A ticket that was
//! watched at the old owner is then subscribed at the new one, and is reported as missed once that is acknowledged, so
//! that the waiters read changes in between.
//!
//! `router/nodes` holds the nodes and the slot map; `router/refresh` holds the requests to ask for primaries.

mod nodes;
mod refresh;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{FromRedisValue, RedisError, Value};

use super::address::Address;
use super::command::{Command, CommandError, Reply, UnconfirmedPrimary};
use super::discovery::Discovery;
use super::error::{from_redis, unavailable};
use super::node::Node;
use super::redirect::Redirect;
use super::reports::Reports;
use super::settings::RedisSettings;
use super::slots::Confidence;
use crate::store::contract::StoreError;
use crate::ticket::TicketId;
use nodes::Nodes;
use refresh::{RefreshRequest, Refreshes};

/// The minimum pause between two refreshes, requested for any reason.
const MIN_REFRESH_PAUSE: Duration = Duration::from_millis(50);
/// The maximum number of nodes that a command is sent to while they redirect it.
const MAX_NODES: usize = 5;

/// The router. Dropping it ends its refreshes, and the subscribers of its nodes.
pub(super) struct Router {
    shared: Arc<Shared>,
    refreshing: tokio::task::JoinHandle<()>,
}

struct Shared {
    settings: RedisSettings,
    reports: Reports,
    nodes: Mutex<Nodes>,
    refreshes: Refreshes,
}

/// The node that a command goes to next.
struct Target {
    node: Arc<Node>,
    /// Whether the node must be asked to accept a key of a slot that is migrating to it.
    is_ask: bool,
}

impl Router {
    /// Finds the primaries and starts to connect to them.
    ///
    /// # Errors
    /// No server names the primaries.
    pub(super) async fn start(settings: RedisSettings, reports: Reports) -> Result<Self, RedisError> {
        let mut discovery = Discovery::new(settings.topology.clone(), settings.timeout / 2);
        let slots = discovery.find_primaries(None, None, &[]).await?;
        let nodes = Nodes::start(settings.clone(), reports.clone(), slots);
        let refreshes = Refreshes::new(Arc::clone(&reports.refresh_requested));
        let shared = Arc::new(Shared { settings, reports, nodes: Mutex::new(nodes), refreshes });
        let refreshing = crate::task::spawn("redis-refresh", keep_refreshing(Arc::clone(&shared), discovery));
        Ok(Self { shared, refreshing })
    }

    /// Returns the primaries.
    pub(super) fn primaries(&self) -> Vec<Arc<Node>> {
        self.shared.nodes.lock().primaries()
    }

    /// Sends a command to the owner of its key, and returns the reply.
    ///
    /// # Errors
    /// The [`StoreError`] for Redis's error, also if no reply came in time.
    pub(super) async fn run<T: FromRedisValue>(&self, command: &Command<'_>) -> Result<T, StoreError> {
        let reply = tokio::time::timeout(self.shared.settings.timeout, self.shared.run(command)).await;
        let value = reply.unwrap_or_else(|_elapsed| {
            self.shared.refreshes.request(None);
            Err(unavailable("no reply in time"))
        })?;
        redis::from_redis_value(value).map_err(unavailable)
    }

    /// Waits until changes of the ticket are reported; see `Store::watch`.
    ///
    /// # Errors
    /// Redis did not acknowledge the subscription in time.
    pub(super) async fn watch(&self, id: &TicketId) -> Result<(), StoreError> {
        let acknowledged = {
            let mut nodes = self.shared.nodes.lock();
            // Under the lock: if the ticket's owner changes next, this subscription moves with it.
            nodes.owner_of_ticket(id)?.subscriber.watch(id)
        };
        let Some(acknowledged) = acknowledged else { return Ok(()) };
        match tokio::time::timeout(self.shared.settings.timeout, acknowledged).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(unavailable("Redis did not acknowledge the subscription in time")),
        }
    }

    pub(super) fn unwatch(&self, id: &TicketId) {
        self.shared.nodes.lock().unwatch(id);
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.refreshing.abort();
    }
}

impl Shared {
    async fn run(&self, command: &Command<'_>) -> Result<Value, StoreError> {
        let mut target = Target { node: self.owner(command)?, is_ask: false };
        for _ in 0..MAX_NODES {
            target = match target.node.send(command, target.is_ask).await {
                Ok(reply) => match self.accept(command, &target, reply).await? {
                    ControlFlow::Break(value) => return Ok(value),
                    ControlFlow::Continue(next) => next,
                },
                Err(CommandError::Redis(error)) => self.redirect(command, &target.node, &error).await?,
                Err(error @ CommandError::TooFewReplicas { .. }) => return Err(unavailable(error)),
            };
        }
        Err(unavailable("the nodes of the Cluster redirect in a loop"))
    }

    /// Returns the value of a reply if the node is the owner of the key, and otherwise the node to ask instead.
    async fn accept(
        &self,
        command: &Command<'_>,
        target: &Target,
        reply: Reply,
    ) -> Result<ControlFlow<Value, Target>, StoreError> {
        let Target { node, is_ask } = target;
        let address = &node.endpoint.address;
        if !is_ask && node.has_failed() {
            // The node may have been frozen, and replaced meanwhile. Then even a read may be outdated.
            self.refreshes.refresh(Some(address)).await;
            node.clear_failure();
            let owner = self.owner(command)?;
            if owner.endpoint.address != *address {
                return Ok(ControlFlow::Continue(Target { node: owner, is_ask: false }));
            }
        }
        let Some(primary) = &reply.unconfirmed else { return Ok(ControlFlow::Break(reply.value)) };
        // The target of an ASK redirect was just named as a primary.
        if *is_ask || self.is_still_owner(node, command, primary).await {
            node.confirm(primary);
            return Ok(ControlFlow::Break(reply.value));
        }
        let owner = self.owner(command)?;
        if owner.endpoint.address == *address {
            self.reports.metrics.redis.unreplicated("refused");
            return Err(unavailable("replicas are missing, and the primary is not confirmed"));
        }
        Ok(ControlFlow::Continue(Target { node: owner, is_ask: false }))
    }

    /// Returns whether the node owns the key and no failover is about to begin, according to a reply that is newer than
    /// the call. If no replica is missing, a missing reply is ignored.
    async fn is_still_owner(&self, node: &Node, command: &Command<'_>, primary: &UnconfirmedPrimary) -> bool {
        let address = &node.endpoint.address;
        let is_trusted = match self.refreshes.refresh(Some(address)).await {
            Confidence::Confirmed => true,
            Confidence::Unconfirmed => !primary.is_replica_missing,
            Confidence::Changing => false,
        };
        is_trusted && self.nodes.lock().slots().owner(command.slot()) == Some(address)
    }

    /// Returns the node to send the command to after an error of `node`; returns the error if no other node would help.
    async fn redirect(&self, command: &Command<'_>, node: &Node, error: &RedisError) -> Result<Target, StoreError> {
        match Redirect::of(error) {
            Redirect::None => Err(from_redis(error)),
            Redirect::Moved(address) => {
                self.reports.metrics.redis.redirected("moved");
                self.refreshes.request(Some(address.clone()));
                let node = self.nodes.lock().node(&address).map_err(|error| from_redis(&error))?;
                Ok(Target { node, is_ask: false })
            }
            Redirect::Ask(address) => {
                self.reports.metrics.redis.redirected("ask");
                let node = self.follow_ask(command, &address).map_err(|error| from_redis(&error))?;
                Ok(Target { node, is_ask: true })
            }
            Redirect::Refresh if !self.settings.topology.has_replicas() => Err(from_redis(error)),
            Redirect::Refresh => {
                node.record_failure();
                self.refreshes.refresh(None).await;
                let owner = self.owner(command)?;
                if owner.endpoint.address == node.endpoint.address {
                    // No server names another primary yet.
                    return Err(from_redis(error));
                }
                Ok(Target { node: owner, is_ask: false })
            }
        }
    }

    /// Returns the target of an ASK redirect. The key has arrived there before the rest of its slot, so a ticket's
    /// subscription moves there too.
    fn follow_ask(&self, command: &Command<'_>, address: &Address) -> Result<Arc<Node>, RedisError> {
        let mut nodes = self.nodes.lock();
        match command.ticket() {
            Some(id) => nodes.move_subscription(&id, address),
            None => nodes.node(address),
        }
    }

    fn owner(&self, command: &Command<'_>) -> Result<Arc<Node>, StoreError> {
        self.nodes.lock().owner(command.slot())
    }
}

/// Refreshes the primaries periodically. Never returns.
async fn keep_refreshing(shared: Arc<Shared>, mut discovery: Discovery) {
    let mut is_failing = false;
    loop {
        let RefreshRequest { number, hint, suspects } = shared.refreshes.next().await;
        let known = shared.nodes.lock().slots().clone();
        let confidence = match discovery.find_primaries(Some(&known), hint, &suspects).await {
            Ok(found) => {
                is_failing = false;
                shared.nodes.lock().apply(found)
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "no server knows the primary; retrying");
                }
                Confidence::Unconfirmed
            }
        };
        shared.refreshes.finish(number, confidence);
        tokio::time::sleep(MIN_REFRESH_PAUSE).await;
    }
}
