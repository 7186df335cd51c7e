//! The reply to `INFO`.

use std::collections::HashMap;

use crate::store::redis::address::Address;
use crate::store::redis::queries::parse_fields;

/// The parts of an `INFO` reply that the doctor reads.
#[derive(Debug, Default)]
pub struct Info {
    /// The server's version, such as `7.0.15`.
    pub version: Option<String>,
    /// `standalone` or `cluster`.
    pub mode: Option<String>,
    /// The address of its primary, if it is a replica.
    pub replica_of: Option<String>,
    /// Whether its link to the primary is up, if it is a replica.
    pub is_linked: bool,
    /// The connected replicas.
    pub replicas: Vec<ReplicaLink>,
    /// The memory limit in bytes; 0 means none.
    pub maxmemory_bytes: Option<u64>,
    /// The memory that counts towards the limit, in bytes.
    pub used_bytes: u64,
    /// Its policy when its memory is full (`maxmemory-policy`).
    pub eviction_policy: Option<String>,
    /// Whether it writes an append-only file.
    pub has_aof: Option<bool>,
    /// Whether the last attempt to write to disk failed.
    pub is_disk_failing: bool,
}

/// A replica, as its primary sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct ReplicaLink {
    /// Its address.
    pub address: String,
    /// Whether it follows the primary's writes; false while it still receives the full data set.
    pub is_online: bool,
    /// The time since its last acknowledgement, in seconds.
    pub lag_secs: u64,
    /// The amount of data that it has not acknowledged, in bytes.
    pub behind_bytes: u64,
}

impl Info {
    pub(super) fn parse(text: &str) -> Self {
        let values = parse_fields(text);
        let value = |name: &str| values.get(name).map(|&value| value.to_owned());
        let number = |name: &str| values.get(name).and_then(|value| value.parse::<u64>().ok());
        let is_failed = |name: &str| values.get(name).is_some_and(|&value| value == "err");
        let offset = number("master_repl_offset").unwrap_or(0);
        let replica = |index: usize| ReplicaLink::parse(values.get(&*format!("slave{index}"))?, offset);
        let primary = || Some(format!("{}:{}", value("master_host")?, value("master_port")?));
        Self {
            version: value("redis_version"),
            mode: value("redis_mode"),
            replica_of: values.get("role").filter(|&&role| role == "slave").and_then(|_| primary()),
            is_linked: values.get("master_link_status").is_some_and(|&status| status == "up"),
            replicas: (0..).map_while(replica).collect(),
            maxmemory_bytes: number("maxmemory"),
            used_bytes: number("used_memory")
                .unwrap_or(0)
                .saturating_sub(number("mem_not_counted_for_evict").unwrap_or(0)),
            eviction_policy: value("maxmemory_policy"),
            has_aof: values.get("aof_enabled").map(|&enabled| enabled == "1"),
            is_disk_failing: is_failed("rdb_last_bgsave_status") || is_failed("aof_last_write_status"),
        }
    }
}

impl ReplicaLink {
    /// Parses `ip=127.0.0.1,port=6380,state=online,offset=14,lag=1`.
    fn parse(text: &str, offset: u64) -> Option<Self> {
        let values: HashMap<_, _> = text.split(',').filter_map(|pair| pair.split_once('=')).collect();
        let number = |name: &str| values.get(name).and_then(|value| value.parse::<u64>().ok());
        Some(Self {
            address: Address::new(values.get("ip")?, u16::try_from(number("port")?).ok()?).to_string(),
            is_online: values.get("state") == Some(&"online"),
            lag_secs: number("lag").unwrap_or(0),
            behind_bytes: offset.saturating_sub(number("offset").unwrap_or(0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_parsed_as_redis_writes_it() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\r\n# Memory\r\nused_memory:900\r\nmaxmemory:1000\r\n\
             maxmemory_policy:noeviction\r\nmem_not_counted_for_evict:100\r\naof_enabled:0\r\nrdb_last_bgsave_status:err\r\n\
             role:master\r\nmaster_repl_offset:100\r\nslave0:ip=::1,port=6380,state=online,offset=14,lag=1\r\n",
        );
        assert_eq!((info.version.as_deref(), info.used_bytes, info.has_aof), (Some("7.0.15"), 800, Some(false)));
        let link = ReplicaLink { address: "[::1]:6380".to_owned(), is_online: true, lag_secs: 1, behind_bytes: 86 };
        assert_eq!((info.replicas, info.is_disk_failing, info.replica_of), (vec![link], true, None));
        let info = Info::parse("role:slave\r\nmaster_host:one\r\nmaster_port:6379\r\nmaster_link_status:down\r\n");
        assert_eq!((info.replica_of.as_deref(), info.is_linked), (Some("one:6379"), false));
    }
}
