//! Finds the primaries: asks the Sentinels, or the nodes of a Cluster. `router` acts on the result.
//!
//! Any of them may be frozen, cut off or out of date, so discovery does not rely on a single one. It asks every
//! Sentinel and uses the newest view. It asks the nodes of a Cluster one after another, and skips a node that reports
//! that it is cut off.
//!
//! The connections stay open between questions and do not come from a pool, because a pool sends a ping first. That
//! delays sign-ins that wait for the answer, and a Sentinel does not support one of the pool's commands.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::address::Address;
use super::queries::{self, WatchedPrimary};
use super::redis_url::InstallationKind;
use super::slots::{Confidence, SlotMap};
use super::timeout::timed_out;
use super::topology::Topology;

/// How long discovery waits for the remaining Sentinels once most have replied, unless a primary is suspect. A distant
/// Sentinel replies later; in the next round, its reply shows that it is alive.
const GRACE: Duration = Duration::from_millis(50);

/// A Sentinel that has had no reply from the primary for this long does not know whether the primary is up.
const MAX_REPLY_AGE: Duration = Duration::from_millis(1500);

/// Asks for primaries, over connections that it keeps.
pub(super) struct Discovery {
    topology: Topology,
    /// The limit for connecting to a server, and the limit for its reply.
    timeout: Duration,
    connections: HashMap<Address, MultiplexedConnection>,
    /// Servers that did not reply the last time. They are asked last.
    silent: HashSet<Address>,
    /// The number of the current round. Nodes of a Cluster are asked first in turn, and late replies of Sentinels are
    /// recognised by their round.
    round: usize,
    /// The number of questions to each Sentinel that have neither a reply nor timed out.
    pending: HashMap<Address, usize>,
    replies: (UnboundedSender<SentinelReply>, UnboundedReceiver<SentinelReply>),
}

/// The reply of one Sentinel.
struct SentinelReply {
    /// The round of the question.
    round: usize,
    sentinel: Address,
    result: Result<(MultiplexedConnection, PrimaryView), RedisError>,
}

/// A Sentinel's view of the primary that it watches, and the address that it names as primary.
type PrimaryView = (WatchedPrimary, Address);

impl Discovery {
    pub(super) fn new(topology: Topology, timeout: Duration) -> Self {
        Self {
            topology,
            timeout,
            connections: HashMap::new(),
            silent: HashSet::new(),
            round: 0,
            pending: HashMap::new(),
            replies: unbounded_channel(),
        }
    }

    /// Returns the newest slot map. `known` is the current map, if there is one. `hint` is a node that probably has a
    /// newer map than others; the maps of `suspects` may be outdated.
    ///
    /// # Errors
    /// The last error, if no server replies.
    pub(super) async fn find_primaries(
        &mut self,
        known: Option<&SlotMap>,
        hint: Option<Address>,
        suspects: &[Address],
    ) -> Result<SlotMap, RedisError> {
        match self.topology.kind().clone() {
            InstallationKind::Standalone => Ok(SlotMap::single(self.topology.seeds()[0].clone(), 0)),
            InstallationKind::Sentinel { name, .. } => {
                // At first only the Sentinel that performs the failover knows about it.
                let grace = if suspects.is_empty() { GRACE } else { self.timeout };
                self.ask_sentinels(&name, grace).await
            }
            InstallationKind::Cluster => self.ask_cluster(known, hint, suspects).await,
        }
    }

    async fn ask_sentinels(&mut self, name: &str, grace: Duration) -> Result<SlotMap, RedisError> {
        self.round += 1;
        let seeds = self.topology.seeds().to_vec();
        while let Ok(reply) = self.replies.1.try_recv() {
            // The reply is too late for its round, but it shows that the Sentinel is alive.
            let _ = self.record(reply);
        }
        let mut waited_for: HashSet<Address> = HashSet::new();
        for sentinel in &seeds {
            // A frozen Sentinel is asked again only when its earlier question has timed out.
            if !self.silent.contains(sentinel) || !self.pending.contains_key(sentinel) {
                self.ask_sentinel(sentinel, name);
                waited_for.insert(sentinel.clone());
            }
        }
        let (mut maps, mut last_error) = (Vec::new(), timed_out());
        while !waited_for.is_empty() {
            // Stop waiting for slow Sentinels once a majority has replied; do not wait for one that was silent before.
            let is_majority = maps.len() * 2 > seeds.len();
            let all_silent = waited_for.iter().all(|sentinel| self.silent.contains(sentinel));
            let wait = if !is_majority {
                // Connecting and the reply have their own limits.
                self.timeout * 2 + GRACE
            } else if all_silent {
                GRACE
            } else {
                grace
            };
            let Ok(Some(reply)) = tokio::time::timeout(wait, self.replies.1.recv()).await else { break };
            let is_of_this_round = reply.round == self.round && waited_for.remove(&reply.sentinel);
            match self.record(reply) {
                Ok(view) if is_of_this_round => maps.push(slot_map(view)),
                Err(error) if is_of_this_round => last_error = error,
                _ => {}
            }
        }
        newest(maps, seeds.len()).ok_or(last_error)
    }

