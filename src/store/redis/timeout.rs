//! Time limits for the calls that the Redis client does not limit itself.

use std::time::Duration;

use redis::RedisError;

/// Limits a call for which the client has no timeout: on a half-open connection it would wait forever.
///
/// # Errors
/// The call's own error, or [`timed_out`] after `timeout`.
pub(super) async fn in_time<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    tokio::time::timeout(timeout, call).await.map_err(|_elapsed| timed_out())?
}

/// Returns the error for a missing reply: an I/O timeout.
pub(super) fn timed_out() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}
