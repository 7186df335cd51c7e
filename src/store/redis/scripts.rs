//! The Lua scripts that read and write tickets and values, and the format of a ticket in its hash.
//!
//! A ticket is a hash with one field per part. A value is a hash with one field; its key ends in `:value`, so that it
//! never equals a ticket's key. The key has a hash of the value's name, because names contain people's ids. Values are
//! hashes so that a user needs only the rights for tickets.

use std::time::Duration;

use redis::Script;

use super::command::Command;
use super::keys::Key;
use crate::store::contract::{MAX_VALUE_BYTES, Put, Reading, StoreError};
use crate::ticket::{NewTicket, State, Ticket, TicketId, TicketRequest, Timestamp, millis};

/// Sets `now` to Redis's time in milliseconds, which is the same throughout a script.
pub(super) const LUA_NOW: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
";

/// Makes a replica refuse the read, by a `DEL` of a key that does not exist. A primary that refuses writes for another
/// reason still serves reads. In a Cluster this is unnecessary, because replicas redirect readers, and impossible,
/// because a script may use no second key while its slot migrates.
const LUA_REQUIRE_PRIMARY: &str = "
local refusal = redis.pcall('DEL', KEYS[1] .. ':none')
if type(refusal) == 'table' and refusal.err and string.find(refusal.err, 'READONLY', 1, true) then return refusal end
";

/// If the connection breaks before the reply, the command is sent again and finds the ticket that it created.
const LUA_CREATE: &str = "
local known = redis.call('HMGET', KEYS[1], 'request', 'revision', 'created_at')
if known[1] == ARGV[2] and known[2] == '1' then return tonumber(known[3]) end
if known[1] then return redis.error_reply('ERR the ticket id is taken') end
local deadline = string.format('%.0f', now + ARGV[1])
redis.call('HSET', KEYS[1], 'revision', 1, 'created_at', string.format('%.0f', now), 'deadline', deadline,
  'request', ARGV[2], 'state', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], deadline)
return now";

const LUA_GET: &str = "
local row = redis.call('HMGET', KEYS[1], 'revision', 'stamp', 'created_at', 'deadline', 'request', 'state')
return {now, row[1], row[2], row[3], row[4], row[5], row[6]}";

/// A repeated command finds a conflict with its first execution, and the transition restarts from the ticket that the
/// first one stored.
///
/// It sets the expiry first. A Redis that is out of memory refuses a script if its first write may need memory, but it
/// does not refuse later writes. So started sign-ins can finish. Before Redis 7.2, the clock advances during a script:
/// a deadline that has just passed deletes the ticket, and fields written after that would stay forever.
const LUA_REPLACE: &str = "
local stored = redis.call('HMGET', KEYS[1], 'revision', 'stamp')
if not stored[1] or tonumber(ARGV[5]) <= now then return -1 end
if stored[1] ~= ARGV[1] or (stored[2] or '0') ~= ARGV[2] then return 0 end
redis.call('PEXPIREAT', KEYS[1], ARGV[5])
if not redis.call('HGET', KEYS[1], 'revision') then return -1 end
redis.call('HSET', KEYS[1], 'revision', ARGV[3], 'stamp', ARGV[4], 'deadline', ARGV[5], 'state', ARGV[6])
return 1";

/// Writes the deadline that the ticket already has: replicas that have this write have everything written over the
/// connection before it. It writes only if the ticket is the one that was read, or a later revision: another node may
/// have served the read.
const LUA_CONFIRM_REPLICATED: &str = "
local stored = redis.call('HMGET', KEYS[1], 'revision', 'stamp', 'deadline')
local revision, expected = tonumber(stored[1] or 0), tonumber(ARGV[1])
if revision < expected or (revision == expected and (stored[2] or '0') ~= ARGV[2]) then return 0 end
redis.call('PEXPIREAT', KEYS[1], stored[3])
return revision == expected and 1 or 2";

/// A repeated command finds the value that its first execution stored, and succeeds. It writes the expiry again, so that
/// replicas have everything written over the connection before.
const LUA_PUT_VALUE: &str = "
local deadline = string.format('%.0f', now + ARGV[2])
local stored = redis.call('HGET', KEYS[1], 'value')
if stored and ARGV[3] == 'if_absent' then
  if stored ~= ARGV[1] then return 0 end
  if redis.call('PEXPIREAT', KEYS[1], deadline) == 1 then return 1 end
end
redis.call('HSET', KEYS[1], 'value', ARGV[1])
redis.call('PEXPIREAT', KEYS[1], deadline)
return 1";

/// A repeated command finds the value that its first execution stored, and succeeds. It writes the expiry again, so that
/// replicas have everything written over the connection before.
///
/// It sets the expiry first, for the reasons given at [`LUA_REPLACE`].
const LUA_REPLACE_VALUE: &str = "
local stored = redis.call('HGET', KEYS[1], 'value')
if not stored or (stored ~= ARGV[1] and stored ~= ARGV[2]) then return 0 end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now + ARGV[3]))
if not redis.call('HGET', KEYS[1], 'value') then return 0 end
redis.call('HSET', KEYS[1], 'value', ARGV[2])
return 1";

const LUA_GET_VALUE: &str = "
return redis.call('HGET', KEYS[1], 'value')";

/// The scripts; each method returns the command that runs one.
pub(super) struct Scripts {
    create: Script,
    get: Script,
    replace: Script,
    confirm_replicated: Script,
    put_value: Script,
    replace_value: Script,
    get_value: Script,
}

