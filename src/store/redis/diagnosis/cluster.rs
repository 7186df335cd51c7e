//! The nodes' views of their Cluster.

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError};

use super::probe::{Probe, Unanswered, ask};
use crate::store::redis::address::Address;
use crate::store::redis::queries;
use crate::store::redis::settings::RedisSettings;
use crate::store::redis::slots::SlotMap;

/// One node's view.
#[derive(Debug)]
pub struct ClusterView {
    /// Whether it considers the Cluster to be up; `None` if this user may not ask.
    pub is_up: Option<bool>,
    /// Whether it gives every slot to the same owner as the newest view.
    pub agrees: bool,
    epoch: u64,
    pub(super) slots: SlotMap,
    /// Every replica that it knows.
    pub(super) replicas: Vec<Address>,
}

pub(super) async fn probe_all(settings: &RedisSettings, addresses: &[Address]) -> Vec<Probe<ClusterView>> {
    join_all(addresses.iter().map(|address| ask(settings, address, async |connection| view(connection, address).await)))
        .await
}

async fn view(mut connection: MultiplexedConnection, address: &Address) -> Result<ClusterView, Unanswered> {
    let state = queries::cluster_state(&connection, address).await.map_err(refusal_of)?;
    let mut replicas = state.slots.replicas.clone();
    replicas.extend(queries::unlisted_replicas(&mut connection, &state.slots.replicas).await);
    let queries::ClusterState { is_up, slots } = state;
    Ok(ClusterView { is_up, agrees: true, epoch: slots.epoch, slots, replicas })
}

fn refusal_of(error: RedisError) -> Unanswered {
    match error.kind() {
        // The node replied, but without slots.
        ErrorKind::UnexpectedReturnType | ErrorKind::InvalidClientConfig => Unanswered::Refused(error.to_string()),
        _ => error.into(),
    }
}

/// Returns the newest view of a node that reaches the others; if there is none, the newest of all.
pub(super) fn newest(nodes: &[Probe<ClusterView>]) -> Option<&ClusterView> {
    let views = nodes.iter().filter_map(|probe| probe.answer.as_ref().ok());
    views.rev().max_by_key(|view| (view.is_up != Some(false), view.epoch))
}

/// Returns the slots that no node serves. A slot is also unserved if its owner has released it and the other nodes do
/// not know yet. A node that does not answer is assumed to serve the slots that the others assign to it.
pub(super) fn unserved_slots(slots: &SlotMap, nodes: &[Probe<ClusterView>]) -> Vec<(u16, u16)> {
    let own_view = |primary: &Address| {
        let probe = nodes.iter().find(|probe| probe.address == primary.to_string());
        probe.and_then(|probe| probe.answer.as_ref().ok()).map(|view| &view.slots)
    };
    let views: Vec<_> = slots.primaries().into_iter().map(|primary| (primary, own_view(primary))).collect();
    slots.unserved_runs(|slot, owner| {
        views.iter().any(|(node, view)| view.is_some_and(|view| view.owner(slot) == Some(*node)))
            || views.iter().any(|(node, view)| owner == Some(*node) && view.is_none())
    })
}
