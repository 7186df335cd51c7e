//! Redis with Sentinel: a primary, two replicas and three sentinels, two of which decide.
//!
//! They are started as if they had known each other for long, so that a failover works at once. An old primary that
//! comes back is a primary again until the sentinels demote it, here after two seconds instead of eight.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::access::Access;
use super::proxy::{Distance, Proxy};
use super::redis::Setup;
use super::{Redis, SOON, free_port, until};

/// What the sentinels call the primary.
pub const NAME: &str = "gate";

/// Three Redis servers and three sentinels.
pub struct Sentinels {
    nodes: Vec<Redis>,
    sentinels: Vec<Redis>,
    access: Access,
    password: Option<String>,
}

/// How to start them.
#[derive(Default)]
pub struct Options<'a> {
    /// How the servers with the data are guarded. The sentinels speak TLS if these do.
    pub access: Access,
    /// What the sentinels themselves ask for.
    pub sentinel_password: Option<&'a str>,
    /// Further options of the servers with the data, such as `["--appendonly", "yes"]`.
    pub redis: &'a [&'a str],
    /// How far away all of them are from gateways, and the servers with the data from each other and from the sentinels.
    pub distance: Option<Distance>,
}

type Fields = HashMap<String, String>;

impl Sentinels {
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// Starts them; returns when all know each other and both replicas are online.
    pub fn with(options: Options) -> Self {
        let place = |_| {
            let port = free_port();
            let proxy = options.distance.map(|distance| Proxy::at(distance, port));
            (port, proxy.as_ref().map_or(port, Proxy::port), proxy)
        };
        let places = [0, 1, 2].map(place);
        let public_ports = [places[0].1, places[1].1, places[2].1];
        let mut nodes = Vec::new();
        for (port, public_port, proxy) in places {
            let replica = format!("replicaof 127.0.0.1 {}\n", public_ports[0]);
            let role = if nodes.is_empty() { "" } else { &replica };
            let announced = format!("replica-announce-ip 127.0.0.1\nreplica-announce-port {public_port}\n");
            nodes.push(Redis::launch(Setup {
                port,
                access: options.access.clone(),
                configuration: format!("{announced}repl-diskless-sync-delay 0\n{role}"),
                file: None,
                options: options.redis.iter().map(|&option| option.to_owned()).collect(),
                proxy,
            }));
            // The primary before its replicas: one that does not reach it at once tries again a second later.
            if nodes.len() == 1 {
                nodes[0].wait();
            }
        }
        until(SOON, "replication", || (nodes[0].replicas_online() == 2).then_some(()));
        let sentinels = launch_sentinels(&public_ports, &options);
        let this =
            Self { nodes, sentinels, access: options.access, password: options.sentinel_password.map(str::to_owned) };
        this.wait();
        this
    }

