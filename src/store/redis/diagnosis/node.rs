//! What a node that keeps tickets says of itself.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};

use super::probe::{Probe, Unanswered, in_time, lines};
use crate::store::redis::address::Address;
use crate::store::redis::endpoint::Endpoint;
use crate::store::redis::error::FlagsError;
use crate::store::redis::redis_url::Kind;
use crate::store::redis::settings::RedisSettings;
use crate::store::redis::{notify_flags, trial};

/// How often a node is asked for an answer that costs it nothing, to measure how far away it is.
const PINGS: usize = 9;

/// What a node told.
#[derive(Debug)]
pub struct Facts {
    /// How long answers took.
    pub round_trip: RoundTrip,
    /// How far its clock is from this machine's, either way.
    pub clock_difference: Duration,
    /// What `INFO` says, if it may be asked.
    pub info: Option<Info>,
    /// What `CONFIG GET` says, if it may be asked.
    pub limits: Option<Limits>,
    /// Whether it takes changes from this user.
    pub write: Result<(), WriteRefusal>,
    /// The notification flags as they were found, if they may be read.
    pub flags_before: Option<String>,
    /// Whether changes will be reported, and this user may hear of them; `None` where nothing was done about it, as the node takes none.
    pub flags: Option<Result<(), FlagsError>>,
    /// How many replicas are connected, if it tells.
    pub replicas_connected: Option<usize>,
    /// Whether this user may have it wait for replicas.
    pub waits: Result<(), Unanswered>,
}

/// How far away a node is: from a question to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    /// The fastest answer, which waited for nothing: the way alone.
    pub least: Duration,
    /// What half of the answers took at most.
    pub median: Duration,
}

/// Why a node takes no change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteRefusal {
    /// The first word of the answer, such as `READONLY`.
    pub code: String,
    /// All of it.
    pub text: String,
}

/// What `INFO` says.
#[derive(Debug, Default)]
pub struct Info {
    /// The server's version, such as `7.0.15`.
    pub version: Option<String>,
    /// `standalone` or `cluster`.
    pub mode: Option<String>,
    /// Where its primary is, if it is a replica.
    pub replica_of: Option<String>,
    /// Whether it is in touch with its primary, if it is a replica.
    pub is_linked: bool,
    /// The replicas that are connected.
    pub replicas: Vec<ReplicaLink>,
    /// The memory that it may use, in bytes; 0 is without bound.
    pub maxmemory_bytes: Option<u64>,
    /// The memory that counts towards that bound, in bytes.
    pub used_bytes: u64,
    /// What it does when its memory is full.
    pub eviction_policy: Option<String>,
    /// Whether it writes an append-only file.
    pub has_aof: Option<bool>,
    /// Whether the last attempt to write to the disk failed.
    pub is_disk_failing: bool,
}

/// A replica, as its primary sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct ReplicaLink {
    /// Where.
    pub address: String,
    /// Whether it is in step, and not still being sent the whole.
    pub is_online: bool,
    /// How long it has acknowledged nothing, in seconds.
    pub lag_secs: u64,
    /// How much it has not acknowledged, in bytes.
    pub behind_bytes: u64,
}

/// What `CONFIG GET` says.
#[derive(Debug)]
pub struct Limits {
    /// How much may wait for a subscriber before its connection is closed, in bytes; 0 is without bound.
    pub pubsub_buffer_bytes: Option<u64>,
    /// How many replicas it has to have to take changes.
    pub min_replicas_to_write: Option<usize>,
}

pub(super) async fn ask_all(settings: &RedisSettings, nodes: &[Address], is_primary: bool) -> Vec<Probe<Facts>> {
    let asked = nodes.iter().map(async |address| {
        let answer = ask(settings, address, is_primary).await;
        Probe { address: address.to_string(), answer }
    });
    join_all(asked).await
}

