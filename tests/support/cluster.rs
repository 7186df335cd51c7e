//! A Redis Cluster: three primaries, and after them a replica of each, so that node `i + 3` is the replica of node `i`.
//!
//! They are started as if they had been a cluster before, from `nodes.conf`. The two seconds that this takes are Redis's
//! own: a primary that starts lets that long pass before it takes writes.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::access::Access;
use super::proxy::{Distance, Proxy};
use super::redis::{Setup, command};
use super::{Redis, SOON, free_port, until};

/// The slots that each primary has at the start.
const SLOTS: [RangeInclusive<u16>; 3] = [0..=5460, 5461..=10922, 10923..=16383];

/// How long a failover may take.
const FAILOVER: Duration = Duration::from_secs(30);

/// Six nodes, and those added later. A node that is removed keeps its index.
pub struct Cluster {
    nodes: Vec<Redis>,
    ids: Vec<String>,
    access: Access,
    options: Vec<String>,
    distance: Option<Distance>,
}

/// How to start one.
#[derive(Default)]
pub struct Options<'a> {
    pub access: Access,
    /// Further options of every node, such as `["--appendonly", "yes"]`.
    pub redis: &'a [&'a str],
    /// How far away they are from gateways and, but for what they tell each other of the Cluster, from one another.
    pub distance: Option<Distance>,
}

/// One node as another one sees it.
struct Sight {
    id: String,
    flags: Vec<String>,
    primary: String,
    epoch: u64,
    slots: Vec<RangeInclusive<u16>>,
}

impl Cluster {
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// Starts one; returns when it takes commands and every replica is online.
    pub fn with(options: Options) -> Self {
        let places: Vec<_> = (0..6).map(|_| Place::choose(options.distance)).collect();
        let mut cluster = Self {
            nodes: Vec::new(),
            ids: Vec::new(),
            access: options.access,
            options: options.redis.iter().map(|&option| option.to_owned()).collect(),
            distance: options.distance,
        };
        let mut known_by = Vec::new();
        for myself in 0..6 {
            let mut known = String::from("vars currentEpoch 3 lastVoteEpoch 0\n");
            for (index, place) in places.iter().enumerate() {
                let role = if index < 3 { "master" } else { "slave" };
                let flags = if index == myself { format!("myself,{role}") } else { role.to_owned() };
                let primary = if index < 3 { "-" } else { &places[index - 3].id };
                let epoch = index % 3 + 1;
                let slots = SLOTS.get(index).map_or_else(String::new, |all| format!("{}-{}", all.start(), all.end()));
                writeln!(known, "{} {flags} {primary} 0 0 {epoch} connected {slots}", place.name()).unwrap();
            }
            known_by.push(known);
        }
        for (place, known) in places.into_iter().zip(known_by) {
            cluster.launch(place, known);
        }
        cluster.nodes.iter().for_each(Redis::wait);
        cluster.agreed();
        until(SOON, "replication", || cluster.nodes[..3].iter().all(|node| node.replicas_online() == 1).then_some(()));
        cluster
    }

