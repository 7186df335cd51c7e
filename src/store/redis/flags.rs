//! `notify-keyspace-events`: which flags the engine needs, and how it makes sure that they are there.
//!
//! Managed Redis often forbids `CONFIG`. So the flags are read if that is allowed, set (merged into what is there) if
//! *that* is allowed, tried out on a key of our own where they cannot be read, and otherwise named in the error. Whoever
//! sets them says so to all gateways: the others would find nothing wrong, and what was not reported to them is lost.

use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{AsyncCommands as _, ErrorKind, RedisError};

use super::layout::Layout;
use super::node::Endpoint;
use super::topology::timed_out;
use crate::ticket::TicketId;

/// What the engine needs: `K`eyspace channels for `g`eneric, `h`ash, e`x`pired and `e`victed events.
pub(super) const NEEDED: &str = "Kghxe";

/// How long a tried-out notification may take.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many ids are drawn to find one of a node's own: enough for a node that keeps one slot of a Cluster's 16,384.
const MAX_DRAWS: usize = 200_000;

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
pub(super) async fn ensure(endpoint: &Endpoint) -> Result<(), FlagsError> {
    let mut connection = connect(endpoint).await?;
    match read(&mut connection).await {
        Ok(current) => set_missing(&mut connection, endpoint, &current).await.map(drop),
        Err(error) if is_forbidden(&error) => probe(&mut connection, endpoint).await,
        Err(error) => Err(failed(&error)),
    }
}

/// Makes sure that this user may subscribe to tickets' channels: in Redis 7 a new user may not.
///
/// # Errors
/// [`FlagsError::Refused`], [`FlagsError::Unreachable`].
pub(super) async fn may_subscribe(endpoint: &Endpoint) -> Result<(), FlagsError> {
    let subscribe = async {
        let (mut sink, _messages) = endpoint.subscriber().await?.split();
        sink.subscribe(endpoint.keys.channel(&TicketId::random())).await
    };
    let subscribed =
        tokio::time::timeout(endpoint.timeout, subscribe).await.unwrap_or_else(|_elapsed| Err(timed_out()));
    subscribed.map_err(|error| failed(&error))
}

/// Sets flags that somebody has taken away, and returns whether that was so. Where they may not be read, they are tried
/// out if `may_probe`, which costs a connection, and believed to be there if not.
///
/// # Errors
/// [`FlagsError`].
pub(super) async fn repair(endpoint: &Endpoint, may_probe: bool) -> Result<bool, FlagsError> {
    let mut connection = connect(endpoint).await?;
    match read(&mut connection).await {
        Ok(current) => set_missing(&mut connection, endpoint, &current).await,
        Err(error) if !is_forbidden(&error) => Err(failed(&error)),
        Err(_) if may_probe => probe(&mut connection, endpoint).await.map(|()| false),
        Err(_) => Ok(false),
    }
}

async fn connect(endpoint: &Endpoint) -> Result<deadpool_redis::Connection, FlagsError> {
    endpoint.connect().await.map_err(|error| failed(&error))
}

/// Returns whether anything was missing.
async fn set_missing(
    connection: &mut deadpool_redis::Connection,
    endpoint: &Endpoint,
    current: &str,
) -> Result<bool, FlagsError> {
    let Some(merged) = merge(current) else { return Ok(false) };
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("notify-keyspace-events").arg(&merged);
    match set.query_async::<()>(connection).await {
        Ok(()) => {
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
async fn probe(connection: &mut deadpool_redis::Connection, endpoint: &Endpoint) -> Result<(), FlagsError> {
    let touched = tokio::time::timeout(endpoint.timeout, touch_own_key(connection, endpoint)).await;
    // Redis that does not answer is one thing …
    let touched = touched.unwrap_or_else(|_elapsed| Err(timed_out())).map_err(|error| failed(&error))?;
    let Some((_sink, messages)) = touched else { return Ok(()) };
    // … and that it does, and reports nothing, another.
    match tokio::time::timeout(PROBE_TIMEOUT, hear_of_it(messages)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_elapsed) => Err(FlagsError::Missing(NEEDED.to_owned())),
    }
}

/// Writes a key and has it expire, and returns what should be told of that; nothing if the node keeps no key.
async fn touch_own_key(
    connection: &mut deadpool_redis::Connection,
    endpoint: &Endpoint,
) -> Result<Option<(PubSubSink, PubSubStream)>, RedisError> {
    let (mut sink, messages) = endpoint.subscriber().await?.split();
    let mut id = TicketId::random();
    let key = loop {
        let channel = endpoint.keys.channel(&id);
        sink.subscribe(&channel).await?;
        let key = endpoint.keys.key(&id);
        match connection.hset::<_, _, _, ()>(&key, "probe", 1).await {
            Ok(()) => break key,
            Err(error) if error.is_cluster_error() => {
                sink.unsubscribe(&channel).await?;
                match own_id(connection, endpoint).await? {
                    Some(own) => id = own,
                    None => return Ok(None),
                }
            }
            Err(error) => return Err(error),
        }
    };
    // A time in the past would be reported as `del`, not as `expired`.
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(connection).await?;
    let _: bool = connection.pexpire_at(&key, seconds * 1000 + micros / 1000 + 2).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let _: bool = connection.exists(&key).await?;
    Ok(Some((sink, messages)))
}

/// Returns an id whose key this node of a Cluster keeps, if it keeps any.
async fn own_id(
    connection: &mut deadpool_redis::Connection,
    endpoint: &Endpoint,
) -> Result<Option<TicketId>, RedisError> {
    let slots = redis::cmd("CLUSTER").arg("SLOTS").query_async(connection).await?;
    let layout = Layout::from_slots(&slots, 0, &endpoint.address)?;
    if !layout.primaries().contains(&&endpoint.address) {
        return Ok(None);
    }
    let ids = std::iter::repeat_with(TicketId::random).take(MAX_DRAWS);
    Ok(ids.into_iter().find(|id| layout.owner(id) == Some(&endpoint.address)))
}

async fn hear_of_it(mut messages: PubSubStream) -> Result<(), RedisError> {
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
