//! The primaries that keep tickets, and which of them keeps which: sends commands where the key is, has the ticket's
//! channel subscribed where the key is, and follows when it moves.
//!
//! That it has moved is noticed in three ways: a look every second (`discovery`), a node that refuses or redirects a command,
//! a subscriber that lost its node. Whatever was watched elsewhere until then is subscribed at its new place and reported
//! as missed once that is acknowledged, so that what happened on the way is read.
//!
//! Invariant: a watched ticket is in the interest of one node, or of two while it moves; a node that keeps nothing and of
//! which nothing is wanted is forgotten.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{FromRedisValue, RedisError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::address::Address;
use super::command::{Command, Done, Failure, UnconfirmedPrimary};
use super::discovery::Discovery;
use super::error::{from_redis, unavailable};
use super::node::Node;
use super::redirect::Redirect;
use super::settings::{RedisSettings, Reports};
use super::slots::{Confidence, SlotMap};
use crate::metrics::RedisMetrics;
use crate::store::contract::StoreError;
use crate::store::key::StoreKey;
use crate::ticket::TicketId;

/// How often it is looked who is primary, if nothing gives a reason to look earlier.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long two looks are apart at least, whatever there is to complain of.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// For so long news that claims to be older than what is known is not believed. Afterwards it is: the installation may have
/// been built anew.
const EPOCH_PATIENCE: Duration = Duration::from_secs(10);
/// How many nodes a command is sent to at most, one redirecting to the next.
const MAX_NODES: usize = 5;

/// Dropping it ends its looks, and its nodes' subscribers.
pub(super) struct Router {
    shared: Arc<Shared>,
    looking: tokio::task::JoinHandle<()>,
}

struct Shared {
    settings: RedisSettings,
    reports: Reports,
    state: Mutex<State>,
    asked: Mutex<Asked>,
    looks_over: watch::Sender<Looked>,
}

/// What the next look is to heed.
#[derive(Default)]
struct Asked {
    /// Counts the looks that have begun.
    begun: u64,
    /// A node that should know better than others where something is.
    hint: Option<Address>,
    /// Nodes of which it is doubted that they are still primaries: others know better.
    doubted: Vec<Address>,
}

/// How the looks that are over have ended.
struct Looked {
    /// Counts them.
    over: u64,
    /// How far the news of the last one can be relied on.
    trust: Confidence,
}

struct State {
    layout: SlotMap,
    /// When the layout was last confirmed by news that is not older.
    confirmed_at: Instant,
    /// The primaries, and nodes that a command was redirected to.
    nodes: HashMap<Address, Arc<Node>>,
    /// Tickets that are watched where their key has gone before the rest of its slot.
    strays: HashSet<TicketId>,
}

impl Router {
    /// Finds the primaries and begins to connect to them.
    ///
    /// # Errors
    /// That nobody tells where they are.
    pub(super) async fn start(settings: RedisSettings, reports: Reports) -> Result<Self, RedisError> {
        let mut scout = Discovery::new(settings.topology.clone(), settings.timeout / 2);
        let layout = scout.look(None, None, &[]).await?;
        let state = State { layout, confirmed_at: Instant::now(), nodes: HashMap::new(), strays: HashSet::new() };
        let shared = Arc::new(Shared {
            settings,
            reports,
            state: Mutex::new(state),
            asked: Mutex::default(),
            looks_over: watch::Sender::new(Looked { over: 0, trust: Confidence::Thin }),
        });
        shared.arrange(&mut shared.state());
        let looking = crate::task::spawn("redis-layout", look(Arc::clone(&shared), scout));
        Ok(Self { shared, looking })
    }

    /// Returns the primaries.
    pub(super) fn primaries(&self) -> Vec<Arc<Node>> {
        let state = self.shared.state();
        state.layout.primaries().into_iter().filter_map(|address| state.nodes.get(address).cloned()).collect()
    }

    /// Sends a command about a ticket to whoever keeps it.
    ///
    /// # Errors
    /// [`StoreError`] as the error of Redis is to be understood, or that there was no answer in time.
    pub(super) async fn run<T: FromRedisValue>(&self, key: &StoreKey, command: &Command<'_>) -> Result<T, StoreError> {
        let timeout = self.shared.settings.timeout;
        let answer = tokio::time::timeout(timeout, self.shared.run(key, command)).await;
        let value = answer.unwrap_or_else(|_elapsed| {
            self.shared.reports.look_again.notify_one();
            Err(unavailable("no answer in time"))
        })?;
        redis::from_redis_value(value).map_err(unavailable)
    }

