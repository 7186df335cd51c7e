//! Finds out which nodes are primaries: asks the Sentinels, or the nodes of a Cluster. `router` acts on the result.
//!
//! Any of them may be frozen, cut off or out of date, so discovery relies on none alone. It asks every Sentinel and takes
//! the newest answer. It asks the nodes of a Cluster one after the other and skips one that says it is cut off.
//!
//! The connections stay open between questions and are not lent by a pool: a pool would send a ping first. Some sign-ins
//! wait for an answer, and a Sentinel does not know the command that goes with the pool's ping.

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

/// How long discovery waits for the remaining Sentinels once most have answered, unless a primary is suspect. A Sentinel
/// that is further away answers later; its answer counts as a sign of life the next time.
const GRACE: Duration = Duration::from_millis(50);

/// A Sentinel that has had no reply from the primary for this long does not know whether the primary is up.
const MAX_REPLY_AGE: Duration = Duration::from_millis(1500);

/// Asks for primaries, over connections that it keeps.
pub(super) struct Discovery {
    topology: Topology,
    /// The limit of connecting to a server, and the limit of a question to it.
    timeout: Duration,
    connections: HashMap<Address, MultiplexedConnection>,
    /// Servers that did not answer the last time. They come last.
    silent: HashSet<Address>,
    /// Counts the rounds of questions. A Cluster's nodes take turns to be first; an answer of an earlier round is
    /// recognized.
    round: usize,
    /// How many questions each Sentinel has neither answered nor failed to answer in time.
    pending: HashMap<Address, usize>,
    answers: (UnboundedSender<SentinelAnswer>, UnboundedReceiver<SentinelAnswer>),
}

/// The answer of one Sentinel.
struct SentinelAnswer {
    /// The round of the question.
    round: usize,
    sentinel: Address,
    result: Result<(MultiplexedConnection, Opinion), RedisError>,
}

/// A Sentinel's view of the primary that it watches, and the address that it names as primary.
type Opinion = (WatchedPrimary, Address);

impl Discovery {
    pub(super) fn new(topology: Topology, timeout: Duration) -> Self {
        Self {
            topology,
            timeout,
            connections: HashMap::new(),
            silent: HashSet::new(),
            round: 0,
            pending: HashMap::new(),
            answers: unbounded_channel(),
        }
    }

    /// Returns the slot map of the newest answer. `known` is the map so far, if there is one. `hint` is a node that should
    /// know better than others; the `suspects` may be out of date.
    ///
    /// # Errors
    /// The last error, if no server answers.
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
        while let Ok(answer) = self.answers.1.try_recv() {
            // Too late for its round, but it shows that the Sentinel answers.
            let _ = self.record(answer);
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
            // Stop waiting for slow Sentinels once a majority has answered; do not wait for one that was silent before.
            let is_majority = maps.len() * 2 > seeds.len();
            let all_silent = waited_for.iter().all(|sentinel| self.silent.contains(sentinel));
            let patience = if !is_majority {
                // Connecting and the question have their own limits.
                self.timeout * 2 + GRACE
            } else if all_silent {
                GRACE
            } else {
                grace
            };
            let Ok(Some(answer)) = tokio::time::timeout(patience, self.answers.1.recv()).await else { break };
            let is_of_this_round = answer.round == self.round && waited_for.remove(&answer.sentinel);
            match self.record(answer) {
                Ok(opinion) if is_of_this_round => maps.push(slot_map(opinion)),
                Err(error) if is_of_this_round => last_error = error,
                _ => {}
            }
        }
        newest(maps, seeds.len()).ok_or(last_error)
    }

    /// Asks one Sentinel on a separate task, so that its answer may arrive after the round.
    fn ask_sentinel(&mut self, sentinel: &Address, name: &str) {
        *self.pending.entry(sentinel.clone()).or_default() += 1;
        let (topology, timeout, round) = (self.topology.clone(), self.timeout, self.round);
        let (connection, sender) = (self.connections.get(sentinel).cloned(), self.answers.0.clone());
        let (sentinel, name) = (sentinel.clone(), name.to_owned());
        crate::task::spawn("sentinel", async move {
            let ask = async {
                let mut connection = match connection {
                    Some(connection) => connection,
                    None => topology.open_for_discovery(&sentinel, timeout).await?,
                };
                let opinion = queries::watched_primary_and_address(&mut connection, &name).await?;
                Ok((connection, opinion))
            };
            let result = ask.await;
            // Nothing receives it when the gateway stops.
            let _ = sender.send(SentinelAnswer { round, sentinel, result });
        });
    }

    /// Records whether the Sentinel answered, and returns its answer.
    fn record(&mut self, answer: SentinelAnswer) -> Result<Opinion, RedisError> {
        let SentinelAnswer { sentinel, result, .. } = answer;
        if let Some(count) = self.pending.get_mut(&sentinel) {
            *count -= 1;
            if *count == 0 {
                self.pending.remove(&sentinel);
            }
        }
        match result {
            Ok((connection, opinion)) => {
                self.silent.remove(&sentinel);
                self.connections.insert(sentinel, connection);
                Ok(opinion)
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
        // The answer of a node that says it is cut off, or the last error.
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
        // A node whose state this user may not ask for is trusted.
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
fn slot_map((watched, primary): Opinion) -> SlotMap {
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

    /// Returns the primary, and the confidence in it, if these are the answers of three Sentinels.
    fn believed(answers: &[(&'static str, u64, Confidence)]) -> (&'static str, Confidence) {
        let map = |&(host, epoch, confidence): &(&'static str, u64, Confidence)| {
            let mut map = SlotMap::single(Address::new(host, 1), epoch);
            map.confidence = confidence;
            map
        };
        let found = newest(answers.iter().map(map).collect(), 3).unwrap();
        let host = found.primaries()[0].host().to_owned();
        (answers.iter().find(|(known, ..)| *known == host).unwrap().0, found.confidence)
    }

    #[test]
    fn the_newest_view_of_the_sentinels_wins_and_then_the_most_common() {
        assert_eq!(
            believed(&[("old", 1, Confirmed), ("old", 1, Confirmed), ("old", 1, Confirmed)]),
            ("old", Confirmed)
        );
        assert_eq!(
            believed(&[("old", 1, Confirmed), ("new", 2, Confirmed), ("old", 1, Confirmed)]),
            ("new", Unconfirmed)
        );
        assert_eq!(
            believed(&[("old", 2, Confirmed), ("new", 2, Confirmed), ("new", 2, Confirmed)]),
            ("new", Confirmed)
        );
        assert_eq!(
            believed(&[("new", 2, Confirmed), ("new", 2, Confirmed), ("old", 2, Confirmed)]),
            ("new", Confirmed)
        );
        assert_eq!(believed(&[("old", 1, Confirmed)]), ("old", Unconfirmed));
        assert!(newest(Vec::new(), 3).is_none());
    }

    #[test]
    fn one_sentinel_about_to_replace_the_primary_makes_it_unconfirmed() {
        assert_eq!(believed(&[("old", 1, Confirmed), ("old", 1, Changing), ("old", 1, Confirmed)]), ("old", Changing));
        assert_eq!(believed(&[("new", 2, Confirmed), ("new", 2, Confirmed), ("old", 1, Changing)]), ("new", Confirmed));
        assert_eq!(
            believed(&[("old", 1, Confirmed), ("old", 1, Unconfirmed), ("old", 1, Confirmed)]),
            ("old", Unconfirmed)
        );
    }
}