async fn ask(settings: &RedisSettings, address: &Address, is_primary: bool) -> Result<Facts, Unanswered> {
    let endpoint = Endpoint::new(settings, address, 1)?;
    let mut facts = facts(&endpoint, settings.topology.kind()).await?;
    if is_primary && !facts.is_replica() {
        let reports = async {
            trial::may_work(&endpoint, false).await?;
            notify_flags::ensure(&endpoint).await
        };
        facts.flags = Some(reports.await);
    }
    Ok(facts)
}

async fn facts(endpoint: &Endpoint, kind: &Kind) -> Result<Facts, Unanswered> {
    // Connecting has a bound of its own, and takes as long as several questions.
    let connection = endpoint.connect().await?;
    let round_trip = in_time(endpoint.timeout, round_trip((*connection).clone(), endpoint.timeout / 2)).await?;
    // All at once: one after the other they would take as many round trips.
    let answers = async {
        Ok::<_, Unanswered>(tokio::join!(
            info((*connection).clone()),
            clock_difference((*connection).clone()),
            write((*connection).clone(), endpoint, kind),
            role((*connection).clone()),
            limits((*connection).clone()),
            async { notify_flags::read(&mut (*connection).clone()).await.ok().flatten() },
        ))
    };
    let (info, clock_difference, write, (role, wait), limits, flags_before) =
        in_time(endpoint.timeout, answers).await?;
    let info = info.map(|text| Info::read(&text));
    if info.as_ref().is_some_and(|info| info.mode.as_deref() == Some("sentinel")) {
        return Err(Unanswered::OtherKind("it is a Sentinel".to_owned()));
    }
    let replicas_connected = match (&role, &info) {
        (Ok(role), _) => role.get(2).map(|replicas| if let Value::Array(all) = replicas { all.len() } else { 0 }),
        (Err(_), info) => info.as_ref().map(|info| info.replicas.iter().filter(|replica| replica.is_online).count()),
    };
    Ok(Facts {
        round_trip,
        clock_difference: clock_difference?,
        info,
        limits,
        write: write?,
        flags_before,
        flags: None,
        replicas_connected,
        waits: role.map(drop).and(wait).map_err(Unanswered::from),
    })
}

/// Measures, for no longer than `time` unless an answer takes longer.
async fn round_trip(mut connection: MultiplexedConnection, time: Duration) -> Result<RoundTrip, Unanswered> {
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < PINGS && (times.is_empty() || started.elapsed() < time) {
        let asked = Instant::now();
        match redis::cmd("PING").query_async::<Value>(&mut connection).await {
            // A refusal is an answer, too.
            Err(error) if error.code().is_none() => return Err(error.into()),
            _ => times.push(asked.elapsed()),
        }
    }
    times.sort_unstable();
    Ok(RoundTrip { least: times[0], median: times[times.len() / 2] })
}

async fn info(mut connection: MultiplexedConnection) -> Option<String> {
    redis::cmd("INFO").query_async(&mut connection).await.ok()
}

async fn clock_difference(mut connection: MultiplexedConnection) -> Result<Duration, Unanswered> {
    let (asked, here) = (Instant::now(), SystemTime::now());
    let (seconds, micros): (u64, u32) = redis::cmd("TIME").query_async(&mut connection).await?;
    // It has told its time half-way between the question and the answer.
    let here = (here + asked.elapsed() / 2).duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(here.abs_diff(Duration::new(seconds, micros * 1000)))
}

async fn write(
    mut connection: MultiplexedConnection,
    endpoint: &Endpoint,
    kind: &Kind,
) -> Result<Result<(), WriteRefusal>, Unanswered> {
    // A key that is never there, so nothing is written; but whether it might be is answered.
    let mut write = redis::cmd("PEXPIREAT");
    write.arg(format!("{}{{check}}", endpoint.keys.prefix)).arg(1);
    match write.query_async::<()>(&mut connection).await {
        // Some other node of the Cluster keeps that key.
        Err(error) if matches!(kind, Kind::Cluster) && error.redirect_node().is_some() => Ok(Ok(())),
        Err(error) => Ok(Err(WriteRefusal::from(&error))),
        Ok(()) => Ok(Ok(())),
    }
}

