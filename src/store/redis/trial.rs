//! Tries out, on a key of the engine's own, what this user may do, and whether Redis reports what happens to keys.
//!
//! Nothing here depends on how far away Redis is. The key's deadline is set by one script on Redis's clock, so it lies in the
//! future when it is set, and the key expires instead of being deleted. Silence counts only after Redis has answered a later
//! question over the connection that the reports would have come by: what was sent before an answer arrives before it.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{AsyncCommands as _, RedisError, Script, Value};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::error::{FlagsError, failed, is_refusal};
use super::scripts::LUA_NOW;
use super::slots::SlotMap;
use super::timeout::{in_time, timed_out};
use crate::random;
use crate::ticket::{TicketId, millis};

/// How long the key lives at first. Longer than a script may be held up between two of its commands …
const LIFE: Duration = Duration::from_millis(20);
/// … and if it was held up longer, so that the key was deleted instead, the next one lives twice as long. The last of so many
/// lives for 640 ms.
const MAX_KEYS: u32 = 6;
/// How long the key is asked for at most after its time. A Redis that pauses writes keeps it that long.
const MAX_OVERTIME: Duration = Duration::from_secs(2);
/// How long a report may take once Redis has answered what was asked after it. Redis itself needs no time for it; a provider's
/// proxy that passes reports on by another way may.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many ids are drawn to find one of a node's own: enough for a node that keeps one slot of a Cluster's 16,384.
const MAX_DRAWS: usize = 200_000;

/// What has to be reported of the key: that it was written, given a deadline, and has expired.
const REPORTS: [&str; 3] = ["hset", "expire", "expired"];

/// Makes sure that this user may do what every sign-in needs, so that a start fails instead of the first person's scan.
/// `is_waiting` if changes wait for replicas.
///
/// What keeps Redis from taking changes for another reason (no memory, no replicas, a full disk) is no concern of this.
///
/// # Errors
/// [`FlagsError::Refused`], [`FlagsError::Unreachable`].
pub(super) async fn may_work(endpoint: &Endpoint, is_waiting: bool) -> Result<(), FlagsError> {
    let may = async {
        let (mut sink, _messages) = endpoint.subscriber().await?.split();
        let channel = endpoint.keys.channel(&random::ticket_id());
        // In Redis 7 a new user may not subscribe to anything.
        in_time(endpoint.timeout, sink.subscribe(&channel)).await?;
        in_time(endpoint.timeout, sink.ping::<Value>()).await?;
        in_time(endpoint.timeout, sink.unsubscribe(&channel)).await?;
        let mut connection = endpoint.connect().await?;
        if is_waiting {
            let mut both = redis::pipe();
            only_refusals(both.cmd("WAIT").arg(0).arg(1).cmd("ROLE").query_async::<Value>(&mut connection).await)?;
        }
        let Some(id) = own_id(&mut connection, endpoint).await? else { return Ok(()) };
        let rights = Script::new(LUA_RIGHTS);
        only_refusals(rights.key(endpoint.keys.key(&id)).invoke_async::<Value>(&mut connection).await)
    };
    may.await.map_err(|error| failed(&error))
}

/// Everything that scripts do, on a key that is not there afterwards: `HSET` comes after what removes it again. Named, as Redis
/// does not always say which command it was.
const LUA_RIGHTS: &str = "
local commands = {
  {'TIME'}, {'HMGET', KEYS[1], 'probe'}, {'HGET', KEYS[1], 'probe'}, {'PEXPIREAT', KEYS[1], 1}, {'DEL', KEYS[1]},
  {'HSET', KEYS[1], 'probe', 1}, {'DEL', KEYS[1]}
}
for _, command in ipairs(commands) do
  local answer = redis.pcall(unpack(command))
  if type(answer) == 'table' and answer.err then
    return redis.error_reply('ERR ' .. command[1] .. ': ' .. answer.err)
  end
end
return 1";

/// Keeps, of errors, those that say that the user may not.
fn only_refusals(answer: Result<Value, RedisError>) -> Result<(), RedisError> {
    match answer {
        Err(error) if is_refusal(&error) || error.code().is_none() => Err(error),
        _ => Ok(()),
    }
}