    /// The URL by which a gateway finds the primary.
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.public_port())).collect();
        let query = self.password.as_ref().map(|password| format!("?sentinel_password={password}"));
        let (scheme, user_info) = (self.access.scheme("-sentinel"), self.access.user_info());
        format!("{scheme}://{user_info}{}/{NAME}{}", hosts.join(","), query.unwrap_or_default())
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

    pub fn sentinel(&self, index: usize) -> &Redis {
        &self.sentinels[index]
    }

    pub fn sentinel_mut(&mut self, index: usize) -> &mut Redis {
        &mut self.sentinels[index]
    }

    /// Returns the index of the node that most sentinels name.
    pub fn primary(&self) -> usize {
        until(SOON, "a majority of sentinels", || {
            let named = self.named();
            (0..self.nodes.len()).find(|index| named.iter().filter(|&name| name == index).count() >= 2)
        })
    }

    /// Has the sentinels make another node the primary while this one lives; returns which, once they agree.
    pub fn failover(&self) -> usize {
        let old = self.primary();
        // Refused while the last failover is not over yet, or a replica not known to be good.
        until(SOON * 2, "a failover's start", || {
            let mut sentinels = self.sentinels.iter().filter(|sentinel| sentinel.is_up());
            sentinels.find_map(|sentinel| sentinel.try_run::<()>(&["SENTINEL", "FAILOVER", NAME]).ok())
        });
        self.wait_for_new_primary(old)
    }

    /// Waits until all sentinels name the same primary, which is not `old` and knows that it is one.
    pub fn wait_for_new_primary(&self, old: usize) -> usize {
        until(SOON * 3, "a new primary", || {
            let named = self.named();
            let up = self.sentinels.iter().filter(|sentinel| sentinel.is_up()).count();
            let new = *named.first()?;
            let agreed = new != old && named.len() == up && named.iter().all(|&name| name == new);
            (agreed && self.nodes[new].is_primary()).then_some(new)
        })
    }

    /// Returns what each sentinel that answers calls the primary.
    fn named(&self) -> Vec<usize> {
        let up = self.sentinels.iter().filter(|sentinel| sentinel.is_up());
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
        up.filter_map(|sentinel| {
            let (_, port): (String, u16) = sentinel.try_run(&words).ok()?;
            self.nodes.iter().position(|node| node.public_port() == port)
        })
        .collect()
    }

    /// Waits until a failover would work.
    fn wait(&self) {
        for sentinel in &self.sentinels {
            sentinel.wait();
            // Quicker than real ones, which ask every 10 s, tell every 2 s, demote after four times that, and try again
            // after 1 s to reach each other.
            let quick = ["INFO-PERIOD", "500", "PUBLISH-PERIOD", "500", "PING-PERIOD", "200"];
            sentinel.run::<()>(&[&["SENTINEL", "DEBUG"][..], &quick].concat());
        }
        until(SOON, "acquaintance of the sentinels", || self.sentinels.iter().all(knows_everyone).then_some(()));
    }
}

fn launch_sentinels(ports: &[u16; 3], options: &Options) -> Vec<Redis> {
    let own = [free_port(), free_port(), free_port()];
    let id = |port: u16| format!("{:020x}{port:020x}", std::process::id());
    let sentinel = |port: u16| {
        let mut lines = format!("sentinel myid {}\nsentinel announce-ip 127.0.0.1\n", id(port));
        writeln!(lines, "sentinel monitor {NAME} 127.0.0.1 {} 2", ports[0]).unwrap();
        writeln!(lines, "sentinel down-after-milliseconds {NAME} 800").unwrap();
        writeln!(lines, "sentinel failover-timeout {NAME} 3000").unwrap();
        writeln!(lines, "sentinel parallel-syncs {NAME} 2").unwrap();
        lines += &options.access.sentinel_configuration(NAME);
        for replica in &ports[1..] {
            writeln!(lines, "sentinel known-replica {NAME} 127.0.0.1 {replica}").unwrap();
        }
        for other in own.iter().copied().filter(|&other| other != port) {
            writeln!(lines, "sentinel known-sentinel {NAME} 127.0.0.1 {other} {}", id(other)).unwrap();
        }
        Redis::launch(Setup {
            port,
            access: options.access.with_only(options.sentinel_password),
            configuration: lines,
            file: None,
            options: vec!["--sentinel".to_owned()],
            proxy: options.distance.map(|distance| Proxy::at(distance, port)),
        })
    };
    own.map(sentinel).into()
}

/// Tells whether `sentinel` sees the other two, and two replicas that are in step.
fn knows_everyone(sentinel: &Redis) -> bool {
    let ask = |what: &str| sentinel.try_run::<Vec<Fields>>(&["SENTINEL", what, NAME]).unwrap_or_default();
    let (primaries, replicas, others) = (
        sentinel.try_run::<Vec<Fields>>(&["SENTINEL", "MASTERS"]).unwrap_or_default(),
        ask("REPLICAS"),
        ask("SENTINELS"),
    );
    let in_step = |replica: &Fields| replica["flags"] == "slave" && replica["master-link-status"] == "ok";
    primaries.len() == 1
        && primaries[0]["flags"] == "master"
        && replicas.len() == 2
        && replicas.iter().all(in_step)
        && others.len() == 2
        && others.iter().all(|other| other["flags"] == "sentinel")
}