    /// The URL by which a gateway finds all nodes.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes[..3].iter().map(|node| format!("127.0.0.1:{}", node.public_port())).collect();
        format!("{}://{}{}", self.access.scheme("-cluster"), self.access.user_info(), hosts.join(","))
    }

    pub fn access(&self) -> &Access {
        &self.access
    }

    pub fn node(&self, index: usize) -> &Redis {
        &self.nodes[index]
    }

    pub fn node_mut(&mut self, index: usize) -> &mut Redis {
        &mut self.nodes[index]
    }

    /// Returns the slot of a key.
    pub fn slot(&self, key: &str) -> u16 {
        self.nodes[self.up()[0]].run(&["CLUSTER", "KEYSLOT", key])
    }

    /// Returns the index of the primary that has the key's slot now.
    pub fn owner(&self, key: &str) -> usize {
        self.owner_of_slot(self.slot(key))
    }

    /// Returns the index of the primary that has `slot` now.
    pub fn owner_of_slot(&self, slot: u16) -> usize {
        until(SOON, "a slot's having an owner", || {
            let sights = self.up().into_iter().filter_map(|index| self.sights(index)).flatten();
            let owners = sights.filter(|sight| sight.slots.iter().any(|slots| slots.contains(&slot)));
            owners.max_by_key(|owner| owner.epoch).and_then(|owner| self.index(&owner.id))
        })
    }

    /// Returns the indexes of the nodes that are up and call themselves primaries.
    pub fn primaries(&self) -> Vec<usize> {
        self.up().into_iter().filter(|&index| self.nodes[index].is_primary()).collect()
    }

    /// Returns the index of a node that is up and calls itself a replica of `primary`.
    pub fn replica_of(&self, primary: usize) -> usize {
        let id = &self.ids[primary];
        until(SOON, "a replica", || self.up().into_iter().find(|&index| self.primary_of(index).as_ref() == Some(id)))
    }

    /// Has the replica of `primary` take its place while it lives; returns its index once all nodes agree.
    pub fn failover(&self, primary: usize) -> usize {
        let replica = self.replica_of(primary);
        until(FAILOVER, "a failover", || {
            // Refused while the replica is not in step; given up by the replica after five seconds.
            self.nodes[replica].try_run::<()>(&["CLUSTER", "FAILOVER"]).ok()?;
            let started = std::time::Instant::now();
            while !self.nodes[replica].is_primary() {
                if started.elapsed() > Duration::from_secs(6) {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Some(())
        });
        until(SOON, "the old primary's following", || {
            (self.primary_of(primary).as_ref() == Some(&self.ids[replica])).then_some(())
        });
        self.agreed();
        replica
    }

    /// Waits until what `dead` had is another's; returns whose. It has to have been killed or stopped.
    pub fn wait_for_new_primary(&self, dead: usize, slot: u16) -> usize {
        until(FAILOVER, "a new primary", || (self.owner_of_slot(slot) != dead).then_some(()));
        self.agreed();
        self.owner_of_slot(slot)
    }

    pub fn kill(&mut self, index: usize) {
        self.node_mut(index).kill();
    }

    pub fn restart(&mut self, index: usize) {
        self.node_mut(index).restart();
    }

    /// Begins to move `slot`: from here on its owner asks callers to ask `to` about keys that it does not have.
    pub fn begin_move(&self, slot: u16, to: usize) {
        self.begin_moves(&[slot], self.owner_of_slot(slot), to);
    }

    /// Moves the keys of `slot`, which has begun to move.
    pub fn migrate_keys(&self, slot: u16, to: usize) {
        let (from, target) = (&self.nodes[self.owner_of_slot(slot)], self.nodes[to].port());
        let (mut connection, introduction) = (from.connect(), self.access.introduction());
        loop {
            let listing = command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "100"]);
            let keys: Vec<Vec<u8>> = listing.query(&mut connection).unwrap();
            if keys.is_empty() {
                return;
            }
            let mut migrate = command(&["MIGRATE", "127.0.0.1", &target.to_string(), "", "0", "5000", "REPLACE"]);
            migrate.arg(&introduction).arg("KEYS").arg(keys).exec(&mut connection).unwrap();
        }
    }

    /// Ends the move of `slot`, which has no keys left where it was; returns when all nodes know its new owner.
    pub fn finish_move(&self, slot: u16, to: usize) {
        self.finish_moves(&[slot], self.owner_of_slot(slot), to);
    }

    /// Gives up the move of `slot`, none of whose keys has been moved yet.
    pub fn cancel_move(&self, slot: u16, to: usize) {
        for node in [self.owner_of_slot(slot), to] {
            self.nodes[node].run::<()>(&["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"]);
        }
    }

    /// Moves `slot` with its keys.
    pub fn move_slot(&self, slot: u16, to: usize) {
        self.begin_move(slot, to);
        self.migrate_keys(slot, to);
        self.finish_move(slot, to);
    }

    /// Adds a primary without slots; returns its index once everyone knows it.
    pub fn add_primary(&mut self) -> usize {
        let (old, place) = (self.up(), Place::choose(self.distance));
        let index = self.nodes.len();
        let (port, bus) = (place.port.to_string(), place.bus.to_string());
        let known = format!("{} myself,master - 0 0 0 connected\n", place.name());
        self.launch(place, known);
        self.nodes[index].wait();
        for node in old {
            self.nodes[node].run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        self.agreed();
        index
    }

    /// Gives the slots of `primary`, and its replicas, to another primary; forgets it and ends it.
    pub fn remove_primary(&mut self, primary: usize) {
        let to = *self.primaries().iter().find(|&&other| other != primary).unwrap();
        let slots: Vec<u16> = self.slots_of(primary);
        self.begin_moves(&slots, primary, to);
        let mut counts = redis::pipe();
        for slot in &slots {
            counts.add_command(command(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]));
        }
        let counts: Vec<u64> = counts.query(&mut self.nodes[primary].connect()).unwrap();
        for (&slot, _) in slots.iter().zip(counts).filter(|&(_, count)| count > 0) {
            self.migrate_keys(slot, to);
        }
        self.finish_moves(&slots, primary, to);
        for node in self.up() {
            if self.primary_of(node).as_ref() == Some(&self.ids[primary]) {
                self.nodes[node].run::<()>(&["CLUSTER", "REPLICATE", &self.ids[to]]);
            }
        }
        for node in self.up().into_iter().filter(|&node| node != primary) {
            self.nodes[node].run::<()>(&["CLUSTER", "FORGET", &self.ids[primary]]);
        }
        self.kill(primary);
        self.agreed();
    }

    /// Waits until all nodes that are up can serve, see each other, and call the same nodes, which are up, the owners of
    /// the slots.
    pub fn agreed(&self) {
        until(FAILOVER, "agreement of the nodes", || {
            let up = self.up();
            let first = self.owners_seen_by(up[0])?;
            let is_complete = first.iter().map(|(slots, _)| slots.len()).sum::<usize>() == 16384;
            let are_up = first.iter().all(|(_, id)| up.iter().any(|&index| self.ids[index] == *id));
            let all = up.iter().all(|&index| {
                let info = self.nodes[index].try_run::<String>(&["CLUSTER", "INFO"]);
                info.is_ok_and(|info| info.contains("cluster_state:ok"))
                    && self.owners_seen_by(index).as_ref() == Some(&first)
                    && self.sees(index, &up)
            });
            (is_complete && are_up && all).then_some(())
        });
    }

    fn launch(&mut self, place: Place, known: String) {
        let mut configuration = format!("cluster-enabled yes\ncluster-port {}\n", place.bus);
        let (bus, port) = (place.bus, place.public_port());
        writeln!(configuration, "cluster-announce-bus-port {bus}\ncluster-announce-port {port}").unwrap();
        writeln!(configuration, "cluster-announce-tls-port {port}").unwrap();
        configuration += "cluster-node-timeout 1500\ncluster-replica-validity-factor 0\n";
        configuration += "cluster-announce-ip 127.0.0.1\nrepl-diskless-sync-delay 0\n";
        self.ids.push(place.id);
        self.nodes.push(Redis::launch(Setup {
            port: place.port,
            access: self.access.clone(),
            configuration,
            file: Some(("nodes.conf", known)),
            options: self.options.clone(),
            proxy: place.proxy,
        }));
    }

    /// Returns the indexes of the nodes that are neither killed nor stopped.
    fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&index| self.nodes[index].is_up()).collect()
    }

    fn index(&self, id: &str) -> Option<usize> {
        self.ids.iter().position(|other| other == id)
    }

    /// Returns what a node sees of all nodes, if it answers.
    fn sights(&self, index: usize) -> Option<Vec<Sight>> {
        let text: String = self.nodes[index].try_run(&["CLUSTER", "NODES"]).ok()?;
        Some(text.lines().map(Sight::parse).collect())
    }

    /// Returns the id of the primary that a node says it follows, if it is a replica.
    fn primary_of(&self, index: usize) -> Option<String> {
        let sights = self.sights(index)?;
        let own = sights.into_iter().find(|sight| sight.id == self.ids[index])?;
        (own.primary != "-").then_some(own.primary)
    }

    /// Tells whether a node sees all of `others`, and holds none of them for failed.
    fn sees(&self, index: usize, others: &[usize]) -> bool {
        let Some(sights) = self.sights(index) else { return false };
        let is_well = |sight: &Sight| !sight.flags.iter().any(|flag| flag.contains("fail") || flag == "handshake");
        let well: Vec<_> = sights.iter().filter(|sight| is_well(sight)).collect();
        others.iter().all(|&other| well.iter().any(|sight| sight.id == self.ids[other]))
    }

    /// Returns the ranges of slots in their order, each with its owner's id.
    fn owners_seen_by(&self, index: usize) -> Option<Vec<(RangeInclusive<u16>, String)>> {
        let sights = self.sights(index)?;
        let each =
            sights.into_iter().flat_map(|sight| sight.slots.into_iter().map(move |slots| (slots, sight.id.clone())));
        let mut owners: Vec<_> = each.collect();
        owners.sort_by_key(|(slots, _)| *slots.start());
        Some(owners)
    }

    fn slots_of(&self, primary: usize) -> Vec<u16> {
        let owners = self.owners_seen_by(primary).unwrap();
        owners.into_iter().filter(|(_, id)| *id == self.ids[primary]).flat_map(|(slots, _)| slots).collect()
    }

    fn begin_moves(&self, slots: &[u16], from: usize, to: usize) {
        self.set_slots(to, slots, "IMPORTING", from).unwrap();
        self.set_slots(from, slots, "MIGRATING", to).unwrap();
    }

    fn finish_moves(&self, slots: &[u16], from: usize, to: usize) {
        // The new owner first: were it the old one, neither would have the slot in between.
        let others = self.primaries().into_iter().filter(|&other| other != to && other != from);
        for node in [to, from].into_iter().chain(others) {
            let told = self.set_slots(node, slots, "NODE", to);
            // One that loses its last slot becomes a replica of the new owner, perhaps before it is told.
            assert!(told.is_ok() || !self.nodes[node].is_primary(), "{told:?}");
        }
        self.agreed();
    }

    /// Tells `node` the same of many slots.
    fn set_slots(&self, node: usize, slots: &[u16], state: &str, subject: usize) -> redis::RedisResult<()> {
        let mut all = redis::pipe();
        for slot in slots {
            all.add_command(command(&["CLUSTER", "SETSLOT", &slot.to_string(), state, &self.ids[subject]]));
        }
        all.exec(&mut self.nodes[node].connect())
    }
}

