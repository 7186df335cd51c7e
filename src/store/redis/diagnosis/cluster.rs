//! What the nodes of a Cluster say of it.

use futures_util::future::join_all;
use redis::Value;
use redis::aio::MultiplexedConnection;

use super::probe::{Probe, Unanswered, ask, lines};
use crate::store::redis::address::Address;
use crate::store::redis::settings::RedisSettings;
use crate::store::redis::slots::SlotMap;

/// What one node says.
#[derive(Debug)]
pub struct ClusterView {
    /// Whether it holds the Cluster to be well; not known where it may not be asked.
    pub is_well: Option<bool>,
    /// Whether it says of every slot that the same node keeps it as the newest answer does.
    pub agrees: bool,
    epoch: u64,
    pub(super) layout: SlotMap,
    /// Every replica that it knows of.
    pub(super) replicas: Vec<Address>,
}

/// Returns the view that counts: that of a node which is in touch with the others, and of several the newest.
pub(super) fn newest(nodes: &[Probe<ClusterView>]) -> Option<&ClusterView> {
    let views = nodes.iter().filter_map(|asked| asked.answer.as_ref().ok());
    views.rev().max_by_key(|view| (view.is_well != Some(false), view.epoch))
}

/// Returns the slots that nobody keeps: those are, too, of which others have not heard yet that their node gave them up. Of
/// a node that does not answer it is believed that it keeps what it is said to.
pub(super) fn unkept(layout: &SlotMap, nodes: &[Probe<ClusterView>]) -> Vec<(u16, u16)> {
    let own = |primary: &Address| {
        let asked = nodes.iter().find(|asked| asked.address == primary.to_string());
        asked.and_then(|asked| asked.answer.as_ref().ok()).map(|view| &view.layout)
    };
    let views: Vec<_> = layout.primaries().into_iter().map(|primary| (primary, own(primary))).collect();
    layout.runs_unkept(|slot, owner| {
        views.iter().any(|(node, view)| view.is_some_and(|view| view.is_kept_by(slot, node)))
            || views.iter().any(|(node, view)| owner == Some(*node) && view.is_none())
    })
}

pub(super) async fn ask_all(settings: &RedisSettings, addresses: &[Address]) -> Vec<Probe<ClusterView>> {
    join_all(addresses.iter().map(|address| ask(settings, address, async |connection| view(connection, address).await)))
        .await
}

async fn view(mut connection: MultiplexedConnection, address: &Address) -> Result<ClusterView, Unanswered> {
    let slots: Value = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
    let info = redis::cmd("CLUSTER").arg("INFO").query_async::<String>(&mut connection).await.unwrap_or_default();
    let info = lines(&info);
    let epoch = info.get("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    let layout = SlotMap::from_slots(&slots, epoch, address).map_err(|error| Unanswered::Refused(error.to_string()))?;
    // Those that have failed are not among the slots, nor those that have never been sent anything.
    let nodes = redis::cmd("CLUSTER").arg("NODES").query_async::<String>(&mut connection).await.unwrap_or_default();
    let mut replicas = layout.replicas.clone();
    replicas.extend(unlisted_replicas(&nodes, &layout.replicas));
    let is_well = info.get("cluster_state").map(|&state| state == "ok");
    Ok(ClusterView { is_well, agrees: true, epoch, layout, replicas })
}

/// Reads, from lines such as `ID 127.0.0.1:7003@17003,HOSTNAME slave …`, the replicas that are not among `listed`.
fn unlisted_replicas(nodes: &str, listed: &[Address]) -> Vec<Address> {
    let replica = |line: &str| {
        let [_, place, flags, ..] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        let is_replica = flags.split(',').any(|flag| flag == "slave") && !flags.contains("noaddr");
        let (address, bus) = place.split_once('@')?;
        let address = Address::parse(address).filter(|_| is_replica)?;
        // It may be listed by its name.
        let name = bus.split(',').nth(1).unwrap_or_default();
        let is_listed = |listed: &Address| *listed == address || *listed == address.renamed(name);
        (!listed.iter().any(is_listed)).then_some(address)
    };
    nodes.lines().filter_map(replica).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_are_listed_nowhere_else_are_found() {
        let nodes = "a 10.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-16383\n\
                     b 10.0.0.2:7002@17002 slave,fail a 0 0 1 disconnected\n\
                     c 10.0.0.3:7003@17003,three slave a 0 0 1 connected\n\
                     d :0@0 slave,noaddr a 0 0 1 disconnected\n\
                     e 10.0.0.5:7005@17005 slave a 0 0 1 connected\n";
        let listed = [Address::new("three", 7003), Address::new("10.0.0.5", 7005)];
        assert_eq!(unlisted_replicas(nodes, &listed), [Address::new("10.0.0.2", 7002)]);
    }
}
