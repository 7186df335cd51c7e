//! The Redis of `expiry --redis-url`: its primaries, the primary of a key, and the clock of each.
//!
//! No other scenario connects to Redis. `filler_keys` and `baseline` decide which keys are written.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use futures_util::StreamExt as _;
use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, Pipeline, RedisError, Value,
};
use tokio::time::{sleep, timeout};

/// How long connecting and each reply may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long Redis may take to report the expiry of the probe key.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of names tried for a probe key on a given primary: enough even for a primary with a single slot.
const MAX_PROBES: u32 = 1_000_000;
/// The number of slots of a Cluster.
const SLOTS: u16 = 16_384;
/// How many times a clock is read. The fastest reply is the most exact.
const CLOCK_PROBES: usize = 5;
/// The accepted forms of a Redis URL.
const FORM: &str = "redis://HOST:PORT/DB, rediss://…, redis+unix:///PATH or redis-cluster://HOST:PORT,HOST:PORT";

/// The servers that a Redis URL names.
#[derive(Clone)]
pub struct RedisUrl {
    /// The server, or the seed nodes of a Cluster.
    servers: Vec<ConnectionInfo>,
    is_cluster: bool,
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("not a Redis URL; write {FORM}");
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        let parse = |url: &str| url.into_connection_info().map_err(|_| malformed());
        let scheme = match scheme {
            "redis" | "rediss" | "redis+unix" => return Ok(Self { servers: vec![parse(text)?], is_cluster: false }),
            "redis-cluster" => "redis",
            "rediss-cluster" => "rediss",
            _ => return Err(malformed()),
        };
        let (login, hosts) = rest.rsplit_once('@').map_or(("", rest), |(login, hosts)| (login, hosts));
        let login = if login.is_empty() { String::new() } else { format!("{login}@") };
        let hosts = hosts.trim_end_matches('/').split(',');
        let servers = hosts.map(|host| parse(&format!("{scheme}://{login}{host}"))).collect::<Result<_, _>>()?;
        Ok(Self { servers, is_cluster: true })
    }
}

impl RedisUrl {
    /// Returns the addresses of the servers, without credentials.
    pub fn address(&self) -> String {
        let servers: Vec<_> = self.servers.iter().map(|server| server.addr().to_string()).collect();
        servers.join(",")
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisUrl({})", self.address())
    }
}

/// A connected Redis: one server, or all primaries of a Cluster.
pub struct Primaries {
    all: Vec<Primary>,
    /// The primary of each slot; empty without a Cluster.
    slots: HashMap<u16, usize>,
    database: i64,
}

struct Primary {
    info: ConnectionInfo,
    commands: MultiplexedConnection,
}

impl Primaries {
    /// Connects to all primaries.
    ///
    /// # Errors
    /// If a primary cannot be reached, or no primary serves a slot of the Cluster.
    pub async fn connect(url: &RedisUrl) -> anyhow::Result<Self> {
        if url.is_cluster {
            return Self::connect_cluster(url).await;
        }
        let info = url.servers.first().context("the URL names no server")?;
        let database = info.redis_settings().db();
        Ok(Self { all: vec![Primary::connect(info.clone()).await?], slots: HashMap::new(), database })
    }

