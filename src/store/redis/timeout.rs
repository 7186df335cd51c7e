//! Bounds of waits.

use std::time::Duration;

use redis::RedisError;

/// The error for what did not answer in time.
pub(super) fn timed_out() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

/// Bounds a wait for which the client has no bound of its own: into a half-open connection it would wait for ever.
///
/// # Errors
/// The answer's, or an I/O timeout after `timeout`.
pub(super) async fn in_time<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    tokio::time::timeout(timeout, answer).await.map_err(|_elapsed| timed_out())?
}
