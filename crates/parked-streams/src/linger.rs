//! A lingering close, so that a client that is still sending can read its response.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How long a client may keep sending after its response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that it may send in that time, in bytes.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// Reads and discards what the client sends until it closes, within bounds.
///
/// Closing a socket with unread bytes resets the connection, and the client may lose the response (RFC 9112 §9.6).
///
/// # Cancel safety
/// Cancel safe: dropping it stops the reading.
pub(crate) async fn linger(stream: &mut (impl AsyncRead + Unpin)) {
    let mut scratch = [0; 4096];
    let mut left = MAX_LINGER_BYTES;
    let reading = async {
        while left > 0 {
            match stream.read(&mut scratch).await {
                Ok(1..) => left = left.saturating_sub(scratch.len()),
                Ok(0) | Err(_) => return,
            }
        }
    };
    // After the timeout the connection closes as it does without one.
    let _ = tokio::time::timeout(LINGER_TIMEOUT, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reading_ends_with_the_client_or_at_the_bound() {
        linger(&mut &b"rest"[..]).await;
        linger(&mut tokio::io::repeat(b'x')).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_not_waited_for_longer_than_the_timeout() {
        let (mut here, _there) = tokio::io::duplex(1);
        let start = tokio::time::Instant::now();
        linger(&mut here).await;
        assert_eq!(start.elapsed(), LINGER_TIMEOUT);
    }
}
