//! A ticket-storing node's view of itself.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};

use super::info::Info;
use super::probe::{Probe, Unanswered, in_time};
use crate::store::redis::address::Address;
use crate::store::redis::endpoint::Endpoint;
use crate::store::redis::error::FlagsError;
use crate::store::redis::notify_flags;
use crate::store::redis::notify_probe;
use crate::store::redis::redis_url::InstallationKind;
use crate::store::redis::settings::RedisSettings;

/// The number of pings that measure the round-trip time. A ping is cheap for the node.
const PINGS: usize = 9;

/// A node's view of itself.
#[derive(Debug)]
pub struct Facts {
    /// Its round-trip times.
    pub round_trip: RoundTrip,
    /// The difference between its clock and this machine's.
    pub clock_difference: Duration,
    /// The reply to `INFO`, if this user may ask.
    pub info: Option<Info>,
    /// The replies to `CONFIG GET`, if this user may ask.
    pub limits: Option<Limits>,
    /// Whether it accepts writes from this user.
    pub write: Result<(), WriteRefusal>,
    /// The notification flags before the diagnosis, if this user may read them.
    pub flags_before: Option<String>,
    /// Whether it reports changes and this user may receive the reports; `None` if it accepts no writes, so that the
    /// diagnosis did not try.
    pub flags: Option<Result<(), FlagsError>>,
    /// The number of connected replicas, if it reports it.
    pub replicas_connected: Option<usize>,
    /// Whether this user may wait for replicas.
    pub wait_permission: Result<(), Unanswered>,
}

/// The round-trip time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    /// The fastest reply, without queueing.
    pub fastest: Duration,
    /// The median.
    pub median: Duration,
}

/// The reason why a node accepts no write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteRefusal {
    /// The first word of the reply, such as `READONLY`.
    pub code: String,
    /// The whole reply.
    pub text: String,
}

/// The replies to `CONFIG GET`.
#[derive(Debug)]
pub struct Limits {
    /// The amount of data that may wait for a subscriber before Redis closes its connection, in bytes; 0 means no
    /// limit.
    pub pubsub_buffer_bytes: Option<u64>,
    /// The number of replicas that must be connected for it to accept writes.
    pub min_replicas_to_write: Option<usize>,
}

pub(super) async fn probe_all(settings: &RedisSettings, nodes: &[Address], are_primaries: bool) -> Vec<Probe<Facts>> {
    let probes = nodes.iter().map(async |address| {
        let answer = ask(settings, address, are_primaries).await;
        Probe { address: address.to_string(), answer }
    });
    join_all(probes).await
}

async fn ask(settings: &RedisSettings, address: &Address, is_primary: bool) -> Result<Facts, Unanswered> {
    let endpoint = Endpoint::new(settings, address)?;
    let mut facts = facts(&endpoint, settings.topology.kind()).await?;
    if is_primary && !facts.is_replica() {
        let reports = async {
            notify_probe::check_rights(&endpoint, false).await?;
            notify_flags::ensure(&endpoint).await
        };
        facts.flags = Some(reports.await);
    }
    Ok(facts)
}

async fn facts(endpoint: &Endpoint, kind: &InstallationKind) -> Result<Facts, Unanswered> {
    // Connecting takes several round trips, so it has a separate limit.
    let connection = endpoint.pooled_connection().await?;
    let round_trip = in_time(endpoint.timeout, round_trip((*connection).clone(), endpoint.timeout / 2)).await?;
    // Sent concurrently: in sequence, they would take a round trip each.
    let replies = async {
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
        in_time(endpoint.timeout, replies).await?;
    let info = info.map(|text| Info::parse(&text));
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
        wait_permission: role.map(drop).and(wait).map_err(Unanswered::from),
    })
}

/// Measures the round-trip time, for at most `time`; a single reply may take longer.
async fn round_trip(mut connection: MultiplexedConnection, time: Duration) -> Result<RoundTrip, Unanswered> {
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < PINGS && (times.is_empty() || started.elapsed() < time) {
        let asked_at = Instant::now();
        match redis::cmd("PING").query_async::<Value>(&mut connection).await {
            // A refusal is a reply, too.
            Err(error) if error.code().is_none() => return Err(error.into()),
            _ => times.push(asked_at.elapsed()),
        }
    }
    times.sort_unstable();
    Ok(RoundTrip { fastest: times[0], median: times[times.len() / 2] })
}

async fn info(mut connection: MultiplexedConnection) -> Option<String> {
    redis::cmd("INFO").query_async(&mut connection).await.ok()
}

async fn clock_difference(mut connection: MultiplexedConnection) -> Result<Duration, Unanswered> {
    let (asked_at, here) = (Instant::now(), SystemTime::now());
    let (seconds, micros): (u64, u32) = redis::cmd("TIME").query_async(&mut connection).await?;
    // The node read its clock half-way between the command and the reply.
    let here = (here + asked_at.elapsed() / 2).duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(here.abs_diff(Duration::new(seconds, micros * 1000)))
}

async fn write(
    mut connection: MultiplexedConnection,
    endpoint: &Endpoint,
    kind: &InstallationKind,
) -> Result<Result<(), WriteRefusal>, Unanswered> {
    // The key never exists, so the command writes nothing; but the reply shows whether it accepts writes.
    let mut write = redis::cmd("PEXPIREAT");
    write.arg(endpoint.keys.check().name).arg(1);
    match write.query_async::<()>(&mut connection).await {
        // Another node of the Cluster owns that key.
        Err(error) if matches!(kind, InstallationKind::Cluster) && error.redirect_node().is_some() => Ok(Ok(())),
        Err(error) => Ok(Err(WriteRefusal::from(&error))),
        Ok(()) => Ok(Ok(())),
    }
}

/// Returns the reply to `ROLE`, and whether this user may wait for replicas.
async fn role(connection: MultiplexedConnection) -> (Result<Vec<Value>, RedisError>, Result<(), RedisError>) {
    let (mut first, mut second) = (connection.clone(), connection);
    let mut wait = redis::cmd("WAIT");
    wait.arg(0).arg(1);
    let role = redis::cmd("ROLE");
    tokio::join!(role.query_async(&mut first), wait.query_async(&mut second))
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
    let mut reply: HashMap<String, String> =
        redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut connection).await?;
    Ok(reply.remove(name).unwrap_or_default())
}

/// Returns the hard limit of subscribers from `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`.
fn pubsub_bytes(limits: &str) -> Option<u64> {
    let mut words = limits.split_whitespace().skip_while(|&word| word != "pubsub");
    words.nth(1)?.parse().ok()
}

impl Facts {
    /// Returns whether it is a replica, according to `INFO` or its refusal of the write.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_subscribers_is_found() {
        let limits = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(pubsub_bytes(limits), Some(33_554_432));
        assert_eq!(pubsub_bytes("normal 0 0 0"), None);
    }
}
