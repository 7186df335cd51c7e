//! The store's settings: the engine that keeps the tickets, and its bounds.

use super::flags::Flags;
use crate::callers::Tier;
use crate::secret::direct_or_file;
use crate::store::redis::{RedisSettings, Topology};

/// The engine that keeps the tickets.
#[derive(Debug, Clone)]
pub enum StoreSettings {
    /// The in-process engine.
    Memory {
        /// The maximum number of tickets.
        max_tickets: usize,
    },
    /// Redis.
    Redis(RedisSettings),
}

/// One network may fill an eighth of a memory store that is smaller than the default.
const NETWORK_DIVISOR: usize = 8;
/// Each address may have at least this many tickets, even if the store is small.
const MIN_TICKETS_PER_ADDRESS: usize = 50;

impl StoreSettings {
    /// Returns how many tickets of one address may wait to be scanned: `wanted`, or fewer if its network could otherwise fill
    /// too much of the memory store.
    pub(super) fn tickets_per_address(&self, wanted: usize) -> usize {
        match self {
            Self::Memory { max_tickets } => {
                let share = max_tickets / NETWORK_DIVISOR / Tier::Network.factor() as usize;
                wanted.min(share.max(MIN_TICKETS_PER_ADDRESS))
            }
            Self::Redis(_) => wanted,
        }
    }
}

/// Reads the store's flags.
///
/// # Errors
/// The fault of the first faulty flag.
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
    // A replica that takes over must have all changes that the primary acknowledged.
    let wait_replicas = flags.redis_wait_replicas.unwrap_or(usize::from(topology.has_replicas()));
    if flags.redis_prefix.contains(['{', '}']) {
        return Err("--redis-prefix must not contain braces: they select the slot of a key in a Cluster".to_owned());
    }
    Ok(StoreSettings::Redis(RedisSettings {
        topology,
        prefix: flags.redis_prefix.clone(),
        connections: flags.redis_pool_size,
        wait_replicas,
        timeout: flags.redis_timeout,
    }))
}
