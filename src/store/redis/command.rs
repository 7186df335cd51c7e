//! A command to a node, its reply and its errors. A command may be sent more than once, and to another node.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, Script, ServerErrorKind, Value};
use tokio::time::Instant;

use super::keys::Key;
use crate::ticket::TicketId;

/// A command on one key. Repeating it is safe.
pub(super) struct Command<'a> {
    cmd: Cmd,
    slot: u16,
    ticket: Option<TicketId>,
    /// The script that it runs. A node that does not know the script receives it first.
    script: Option<&'a Script>,
    is_replicated: bool,
}

impl<'a> Command<'a> {
    /// Runs `script` on `key`; arguments follow.
    pub(super) fn script(script: &'a Script, key: &Key) -> Self {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(script.get_hash()).arg(1).arg(&key.name);
        Self { cmd, slot: key.slot, ticket: key.ticket, script: Some(script), is_replicated: false }
    }

    /// Runs the Redis command called `name` on `key`; arguments follow.
    pub(super) fn plain(name: &str, key: &Key) -> Self {
        let mut cmd = redis::cmd(name);
        cmd.arg(&key.name);
        Self { cmd, slot: key.slot, ticket: key.ticket, script: None, is_replicated: false }
    }

    pub(super) fn arg(mut self, arg: impl redis::ToRedisArgs) -> Self {
        self.cmd.arg(arg);
        self
    }

    /// Makes the command succeed only when replicas have its writes.
    pub(super) fn replicated(self) -> Self {
        Self { is_replicated: true, ..self }
    }

    pub(super) fn is_replicated(&self) -> bool {
        self.is_replicated
    }

    /// Returns the slot of its key.
    pub(super) fn slot(&self) -> u16 {
        self.slot
    }

    /// Returns the ticket whose key it uses, if the key is a ticket's.
    pub(super) fn ticket(&self) -> Option<TicketId> {
        self.ticket
    }

    /// Sends it. `is_ask` makes the node accept a key of a slot that is migrating to it.
    ///
    /// # Errors
    /// Redis's error, or the connection's.
    pub(super) async fn send(&self, connection: &mut MultiplexedConnection, is_ask: bool) -> Result<Value, RedisError> {
        match (self.send_once(connection, is_ask).await, self.script) {
            (Err(error), Some(script)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                script.load_async(connection).await?;
                self.send_once(connection, is_ask).await
            }
            (reply, _) => reply,
        }
    }

    async fn send_once(&self, connection: &mut MultiplexedConnection, is_ask: bool) -> Result<Value, RedisError> {
        if !is_ask {
            return self.cmd.query_async(connection).await;
        }
        // In one pipeline: ASKING applies to the very next command, and other commands share the connection.
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").ignore().add_command(self.cmd.clone());
        let (reply,) = pipeline.query_async::<(Value,)>(connection).await?;
        Ok(reply)
    }
}

/// The reply of a node.
pub(super) struct Reply {
    pub(super) value: Value,
    /// Set if the node may no longer be the primary. The reply is valid only if it still is.
    pub(super) unconfirmed: Option<UnconfirmedPrimary>,
}

/// The connected replicas have the change, but they are fewer than before or fewer than configured, or the last count
/// is outdated. The missing replicas may have failed; or one of them may be the new primary, without the change.
#[derive(Debug, Clone)]
pub(super) struct UnconfirmedPrimary {
    /// When the command was sent. The reply is not older.
    pub(super) asked_at: Instant,
    /// How many replicas are connected.
    pub(super) connected: usize,
    /// How many replicas have the change.
    pub(super) reached: usize,
    /// True if replicas are missing; false if only the last count is outdated.
    pub(super) is_replica_missing: bool,
}

/// The reason why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum CommandError {
    /// The connection broke, or Redis returned an error.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The primary has the change, but too few replicas do: a failover could lose it.
    #[error("only {reached} of {count} replicas have the change")]
    TooFewReplicas { reached: usize, count: usize },
}
