//! What an error of Redis says about where a command should have gone.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::address::Address;

/// What may help after a failure.
pub(super) enum Redirect {
    /// The key is kept there.
    Moved(Address),
    /// The key is being moved there and has arrived already.
    Ask(Address),
    /// Somebody else may be primary by now.
    Look,
    /// Nothing.
    None,
}

impl Redirect {
    pub(super) fn of(error: &RedisError) -> Self {
        let redirected = || Address::parse(error.redirect_node()?.0);
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => redirected().map_or(Self::Look, Self::Moved),
            ErrorKind::Server(ServerErrorKind::Ask) => redirected().map_or(Self::Look, Self::Ask),
            ErrorKind::Server(ServerErrorKind::ClusterDown | ServerErrorKind::TryAgain) => Self::Look,
            _ if is_no_primary(error) || error.kind() == ErrorKind::Io || error.is_unrecoverable_error() => Self::Look,
            _ => Self::None,
        }
    }
}

/// Returns whether the node says that it is no primary.
pub(super) fn is_no_primary(error: &RedisError) -> bool {
    // Before Redis 7 a script's error has no code of its own.
    matches!(error.code(), Some("READONLY" | "MASTERDOWN"))
        || error.detail().is_some_and(|text| text.contains("-READONLY"))
}
