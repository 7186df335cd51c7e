//! The Sentinels' views of the primary that they watch.

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;

use super::probe::{Probe, Unanswered, ask};
use crate::store::redis::address::Address;
use crate::store::redis::queries;
use crate::store::redis::settings::RedisSettings;

/// One Sentinel's view of the primary.
#[derive(Debug)]
pub struct SentinelView {
    /// The primary's address.
    pub primary: String,
    /// The number of the failover that made it the primary. If two Sentinels disagree, the higher number is right.
    pub epoch: u64,
    /// Whether this Sentinel considers the primary to be down.
    pub is_down: bool,
    /// How many Sentinels watch this primary, including this one.
    pub sentinels: usize,
    /// How many Sentinels must agree that it is down.
    pub quorum: Option<usize>,
    /// Whether enough Sentinels are reachable for a failover; the Sentinel's reason if not.
    pub can_fail_over: Result<(), Unanswered>,
    pub(super) address: Address,
    pub(super) replicas: Vec<Address>,
}

impl SentinelView {
    /// Returns the reason why the Sentinel cannot start a failover.
    #[must_use]
    pub fn failover_obstacle(&self) -> Option<&str> {
        match &self.can_fail_over {
            Err(Unanswered::Refused(reason)) => Some(reason),
            // This user may not ask, or an old Sentinel does not know the command.
            _ => None,
        }
    }
}

pub(super) async fn probe_all(settings: &RedisSettings, sentinels: &[Address], name: &str) -> Vec<Probe<SentinelView>> {
    let probes = sentinels.iter().map(|one| ask(settings, one, async |connection| view(connection, name).await));
    join_all(probes).await
}

async fn view(mut connection: MultiplexedConnection, name: &str) -> Result<SentinelView, Unanswered> {
    let Some(watched) = queries::watched_primary(&mut connection, name).await? else {
        return Err(Unanswered::UnknownName(queries::watched_names(&mut connection).await));
    };
    // Until the last replica follows the new primary, the Sentinel watches the old one and names the new one.
    let address = queries::primary_address(&mut connection, name).await.or_else(|| watched.address());
    let address =
        address.ok_or_else(|| Unanswered::Refused("it does not name the address of the primary".to_owned()))?;
    let can_fail_over = queries::check_quorum(&mut connection, name).await.map_err(Unanswered::from);
    // If the Sentinel does not list the replicas, the diagnosis omits them; that is not a fault.
    let replicas = queries::sentinel_replicas(&mut connection, name).await;
    Ok(SentinelView {
        primary: address.to_string(),
        epoch: watched.epoch(),
        is_down: watched.is_down(),
        sentinels: 1 + watched.other_sentinels().unwrap_or(0),
        quorum: watched.quorum(),
        can_fail_over,
        address,
        replicas,
    })
}
