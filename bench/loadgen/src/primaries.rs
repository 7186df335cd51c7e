//! The Redis that a run was told of: its primaries, which of them a key belongs to, and what time it is there.
//!
//! Only `expiry --redis-url` connects to it. What is written there is up to `others` and `plain`.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use futures_util::StreamExt as _;
use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::cluster_routing::Slot;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, Pipeline, RedisError, Value,
};
use tokio::time::{sleep, timeout};

/// How long connecting, and each answer, may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long Redis may take to report the probe's key.
const PROBE_TIME: Duration = Duration::from_secs(2);
/// How many keys are tried for one that belongs to a primary: enough for one with a single slot.
const MAX_PROBES: u32 = 1_000_000;
/// The slots of a Cluster.
const SLOTS: u16 = 16_384;
/// How often Redis is asked for its time: the quickest answer says most.
const CLOCK_PROBES: usize = 5;
/// What can be said.
const FORM: &str = "redis://HOST:PORT/DB, rediss://…, redis+unix:///PATH or redis-cluster://HOST:PORT,HOST:PORT";

/// Where Redis is, as its URL says.
#[derive(Clone)]
pub struct RedisUrl {
    /// One server, or those of a Cluster that are asked for the others.
    servers: Vec<ConnectionInfo>,
    is_cluster: bool,
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("this cannot be read; write {FORM}");
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
    /// Returns where it is, without credentials.
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

/// A connected Redis: the one server, or all primaries of a Cluster.
pub struct Primaries {
    all: Vec<Primary>,
    /// Which of them has a slot; empty where there is but one.
    slots: HashMap<Slot, usize>,
    database: i64,
}

struct Primary {
    info: ConnectionInfo,
    commands: MultiplexedConnection,
}

impl Primaries {
    /// Connects to all of them.
    ///
    /// # Errors
    /// When one cannot be reached, or slots of a Cluster have nobody who serves them.
    pub async fn connect(url: &RedisUrl) -> anyhow::Result<Self> {
        if url.is_cluster {
            return Self::of_cluster(url).await;
        }
        let info = url.servers.first().context("there is no server")?;
        let database = info.redis_settings().db();
        Ok(Self { all: vec![Primary::connect(info.clone()).await?], slots: HashMap::new(), database })
    }

    async fn of_cluster(url: &RedisUrl) -> anyhow::Result<Self> {
        let mut first = Err(anyhow!("there is no server"));
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
            let [from, to, server, ..] = range.as_slice() else {
                bail!("CLUSTER SLOTS is answered with something else")
            };
            let (from, to): (u16, u16) = (value(from)?, value(to)?);
            let Value::Array(server) = server else { bail!("CLUSTER SLOTS names no server") };
            let [host, port, ..] = server.as_slice() else { bail!("CLUSTER SLOTS names a server without a port") };
            let info = first.neighbour(value::<Option<String>>(host)?, value(port)?);
            let known = all.iter().position(|primary| primary.info.addr() == info.addr());
            let index = known.unwrap_or(all.len());
            if known.is_none() {
                all.push(Primary::connect(info).await?);
            }
            slots.extend((from..=to).filter_map(Slot::new).map(|slot| (slot, index)));
        }
        if slots.len() < usize::from(SLOTS) {
            bail!("only {} of {SLOTS} slots of the Cluster are served", slots.len());
        }
        Ok(Self { all, slots, database: 0 })
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Returns which of them `key` belongs to.
    pub fn of(&self, key: &str) -> usize {
        if self.slots.is_empty() { 0 } else { self.slots.get(&Slot::for_key(key)).copied().unwrap_or_default() }
    }

    /// Returns the channel on which is said what happens to `key`.
    pub fn channel(&self, key: &str) -> String {
        format!("__keyspace@{}__:{key}", self.database)
    }

    /// Does to each of `keys`, where it belongs, what `command` adds to the pipeline for it.
    ///
    /// # Errors
    /// When one of the commands fails.
    pub async fn run<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut command: impl FnMut(&mut Pipeline, &str),
    ) -> Result<(), RedisError> {
        let mut pipes: Vec<_> = self.all.iter().map(|_| redis::pipe()).collect();
        for key in keys {
            command(&mut pipes[self.of(key.as_ref())], key.as_ref());
        }
        for (pipe, primary) in pipes.iter().zip(&self.all) {
            if !pipe.is_empty() {
                pipe.exec_async(&mut primary.commands.clone()).await?;
            }
        }
        Ok(())
    }

    /// Removes these keys.
    ///
    /// # Errors
    /// When Redis does not do it.
    pub async fn remove<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Result<(), RedisError> {
        self.run(keys, |pipe, key| {
            pipe.cmd("UNLINK").arg(key).ignore();
        })
        .await
    }

