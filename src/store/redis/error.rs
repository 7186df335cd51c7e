//! What goes wrong with Redis, and what it is to callers.

use redis::{ErrorKind, RedisError};

use super::redis_url::TopologyError;
use crate::store::contract::StoreError;

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

/// Why it is not certain that Redis reports what happens to keys.
#[derive(Debug, thiserror::Error)]
pub enum FlagsError {
    /// The flags are missing and may not be set.
    #[error(
        "Redis does not report what happens to keys and does not let this user change that. Set \
         `notify-keyspace-events {0}` in redis.conf or in the provider's parameter settings \
         (or as an administrator: `redis-cli CONFIG SET notify-keyspace-events {0}`)"
    )]
    Missing(String),
    /// Redis does not let this user in, or not do what the gateway has to.
    #[error(
        "Redis refuses this user: {0}. Check the login in --redis-url and the user's rights (docs/configuration.md lists \
         the commands and channels that it needs)"
    )]
    Refused(String),
    /// Redis cannot be asked.
    #[error("{0}")]
    Unreachable(String),
}

pub(super) fn unavailable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

pub(super) fn from_redis(error: &RedisError) -> StoreError {
    // Before Redis 7 a script's error has no code of its own.
    if error.code() == Some("OOM") || error.detail().is_some_and(|text| text.contains("-OOM ")) {
        return StoreError::Full("Redis has reached its maxmemory; raise it or add a node".to_owned());
    }
    unavailable(error)
}

/// Returns whether Redis says that this user may not do something, or is not let in.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    let says = |word: &str| error.detail().is_some_and(|text| text.contains(word));
    matches!(error.code(), Some("NOPERM" | "NOAUTH" | "WRONGPASS"))
        || error.kind() == ErrorKind::AuthenticationFailed
        // What a script is refused has no code of its own: in Redis 7, in Redis 6, and for a command that was renamed.
        || says("ACL failure in script")
        || says("-NOPERM")
        || says("can't run this command")
        || says("can't access")
        || says("Unknown Redis command")
        // What a provider has taken away.
        || says("unknown command")
}

/// Returns what an error says of the start.
pub(super) fn failed(error: &RedisError) -> FlagsError {
    if is_refusal(error) { FlagsError::Refused(error.to_string()) } else { FlagsError::Unreachable(error.to_string()) }
}
