//! Tests this user's permissions, and, with a key of its own, whether Redis reports changes of keys.
//!
//! The result does not depend on the round-trip time. One script sets the key's deadline on Redis's clock, so the
//! deadline is in the future, and the key expires instead of being deleted. A report is considered missing only after
//! Redis has answered a later command over the connection that carries the reports, because Redis sends reports and
//! replies in order.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{AsyncCommands as _, RedisError, Script, Value};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;

use super::endpoint::Endpoint;
use super::error::{FlagsError, is_refusal};
use super::queries;
use super::scripts::LUA_NOW;
use super::timeout::{in_time, timed_out};
use crate::random;
use crate::ticket::{TicketId, millis};

/// The lifetime of the first key: longer than Redis usually pauses between two commands of a script.
const FIRST_LIFETIME: Duration = Duration::from_millis(20);
/// If Redis paused for longer, it deleted the key at once, and the next key lives twice as long. The last one lives for
/// 640 ms.
const MAX_KEYS: u32 = 6;
/// How long to ask for the key after its deadline. A Redis with paused writes keeps it until then.
const EXPIRY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a report may take once Redis has answered the later command. Redis itself needs no time for it; a
/// provider's proxy may send reports over another path.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// How many random ids to generate to find one whose key this node owns: enough for a node that owns one of a Cluster's
/// 16,384 slots.
const MAX_IDS: usize = 200_000;
/// How many keys to probe to find one that a node of a Cluster does not own. The probability that one of three equal
/// primaries owns all of them is 1 in 7,000.
const KEYS_PROBED: usize = 8;

/// The reports that the key must cause: written, given a deadline, expired.
const REPORTS: [&str; 3] = ["hset", "expire", "expired"];

/// Returns whether the server is a node of a Cluster, which does not own every key. Deletes nothing.
pub(super) async fn is_in_a_cluster(endpoint: &Endpoint) -> bool {
    let Ok(connection) = endpoint.pooled_connection().await else { return false };
    // Sent concurrently: in sequence, they would take a round trip each.
    let probed = join_all((0..KEYS_PROBED).map(|_| {
        let mut connection: MultiplexedConnection = (*connection).clone();
        async move { probe_key(&mut connection, endpoint, &random::ticket_id()).await }
    }));
    probed.await.into_iter().any(|reply| reply.is_err_and(|error| error.is_cluster_error()))
}

/// Checks that this user may do everything that a sign-in needs, so that the start fails instead of the first scan.
/// `is_replicated` is whether changes wait for replicas.
///
/// Other reasons why Redis accepts no changes (no memory, no replicas, a full disk) do not fail this check.
///
/// # Errors
/// [`FlagsError::Refused`], [`FlagsError::Unreachable`].
pub(super) async fn check_rights(endpoint: &Endpoint, is_replicated: bool) -> Result<(), FlagsError> {
    let check = async {
        let (mut sink, _messages) = endpoint.open_subscriber().await?.split();
        let channel = endpoint.keys.channel(&random::ticket_id());
        // Since Redis 7 a new user may not subscribe to anything.
        in_time(endpoint.timeout, sink.subscribe(&channel)).await?;
        in_time(endpoint.timeout, sink.ping::<Value>()).await?;
        in_time(endpoint.timeout, sink.unsubscribe(&channel)).await?;
        let mut connection = endpoint.pooled_connection().await?;
        if is_replicated {
            let mut both = redis::pipe();
            only_refusals(both.cmd("WAIT").arg(0).arg(1).cmd("ROLE").query_async::<Value>(&mut connection).await)?;
        }
        let Some(id) = id_in_owned_slot(&mut connection, endpoint).await? else { return Ok(()) };
        let rights = Script::new(LUA_RIGHTS);
        only_refusals(rights.key(endpoint.keys.ticket(&id).name).invoke_async::<Value>(&mut connection).await)
    };
    check.await.map_err(|error: RedisError| FlagsError::from(&error))
}

/// Runs every command of the engine's scripts on a key, and leaves no key: the last `DEL` removes what `HSET` wrote.
/// The error names the command, because Redis does not always do so.
const LUA_RIGHTS: &str = "
local commands = {
  {'TIME'}, {'HMGET', KEYS[1], 'probe'}, {'HGET', KEYS[1], 'probe'}, {'PEXPIREAT', KEYS[1], 1}, {'DEL', KEYS[1]},
  {'HSET', KEYS[1], 'probe', 1}, {'DEL', KEYS[1]}
}
for _, command in ipairs(commands) do
  local reply = redis.pcall(unpack(command))
  if type(reply) == 'table' and reply.err then
    return redis.error_reply('ERR ' .. command[1] .. ': ' .. reply.err)
  end
end
return 1";