    /// Asks one Sentinel on a separate task, so that its reply may arrive after the round.
    fn ask_sentinel(&mut self, sentinel: &Address, name: &str) {
        *self.pending.entry(sentinel.clone()).or_default() += 1;
        let (topology, timeout, round) = (self.topology.clone(), self.timeout, self.round);
        let (connection, sender) = (self.connections.get(sentinel).cloned(), self.replies.0.clone());
        let (sentinel, name) = (sentinel.clone(), name.to_owned());
        crate::task::spawn("sentinel", async move {
            let ask = async {
                let mut connection = match connection {
                    Some(connection) => connection,
                    None => topology.open_for_discovery(&sentinel, timeout).await?,
                };
                let view = queries::watched_primary_and_address(&mut connection, &name).await?;
                Ok((connection, view))
            };
            let result = ask.await;
            // The receiver is gone if the gateway stops.
            let _ = sender.send(SentinelReply { round, sentinel, result });
        });
    }

    /// Records whether the Sentinel replied, and returns its view.
    fn record(&mut self, reply: SentinelReply) -> Result<PrimaryView, RedisError> {
        let SentinelReply { sentinel, result, .. } = reply;
        if let Some(count) = self.pending.get_mut(&sentinel) {
            *count -= 1;
            if *count == 0 {
                self.pending.remove(&sentinel);
            }
        }
        match result {
            Ok((connection, view)) => {
                self.silent.remove(&sentinel);
                self.connections.insert(sentinel, connection);
                Ok(view)
            }
            Err(error) => {
                tracing::debug!(%error, %sentinel, "a Sentinel does not name the primary");
                self.connections.remove(&sentinel);
                self.silent.insert(sentinel);
                Err(error)
            }
        }
    }

    async fn ask_cluster(
        &mut self,
        known: Option<&SlotMap>,
        hint: Option<Address>,
        suspects: &[Address],
    ) -> Result<SlotMap, RedisError> {
        self.round += 1;
        let mut candidates: Vec<Address> = hint.into_iter().collect();
        if let Some(known) = known {
            let mut primaries: Vec<_> = known.primaries().into_iter().cloned().collect();
            let first = self.round % primaries.len().max(1);
            primaries.rotate_left(first);
            candidates.extend(primaries);
            candidates.extend(known.replicas.iter().cloned());
        }
        candidates.extend(self.topology.seeds().iter().cloned());
        candidates.sort_by_key(|node| (self.silent.contains(node), suspects.contains(node)));
        self.silent.retain(|node| candidates.contains(node));
        self.connections.retain(|node, _| candidates.contains(node));

        let mut tried: Vec<Address> = Vec::new();
        // The map of a node that reports that it is cut off, or the last error.
        let mut fallback = Err(timed_out());
        for node in candidates {
            if tried.contains(&node) {
                continue;
            }
            match self.ask_node(&node).await {
                Ok((slots, true)) => {
                    self.silent.remove(&node);
                    return Ok(slots);
                }
                // Its epoch may be the highest of all: it rises with every failed election.
                Ok((slots, false)) => fallback = Ok(slots.unconfirmed()),
                Err(error) => {
                    self.connections.remove(&node);
                    self.silent.insert(node.clone());
                    tracing::debug!(%error, %node, "a node does not name the owners of slots");
                    fallback = fallback.or(Err(error));
                }
            }
            tried.push(node);
        }
        fallback
    }

    /// Returns the slot map of one node of a Cluster, and whether the node reaches most of the others.
    async fn ask_node(&mut self, node: &Address) -> Result<(SlotMap, bool), RedisError> {
        let connection = match self.connections.get(node) {
            Some(connection) => connection.clone(),
            None => self.topology.open_for_discovery(node, self.timeout).await?,
        };
        let state = queries::cluster_state(&connection, node).await?;
        self.connections.insert(node.clone(), connection);
        // If this user may not ask for the state, the node is trusted.
        Ok((state.slots, state.is_up != Some(false)))
    }
}

