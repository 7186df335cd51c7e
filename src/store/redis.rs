//! The Redis engine: one hash per ticket, three small Lua scripts, keyspace notifications for changes.
//!
//! A ticket's key is `<prefix>{<id>}`; the braces keep it in one Cluster slot with its notification channel. Fields and
//! expiry are written together, on Redis's own clock, so gateways with wrong clocks agree. This file speaks commands;
//! `topology` knows where Redis is and how to connect, `keyspace` turns its notifications into changes.

pub mod diagnosis;
mod flags;
mod interest;
mod keyspace;
mod lanes;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_redis::PoolError;
use redis::{RedisError, Script};

use super::{Changes, Reading, Replaced, Store, StoreError};
use crate::metrics::Metrics;
use crate::ticket::{NewTicket, State, Ticket, TicketId, TicketRequest, Timestamp};

pub use flags::{FlagsError, reports_changes};
use keyspace::Subscriber;
use lanes::Lanes;
pub use topology::{Topology, TopologyError};

/// Connections that the pool may make beside those of the lanes: for looking after flags.
const SPARE_CONNECTIONS: usize = 2;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where Redis is.
    pub topology: Topology,
    /// What every key begins with.
    pub prefix: String,
    /// How many connections commands share.
    pub lanes: usize,
    /// The bound of every wait: for a connection, for connecting, for an answer.
    pub timeout: Duration,
}

/// Why the engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL leads to no pool of connections.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// Redis does not report what happens to keys, or refuses the user; the message says what to set.
    #[error(transparent)]
    Flags(FlagsError),
    /// Redis does not answer. Worth another try in a moment.
    #[error("{0}")]
    Unreachable(String),
}

impl From<FlagsError> for OpenError {
    fn from(error: FlagsError) -> Self {
        match error {
            FlagsError::Unreachable(why) => Self::Unreachable(why),
            FlagsError::Missing(_) | FlagsError::Refused(_) => Self::Flags(error),
        }
    }
}

/// The names of keys and of the channels that their notifications come on.
#[derive(Debug, Clone)]
struct Keys {
    prefix: String,
    channel_prefix: String,
}

impl Keys {
    fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: prefix.to_owned(), channel_prefix: format!("__keyspace@{database}__:") }
    }

    fn key(&self, id: &TicketId) -> String {
        format!("{}{{{id}}}", self.prefix)
    }

    fn channel(&self, id: &TicketId) -> String {
        format!("{}{}", self.channel_prefix, self.key(id))
    }

    fn id(&self, channel: &str) -> Option<TicketId> {
        let key = channel.strip_prefix(&self.channel_prefix)?.strip_prefix(&self.prefix)?;
        key.strip_prefix('{')?.strip_suffix('}')?.parse().ok()
    }
}

/// The engine. Dropping it ends its subscriber.
pub struct RedisStore {
    lanes: Lanes,
    keys: Keys,
    scripts: Scripts,
    subscriber: Subscriber,
    timeout: Duration,
}

struct Scripts {
    create: Script,
    get: Script,
    replace: Script,
}

impl RedisStore {
    /// Connects, makes sure that Redis reports what happens to keys, and starts the subscriber.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        settings: &RedisSettings,
        changes: Arc<dyn Changes>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let pool = settings.topology.pool(settings.lanes + SPARE_CONNECTIONS, settings.timeout)?;
        let keys = Keys::new(&settings.prefix, settings.topology.database());
        flags::may_subscribe(&settings.topology, &keys, settings.timeout).await?;
        flags::ensure(&pool, &settings.topology, &keys, settings.timeout).await?;
        let subscriber = Subscriber::start(settings, pool.clone(), keys.clone(), changes, metrics);
        let lanes = Lanes::new(pool, settings.lanes, settings.timeout);
        Ok(Self { lanes, keys, scripts: Scripts::new(), subscriber, timeout: settings.timeout })
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn create(&self, new: NewTicket) -> Result<Reading, StoreError> {
        let mut script = self.scripts.create.key(self.keys.key(&new.id));
        script.arg(millis(new.ttl)).arg(encode(&new.request)?).arg(encode(&State::Pending)?);
        let now = Timestamp(self.lanes.run(&script).await?);
        Ok(Reading { ticket: new.at(now), now })
    }

