//! Decides where to send a command after an error: the redirects of a Cluster, and errors that suggest another primary.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::address::Address;

/// The step to take after an error.
pub(super) enum Redirect {
    /// Send the command to this node, which owns the key's slot.
    Moved(Address),
    /// Send this one command to this node, which has received the key of a migrating slot.
    Ask(Address),
    /// Ask which node is the primary: it may have changed.
    Refresh,
    /// Nothing; another node would not help.
    None,
}

impl Redirect {
    pub(super) fn of(error: &RedisError) -> Self {
        let target = || Address::parse(error.redirect_node()?.0);
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => target().map_or(Self::Refresh, Self::Moved),
            ErrorKind::Server(ServerErrorKind::Ask) => target().map_or(Self::Refresh, Self::Ask),
            ErrorKind::Server(ServerErrorKind::ClusterDown | ServerErrorKind::TryAgain) => Self::Refresh,
            _ if is_from_replica(error) || error.kind() == ErrorKind::Io || error.is_unrecoverable_error() => {
                Self::Refresh
            }
            _ => Self::None,
        }
    }
}

/// Returns whether the error shows that the node is a replica.
pub(super) fn is_from_replica(error: &RedisError) -> bool {
    // Before Redis 7, an error inside a script has no code.
    matches!(error.code(), Some("READONLY" | "MASTERDOWN"))
        || error.detail().is_some_and(|text| text.contains("-READONLY"))
}
