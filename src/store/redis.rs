//! The Redis engine: one hash per ticket, a few small Lua scripts, keyspace notifications for changes.
//!
//! A ticket's key is `<prefix>{<id>}`; the braces keep it in one Cluster slot with its notification channel. Fields and
//! expiry are written together, on Redis's own clock, so gateways with wrong clocks agree. This file speaks commands;
//! `router` sends them to the primary that keeps the ticket, `subscriber` turns a primary's notifications into changes.

mod command;
mod connections;
pub mod diagnosis;
mod discovery;
mod keys;
mod node;
mod notify_flags;
mod redirect;
mod replication;
mod router;
mod slots;
mod subscriber;
mod subscriptions;
mod topology;
mod trial;
mod values;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use redis::{RedisError, Script};
use tokio::sync::Notify;

use super::{Changes, Put, Reading, Replaced, Store, StoreError};
use crate::metrics::Metrics;
use crate::ticket::{NewTicket, Stamp, State, Ticket, TicketId, TicketRequest, Timestamp};

use command::{Command, Failure};
use keys::Keys;
use node::Node;
pub use notify_flags::{FlagsError, reports_changes};
use router::Router;
pub use topology::{Topology, TopologyError};
use values::ValueScripts;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where Redis is.
    pub topology: Topology,
    /// What every key begins with.
    pub prefix: String,
    /// How many connections to each node commands share.
    pub lanes: usize,
    /// How many replicas must have a change before it counts as stored, as far as so many are connected.
    pub wait_replicas: usize,
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

/// Where the engine tells what it notices.
#[derive(Clone)]
struct Reports {
    changes: Arc<dyn Changes>,
    metrics: Arc<Metrics>,
    /// Told when there is reason to look who is primary.
    look_again: Arc<Notify>,
}

/// The engine. Dropping it ends its subscribers.
pub struct RedisStore {
    fleet: Router,
    keys: Keys,
    scripts: Scripts,
    /// Whether changes wait for replicas.
    is_waiting: bool,
}

struct Scripts {
    create: Script,
    get: Script,
    replace: Script,
    confirm_replicated: Script,
    values: ValueScripts,
}

impl RedisStore {
    /// Finds the primaries, makes sure that they report what happens to keys, and starts a subscriber for each.
    ///
    /// # Errors
    /// [`OpenError`]. Where there are several primaries, less than half of them may be unreachable.
    pub async fn open(
        settings: &RedisSettings,
        changes: Arc<dyn Changes>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let reports = Reports { changes, metrics, look_again: Arc::new(Notify::new()) };
        let fleet =
            Router::start(settings.clone(), reports).await.map_err(|error| OpenError::from(trial::failed(&error)))?;
        let is_alone = !settings.topology.has_replicas();
        let prepare = async |node: Arc<Node>| {
            if is_alone && node.endpoint.is_in_a_cluster().await {
                return Err(TopologyError::Node.into());
            }
            trial::may_work(&node.endpoint, settings.wait_replicas > 0).await?;
            notify_flags::ensure(&node.endpoint).await?;
            Ok(())
        };
        let prepared: Vec<Result<(), OpenError>> = join_all(fleet.primaries().into_iter().map(prepare)).await;
        let (may_pass, fatal): (Vec<_>, Vec<_>) =
            prepared.into_iter().partition(|result| matches!(result, Ok(()) | Err(OpenError::Unreachable(_))));
        fatal.into_iter().collect::<Result<(), _>>()?;
        enough(may_pass)?;
        let keys = Keys::new(&settings.prefix, settings.topology.database());
        let scripts = Scripts::new(settings.topology.refuses_readers());
        Ok(Self { fleet, keys, scripts, is_waiting: settings.wait_replicas > 0 })
    }

    fn on<'a>(&self, script: &'a Script, id: &TicketId) -> Command<'a> {
        Command::script(script, &self.keys.key(id))
    }
}