/// Returns the newest map; if several of the same epoch disagree, the one that most Sentinels report. It is confirmed if
/// most of all `count` Sentinels report it and none of them is about to replace the primary.
fn newest(maps: Vec<SlotMap>, count: usize) -> Option<SlotMap> {
    let agrees = |one: &SlotMap, other: &SlotMap| one.epoch == other.epoch && one.has_same_owners(other);
    let votes = |map: &SlotMap| maps.iter().filter(|other| agrees(map, other)).count();
    let best = (0..maps.len()).max_by_key(|&index| (maps[index].epoch, votes(&maps[index])))?;
    let epoch = maps[best].epoch;
    let any_says = |confidence| maps.iter().any(|other| other.epoch == epoch && other.confidence == confidence);
    let confidence = if any_says(Confidence::Changing) {
        Confidence::Changing
    } else if votes(&maps[best]) * 2 > count && !any_says(Confidence::Unconfirmed) {
        Confidence::Confirmed
    } else {
        Confidence::Unconfirmed
    };
    let mut newest = maps.into_iter().nth(best)?;
    newest.confidence = confidence;
    Some(newest)
}

/// Returns the slot map of one Sentinel. During a failover the Sentinel watches the old primary and already names the new
/// one, from the promotion until the other replicas follow it.
fn slot_map((watched, primary): PrimaryView) -> SlotMap {
    let is_watched = watched.address().as_ref() == Some(&primary);
    let is_changing = watched.is_failing_over() && is_watched;
    // A Sentinel pings the primary every second. It may be about to replace a primary that has not replied for longer.
    let is_lost = watched.is_down() || watched.last_reply_age().is_some_and(|age| age > MAX_REPLY_AGE);
    let mut map = SlotMap::single(primary, watched.epoch());
    if is_changing || is_lost && is_watched {
        map.confidence = Confidence::Changing;
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    use Confidence::{Changing, Confirmed, Unconfirmed};

    /// Returns the primary, and the confidence in it, if these are the views of three Sentinels.
    fn result_of(views: &[(&'static str, u64, Confidence)]) -> (&'static str, Confidence) {
        let map = |&(host, epoch, confidence): &(&'static str, u64, Confidence)| {
            let mut map = SlotMap::single(Address::new(host, 1), epoch);
            map.confidence = confidence;
            map
        };
        let found = newest(views.iter().map(map).collect(), 3).unwrap();
        let host = found.primaries()[0].host().to_owned();
        (views.iter().find(|(known, ..)| *known == host).unwrap().0, found.confidence)
    }

    #[test]
    fn the_newest_view_of_the_sentinels_wins_and_then_the_most_common() {
        assert_eq!(
            result_of(&[("old", 1, Confirmed), ("old", 1, Confirmed), ("old", 1, Confirmed)]),
            ("old", Confirmed)
        );
        assert_eq!(
            result_of(&[("old", 1, Confirmed), ("new", 2, Confirmed), ("old", 1, Confirmed)]),
            ("new", Unconfirmed)
        );
        assert_eq!(
            result_of(&[("old", 2, Confirmed), ("new", 2, Confirmed), ("new", 2, Confirmed)]),
            ("new", Confirmed)
        );
        assert_eq!(
            result_of(&[("new", 2, Confirmed), ("new", 2, Confirmed), ("old", 2, Confirmed)]),
            ("new", Confirmed)
        );
        assert_eq!(result_of(&[("old", 1, Confirmed)]), ("old", Unconfirmed));
        assert!(newest(Vec::new(), 3).is_none());
    }

    #[test]
    fn one_sentinel_about_to_replace_the_primary_makes_it_unconfirmed() {
        assert_eq!(result_of(&[("old", 1, Confirmed), ("old", 1, Changing), ("old", 1, Confirmed)]), ("old", Changing));
        assert_eq!(
            result_of(&[("new", 2, Confirmed), ("new", 2, Confirmed), ("old", 1, Changing)]),
            ("new", Confirmed)
        );
        assert_eq!(
            result_of(&[("old", 1, Confirmed), ("old", 1, Unconfirmed), ("old", 1, Confirmed)]),
            ("old", Unconfirmed)
        );
    }
}
