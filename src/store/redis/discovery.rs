//! Finds out who is primary: asks Sentinels, or the nodes of a Cluster. What is done about it is `router`'s part.
//!
//! Any of them may be frozen, cut off, or not have heard yet. So none is relied on: every Sentinel is asked and the newest
//! answer counts; of a Cluster's nodes one after the other is asked, and one that knows itself cut off does not count.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::address::Address;
use super::redis_url::Kind;
use super::slots::{Confidence, SlotMap};
use super::timeout::timed_out;
use super::topology::Topology;

/// When most Sentinels have answered, the others are given so much longer, if nothing is doubted. One that is further away
/// answers later, and is not asked in vain: its answer is there for the next time.
const GRACE: Duration = Duration::from_millis(50);

/// A Sentinel that has not heard of the primary for longer does not know whether it is still there.
const HEARD_OF: Duration = Duration::from_millis(1500);

/// Asks. Keeps its connections from one time to the next.
pub(super) struct Discovery {
    topology: Topology,
    /// The bound of connecting to a node, and that of one question to it.
    timeout: Duration,
    connections: HashMap<Address, MultiplexedConnection>,
    /// Nodes that gave no answer the last time; they are asked last.
    silent: HashSet<Address>,
    /// Counts the questions to a Cluster, so that a different node comes first each time, and to Sentinels, so that an answer to
    /// an older question is known as one.
    turn: usize,
    /// Sentinels that were asked and have neither answered nor let their time pass.
    asked: HashMap<Address, usize>,
    answers: (UnboundedSender<Told>, UnboundedReceiver<Told>),
}

/// What came of asking a Sentinel.
struct Told {
    /// The turn in which it was asked.
    turn: usize,
    address: Address,
    answer: Result<(MultiplexedConnection, Answer), RedisError>,
}

impl Discovery {
    pub(super) fn new(topology: Topology, timeout: Duration) -> Self {
        Self {
            topology,
            timeout,
            connections: HashMap::new(),
            silent: HashSet::new(),
            turn: 0,
            asked: HashMap::new(),
            answers: unbounded_channel(),
        }
    }

    /// Returns what is the case by the newest answer that can be had. `known` is what was the case before, if anything;
    /// `hint` is a node that should know better than others, `doubted` are some that should not.
    ///
    /// # Errors
    /// The last error, if none of them gives an answer.
    pub(super) async fn look(
        &mut self,
        known: Option<&SlotMap>,
        hint: Option<Address>,
        doubted: &[Address],
    ) -> Result<SlotMap, RedisError> {
        match self.topology.kind().clone() {
            Kind::Standalone => Ok(SlotMap::single(self.topology.seeds()[0].clone(), 0)),
            Kind::Sentinel { name, .. } => {
                // Only the one that changes the primary knows of it at first.
                let grace = if doubted.is_empty() { GRACE } else { self.timeout };
                self.ask_sentinels(&name, grace).await
            }
            Kind::Cluster => self.ask_cluster(known, hint, doubted).await,
        }
    }

    async fn ask_sentinels(&mut self, name: &str, grace: Duration) -> Result<SlotMap, RedisError> {
        self.turn += 1;
        let seeds = self.topology.seeds().to_vec();
        while let Ok(told) = self.answers.1.try_recv() {
            // Too late for a turn before, but good to know: it answers.
            let _ = self.heed(told);
        }
        let mut waited_for: HashSet<Address> = HashSet::new();
        for address in &seeds {
            // One that is frozen is asked again when its time has passed, and not as often as the others.
            if !self.silent.contains(address) || !self.asked.contains_key(address) {
                self.ask_sentinel(address, name);
                waited_for.insert(address.clone());
            }
        }
        let (mut told, mut why_not) = (Vec::new(), timed_out());
        while !waited_for.is_empty() {
            // One that is frozen must not hold up the news of the others; for one that was frozen before, nobody waits at all.
            let is_enough = told.len() * 2 > seeds.len();
            let are_silent = waited_for.iter().all(|address| self.silent.contains(address));
            let patience = if !is_enough {
                // Connecting and the question have their own bounds.
                self.timeout * 2 + GRACE
            } else if are_silent {
                GRACE
            } else {
                grace
            };
            let Ok(Some(answer)) = tokio::time::timeout(patience, self.answers.1.recv()).await else { break };
            let is_of_this_turn = answer.turn == self.turn && waited_for.remove(&answer.address);
            match self.heed(answer) {
                Ok(answer) if is_of_this_turn => told.push(primary(answer)),
                Err(error) if is_of_this_turn => why_not = error,
                _ => {}
            }
        }
        newest(told, seeds.len()).ok_or(why_not)
    }