/// Fails with the last error if half of the results or more are failures: the primaries of a Cluster keep tickets each for
/// itself, so one that is lost must not stop the others.
fn enough<E>(results: Vec<Result<(), E>>) -> Result<(), E> {
    let count = results.len();
    let mut errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    match errors.pop() {
        Some(error) if (errors.len() + 1) * 2 >= count => Err(error),
        _ => Ok(()),
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn create(&self, new: NewTicket) -> Result<Reading, StoreError> {
        let create = self.on(&self.scripts.create, &new.id);
        let create = create.arg(millis(new.ttl)).arg(encode(&new.request)?).arg(encode(&State::Pending)?);
        let now = Timestamp(self.fleet.run(&new.id, &create).await?);
        Ok(Reading { ticket: new.at(now), now })
    }

    async fn get(&self, id: &TicketId) -> Result<Option<Reading>, StoreError> {
        let (now, revision, stamp, created_at, deadline, request, state): Row =
            self.fleet.run(id, &self.on(&self.scripts.get, id)).await?;
        let (Some(revision), Some(created_at), Some(deadline), Some(request), Some(state)) =
            (revision, created_at, deadline, request, state)
        else {
            return Ok(None);
        };
        let now = Timestamp(now);
        let ticket = Ticket {
            id: *id,
            revision,
            stamp: stamp.map(|stamp| decode_stamp(&stamp)).transpose()?.unwrap_or_default(),
            created_at: Timestamp(created_at),
            deadline: Timestamp(deadline),
            request: decode::<TicketRequest>(&request)?,
            state: decode::<State>(&state)?,
        };
        Ok((now < ticket.deadline).then_some(Reading { ticket, now }))
    }

    async fn replace(&self, current: &Ticket, next: &Ticket) -> Result<Replaced, StoreError> {
        let replace = self.on(&self.scripts.replace, &next.id).arg(current.revision).arg(current.stamp.to_string());
        let replace = replace.arg(next.revision).arg(next.stamp.to_string());
        let replace = replace.arg(next.deadline.0).arg(encode(&next.state)?);
        let outcome: i64 = self.fleet.run(&next.id, &replace.waiting()).await?;
        Ok(match outcome {
            1 => Replaced::Done,
            0 => Replaced::Conflict,
            _ => Replaced::Gone,
        })
    }

    async fn confirm_replicated(&self, ticket: &Ticket) -> Result<bool, StoreError> {
        if !self.is_waiting {
            return Ok(true);
        }
        let confirm =
            self.on(&self.scripts.confirm_replicated, &ticket.id).arg(ticket.revision).arg(ticket.stamp.to_string());
        let outcome: i64 = self.fleet.run(&ticket.id, &confirm.waiting()).await?;
        match outcome {
            1 => Ok(true),
            2 => Ok(false),
            // It was read at a primary that is none any more, and is lost.
            _ => Err(unavailable("the ticket has been set back")),
        }
    }

    async fn watch(&self, id: &TicketId) -> Result<(), StoreError> {
        self.fleet.watch(id).await
    }

    fn unwatch(&self, id: &TicketId) {
        self.fleet.unwatch(id);
    }

    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError> {
        let id = TicketId::of_name(name);
        let command = self.scripts.values.put(&self.keys.value_key(&id), value, ttl, put)?;
        Ok(self.fleet.run::<i64>(&id, &command.waiting()).await? == 1)
    }

    async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        let id = TicketId::of_name(name);
        self.fleet.run(&id, &self.scripts.values.get(&self.keys.value_key(&id))).await
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        let id = TicketId::of_name(name);
        self.fleet.run::<i64>(&id, &values::remove(&self.keys.value_key(&id))).await.map(drop)
    }

    async fn check(&self) -> Result<(), StoreError> {
        let check = async |node: Arc<Node>| {
            node.subscriber.check()?;
            let mut write = redis::cmd("PEXPIREAT");
            write.arg(format!("{}{{check}}", self.keys.prefix)).arg(1);
            let write = Command::plain(write);
            let answer = tokio::time::timeout(node.endpoint.timeout, node.send(&write, false));
            match answer.await.map_err(|_elapsed| unavailable("no answer in time"))? {
                // A write, though to a key that is never there: a replica answers reads and can serve nobody.
                Ok(_) => Ok(()),
                // That it knows who keeps the key says that it is well.
                Err(Failure::Redis(error)) if error.redirect_node().is_some() => Ok(()),
                Err(failure) => Err(unavailable(failure)),
            }
        };
        enough(join_all(self.fleet.primaries().into_iter().map(check)).await)
    }
}

