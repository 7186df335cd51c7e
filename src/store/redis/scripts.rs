//! The scripts that the engine has Redis run, and how the parts of a ticket are written.

use std::time::Duration;

use redis::Script;

use super::command::Command;
use crate::store::contract::{MAX_VALUE_BYTES, Put, StoreError};
use crate::ticket::{Stamp, millis};

/// The store's time and the fields of a ticket: revision, stamp, times, request and state. All are there or none, but for the
/// stamp, which the first revision has not.
pub(super) type Row = (u64, Option<u64>, Option<String>, Option<u64>, Option<u64>, Option<String>, Option<String>);

pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) get: Script,
    pub(super) replace: Script,
    pub(super) confirm_replicated: Script,
    pub(super) values: ValueScripts,
}

/// Redis's own time in milliseconds; the same instant all through a script.
pub(super) const LUA_NOW: &str = "
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
    pub(super) fn new(is_refusing_readers: bool) -> Self {
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

pub(super) struct ValueScripts {
    put: Script,
    get: Script,
}

impl ValueScripts {
    /// `guard` is what refuses to be read on a replica, where that is needed.
    pub(super) fn new(guard: &str) -> Self {
        let put = format!(
            "{LUA_NOW}
local there = redis.call('HGET', KEYS[1], 'value')
if there and ARGV[3] == 'if_absent' then return there == ARGV[1] and 1 or 0 end
redis.call('HSET', KEYS[1], 'value', ARGV[1])
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now + ARGV[2]))
return 1"
        );
        Self {
            put: Script::new(&put),
            get: Script::new(&format!("{guard}\nreturn redis.call('HGET', KEYS[1], 'value')")),
        }
    }

    pub(super) fn put(&self, key: &str, value: &str, ttl: Duration, put: Put) -> Result<Command<'_>, StoreError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(StoreError::Full(format!("a value has more than {MAX_VALUE_BYTES} bytes")));
        }
        let how = match put {
            Put::Always => "always",
            Put::IfAbsent => "if_absent",
        };
        Ok(Command::script(&self.put, key).arg(value).arg(millis(ttl)).arg(how))
    }

    pub(super) fn get(&self, key: &str) -> Command<'_> {
        Command::script(&self.get, key)
    }
}

pub(super) fn remove(key: &str) -> Command<'static> {
    let mut remove = redis::cmd("DEL");
    remove.arg(key);
    Command::plain(remove)
}

pub(super) fn encode<T: serde::Serialize>(part: &T) -> Result<String, StoreError> {
    serde_json::to_string(part).map_err(|error| StoreError::Corrupt(error.to_string()))
}

pub(super) fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    // serde_json's own message may quote the text, which holds personal data.
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt(format!("{:?} error at column {}", error.classify(), error.column())))
}

pub(super) fn decode_stamp(text: &str) -> Result<Stamp, StoreError> {
    text.parse().map_err(|_error| StoreError::Corrupt("the stamp is no hexadecimal number".to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ticket::{State, TicketRequest};

    proptest! {
        #[test]
        fn any_stored_text_is_read_or_called_corrupt(text in ".{0,200}") {
            let _ = decode::<State>(&text);
            let _ = decode::<TicketRequest>(&text);
        }
    }
}