    async fn get(&self, id: &TicketId) -> Result<Option<Reading>, StoreError> {
        let (now, revision, created_at, deadline, request, state): Row =
            self.lanes.run(&self.scripts.get.key(self.keys.key(id))).await?;
        let (Some(revision), Some(created_at), Some(deadline), Some(request), Some(state)) =
            (revision, created_at, deadline, request, state)
        else {
            return Ok(None);
        };
        let now = Timestamp(now);
        let ticket = Ticket {
            id: *id,
            revision,
            created_at: Timestamp(created_at),
            deadline: Timestamp(deadline),
            request: decode::<TicketRequest>(&request)?,
            state: decode::<State>(&state)?,
        };
        Ok((now < ticket.deadline).then_some(Reading { ticket, now }))
    }

    async fn replace(&self, next: &Ticket) -> Result<Replaced, StoreError> {
        let mut script = self.scripts.replace.key(self.keys.key(&next.id));
        script.arg(next.revision - 1).arg(next.revision).arg(next.deadline.0).arg(encode(&next.state)?);
        let outcome: i64 = self.lanes.run(&script).await?;
        Ok(match outcome {
            1 => Replaced::Done,
            0 => Replaced::Conflict,
            _ => Replaced::Gone,
        })
    }

    async fn watch(&self, id: &TicketId) -> Result<(), StoreError> {
        self.subscriber.watch(id, self.timeout).await
    }

    fn unwatch(&self, id: &TicketId) {
        self.subscriber.unwatch(id);
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.subscriber.check()?;
        // A write, though to a key that is never there: a replica answers reads and can serve nobody.
        let mut write = redis::cmd("PEXPIREAT");
        write.arg(format!("{}{{check}}", self.keys.prefix)).arg(1);
        self.lanes.run(&write).await
    }
}

/// The store's time and the five fields of a ticket, which are all there or all not.
type Row = (u64, Option<u64>, Option<u64>, Option<u64>, Option<String>, Option<String>);

/// Redis's own time in milliseconds; the same instant all through a script.
const LUA_NOW: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
";

impl Scripts {
    fn new() -> Self {
        let script = |body: &str| Script::new(&format!("{LUA_NOW}{body}"));
        Self {
            // Sent again, because the connection broke before the answer, it finds what it has made.
            create: script(
                "
local known = redis.call('HMGET', KEYS[1], 'request', 'revision', 'created_at')
if known[1] == ARGV[2] and known[2] == '1' then return tonumber(known[3]) end
if known[1] then return redis.error_reply('ERR the ticket id is taken') end
local deadline = string.format('%.0f', now + ARGV[1])
redis.call('HSET', KEYS[1], 'revision', 1, 'created_at', string.format('%.0f', now), 'deadline', deadline,
  'request', ARGV[2], 'state', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], deadline)
return now",
            ),
            get: script(
                "
local row = redis.call('HMGET', KEYS[1], 'revision', 'created_at', 'deadline', 'request', 'state')
return {now, row[1], row[2], row[3], row[4], row[5]}",
            ),
            replace: script(
                "
local revision = redis.call('HGET', KEYS[1], 'revision')
if not revision or tonumber(ARGV[3]) <= now then return -1 end
if revision ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'deadline', ARGV[3], 'state', ARGV[4])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
return 1",
            ),
        }
    }
}

fn encode<T: serde::Serialize>(part: &T) -> Result<String, StoreError> {
    serde_json::to_string(part).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    // serde_json's own message may quote the text, which holds personal data.
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt(format!("{:?} error at column {}", error.classify(), error.column())))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn unavailable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn from_pool(error: &PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => from_redis(error),
        other => unavailable(other),
    }
}

fn from_redis(error: &RedisError) -> StoreError {
    if error.code() == Some("OOM") {
        return StoreError::Full("Redis has reached its maxmemory; raise it or add a node".to_owned());
    }
    unavailable(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_channel_leads_back_to_its_ticket() {
        let keys = Keys::new("scangate:", 3);
        let id = TicketId::random();
        assert_eq!(keys.channel(&id), format!("__keyspace@3__:scangate:{{{id}}}"));
        assert_eq!(keys.id(&keys.channel(&id)), Some(id));
    }

    proptest! {
        #[test]
        fn any_channel_is_refused_or_one_of_ours(tail in ".{0,60}") {
            let keys = Keys::new("p:", 0);
            let channel = format!("__keyspace@0__:p:{tail}");
            if let Some(id) = keys.id(&channel) {
                prop_assert_eq!(keys.channel(&id), channel);
            }
            prop_assert_eq!(keys.id(&tail), None);
        }

        #[test]
        fn any_stored_text_is_read_or_called_corrupt(text in ".{0,200}") {
            let _ = decode::<State>(&text);
            let _ = decode::<TicketRequest>(&text);
        }
    }
}