/// The store's time and the fields of a ticket: revision, stamp, times, request and state. All are there or none, but for the
/// stamp, which the first revision has not.
type Row = (u64, Option<u64>, Option<String>, Option<u64>, Option<u64>, Option<String>, Option<String>);

/// Redis's own time in milliseconds; the same instant all through a script.
const LUA_NOW: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
";

/// Refuses to be read on a replica, as only writing does: nothing is deleted. A primary that takes no writes for another
/// reason is read. In a Cluster replicas send readers away themselves, and a script may touch no second key while a slot is
/// moved.
const LUA_ONLY_ON_A_PRIMARY: &str = "
local refusal = redis.pcall('DEL', KEYS[1] .. ':none')
if type(refusal) == 'table' and refusal.err and string.find(refusal.err, 'READONLY', 1, true) then return refusal end
";

impl Scripts {
    fn new(is_refusing_readers: bool) -> Self {
        let script = |body: &str| Script::new(&format!("{LUA_NOW}{body}"));
        let guard = if is_refusing_readers { "" } else { LUA_ONLY_ON_A_PRIMARY };
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
            get: script(&format!(
                "{guard}
local row = redis.call('HMGET', KEYS[1], 'revision', 'stamp', 'created_at', 'deadline', 'request', 'state')
return {{now, row[1], row[2], row[3], row[4], row[5], row[6]}}"
            )),
            // Sent again, it finds a conflict with itself: the transition then begins with what it has stored. The expiry is set
            // first: a Redis without memory refuses the first write of a script if that may take some, and no later one, so
            // sign-ins that have begun are finished. Before Redis 7.2 time goes on while a script runs: a deadline that has just
            // passed deletes the ticket, and fields that were written then would stay for ever.
            replace: script(
                "
local stored = redis.call('HMGET', KEYS[1], 'revision', 'stamp')
if not stored[1] or tonumber(ARGV[5]) <= now then return -1 end
if stored[1] ~= ARGV[1] or (stored[2] or '0') ~= ARGV[2] then return 0 end
redis.call('PEXPIREAT', KEYS[1], ARGV[5])
if not redis.call('HGET', KEYS[1], 'revision') then return -1 end
redis.call('HSET', KEYS[1], 'revision', ARGV[3], 'stamp', ARGV[4], 'deadline', ARGV[5], 'state', ARGV[6])
return 1",
            ),
            // Writes what is there already: what replicas have of this connection, they have of everything before it. But
            // only if that is what was read, or came after it: it may have been read at another node.
            confirm_replicated: script(
                "
local stored = redis.call('HMGET', KEYS[1], 'revision', 'stamp', 'deadline')
local revision, expected = tonumber(stored[1] or 0), tonumber(ARGV[1])
if revision < expected or (revision == expected and (stored[2] or '0') ~= ARGV[2]) then return 0 end
redis.call('PEXPIREAT', KEYS[1], stored[3])
return revision == expected and 1 or 2",
            ),
            values: ValueScripts::new(guard),
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

fn decode_stamp(text: &str) -> Result<Stamp, StoreError> {
    text.parse().map_err(|_error| StoreError::Corrupt("the stamp is no hexadecimal number".to_owned()))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn unavailable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn from_redis(error: &RedisError) -> StoreError {
    // Before Redis 7 a script's error has no code of its own.
    if error.code() == Some("OOM") || error.detail().is_some_and(|text| text.contains("-OOM ")) {
        return StoreError::Full("Redis has reached its maxmemory; raise it or add a node".to_owned());
    }
    unavailable(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_stored_text_is_read_or_called_corrupt(text in ".{0,200}") {
            let _ = decode::<State>(&text);
            let _ = decode::<TicketRequest>(&text);
        }
    }
}
