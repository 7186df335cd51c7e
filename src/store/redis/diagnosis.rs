//! What can be learnt about a Redis installation from outside, for `scangate doctor`: what its Sentinels or the nodes of its
//! Cluster say of it, and what each node that keeps tickets says of itself.
//!
//! It judges nothing and changes nothing but, as a start of the gateway would, missing notification flags of primaries.
//! Nodes are asked at the same time, and each has [`RedisSettings::timeout`] to let itself be connected to, and again to answer:
//! how long it takes does not depend on how many are gone.

mod cluster;
mod node;
mod probe;
mod sentinel;

use std::collections::BTreeSet;

use futures_util::future::{join, join3};

pub use cluster::ClusterView;
pub use node::{Facts, Info, Limits, ReplicaLink, RoundTrip};
pub use probe::{Probe, Unanswered};
pub use sentinel::SentinelView;

use super::address::Address;
use super::redis_url::Kind;
use super::settings::RedisSettings;

/// What was learnt.
#[derive(Debug)]
pub struct Diagnosis {
    /// What kind of installation the URL names, and what is said of it.
    pub installation: Installation,
    /// What each primary says of itself; none if nobody tells where they are.
    pub primaries: Vec<Probe<Facts>>,
    /// What each replica that could take over says of itself.
    pub replicas: Vec<Probe<Facts>>,
}

/// What those say that know where primaries are.
#[derive(Debug)]
pub enum Installation {
    /// One server.
    Standalone,
    /// A primary watched by Sentinels.
    Sentinel {
        /// The primary's name.
        name: String,
        /// What each Sentinel of the URL says.
        sentinels: Vec<Probe<SentinelView>>,
    },
    /// Primaries that share the slots.
    Cluster {
        /// The addresses that the URL names.
        seeds: Vec<String>,
        /// What those, and the nodes that they name, say.
        nodes: Vec<Probe<ClusterView>>,
        /// The first and last of each run of slots that nobody keeps.
        unkept_slots: Vec<(u16, u16)>,
    },
}

/// Asks the installation about itself.
pub async fn diagnose(settings: &RedisSettings) -> Diagnosis {
    match settings.topology.kind() {
        Kind::Standalone => Diagnosis {
            installation: Installation::Standalone,
            primaries: node::ask_all(settings, settings.topology.seeds(), true).await,
            replicas: Vec::new(),
        },
        Kind::Sentinel { name, .. } => diagnose_sentinel(settings, name).await,
        Kind::Cluster => diagnose_cluster(settings).await,
    }
}

async fn diagnose_cluster(settings: &RedisSettings) -> Diagnosis {
    let seeds = settings.topology.seeds();
    let mut nodes = cluster::ask_all(settings, seeds).await;
    let Some((layout, replicas)) = cluster::newest(&nodes).map(|view| (view.layout.clone(), view.replicas.clone()))
    else {
        let seeds = seeds.iter().map(Address::to_string).collect();
        let installation = Installation::Cluster { seeds, nodes, unkept_slots: Vec::new() };
        return Diagnosis { installation, primaries: Vec::new(), replicas: Vec::new() };
    };
    let primaries: Vec<_> = layout.primaries().into_iter().cloned().collect();
    let others = primaries.iter().chain(&replicas).filter(|node| !seeds.contains(node)).cloned();
    let others: Vec<_> = others.collect();
    let (others, primaries, replicas) = join3(
        cluster::ask_all(settings, &others),
        node::ask_all(settings, &primaries, true),
        node::ask_all(settings, &replicas, false),
    )
    .await;
    nodes.extend(others);
    let layout = cluster::newest(&nodes).map_or(layout, |view| view.layout.clone());
    for view in nodes.iter_mut().filter_map(|asked| asked.answer.as_mut().ok()) {
        view.agrees = view.layout.agrees_with(&layout);
    }
    let seeds = seeds.iter().map(Address::to_string).collect();
    let installation = Installation::Cluster { seeds, unkept_slots: cluster::unkept(&layout, &nodes), nodes };
    Diagnosis { installation, primaries, replicas }
}

async fn diagnose_sentinel(settings: &RedisSettings, name: &str) -> Diagnosis {
    let seeds = settings.topology.seeds();
    let sentinels = sentinel::ask_all(settings, seeds, name).await;
    let views: Vec<_> = sentinels.iter().filter_map(|asked| asked.answer.as_ref().ok()).collect();
    // Of equals the first, as the gateway takes it.
    let primary = views.iter().rev().max_by_key(|view| view.epoch).map(|view| view.address.clone());
    let named = views.iter().flat_map(|view| view.replicas.iter().cloned());
    let replicas: BTreeSet<_> = named.filter(|replica| Some(replica) != primary.as_ref()).collect();
    let (primaries, replicas) = join(
        node::ask_all(settings, primary.as_slice(), true),
        node::ask_all(settings, &replicas.into_iter().collect::<Vec<_>>(), false),
    )
    .await;
    Diagnosis { installation: Installation::Sentinel { name: name.to_owned(), sentinels }, primaries, replicas }
}