impl Sight {
    /// Parses a line of `CLUSTER NODES`: id, address, flags, primary, two times, epoch, link and slots.
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let range = |word: &&str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        Self {
            id: words[0].to_owned(),
            flags: words[2].split(',').map(str::to_owned).collect(),
            primary: words[3].to_owned(),
            epoch: words[6].parse().unwrap(),
            // Slots on the move, which are in brackets as well, are no range.
            slots: words[8..].iter().filter_map(range).collect(),
        }
    }
}

/// Where a node will be, and what the others call it.
struct Place {
    port: u16,
    bus: u16,
    id: String,
    proxy: Option<Proxy>,
}

impl Place {
    fn choose(distance: Option<Distance>) -> Self {
        let (port, bus) = (free_port(), free_port());
        // Unlike any other's, those of tests that run at the same time as well.
        let id = format!("{:020x}{port:020x}", std::process::id());
        Self { port, bus, id, proxy: distance.map(|distance| Proxy::at(distance, port)) }
    }

    fn public_port(&self) -> u16 {
        self.proxy.as_ref().map_or(self.port, Proxy::port)
    }

    /// Its id and address, as they stand in `nodes.conf`.
    fn name(&self) -> String {
        format!("{} 127.0.0.1:{}@{}", self.id, self.public_port(), self.bus)
    }
}
