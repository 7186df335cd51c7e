//! `notify-keyspace-events`: which flags the engine needs, and how it makes sure that they are there.
//!
//! Managed Redis often forbids `CONFIG`. So the flags are read if that is allowed, set (merged into what is there) if
//! *that* is allowed, tried out (`trial`) where they cannot be read, and otherwise named in the error. Whoever sets them says
//! so to all gateways: the others would find nothing wrong, and what was not reported to them is lost.

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, RedisError};

use super::endpoint::Endpoint;
use super::error::{FlagsError, failed};
use super::trial;

/// What the engine needs: `K`eyspace channels for `g`eneric, `h`ash, e`x`pired and `e`victed events.
pub(super) const NEEDED: &str = "Kghxe";

/// Makes sure that the flags are set. Safe to repeat, and repeated after every reconnect: a restarted Redis forgets what
/// was set at run time.
///
/// # Errors
/// [`FlagsError`].
pub(super) async fn ensure(endpoint: &Endpoint) -> Result<(), FlagsError> {
    let mut connection = connect(endpoint).await?;
    match read(&mut connection).await.map_err(|error| failed(&error))? {
        Some(current) => set_missing(&mut connection, endpoint, &current).await.map(drop),
        None => try_out(&mut connection, endpoint).await,
    }
}

/// Sets flags that somebody has taken away, and returns whether that was so. Where they may not be read, they are tried
/// out if `may_try_out`, which costs a connection, and believed to be there if not.
///
/// # Errors
/// [`FlagsError`].
pub(super) async fn repair(endpoint: &Endpoint, may_try_out: bool) -> Result<bool, FlagsError> {
    let mut connection = connect(endpoint).await?;
    match read(&mut connection).await.map_err(|error| failed(&error))? {
        Some(current) => set_missing(&mut connection, endpoint, &current).await,
        None if may_try_out => try_out(&mut connection, endpoint).await.map(|()| false),
        None => Ok(false),
    }
}

async fn connect(endpoint: &Endpoint) -> Result<deadpool_redis::Connection, FlagsError> {
    endpoint.connect().await.map_err(|error| failed(&error))
}

/// Tries out whether changes are reported.
async fn try_out(connection: &mut MultiplexedConnection, endpoint: &Endpoint) -> Result<(), FlagsError> {
    if trial::reports_changes(connection, endpoint).await? {
        Ok(())
    } else {
        Err(FlagsError::Missing(NEEDED.to_owned()))
    }
}

/// Returns whether anything was missing.
async fn set_missing(
    connection: &mut MultiplexedConnection,
    endpoint: &Endpoint,
    current: &str,
) -> Result<bool, FlagsError> {
    let Some(merged) = merge(current) else { return Ok(false) };
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("notify-keyspace-events").arg(&merged);
    match set.query_async::<()>(connection).await {
        Ok(()) => {
            // Some providers take the setting and do nothing about it.
            let is_set =
                read(connection).await.map_err(|error| failed(&error))?.is_some_and(|now| reports_changes(&now));
            if !is_set {
                try_out(connection, endpoint).await?;
            }
            tracing::info!(before = current, after = merged, "set notify-keyspace-events in Redis");
            // Whoever is not connected just now reads everything anyway, once they are.
            if let Err(error) = connection.publish::<_, _, ()>(endpoint.keys.gap_channel(), "").await {
                tracing::warn!(%error, "other gateways were not told that changes went unreported");
            }
            Ok(true)
        }
        Err(error) if is_forbidden(&error) => Err(FlagsError::Missing(merged)),
        Err(error) => Err(failed(&error)),
    }
}

/// Returns the flags; `None` where Redis does not tell them to this user.
///
/// # Errors
/// That Redis cannot be asked.
pub(super) async fn read(connection: &mut MultiplexedConnection) -> Result<Option<String>, RedisError> {
    let mut get = redis::cmd("CONFIG");
    get.arg("GET").arg("notify-keyspace-events");
    match get.query_async::<std::collections::HashMap<String, String>>(connection).await {
        // Some providers answer with nothing instead of refusing.
        Ok(mut answer) => Ok(answer.remove("notify-keyspace-events")),
        Err(error) if is_forbidden(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the flags to set so that nothing that is there gets lost, or `None` if nothing is missing.
pub(super) fn merge(current: &str) -> Option<String> {
    // `A` stands for all event classes (of which the needed ones are part), but not for `K`.
    let has = |flag| current.contains(flag) || (flag != 'K' && current.contains('A'));
    let missing: String = NEEDED.chars().filter(|&flag| !has(flag)).collect();
    (!missing.is_empty()).then(|| format!("{current}{missing}"))
}

/// Returns whether flags, as Redis tells them, are enough for the engine.
#[must_use]
pub fn reports_changes(flags: &str) -> bool {
    merge(flags).is_none()
}

/// An answer by which Redis, or a provider's proxy, says that the command is not for us.
fn is_forbidden(error: &RedisError) -> bool {
    // Anything Redis answered is a no to this command; only silence and broken connections are something else.
    error.code().is_some() && !matches!(error.code(), Some("LOADING" | "BUSY" | "MASTERDOWN" | "TRYAGAIN"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_there_is_kept_and_what_is_missing_added() {
        assert_eq!(merge(""), Some("Kghxe".to_owned()));
        assert_eq!(merge("Ex"), Some("ExKghe".to_owned()));
        assert_eq!(merge("AK"), None);
        assert_eq!(merge("AE"), Some("AEK".to_owned()));
        assert_eq!(merge("gxehK$"), None);
    }

    proptest! {
        #[test]
        fn merged_flags_miss_nothing(current in "[KEg$lshzxetdmnA]{0,14}") {
            let merged = merge(&current).unwrap_or(current.clone());
            prop_assert!(merged.starts_with(&current));
            prop_assert_eq!(merge(&merged), None);
        }
    }
}