    /// Asks one, on a task of its own: whether somebody waits for it or not, it may answer as late as any.
    fn ask_sentinel(&mut self, address: &Address, name: &str) {
        // The epoch first: what is told next is at least as new.
        let mut question = redis::pipe();
        question.cmd("SENTINEL").arg("MASTER").arg(name).cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        *self.asked.entry(address.clone()).or_default() += 1;
        let (topology, timeout, turn) = (self.topology.clone(), self.timeout, self.turn);
        let (held, address, answers) =
            (self.connections.get(address).cloned(), address.clone(), self.answers.0.clone());
        crate::task::spawn("sentinel", async move {
            let asked = async {
                let mut connection = match held {
                    Some(connection) => connection,
                    None => topology.informant(&address, timeout).await?,
                };
                let answer: Answer = question.query_async(&mut connection).await?;
                Ok((connection, answer))
            };
            let answer = asked.await;
            // Nobody minds when the gateway stops.
            let _ = answers.send(Told { turn, address, answer });
        });
    }

    /// Takes note of who answers and who does not, and returns what was answered.
    fn heed(&mut self, told: Told) -> Result<Answer, RedisError> {
        let Told { address, answer, .. } = told;
        if let Some(count) = self.asked.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.asked.remove(&address);
            }
        }
        match answer {
            Ok((connection, answer)) => {
                self.silent.remove(&address);
                self.connections.insert(address, connection);
                Ok(answer)
            }
            Err(error) => {
                tracing::debug!(%error, sentinel = %address, "a Sentinel does not tell who is primary");
                self.connections.remove(&address);
                self.silent.insert(address);
                Err(error)
            }
        }
    }

    async fn ask_cluster(
        &mut self,
        known: Option<&SlotMap>,
        hint: Option<Address>,
        doubted: &[Address],
    ) -> Result<SlotMap, RedisError> {
        self.turn += 1;
        let mut candidates: Vec<Address> = hint.into_iter().collect();
        if let Some(known) = known {
            let mut nodes: Vec<_> = known.primaries().into_iter().cloned().collect();
            let first = self.turn % nodes.len().max(1);
            nodes.rotate_left(first);
            candidates.extend(nodes);
            candidates.extend(known.replicas.iter().cloned());
        }
        candidates.extend(self.topology.seeds().iter().cloned());
        candidates.sort_by_key(|address| (self.silent.contains(address), doubted.contains(address)));
        self.silent.retain(|address| candidates.contains(address));
        self.connections.retain(|address, _| candidates.contains(address));

        let mut tried: Vec<Address> = Vec::new();
        // From a node that knows itself cut off from the others.
        let mut doubtful = Err(timed_out());
        for address in candidates {
            if tried.contains(&address) {
                continue;
            }
            match self.ask_node(&address).await {
                Ok((layout, true)) => {
                    self.silent.remove(&address);
                    return Ok(layout);
                }
                // Its epoch may be higher than that of all the others: it rises with every vain attempt at an election.
                Ok((layout, false)) => doubtful = Ok(layout.doubted()),
                Err(error) => {
                    self.connections.remove(&address);
                    self.silent.insert(address.clone());
                    tracing::debug!(%error, node = %address, "a node does not tell who keeps what");
                    doubtful = doubtful.or(Err(error));
                }
            }
            tried.push(address);
        }
        doubtful
    }

    /// Returns what a node of a Cluster says, and whether it is in touch with most of the others.
    async fn ask_node(&mut self, address: &Address) -> Result<(SlotMap, bool), RedisError> {
        let mut connection = match self.connections.get(address) {
            Some(connection) => connection.clone(),
            None => self.topology.informant(address, self.timeout).await?,
        };
        let (mut info, mut slots) = (redis::cmd("CLUSTER"), redis::cmd("CLUSTER"));
        info.arg("INFO");
        slots.arg("SLOTS");
        let mut same = connection.clone();
        // In this order, and in one round trip.
        let (info, slots) = tokio::join!(
            biased;
            info.query_async::<String>(&mut same),
            slots.query_async::<Value>(&mut connection),
        );
        let slots = slots?;
        self.connections.insert(address.clone(), connection);
        // Where it may not be asked, the node is believed.
        let info = info.unwrap_or_default();
        let value = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        let epoch = value("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Ok((SlotMap::from_slots(&slots, epoch, address)?, value("cluster_state") != Some("fail")))
    }
}

