//! Which engine keeps the tickets.

use super::flags::Flags;
use crate::callers::Tier;
use crate::secret::direct_or_file;
use crate::store::redis::{RedisSettings, Topology};

/// Which engine keeps the tickets.
#[derive(Debug, Clone)]
pub enum StoreSettings {
    /// The in-process engine.
    Memory {
        /// Its bound.
        max_tickets: usize,
    },
    /// Redis.
    Redis(RedisSettings),
}

/// Of a memory store that is smaller than the default one, one network may fill this part …
const NETWORK_SHARE: usize = 8;
/// … but each address may have this many tickets, however small the store is.
const MIN_TICKETS_PER_ADDRESS: usize = 50;

impl StoreSettings {
    /// Returns how many tickets one address may have waiting: `wanted`, or less where its network could fill too much of the
    /// memory store.
    pub(super) fn share(&self, wanted: usize) -> usize {
        match self {
            Self::Memory { max_tickets } => {
                let share = max_tickets / NETWORK_SHARE / Tier::Network.factor() as usize;
                wanted.min(share.max(MIN_TICKETS_PER_ADDRESS))
            }
            Self::Redis(_) => wanted,
        }
    }
}

pub(super) fn store(flags: &Flags) -> Result<StoreSettings, String> {
    let Some(url) = direct_or_file(
        ("--redis-url", "--redis-url-file"),
        flags.redis_url.as_deref(),
        flags.redis_url_file.as_deref(),
    )?
    else {
        return Ok(StoreSettings::Memory { max_tickets: flags.memory_max_tickets });
    };
    let mut topology = Topology::parse(&url).map_err(|error| format!("--redis-url: {error}"))?;
    if let Some(path) = &flags.redis_ca_file {
        let fault = |error: &dyn std::fmt::Display| format!("--redis-ca-file {}: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| fault(&error))?;
        topology = topology.trusting(&pem).map_err(|error| fault(&error))?;
    }
    // Where another node takes over, it must have what was acknowledged.
    let wait_replicas = flags.redis_wait_replicas.unwrap_or(usize::from(topology.has_replicas()));
    if flags.redis_prefix.contains(['{', '}']) {
        return Err("--redis-prefix must not contain braces: they decide where a Cluster keeps the key".to_owned());
    }
    Ok(StoreSettings::Redis(RedisSettings {
        topology,
        prefix: flags.redis_prefix.clone(),
        connections: flags.redis_pool_size,
        wait_replicas,
        timeout: flags.redis_timeout,
    }))
}
