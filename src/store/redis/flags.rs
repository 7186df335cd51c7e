//! `notify-keyspace-events`: which flags the engine needs, and how it makes sure that they are there.
//!
//! Managed Redis often forbids `CONFIG`. So the flags are read if that is allowed, set (merged into what is there) if
//! *that* is allowed, tried out on a key of our own where they cannot be read, and otherwise named in the error.

use std::time::Duration;

use deadpool_redis::Pool;
use futures_util::StreamExt as _;
use redis::{AsyncCommands as _, ErrorKind, RedisError};

use super::Keys;
use super::topology::{Topology, timed_out};
use crate::ticket::TicketId;

/// What the engine needs: `K`eyspace channels for `g`eneric, `h`ash, e`x`pired and `e`victed events.
pub(super) const NEEDED: &str = "Kghxe";

/// How long a tried-out notification may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Makes sure that the flags are set. Safe to repeat, and repeated after every reconnect: a restarted Redis forgets what
/// was set at run time.
///
/// # Errors
/// [`FlagsError`].
pub(super) async fn ensure(pool: &Pool, topology: &Topology, keys: &Keys, timeout: Duration) -> Result<(), FlagsError> {
    let mut connection = connect(pool).await?;
    match read(&mut connection).await {
        Ok(current) => set_missing(&mut connection, &current).await.map(drop),
        Err(error) if is_forbidden(&error) => probe(&mut connection, topology, keys, timeout).await,
        Err(error) => Err(failed(&error)),
    }
}

/// Makes sure that this user may subscribe to tickets' channels: in Redis 7 a new user may not.
///
/// # Errors
/// [`FlagsError::Refused`], [`FlagsError::Unreachable`].
pub(super) async fn may_subscribe(topology: &Topology, keys: &Keys, timeout: Duration) -> Result<(), FlagsError> {
    let subscribe = async {
        let (mut sink, _messages) = topology.subscriber(timeout).await?.split();
        sink.subscribe(keys.channel(&TicketId::random())).await
    };
    let subscribed = tokio::time::timeout(timeout, subscribe).await.unwrap_or_else(|_elapsed| Err(timed_out()));
    subscribed.map_err(|error| failed(&error))
}

/// Sets flags that somebody has taken away, and returns whether that was so. Where they may not be read, it looks away.
///
/// # Errors
/// [`FlagsError`].
pub(super) async fn repair(pool: &Pool) -> Result<bool, FlagsError> {
    let mut connection = connect(pool).await?;
    match read(&mut connection).await {
        Ok(current) => set_missing(&mut connection, &current).await,
        Err(error) if is_forbidden(&error) => Ok(false),
        Err(error) => Err(failed(&error)),
    }
}

async fn connect(pool: &Pool) -> Result<deadpool_redis::Connection, FlagsError> {
    pool.get().await.map_err(|error| match &error {
        deadpool_redis::PoolError::Backend(error) => failed(error),
        other => FlagsError::Unreachable(other.to_string()),
    })
}

/// Returns whether anything was missing.
async fn set_missing(connection: &mut deadpool_redis::Connection, current: &str) -> Result<bool, FlagsError> {
    let Some(merged) = merge(current) else { return Ok(false) };
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("notify-keyspace-events").arg(&merged);
    match set.query_async::<()>(connection).await {
        Ok(()) => {
            tracing::info!(before = current, after = merged, "set notify-keyspace-events in Redis");
            Ok(true)
        }
        Err(error) if is_forbidden(&error) => Err(FlagsError::Missing(merged)),
        Err(error) => Err(failed(&error)),
    }
}

pub(super) async fn read(connection: &mut deadpool_redis::Connection) -> Result<String, RedisError> {
    let mut answer: std::collections::HashMap<String, String> =
        redis::cmd("CONFIG").arg("GET").arg("notify-keyspace-events").query_async(connection).await?;
    Ok(answer.remove("notify-keyspace-events").unwrap_or_default())
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

fn failed(error: &RedisError) -> FlagsError {
    match error.code() {
        Some("NOPERM" | "NOAUTH" | "WRONGPASS") => FlagsError::Refused(error.to_string()),
        _ if error.kind() == ErrorKind::AuthenticationFailed => FlagsError::Refused(error.to_string()),
        _ => FlagsError::Unreachable(error.to_string()),
    }
}

/// Tries out whether writing and expiry of a key are reported.
async fn probe(
    connection: &mut deadpool_redis::Connection,
    topology: &Topology,
    keys: &Keys,
    timeout: Duration,
) -> Result<(), FlagsError> {
    let heard = tokio::time::timeout(PROBE_TIMEOUT, hear_own_key(connection, topology, keys, timeout)).await;
    match heard {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_elapsed) => Err(FlagsError::Missing(NEEDED.to_owned())),
    }
}

async fn hear_own_key(
    connection: &mut deadpool_redis::Connection,
    topology: &Topology,
    keys: &Keys,
    timeout: Duration,
) -> Result<(), RedisError> {
    let id = TicketId::random();
    let (mut sink, mut messages) = topology.subscriber(timeout).await?.split();
    sink.subscribe(keys.channel(&id)).await?;
    let key = keys.key(&id);
    let _: () = connection.hset(&key, "probe", 1).await?;
    // A time in the past would be reported as `del`, not as `expired`.
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(connection).await?;
    let _: bool = connection.pexpire_at(&key, seconds * 1000 + micros / 1000 + 2).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let _: bool = connection.exists(&key).await?;
    let mut waiting_for = vec!["hset", "expire", "expired"];
    while !waiting_for.is_empty() {
        let message = messages.next().await.ok_or_else(timed_out)?;
        let event: String = message.get_payload()?;
        waiting_for.retain(|wanted| *wanted != event);
    }
    Ok(())
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
