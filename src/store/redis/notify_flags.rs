//! Checks that Redis reports changes of keys (`notify-keyspace-events`), and sets missing flags.
//!
//! Managed Redis often forbids `CONFIG`. So the engine reads the flags if it may, and merges the missing ones into them
//! if it may. If it may not read them, it tests their effect (`notify_probe`). Otherwise the error names the flags. A
//! gateway that sets flags notifies all other gateways, which would otherwise see correct flags and not know that
//! changes were missed.

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, RedisError};

use super::endpoint::Endpoint;
use super::error::FlagsError;
use super::notify_probe;

/// The flags that the engine needs: `K`eyspace channels for `g`eneric, `h`ash, e`x`pired and `e`victed events.
const NEEDED: &str = "Kghxe";

/// Makes sure that the flags are set. Every reconnect repeats this, because a restarted Redis has lost flags that were
/// set at run time.
///
/// # Errors
/// [`FlagsError`].
pub(super) async fn ensure(endpoint: &Endpoint) -> Result<(), FlagsError> {
    let mut connection = pooled_connection(endpoint).await?;
    match read(&mut connection).await.map_err(|error| FlagsError::from(&error))? {
        Some(current) => set_missing(&mut connection, endpoint, &current).await.map(drop),
        None => probe(&mut connection, endpoint).await,
    }
}

/// Sets flags that another client has removed; returns whether any were missing. If this user may not read the flags,
/// it tests their effect if `may_probe`, which takes a connection; otherwise it assumes that they are set.
///
/// # Errors
/// [`FlagsError`].
pub(super) async fn repair(endpoint: &Endpoint, may_probe: bool) -> Result<bool, FlagsError> {
    let mut connection = pooled_connection(endpoint).await?;
    match read(&mut connection).await.map_err(|error| FlagsError::from(&error))? {
        Some(current) => set_missing(&mut connection, endpoint, &current).await,
        None if may_probe => probe(&mut connection, endpoint).await.map(|()| false),
        None => Ok(false),
    }
}

async fn pooled_connection(endpoint: &Endpoint) -> Result<deadpool_redis::Connection, FlagsError> {
    endpoint.pooled_connection().await.map_err(|error| FlagsError::from(&error))
}

/// Fails if the probe shows that Redis does not report changes.
async fn probe(connection: &mut MultiplexedConnection, endpoint: &Endpoint) -> Result<(), FlagsError> {
    if notify_probe::reports_changes(connection, endpoint).await? {
        Ok(())
    } else {
        Err(FlagsError::Missing(NEEDED.to_owned()))
    }
}

/// Returns whether any flag was missing.
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
            // Some providers accept the setting and ignore it.
            let stored = read(connection).await.map_err(|error| FlagsError::from(&error))?;
            if !stored.is_some_and(|now| reports_changes(&now)) {
                probe(connection, endpoint).await?;
            }
            tracing::info!(before = current, after = merged, "set notify-keyspace-events in Redis");
            // A gateway that is not connected now reads every ticket when it connects.
            if let Err(error) = connection.publish::<_, _, ()>(endpoint.keys.missed_channel(), "").await {
                tracing::warn!(%error, "could not notify other gateways that changes may have been missed");
            }
            Ok(true)
        }
        Err(error) if is_forbidden(&error) => Err(FlagsError::Missing(merged)),
        Err(error) => Err(FlagsError::from(&error)),
    }
}

/// Returns the flags; `None` if this user may not read them.
///
/// # Errors
/// Redis's error, unless it refuses this command.
pub(super) async fn read(connection: &mut MultiplexedConnection) -> Result<Option<String>, RedisError> {
    let mut get = redis::cmd("CONFIG");
    get.arg("GET").arg("notify-keyspace-events");
    match get.query_async::<std::collections::HashMap<String, String>>(connection).await {
        // Some providers return nothing instead of refusing.
        Ok(mut reply) => Ok(reply.remove("notify-keyspace-events")),
        Err(error) if is_forbidden(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the current flags with the missing ones added, or `None` if none is missing.
fn merge(current: &str) -> Option<String> {
    // `A` includes every event class, and so the needed ones, but not `K`.
    let has = |flag| current.contains(flag) || (flag != 'K' && current.contains('A'));
    let missing: String = NEEDED.chars().filter(|&flag| !has(flag)).collect();
    (!missing.is_empty()).then(|| format!("{current}{missing}"))
}

/// Returns whether these flags, as Redis prints them, are enough for the engine.
#[must_use]
pub fn reports_changes(flags: &str) -> bool {
    merge(flags).is_none()
}

/// Returns whether Redis, or a provider's proxy, refuses this command.
fn is_forbidden(error: &RedisError) -> bool {
    // Any error means refusal, except errors that temporarily apply to every command.
    error.code().is_some() && !matches!(error.code(), Some("LOADING" | "BUSY" | "MASTERDOWN" | "TRYAGAIN"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn present_flags_are_kept_and_missing_ones_added() {
        assert_eq!(merge(""), Some("Kghxe".to_owned()));
        assert_eq!(merge("Ex"), Some("ExKghe".to_owned()));
        assert_eq!(merge("AK"), None);
        assert_eq!(merge("AE"), Some("AEK".to_owned()));
        assert_eq!(merge("gxehK$"), None);
    }

    proptest! {
        #[test]
        fn merged_flags_are_complete(current in "[KEg$lshzxetdmnA]{0,14}") {
            let merged = merge(&current).unwrap_or(current.clone());
            prop_assert!(merged.starts_with(&current));
            prop_assert_eq!(merge(&merged), None);
        }
    }
}