/// The store's time and the fields of a ticket: revision, stamp, times, request and state. All fields are present or none;
/// only the stamp is absent from the first revision.
pub(super) type Row = (u64, Option<u64>, Option<String>, Option<u64>, Option<u64>, Option<String>, Option<String>);

impl Scripts {
    /// Creates the scripts. `replicas_refuse_reads` is whether replicas refuse reads by themselves.
    pub(super) fn new(replicas_refuse_reads: bool) -> Self {
        let guard = if replicas_refuse_reads { "" } else { LUA_REQUIRE_PRIMARY };
        Self {
            create: Script::new(&format!("{LUA_NOW}{LUA_CREATE}")),
            get: Script::new(&format!("{LUA_NOW}{guard}{LUA_GET}")),
            replace: Script::new(&format!("{LUA_NOW}{LUA_REPLACE}")),
            confirm_replicated: Script::new(&format!("{LUA_NOW}{LUA_CONFIRM_REPLICATED}")),
            put_value: Script::new(&format!("{LUA_NOW}{LUA_PUT_VALUE}")),
            replace_value: Script::new(&format!("{LUA_NOW}{LUA_REPLACE_VALUE}")),
            get_value: Script::new(&format!("{guard}{LUA_GET_VALUE}")),
        }
    }

    /// The command returns the store's time.
    pub(super) fn create(&self, key: &Key, new: &NewTicket) -> Result<Command<'_>, StoreError> {
        let create = Command::script(&self.create, key).arg(millis(new.ttl));
        Ok(create.arg(encode(&new.request)?).arg(encode(&State::NEW)?))
    }

    /// The command returns a [`Row`].
    pub(super) fn get(&self, key: &Key) -> Command<'_> {
        Command::script(&self.get, key)
    }

    /// The command returns 1 if it replaced the ticket, 0 on a conflict, -1 if the ticket is gone.
    pub(super) fn replace(&self, key: &Key, current: &Ticket, next: &Ticket) -> Result<Command<'_>, StoreError> {
        let replace = Command::script(&self.replace, key).arg(current.revision).arg(current.stamp.to_string());
        let replace = replace.arg(next.revision).arg(next.stamp.to_string());
        Ok(replace.arg(next.deadline.0).arg(encode(&next.state)?))
    }

    /// The command returns 1 if the ticket is as it was read, 2 if a later revision superseded it, 0 if it is lost.
    pub(super) fn confirm_replicated(&self, key: &Key, ticket: &Ticket) -> Command<'_> {
        Command::script(&self.confirm_replicated, key).arg(ticket.revision).arg(ticket.stamp.to_string())
    }

    /// The command returns 1 if the key now has the value.
    pub(super) fn put_value(&self, key: &Key, value: &str, ttl: Duration, put: Put) -> Result<Command<'_>, StoreError> {
        check_length(value)?;
        let when = match put {
            Put::Always => "always",
            Put::IfAbsent => "if_absent",
        };
        Ok(Command::script(&self.put_value, key).arg(value).arg(millis(ttl)).arg(when))
    }

    /// The command returns 1 if the key now has `next`, 0 if it has no value or another one than `expected`.
    pub(super) fn replace_value(
        &self,
        key: &Key,
        expected: &str,
        next: &str,
        ttl: Duration,
    ) -> Result<Command<'_>, StoreError> {
        check_length(next)?;
        Ok(Command::script(&self.replace_value, key).arg(expected).arg(next).arg(millis(ttl)))
    }

    /// The command returns the value, or nil.
    pub(super) fn get_value(&self, key: &Key) -> Command<'_> {
        Command::script(&self.get_value, key)
    }
}

/// Reads the ticket in a row; `None` if there is none or it has expired.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub(super) fn read_row(id: &TicketId, row: Row) -> Result<Option<Reading>, StoreError> {
    let (now, revision, stamp, created_at, deadline, request, state) = row;
    let (Some(revision), Some(created_at), Some(deadline), Some(request), Some(state)) =
        (revision, created_at, deadline, request, state)
    else {
        return Ok(None);
    };
    let corrupt_stamp = |_error| StoreError::Corrupt("the stamp is not a hexadecimal number".to_owned());
    let now = Timestamp(now);
    let ticket = Ticket {
        id: *id,
        revision,
        stamp: stamp.map(|stamp| stamp.parse().map_err(corrupt_stamp)).transpose()?.unwrap_or_default(),
        created_at: Timestamp(created_at),
        deadline: Timestamp(deadline),
        request: decode::<TicketRequest>(&request)?,
        state: decode::<State>(&state)?,
    };
    Ok((now < ticket.deadline).then_some(Reading { ticket, now }))
}

fn check_length(value: &str) -> Result<(), StoreError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(StoreError::Full(format!("the value has more than {MAX_VALUE_BYTES} bytes")));
    }
    Ok(())
}

fn encode<T: serde::Serialize>(part: &T) -> Result<String, StoreError> {
    serde_json::to_string(part).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    // The message of serde_json may quote the text, which contains personal data.
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt(format!("{:?} error at column {}", error.classify(), error.column())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_stored_text_is_read_or_reported_as_corrupt(text in ".{0,200}") {
            let _ = decode::<State>(&text);
            let _ = decode::<TicketRequest>(&text);
        }
    }
}