    async fn connect_cluster(url: &RedisUrl) -> anyhow::Result<Self> {
        let mut first = Err(anyhow!("the URL names no server"));
        for server in &url.servers {
            first = Primary::connect(server.clone()).await;
            if first.is_ok() {
                break;
            }
        }
        let mut first = first?;
        let map: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut first.commands).await?;
        let mut all: Vec<Primary> = Vec::new();
        let mut slots = HashMap::new();
        for range in map {
            let [from, to, server, ..] = range.as_slice() else { bail!("the reply to CLUSTER SLOTS is malformed") };
            let (from, to): (u16, u16) = (value(from)?, value(to)?);
            let Value::Array(server) = server else { bail!("the reply to CLUSTER SLOTS names no server") };
            let [host, port, ..] = server.as_slice() else {
                bail!("the reply to CLUSTER SLOTS names a server without a port")
            };
            let info = first.cluster_member(value::<Option<String>>(host)?, value(port)?);
            let known = all.iter().position(|primary| primary.info.addr() == info.addr());
            let index = known.unwrap_or(all.len());
            if known.is_none() {
                all.push(Primary::connect(info).await?);
            }
            slots.extend((from..=to).filter(|slot| *slot < SLOTS).map(|slot| (slot, index)));
        }
        if slots.len() < usize::from(SLOTS) {
            bail!("only {} of {SLOTS} slots of the Cluster are served", slots.len());
        }
        Ok(Self { all, slots, database: 0 })
    }

    /// Returns the number of primaries.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Returns the index of the primary of `key`.
    pub fn index_of(&self, key: &str) -> usize {
        if self.slots.is_empty() { 0 } else { self.slots.get(&slot_of(key)).copied().unwrap_or_default() }
    }

    /// Returns the channel of the keyspace notifications of `key`.
    pub fn channel(&self, key: &str) -> String {
        format!("__keyspace@{}__:{key}", self.database)
    }

    /// Sends the commands that `command` adds for each key, in one pipeline per primary.
    ///
    /// # Errors
    /// If a command fails.
    pub async fn run<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut command: impl FnMut(&mut Pipeline, &str),
    ) -> Result<(), RedisError> {
        let mut pipes: Vec<_> = self.all.iter().map(|_| redis::pipe()).collect();
        for key in keys {
            command(&mut pipes[self.index_of(key.as_ref())], key.as_ref());
        }
        for (pipe, primary) in pipes.iter().zip(&self.all) {
            if !pipe.is_empty() {
                pipe.exec_async(&mut primary.commands.clone()).await?;
            }
        }
        Ok(())
    }

    /// Removes `keys`.
    ///
    /// # Errors
    /// If a command fails.
    pub async fn remove<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Result<(), RedisError> {
        self.run(keys, |pipe, key| {
            pipe.cmd("UNLINK").arg(key).ignore();
        })
        .await
    }

    /// Opens a connection for subscriptions.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn subscriber(&self, index: usize) -> anyhow::Result<(PubSubSink, PubSubStream)> {
        let client = Client::open(self.all[index].info.clone())?;
        let subscriber =
            timeout(REPLY_TIMEOUT, client.get_async_pubsub()).await.context("Redis did not respond in time")??;
        Ok(subscriber.split())
    }

    /// Checks that every primary reports expired keys: lets one key expire on each, and reads the key.
    ///
    /// # Errors
    /// If a primary does not report the expiry.
    pub async fn require_notifications(&self, prefix: &str) -> anyhow::Result<()> {
        for (index, primary) in self.all.iter().enumerate() {
            let key =
                (0..MAX_PROBES).map(|number| format!("{prefix}probe:{number}")).find(|key| self.index_of(key) == index);
            let key = key.with_context(|| format!("no key for {} was found", primary.info.addr()))?;
            let reported = timeout(PROBE_TIMEOUT, self.receive_expiry(index, &key)).await;
            reported.unwrap_or_else(|_| {
                Err(anyhow!(
                    "{} does not report expired keys. A gateway sets notify-keyspace-events automatically: check that \
                     --redis-url is the gateway's Redis. Otherwise: CONFIG SET notify-keyspace-events Kx",
                    primary.info.addr()
                ))
            })?;
        }
        Ok(())
    }

    async fn receive_expiry(&self, index: usize, key: &str) -> anyhow::Result<()> {
        let (mut sink, mut messages) = self.subscriber(index).await?;
        sink.subscribe(self.channel(key)).await?;
        let mut commands = self.all[index].commands.clone();
        let () = redis::cmd("SET").arg(key).arg("").arg("PX").arg(1).query_async(&mut commands).await?;
        sleep(Duration::from_millis(5)).await;
        let _: bool = redis::cmd("EXISTS").arg(key).query_async(&mut commands).await?;
        while messages.next().await.context("Redis closed the connection")?.get_payload::<String>()? != "expired" {}
        Ok(())
    }

    /// Reads the clock of a primary.
    ///
    /// # Errors
    /// If it does not respond.
    pub async fn clock(&self, index: usize) -> Result<Clock, RedisError> {
        let mut best: Option<Clock> = None;
        for _ in 0..CLOCK_PROBES {
            let sent = Instant::now();
            let (seconds, micros): (u64, u32) =
                redis::cmd("TIME").query_async(&mut self.all[index].commands.clone()).await?;
            let error = sent.elapsed() / 2;
            let time = Duration::from_secs(seconds) + Duration::from_micros(micros.into());
            if best.is_none_or(|best| error < best.error) {
                best = Some(Clock { at: sent + error, time, error });
            }
        }
        best.ok_or_else(|| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))
    }
}