/// Tries out whether writing and expiry of a key are reported; returns whether they are.
///
/// # Errors
/// [`FlagsError`].
pub(super) async fn reports_changes(
    connection: &mut MultiplexedConnection,
    endpoint: &Endpoint,
) -> Result<bool, FlagsError> {
    let mut life = LIFE;
    for _ in 0..MAX_KEYS {
        match try_out(connection, endpoint, life).await.map_err(|error| failed(&error))? {
            Outcome::Reported | Outcome::KeepsNoKey => return Ok(true),
            Outcome::Silent => return Ok(false),
            Outcome::Deleted => life *= 2,
        }
    }
    Err(FlagsError::Unreachable("Redis is too slow to try out whether it reports what happens to keys".to_owned()))
}

enum Outcome {
    /// Everything was reported.
    Reported,
    /// Something was not.
    Silent,
    /// The key was deleted before it could expire: Redis was held up between two commands of a script.
    Deleted,
    /// The node keeps no key of which it could report anything.
    KeepsNoKey,
}

async fn try_out(
    connection: &mut MultiplexedConnection,
    endpoint: &Endpoint,
    life: Duration,
) -> Result<Outcome, RedisError> {
    let Some(id) = own_id(connection, endpoint).await? else { return Ok(Outcome::KeepsNoKey) };
    let key = endpoint.keys.key(&id);
    let (mut sink, mut messages) = endpoint.subscriber().await?.split();
    in_time(endpoint.timeout, sink.subscribe(endpoint.keys.channel(&id))).await?;
    let write = Script::new(&format!(
        "{LUA_NOW}
redis.call('HSET', KEYS[1], 'probe', 1)
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now + ARGV[1]))
return 1"
    ));
    write.key(&key).arg(millis(life)).invoke_async::<()>(connection).await?;
    let written = Instant::now();
    // Asking for it makes Redis notice that its time is over. It was written before the answer came, and is asked for later
    // than this question is sent, so once is enough, unless Redis keeps what has expired for a while.
    let mut waited = life;
    loop {
        tokio::time::sleep(waited).await;
        if !connection.exists::<_, bool>(&key).await? || written.elapsed() > life + MAX_OVERTIME {
            break;
        }
        waited = LIFE;
    }
    in_time(endpoint.timeout, sink.ping::<Value>()).await?;
    let mut heard = HashSet::new();
    let hearing = hear(&mut messages, &mut heard);
    match tokio::time::timeout(PATIENCE, hearing).await {
        Ok(heard) => heard?,
        Err(_elapsed) => return Ok(Outcome::Silent),
    }
    Ok(if heard.contains("expired") { Outcome::Reported } else { Outcome::Deleted })
}

/// Listens until all that is to be reported was, or the key was deleted.
async fn hear(messages: &mut PubSubStream, heard: &mut HashSet<String>) -> Result<(), RedisError> {
    while !REPORTS.iter().all(|report| heard.contains(*report)) {
        let message = messages.next().await.ok_or_else(timed_out)?;
        let report: String = message.get_payload()?;
        if report == "del" {
            return Ok(());
        }
        heard.insert(report);
    }
    Ok(())
}

/// Returns an id whose key this node keeps, if it keeps any: one after another of a Cluster's nodes keeps none.
async fn own_id(connection: &mut MultiplexedConnection, endpoint: &Endpoint) -> Result<Option<TicketId>, RedisError> {
    let id = random::ticket_id();
    // The key is not there, so nothing is written.
    let touched = redis::cmd("PEXPIREAT").arg(endpoint.keys.key(&id)).arg(1).query_async::<Value>(connection).await;
    match touched {
        Err(error) if error.is_cluster_error() => {}
        Err(error) if is_refusal(&error) || error.code().is_none() => return Err(error),
        _ => return Ok(Some(id)),
    }
    let slots = redis::cmd("CLUSTER").arg("SLOTS").query_async(connection).await?;
    let layout = SlotMap::from_slots(&slots, 0, &endpoint.address)?;
    if !layout.primaries().contains(&&endpoint.address) {
        return Ok(None);
    }
    let ids = std::iter::repeat_with(random::ticket_id).take(MAX_DRAWS);
    Ok(ids.into_iter().find(|id| layout.owner(id) == Some(&endpoint.address)))
}
