//! The findings of `scangate doctor` on a Redis installation: the views that its Sentinels or the nodes of its Cluster
//! have of it, and the view that each node that stores tickets has of itself.
//!
//! The diagnosis only collects facts. It changes nothing, except that it sets missing notification flags of primaries,
//! as the gateway does at startup. It asks all servers concurrently. Each gets [`RedisSettings::timeout`] to connect
//! and as much again to answer, so unreachable servers do not add to the total time.

mod cluster;
mod info;
mod node;
mod probe;
mod sentinel;

use std::collections::BTreeSet;

use futures_util::future::{join, join3};

pub use cluster::ClusterView;
pub use info::{Info, ReplicaLink};
pub use node::{Facts, Limits, RoundTrip, WriteRefusal};
pub use probe::{Probe, Unanswered};
pub use sentinel::SentinelView;

use super::address::Address;
use super::redis_url::InstallationKind;
use super::settings::RedisSettings;

/// The findings.
#[derive(Debug)]
pub struct Diagnosis {
    /// The kind of installation that the URL names, with its servers' views of it.
    pub installation: Installation,
    /// Each primary's view of itself; empty if no server names the primaries.
    pub primaries: Vec<Probe<Facts>>,
    /// Each replica's view of itself.
    pub replicas: Vec<Probe<Facts>>,
}

/// The views of the servers that know the primaries.
#[derive(Debug)]
pub enum Installation {
    /// One server.
    Standalone,
    /// A primary watched by Sentinels.
    Sentinel {
        /// The primary's name.
        name: String,
        /// The view of each Sentinel in the URL.
        sentinels: Vec<Probe<SentinelView>>,
    },
    /// Primaries that share the slots.
    Cluster {
        /// The addresses in the URL.
        seeds: Vec<String>,
        /// The views of the nodes at these addresses, and of the nodes that they name.
        nodes: Vec<Probe<ClusterView>>,
        /// The first and the last slot of each run of slots that no node serves.
        unserved_slots: Vec<(u16, u16)>,
    },
}

/// Asks the installation about itself.
pub async fn diagnose(settings: &RedisSettings) -> Diagnosis {
    match settings.topology.kind() {
        InstallationKind::Standalone => Diagnosis {
            installation: Installation::Standalone,
            primaries: node::probe_all(settings, settings.topology.seeds(), true).await,
            replicas: Vec::new(),
        },
        InstallationKind::Sentinel { name, .. } => diagnose_sentinel(settings, name).await,
        InstallationKind::Cluster => diagnose_cluster(settings).await,
    }
}

async fn diagnose_sentinel(settings: &RedisSettings, name: &str) -> Diagnosis {
    let seeds = settings.topology.seeds();
    let sentinels = sentinel::probe_all(settings, seeds, name).await;
    let views: Vec<_> = sentinels.iter().filter_map(|probe| probe.answer.as_ref().ok()).collect();
    // Of several views with the same epoch, the first one is used, as in the gateway.
    let primary = views.iter().rev().max_by_key(|view| view.epoch).map(|view| view.address.clone());
    let named = views.iter().flat_map(|view| view.replicas.iter().cloned());
    let replicas: BTreeSet<_> = named.filter(|replica| Some(replica) != primary.as_ref()).collect();
    let (primaries, replicas) = join(
        node::probe_all(settings, primary.as_slice(), true),
        node::probe_all(settings, &replicas.into_iter().collect::<Vec<_>>(), false),
    )
    .await;
    Diagnosis { installation: Installation::Sentinel { name: name.to_owned(), sentinels }, primaries, replicas }
}

async fn diagnose_cluster(settings: &RedisSettings) -> Diagnosis {
    let seeds = settings.topology.seeds();
    let mut nodes = cluster::probe_all(settings, seeds).await;
    let Some((slots, replicas)) = cluster::newest(&nodes).map(|view| (view.slots.clone(), view.replicas.clone()))
    else {
        let seeds = seeds.iter().map(Address::to_string).collect();
        let installation = Installation::Cluster { seeds, nodes, unserved_slots: Vec::new() };
        return Diagnosis { installation, primaries: Vec::new(), replicas: Vec::new() };
    };
    let primaries: Vec<_> = slots.primaries().into_iter().cloned().collect();
    let others = primaries.iter().chain(&replicas).filter(|node| !seeds.contains(node)).cloned();
    let others: Vec<_> = others.collect();
    let (others, primaries, replicas) = join3(
        cluster::probe_all(settings, &others),
        node::probe_all(settings, &primaries, true),
        node::probe_all(settings, &replicas, false),
    )
    .await;
    nodes.extend(others);
    let slots = cluster::newest(&nodes).map_or(slots, |view| view.slots.clone());
    for view in nodes.iter_mut().filter_map(|probe| probe.answer.as_mut().ok()) {
        view.agrees = view.slots.has_same_owners(&slots);
    }
    let seeds = seeds.iter().map(Address::to_string).collect();
    let installation = Installation::Cluster { seeds, unserved_slots: cluster::unserved_slots(&slots, &nodes), nodes };
    Diagnosis { installation, primaries, replicas }
}