/// Returns errors that refuse this user or come from the connection; ignores the others.
fn only_refusals(reply: Result<Value, RedisError>) -> Result<(), RedisError> {
    match reply {
        Err(error) if is_refusal(&error) || error.code().is_none() => Err(error),
        _ => Ok(()),
    }
}

/// Tests whether Redis reports that a key is written and that it expires.
///
/// # Errors
/// [`FlagsError::Refused`], [`FlagsError::Unreachable`].
pub(super) async fn reports_changes(
    connection: &mut MultiplexedConnection,
    endpoint: &Endpoint,
) -> Result<bool, FlagsError> {
    let mut lifetime = FIRST_LIFETIME;
    for _ in 0..MAX_KEYS {
        match probe_key_events(connection, endpoint, lifetime).await.map_err(|error| FlagsError::from(&error))? {
            ProbeResult::Reported | ProbeResult::OwnsNoKey => return Ok(true),
            ProbeResult::Silent => return Ok(false),
            ProbeResult::Deleted => lifetime *= 2,
        }
    }
    Err(FlagsError::Unreachable("Redis is too slow to test its notifications".to_owned()))
}

enum ProbeResult {
    /// Redis reported everything.
    Reported,
    /// A report is missing.
    Silent,
    /// Redis paused between two commands of the script and deleted the key instead of letting it expire.
    Deleted,
    /// The node owns no slot, so it has no key to report on.
    OwnsNoKey,
}

async fn probe_key_events(
    connection: &mut MultiplexedConnection,
    endpoint: &Endpoint,
    lifetime: Duration,
) -> Result<ProbeResult, RedisError> {
    let Some(id) = id_in_owned_slot(connection, endpoint).await? else { return Ok(ProbeResult::OwnsNoKey) };
    let key = endpoint.keys.ticket(&id).name;
    let (mut sink, messages) = endpoint.open_subscriber().await?.split();
    in_time(endpoint.timeout, sink.subscribe(endpoint.keys.channel(&id))).await?;
    let write = Script::new(&format!(
        "{LUA_NOW}
redis.call('HSET', KEYS[1], 'probe', 1)
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now + ARGV[1]))
return 1"
    ));
    write.key(&key).arg(millis(lifetime)).invoke_async::<()>(connection).await?;
    let written = Instant::now();
    // Asking for an expired key makes Redis expire it. Redis wrote the key before its reply arrived, and the question
    // is sent a lifetime after that reply. So one question is enough, unless Redis keeps expired keys for a while.
    let mut wait = lifetime;
    loop {
        tokio::time::sleep(wait).await;
        if !connection.exists::<_, bool>(&key).await? || written.elapsed() > lifetime + EXPIRY_TIMEOUT {
            break;
        }
        wait = FIRST_LIFETIME;
    }
    in_time(endpoint.timeout, sink.ping::<Value>()).await?;
    let Ok(received) = tokio::time::timeout(REPORT_TIMEOUT, receive_reports(messages)).await else {
        return Ok(ProbeResult::Silent);
    };
    Ok(if received?.contains("expired") { ProbeResult::Reported } else { ProbeResult::Deleted })
}

/// Collects reports until all [`REPORTS`] have arrived, or the report that the key was deleted.
async fn receive_reports(messages: PubSubStream) -> Result<HashSet<String>, RedisError> {
    let mut reports = messages.map(|message| message.get_payload::<String>());
    let mut received = HashSet::new();
    while !REPORTS.iter().all(|report| received.contains(*report)) {
        let report = reports.next().await.ok_or_else(timed_out)??;
        if report == "del" {
            break;
        }
        received.insert(report);
    }
    Ok(received)
}

/// Returns an id whose key this node owns; `None` if it is a node of a Cluster that owns no slot.
async fn id_in_owned_slot(
    connection: &mut MultiplexedConnection,
    endpoint: &Endpoint,
) -> Result<Option<TicketId>, RedisError> {
    let id = random::ticket_id();
    match probe_key(connection, endpoint, &id).await {
        Err(error) if error.is_cluster_error() => {}
        Err(error) if is_refusal(&error) || error.code().is_none() => return Err(error),
        _ => return Ok(Some(id)),
    }
    let slots = queries::cluster_slots(connection, &endpoint.address).await?;
    if !slots.primaries().contains(&&endpoint.address) {
        return Ok(None);
    }
    let mut ids = std::iter::repeat_with(random::ticket_id).take(MAX_IDS);
    Ok(ids.find(|id| slots.owner_of_tag(id) == Some(&endpoint.address)))
}

/// Sets the deadline of a key that does not exist, which writes nothing.
async fn probe_key(
    connection: &mut MultiplexedConnection,
    endpoint: &Endpoint,
    id: &TicketId,
) -> Result<Value, RedisError> {
    redis::cmd("PEXPIREAT").arg(endpoint.keys.ticket(id).name).arg(1).query_async(connection).await
}