impl Primary {
    async fn connect(info: ConnectionInfo) -> anyhow::Result<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(REPLY_TIMEOUT))
            .set_response_timeout(Some(REPLY_TIMEOUT));
        let client = Client::open(info.clone())?;
        let commands = client.get_multiplexed_async_connection_with_config(&config).await;
        let commands = commands.with_context(|| format!("Redis at {} cannot be reached", info.addr()))?;
        Ok(Self { info, commands })
    }

    /// Returns the address of another server of this Cluster. A server without a host name has this server's host.
    fn cluster_member(&self, host: Option<String>, port: u16) -> ConnectionInfo {
        let mut addr = self.info.addr().clone();
        if let ConnectionAddr::Tcp(its_host, its_port) | ConnectionAddr::TcpTls { host: its_host, port: its_port, .. } =
            &mut addr
        {
            *its_port = port;
            if let Some(host) = host.filter(|host| !host.is_empty() && host != "?") {
                *its_host = host;
            }
        }
        self.info.clone().set_addr(addr)
    }
}

fn value<T: redis::FromRedisValue>(value: &Value) -> anyhow::Result<T> {
    Ok(redis::from_redis_value(value.clone())?)
}

/// Returns the slot of a key without a hash tag.
fn slot_of(key: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(key.as_bytes()) % SLOTS
}

/// The time of a Redis clock at an instant of our clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    at: Instant,
    /// Since 1970.
    time: Duration,
    /// The uncertainty: half of the round-trip time.
    pub error: Duration,
}

impl Clock {
    /// Returns the time of the clock at `instant`, in milliseconds since 1970.
    pub fn millis(&self, instant: Instant) -> u64 {
        let time = match instant.checked_duration_since(self.at) {
            Some(later) => self.time + later,
            None => self.time.saturating_sub(self.at - instant),
        };
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the time from `millis` on the clock to `instant`; zero if `millis` is later.
    pub fn since(&self, millis: u64, instant: Instant) -> Duration {
        let start = Duration::from_millis(millis);
        let later = instant.saturating_duration_since(self.at) + self.time;
        later.saturating_sub(self.at.saturating_duration_since(instant)).saturating_sub(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_clusters_are_distinguished_and_passwords_hidden() {
        let one: RedisUrl = "redis://ada:hunter2@localhost:6380/3".parse().unwrap();
        assert_eq!((one.address().as_str(), one.is_cluster), ("localhost:6380", false));
        assert_eq!(one.servers[0].redis_settings().db(), 3);
        let many: RedisUrl = "redis-cluster://:hunter2@a:7000,b".parse().unwrap();
        assert_eq!((many.address().as_str(), many.is_cluster), ("a:7000,b:6379", true));
        assert_eq!(many.servers[1].redis_settings().password(), Some("hunter2"));
        assert!(!format!("{one:?} {many:?}").contains("hunter2"));
        for wrong in ["localhost:6379", "http://localhost", "redis-cluster://a:x"] {
            assert!(wrong.parse::<RedisUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn slots_are_those_of_redis() {
        // The reference value of the Cluster specification.
        assert_eq!(slot_of("123456789"), 0x31C3);
    }

    #[test]
    fn another_clock_is_converted_both_ways() {
        let at = Instant::now() + Duration::from_secs(60);
        let clock = Clock { at, time: Duration::from_millis(1_000_000), error: Duration::ZERO };
        let second = Duration::from_secs(1);
        let before = |time| at.checked_sub(time).unwrap();
        assert_eq!((clock.millis(at + second), clock.millis(before(second))), (1_001_000, 999_000));
        assert_eq!(clock.since(999_500, before(second / 4)), second / 4);
        assert_eq!(clock.since(1_000_500, at + second), second / 2);
        assert_eq!(clock.since(1_000_500, at), Duration::ZERO);
    }
}