    /// Returns once the ticket's changes are reported; see `Store::watch`.
    pub(super) async fn watch(&self, id: &TicketId) -> Result<(), StoreError> {
        let acknowledged = {
            let mut state = self.shared.state();
            let node = self.shared.owner(&mut state, id)?;
            // Under the lock: if the ticket moves next, this goes with it.
            node.subscriber.watch(id)
        };
        let Some(acknowledged) = acknowledged else { return Ok(()) };
        match tokio::time::timeout(self.shared.settings.timeout, acknowledged).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(unavailable("the subscription was not acknowledged in time")),
        }
    }

    pub(super) fn unwatch(&self, id: &TicketId) {
        // Not only where it is kept: it may be on its way.
        for node in self.shared.state().nodes.values() {
            node.subscriber.unwatch(id);
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Shared {
    async fn run(&self, key: &StoreKey, command: &Command<'_>) -> Result<redis::Value, StoreError> {
        let mut node = self.owner(&mut self.state(), key)?;
        let mut is_asking = false;
        for _ in 0..MAX_NODES {
            let sent = node.send(command, is_asking).await;
            if sent.is_ok() && !is_asking && node.was_silent() {
                // What it says, readings too, may be of before it was frozen: another may have taken its place since.
                self.looked(Some(&node.endpoint.address)).await;
                node.settle_silence();
                let owner = self.owner(&mut self.state(), key)?;
                if owner.endpoint.address != node.endpoint.address {
                    node = owner;
                    continue;
                }
            }
            let error = match sent {
                Ok(Done { value, doubt: None }) => return Ok(value),
                // Who has sent us there has just said that this is a primary.
                Ok(Done { value, doubt: Some(doubt) })
                    if is_asking || self.is_still_owner(&node, key, &doubt).await =>
                {
                    node.settle(&doubt);
                    return Ok(value);
                }
                Ok(_) => {
                    let owner = self.owner(&mut self.state(), key)?;
                    if owner.endpoint.address == node.endpoint.address {
                        self.reports.metrics.redis.unreplicated("refused");
                        return Err(unavailable("replicas have left, and it is not certain who is primary"));
                    }
                    node = owner;
                    is_asking = false;
                    continue;
                }
                Err(Failure::Redis(error)) => error,
                Err(failure @ Failure::TooFewReplicas { .. }) => return Err(unavailable(failure)),
            };
            is_asking = false;
            match Redirect::of(&error) {
                Redirect::None => return Err(from_redis(&error)),
                Redirect::Moved(address) => {
                    self.reports.metrics.redis.redirected("moved");
                    self.look_again(Some(address.clone()));
                    node = self.node(&mut self.state(), &address).map_err(|error| from_redis(&error))?;
                }
                Redirect::Ask(address) => {
                    self.reports.metrics.redis.redirected("ask");
                    node = self.follow(key, &address).map_err(|error| from_redis(&error))?;
                    is_asking = true;
                }
                Redirect::Look if !self.settings.topology.has_replicas() => return Err(from_redis(&error)),
                Redirect::Look => {
                    node.note_silence();
                    self.looked(None).await;
                    let owner = self.owner(&mut self.state(), key)?;
                    if owner.endpoint.address == node.endpoint.address {
                        // Nobody knows of another one yet.
                        return Err(from_redis(&error));
                    }
                    node = owner;
                }
            }
        }
        Err(unavailable("the nodes of the Cluster redirect to one another"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self, state: &mut State, id: &impl Display) -> Result<Arc<Node>, StoreError> {
        let address = state.layout.owner(id).cloned();
        let address = address.ok_or_else(|| unavailable("no node of the Cluster keeps the ticket's slot"))?;
        self.node(state, &address).map_err(|error| from_redis(&error))
    }

    fn node(&self, state: &mut State, address: &Address) -> Result<Arc<Node>, RedisError> {
        if let Some(node) = state.nodes.get(address) {
            return Ok(Arc::clone(node));
        }
        let node = Arc::new(Node::start(&self.settings, address, &self.reports)?);
        state.nodes.insert(address.clone(), Arc::clone(&node));
        Ok(node)
    }

    /// Has a ticket watched where its key has gone before the rest of its slot.
    fn follow(&self, key: &StoreKey, address: &Address) -> Result<Arc<Node>, RedisError> {
        let mut state = self.state();
        let node = self.node(&mut state, address)?;
        let StoreKey::Ticket(id) = key else { return Ok(node) };
        let elsewhere: Vec<_> = state.nodes.values().filter(|other| !Arc::ptr_eq(other, &node)).cloned().collect();
        for moving in elsewhere.iter().filter_map(|other| other.subscriber.give_one_away(id)) {
            node.subscriber.take_over(moving);
            state.strays.insert(*id);
        }
        Ok(node)
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look soon.
    fn look_again(&self, hint: Option<Address>) {
        if hint.is_some() {
            self.asked().hint = hint;
        }
        self.reports.look_again.notify_one();
    }

    /// Returns after a look that began after the call, and how far its news can be relied on; `doubted` is then not believed
    /// if others can be asked.
    async fn looked(&self, doubted: Option<&Address>) -> Confidence {
        let next = {
            let mut asked = self.asked();
            if let Some(doubted) = doubted
                && !asked.doubted.contains(doubted)
            {
                asked.doubted.push(doubted.clone());
            }
            asked.begun + 1
        };
        self.reports.look_again.notify_one();
        let mut looks_over = self.looks_over.subscribe();
        looks_over.wait_for(|looked| looked.over >= next).await.map_or(Confidence::Thin, |looked| looked.trust)
    }

    /// Returns whether, by news from after the call, `node` keeps the ticket, and nobody is about to take its place. Where no
    /// replica is missing, no news is good news.
    async fn is_still_owner(&self, node: &Node, key: &StoreKey, doubt: &UnconfirmedPrimary) -> bool {
        let address = &node.endpoint.address;
        let is_trusted = match self.looked(Some(address)).await {
            Confidence::Settled => true,
            Confidence::Thin => !doubt.is_missing,
            Confidence::Changing => false,
        };
        is_trusted && self.state().layout.owner(key) == Some(address)
    }

    /// Takes note of what the scout has found; returns how far that can be relied on.
    fn note(&self, found: SlotMap) -> Confidence {
        let mut state = self.state();
        state.call_back();
        state.tidy(&self.reports.metrics.redis);
        let is_older = found.epoch < state.layout.epoch;
        if is_older && state.confirmed_at.elapsed() < EPOCH_PATIENCE {
            tracing::debug!(
                known = state.layout.epoch,
                told = found.epoch,
                "older news of who is primary is not believed"
            );
            return Confidence::Thin;
        }
        let trust = found.trust;
        state.confirmed_at = Instant::now();
        let found = found.completed_from(&state.layout);
        let is_changed = !found.agrees_with(&state.layout);
        state.layout = found;
        if !is_changed {
            return trust;
        }
        self.reports.metrics.redis.layout_changes.inc();
        let primaries = state.layout.primaries().into_iter().map(Address::to_string).collect::<Vec<_>>().join(" ");
        tracing::info!(primaries, epoch = state.layout.epoch, "other primaries keep the tickets");
        self.arrange(&mut state);
        trust
    }

    /// Brings the nodes into line with the layout: every primary has one, and every ticket is watched where it is kept.
    fn arrange(&self, state: &mut State) {
        let primaries: Vec<_> = state.layout.primaries().into_iter().cloned().collect();
        for address in &primaries {
            if let Err(error) = self.node(state, address) {
                tracing::error!(%error, %address, "a primary's address cannot be used; its tickets cannot be reached");
            }
        }
        let State { layout, nodes, .. } = state;
        for node in nodes.values() {
            let is_elsewhere = |id: &TicketId| layout.owner(id).is_some_and(|owner| *owner != node.endpoint.address);
            for moving in node.subscriber.give_away(is_elsewhere) {
                if let Some(owner) = layout.owner(&moving.id).and_then(|owner| nodes.get(owner)) {
                    owner.subscriber.take_over(moving);
                }
            }
        }
        state.tidy(&self.reports.metrics.redis);
    }
}

impl State {
    /// Has strays watched again where they belong: should their slot still be moving, the next reading leads them astray
    /// once more, and should it not, nobody else would bring them back.
    fn call_back(&mut self) {
        let Self { layout, nodes, strays, .. } = self;
        for id in strays.drain() {
            let Some(owner) = layout.owner(&id).and_then(|owner| nodes.get(owner)) else { continue };
            let elsewhere = nodes.values().filter(|node| !Arc::ptr_eq(node, owner));
            for moving in elsewhere.filter_map(|node| node.subscriber.give_one_away(&id)) {
                owner.subscriber.take_over(moving);
            }
        }
    }

    /// Forgets nodes that nobody needs any more, and counts what there is.
    fn tidy(&mut self, metrics: &RedisMetrics) {
        let primaries: Vec<_> = self.layout.primaries().into_iter().cloned().collect();
        self.nodes.retain(|address, node| primaries.contains(address) || !node.subscriber.is_idle());
        let lost: usize = self.nodes.values().map(|node| node.subscriber.lost()).sum();
        metrics.primaries.set(i64::try_from(primaries.len()).unwrap_or(i64::MAX));
        metrics.tickets_unwatched.set(i64::try_from(lost).unwrap_or(i64::MAX));
    }
}

/// Looks again and again, for ever.
async fn look(shared: Arc<Shared>, mut scout: Discovery) {
    let mut is_told = true;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shared.reports.look_again.notified() => {}
        }
        let (number, hint, doubted) = {
            let mut asked = shared.asked();
            asked.begun += 1;
            (asked.begun, asked.hint.take(), std::mem::take(&mut asked.doubted))
        };
        let known = shared.state().layout.clone();
        let trust = match scout.look(Some(&known), hint, &doubted).await {
            Ok(found) => {
                is_told = true;
                shared.note(found)
            }
            Err(error) => {
                if std::mem::replace(&mut is_told, false) {
                    tracing::warn!(%error, "nobody tells who is primary; asking again and again");
                }
                Confidence::Thin
            }
        };
        shared.looks_over.send_replace(Looked { over: number, trust });
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