/// Returns the newest of what Sentinels say; where they disagree on that, what most of them say. It is settled if most of all
/// `count` say so, and none of them is about to change it.
fn newest(told: Vec<SlotMap>, count: usize) -> Option<SlotMap> {
    let agrees = |one: &SlotMap, other: &SlotMap| one.epoch == other.epoch && one.agrees_with(other);
    let votes = |layout: &SlotMap| told.iter().filter(|other| agrees(layout, other)).count();
    let best = (0..told.len()).max_by_key(|&index| (told[index].epoch, votes(&told[index])))?;
    let epoch = told[best].epoch;
    let says = |trust: Confidence| told.iter().any(|other| other.epoch == epoch && other.trust == trust);
    let trust = if says(Confidence::Changing) {
        Confidence::Changing
    } else if votes(&told[best]) * 2 > count && !says(Confidence::Thin) {
        Confidence::Settled
    } else {
        Confidence::Thin
    };
    let mut newest = told.into_iter().nth(best)?;
    newest.trust = trust;
    Some(newest)
}

/// What a Sentinel knows of a primary.
type Fields = HashMap<String, String>;
/// That, and where it says that the primary is.
type Answer = (Fields, (String, u16));

/// Reads a Sentinel's answers: what it knows of the primary that it watches, and who is primary. While it changes the
/// primary these are two, from when the new one is one until the others follow it.
fn primary((watched, (host, port)): Answer) -> SlotMap {
    let value = |name: &str| watched.get(name).map_or("", String::as_str);
    let is_watched = value("ip") == host && value("port").parse() == Ok(port);
    let has_flag = |name: &str| value("flags").split(',').any(|flag| flag == name);
    let is_changing = has_flag("failover_in_progress") && is_watched;
    // It pings every second. What it has not heard of for longer it may be about to replace.
    let heard = value("last-ok-ping-reply").parse().map(Duration::from_millis);
    let is_lost = has_flag("s_down") || has_flag("o_down") || heard.is_ok_and(|age| age > HEARD_OF);
    let mut layout = SlotMap::single(Address::new(&host, port), value("config-epoch").parse().unwrap_or(0));
    if is_changing || is_lost && is_watched {
        layout.trust = Confidence::Changing;
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::*;

    use Confidence::{Changing, Settled, Thin};

    /// Returns whom three Sentinels are believed of whom some say this, and how far.
    fn believed(told: &[(&'static str, u64, Confidence)]) -> (&'static str, Confidence) {
        let say = |&(host, epoch, trust): &(&'static str, u64, Confidence)| {
            let mut layout = SlotMap::single(Address::new(host, 1), epoch);
            layout.trust = trust;
            layout
        };
        let found = newest(told.iter().map(say).collect(), 3).unwrap();
        let host = found.primaries()[0].host().to_owned();
        (told.iter().find(|(known, ..)| *known == host).unwrap().0, found.trust)
    }

    #[test]
    fn of_sentinels_the_newest_is_believed_and_then_the_most() {
        assert_eq!(believed(&[("old", 1, Settled), ("old", 1, Settled), ("old", 1, Settled)]), ("old", Settled));
        assert_eq!(believed(&[("old", 1, Settled), ("new", 2, Settled), ("old", 1, Settled)]), ("new", Thin));
        assert_eq!(believed(&[("old", 2, Settled), ("new", 2, Settled), ("new", 2, Settled)]), ("new", Settled));
        assert_eq!(believed(&[("new", 2, Settled), ("new", 2, Settled), ("old", 2, Settled)]), ("new", Settled));
        assert_eq!(believed(&[("old", 1, Settled)]), ("old", Thin));
        assert!(newest(Vec::new(), 3).is_none());
    }

    #[test]
    fn one_sentinel_that_is_about_to_change_the_primary_is_enough_to_doubt_it() {
        assert_eq!(believed(&[("old", 1, Settled), ("old", 1, Changing), ("old", 1, Settled)]), ("old", Changing));
        assert_eq!(believed(&[("new", 2, Settled), ("new", 2, Settled), ("old", 1, Changing)]), ("new", Settled));
        assert_eq!(believed(&[("old", 1, Settled), ("old", 1, Thin), ("old", 1, Settled)]), ("old", Thin));
    }
}