/// Returns what it says of its role, and whether it may be made to wait for replicas.
async fn role(connection: MultiplexedConnection) -> (Result<Vec<Value>, RedisError>, Result<(), RedisError>) {
    let (mut one, mut other) = (connection.clone(), connection);
    let mut wait = redis::cmd("WAIT");
    wait.arg(0).arg(1);
    let role = redis::cmd("ROLE");
    tokio::join!(role.query_async(&mut one), wait.query_async(&mut other))
}

async fn limits(connection: MultiplexedConnection) -> Option<Limits> {
    let (buffers, min_replicas) = tokio::join!(
        setting(connection.clone(), "client-output-buffer-limit"),
        setting(connection, "min-replicas-to-write")
    );
    let (buffers, min_replicas) = (buffers.ok()?, min_replicas.ok()?);
    Some(Limits { pubsub_buffer_bytes: pubsub_bytes(&buffers), min_replicas_to_write: min_replicas.parse().ok() })
}

async fn setting(mut connection: MultiplexedConnection, name: &str) -> Result<String, RedisError> {
    let mut answer: HashMap<String, String> =
        redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut connection).await?;
    Ok(answer.remove(name).unwrap_or_default())
}

/// Reads the hard limit of subscribers from `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`.
fn pubsub_bytes(limits: &str) -> Option<u64> {
    let mut words = limits.split_whitespace().skip_while(|&word| word != "pubsub");
    words.nth(1)?.parse().ok()
}

impl Facts {
    /// Returns whether it is a replica, as far as it tells.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.replica_of.is_some())
            || self.write.as_ref().is_err_and(|refusal| refusal.code == "READONLY")
    }
}

impl From<&RedisError> for WriteRefusal {
    fn from(error: &RedisError) -> Self {
        Self { code: error.code().unwrap_or_default().to_owned(), text: error.to_string() }
    }
}

impl Info {
    fn read(text: &str) -> Self {
        let values = lines(text);
        let value = |name: &str| values.get(name).map(|&value| value.to_owned());
        let number = |name: &str| values.get(name).and_then(|value| value.parse::<u64>().ok());
        let is_failed = |name: &str| values.get(name).is_some_and(|&value| value == "err");
        let offset = number("master_repl_offset").unwrap_or(0);
        let replica = |index: usize| ReplicaLink::read(values.get(&*format!("slave{index}"))?, offset);
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
    /// Reads `ip=127.0.0.1,port=6380,state=online,offset=14,lag=1`.
    fn read(text: &str, offset: u64) -> Option<Self> {
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
    fn info_is_read_as_redis_writes_it() {
        let info = Info::read(
            "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n\r\n# Memory\r\nused_memory:900\r\nmaxmemory:1000\r\n\
             maxmemory_policy:noeviction\r\nmem_not_counted_for_evict:100\r\naof_enabled:0\r\nrdb_last_bgsave_status:err\r\n\
             role:master\r\nmaster_repl_offset:100\r\nslave0:ip=::1,port=6380,state=online,offset=14,lag=1\r\n",
        );
        assert_eq!((info.version.as_deref(), info.used_bytes, info.has_aof), (Some("7.0.15"), 800, Some(false)));
        let link = ReplicaLink { address: "[::1]:6380".to_owned(), is_online: true, lag_secs: 1, behind_bytes: 86 };
        assert_eq!((info.replicas, info.is_disk_failing, info.replica_of), (vec![link], true, None));
        let info = Info::read("role:slave\r\nmaster_host:one\r\nmaster_port:6379\r\nmaster_link_status:down\r\n");
        assert_eq!((info.replica_of.as_deref(), info.is_linked), (Some("one:6379"), false));
    }

    #[test]
    fn the_subscribers_limit_is_found_among_the_others() {
        let limits = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(pubsub_bytes(limits), Some(33_554_432));
        assert_eq!(pubsub_bytes("normal 0 0 0"), None);
    }
}
