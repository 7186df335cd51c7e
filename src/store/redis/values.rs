//! The values of the Redis engine: a hash of one field each, in the slot that a ticket with the name's hash would have.
//!
//! Their keys end in `:value`, so that no ticket is taken for one, and hold no name: names have people's ids in them. They
//! are hashes for the sake of the commands that a user must be allowed to send, which are those that tickets need.

use std::time::Duration;

use redis::Script;

use super::command::Command;
use super::{LUA_NOW, millis};
use crate::store::{MAX_VALUE_BYTES, Put, StoreError};

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
