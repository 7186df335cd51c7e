//! The errors of the Redis engine, and the conversion of Redis's errors to [`StoreError`].

use redis::{ErrorKind, RedisError};

use super::redis_url::TopologyError;
use crate::store::contract::StoreError;

/// The reason why the engine cannot open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL does not describe the installation.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// Redis does not report changes of keys, or refuses this user. The message names the setting.
    #[error(transparent)]
    Flags(FlagsError),
    /// Redis does not answer. The caller may retry soon.
    #[error("{0}")]
    Unreachable(String),
}

impl From<FlagsError> for OpenError {
    fn from(error: FlagsError) -> Self {
        match error {
            FlagsError::Unreachable(reason) => Self::Unreachable(reason),
            FlagsError::Missing(_) | FlagsError::Refused(_) => Self::Flags(error),
        }
    }
}

/// The reason why the gateway cannot rely on a node to report changes of keys.
#[derive(Debug, thiserror::Error)]
pub enum FlagsError {
    /// Flags are missing, and this user may not set them.
    #[error(
        "Redis does not report changes of keys, and this user may not change that setting. Set \
         `notify-keyspace-events {0}` in redis.conf or in the provider's parameter settings \
         (or as an administrator: `redis-cli CONFIG SET notify-keyspace-events {0}`)"
    )]
    Missing(String),
    /// Redis refuses the login, or a command that the gateway needs.
    #[error(
        "Redis refuses this user: {0}. Check the login in --redis-url and the user's rights (docs/configuration.md lists \
         the commands and channels that it needs)"
    )]
    Refused(String),
    /// Redis does not answer.
    #[error("{0}")]
    Unreachable(String),
}

impl From<&RedisError> for FlagsError {
    fn from(error: &RedisError) -> Self {
        if is_refusal(error) { Self::Refused(error.to_string()) } else { Self::Unreachable(error.to_string()) }
    }
}

/// Returns whether Redis refuses the login, or denies this user a permission.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    let says = |word: &str| error.detail().is_some_and(|text| text.contains(word));
    matches!(error.code(), Some("NOPERM" | "NOAUTH" | "WRONGPASS"))
        || error.kind() == ErrorKind::AuthenticationFailed
        // A refusal inside a script has no code. These are the texts of Redis 7, of Redis 6, and for a renamed command.
        || says("ACL failure in script")
        || says("-NOPERM")
        || says("can't run this command")
        || says("can't access")
        || says("Unknown Redis command")
        // The provider has removed the command.
        || says("unknown command")
}

pub(super) fn unavailable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

pub(super) fn from_redis(error: &RedisError) -> StoreError {
    // Before Redis 7, an error inside a script has no code.
    if error.code() == Some("OOM") || error.detail().is_some_and(|text| text.contains("-OOM ")) {
        return StoreError::Full("Redis has reached its maxmemory; raise it or add a node".to_owned());
    }
    unavailable(error)
}