    /// Opens a connection for subscriptions.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn subscriber(&self, index: usize) -> anyhow::Result<(PubSubSink, PubSubStream)> {
        let client = Client::open(self.all[index].info.clone())?;
        let subscriber = timeout(ANSWER_TIME, client.get_async_pubsub()).await.context("Redis does not answer")??;
        Ok(subscriber.split())
    }

    /// Makes sure that all of them report keys that have expired: has one key expire, and reads it, on each.
    ///
    /// # Errors
    /// When one does not.
    pub async fn require_notifications(&self, prefix: &str) -> anyhow::Result<()> {
        for (index, primary) in self.all.iter().enumerate() {
            let key = (0..MAX_PROBES).map(|number| format!("{prefix}probe:{number}")).find(|key| self.of(key) == index);
            let key = key.with_context(|| format!("no key was found that belongs to {}", primary.info.addr()))?;
            let heard = timeout(PROBE_TIME, self.hear_expiry(index, &key)).await;
            heard.unwrap_or_else(|_| {
                Err(anyhow!(
                    "{} does not report keys that have expired. A gateway sets notify-keyspace-events by itself: is this \
                     the Redis of the gateway? Otherwise: CONFIG SET notify-keyspace-events Kx",
                    primary.info.addr()
                ))
            })?;
        }
        Ok(())
    }

    async fn hear_expiry(&self, index: usize, key: &str) -> anyhow::Result<()> {
        let (mut sink, mut messages) = self.subscriber(index).await?;
        sink.subscribe(self.channel(key)).await?;
        let mut commands = self.all[index].commands.clone();
        let () = redis::cmd("SET").arg(key).arg("").arg("PX").arg(1).query_async(&mut commands).await?;
        sleep(Duration::from_millis(5)).await;
        let _: bool = redis::cmd("EXISTS").arg(key).query_async(&mut commands).await?;
        while messages.next().await.context("Redis ends the connection")?.get_payload::<String>()? != "expired" {}
        Ok(())
    }

    /// Reads the clock of one of them.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn clock(&self, index: usize) -> Result<Clock, RedisError> {
        let mut best: Option<Clock> = None;
        for _ in 0..CLOCK_PROBES {
            let asked = Instant::now();
            let (seconds, micros): (u64, u32) =
                redis::cmd("TIME").query_async(&mut self.all[index].commands.clone()).await?;
            let error = asked.elapsed() / 2;
            let shows = Duration::from_secs(seconds) + Duration::from_micros(micros.into());
            if best.is_none_or(|best| error < best.error) {
                best = Some(Clock { at: asked + error, shows, error });
            }
        }
        best.ok_or_else(|| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))
    }
}

impl Primary {
    async fn connect(info: ConnectionInfo) -> anyhow::Result<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIME))
            .set_response_timeout(Some(ANSWER_TIME));
        let client = Client::open(info.clone())?;
        let commands = client.get_multiplexed_async_connection_with_config(&config).await;
        let commands = commands.with_context(|| format!("Redis at {} cannot be reached", info.addr()))?;
        Ok(Self { info, commands })
    }

    /// Returns how to reach another server of the same Cluster. One without a name is this one.
    fn neighbour(&self, host: Option<String>, port: u16) -> ConnectionInfo {
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

/// What a Redis's clock shows at an instant of ours.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    at: Instant,
    shows: Duration,
    /// By how much it may be wrong: half of the time that the answer took.
    pub error: Duration,
}

impl Clock {
    /// Returns what it shows at `instant`, in milliseconds since 1970.
    pub fn millis(&self, instant: Instant) -> u64 {
        let shows = match instant.checked_duration_since(self.at) {
            Some(later) => self.shows + later,
            None => self.shows.saturating_sub(self.at - instant),
        };
        u64::try_from(shows.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns how long before `instant` it showed `millis`; nothing if it did not yet.
    pub fn since(&self, millis: u64, instant: Instant) -> Duration {
        let showed = Duration::from_millis(millis);
        let later = instant.saturating_duration_since(self.at) + self.shows;
        later.saturating_sub(self.at.saturating_duration_since(instant)).saturating_sub(showed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_and_clusters_are_told_apart_and_passwords_hidden() {
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
    fn another_clock_is_read_both_ways() {
        let at = Instant::now() + Duration::from_secs(60);
        let clock = Clock { at, shows: Duration::from_millis(1_000_000), error: Duration::ZERO };
        let second = Duration::from_secs(1);
        let before = |time| at.checked_sub(time).unwrap();
        assert_eq!((clock.millis(at + second), clock.millis(before(second))), (1_001_000, 999_000));
        assert_eq!(clock.since(999_500, before(second / 4)), second / 4);
        assert_eq!(clock.since(1_000_500, at + second), second / 2);
        assert_eq!(clock.since(1_000_500, at), Duration::ZERO);
    }
}
