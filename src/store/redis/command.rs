//! What is sent to Redis: a command that may be sent more than once, to another node if need be.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, Script, ServerErrorKind, Value};
use tokio::time::Instant;

/// A command of which a repetition does no harm.
pub(super) struct Command<'a> {
    cmd: Cmd,
    /// The script that it runs; Redis may have to be told it first.
    script: Option<&'a Script>,
    /// Whether replicas have to have what it writes.
    is_waiting: bool,
}

impl<'a> Command<'a> {
    /// Runs `script` on `key`; arguments follow.
    pub(super) fn script(script: &'a Script, key: &str) -> Self {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(script.get_hash()).arg(1).arg(key);
        Self { cmd, script: Some(script), is_waiting: false }
    }

    /// Any other command.
    pub(super) fn plain(cmd: Cmd) -> Self {
        Self { cmd, script: None, is_waiting: false }
    }

    pub(super) fn arg(mut self, arg: impl redis::ToRedisArgs) -> Self {
        self.cmd.arg(arg);
        self
    }

    /// Has it count only once replicas have what it writes.
    pub(super) fn waiting(self) -> Self {
        Self { is_waiting: true, ..self }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Sends it; `is_asking` if the node keeps the key only because it is being moved there.
    ///
    /// # Errors
    /// Redis's.
    pub(super) async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        is_asking: bool,
    ) -> Result<Value, RedisError> {
        match (self.send_once(connection, is_asking).await, self.script) {
            (Err(error), Some(script)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                script.load_async(connection).await?;
                self.send_once(connection, is_asking).await
            }
            (answer, _) => answer,
        }
    }

    async fn send_once(&self, connection: &mut MultiplexedConnection, is_asking: bool) -> Result<Value, RedisError> {
        if !is_asking {
            return self.cmd.query_async(connection).await;
        }
        // In one go: asking counts for the very next command, and the connection is shared.
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").ignore().add_command(self.cmd.clone());
        let (answer,) = pipeline.query_async::<(Value,)>(connection).await?;
        Ok(answer)
    }
}

/// What a node has done.
pub(super) struct Done {
    pub(super) value: Value,
    /// Set if it is not certain that the node may still promise anything.
    pub(super) doubt: Option<UnconfirmedPrimary>,
}

/// As many replicas as are there have it, but those may be fewer than there were, or are fewer than were asked for. The others
/// may have been lost; or another primary may have been made, which has it not.
#[derive(Debug, Clone)]
pub(super) struct UnconfirmedPrimary {
    /// When the node was asked: what it said is not older.
    pub(super) asked: Instant,
    /// How many are there.
    pub(super) there: usize,
    /// How many have it.
    pub(super) reached: usize,
    /// Whether those are fewer than were asked for, or were there a moment ago; otherwise nobody has looked for a while.
    pub(super) is_missing: bool,
}

/// Why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// The connection, or Redis's own answer.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// It was done, but would be forgotten if the primary were lost now.
    #[error("{reached} of {count} replicas have it so far")]
    TooFewReplicas { reached: usize, count: usize },
}
