//! A lingering close, so that a client that is still sending can read its response.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How long a client may continue to send after its response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum number of bytes to read in that time.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// Reads and discards data until the client closes the connection, up to a time and a number of bytes.
///
/// Closing a socket with unread bytes resets the connection, and the client may lose the response (RFC 9112 §9.6).
///
/// # Cancel safety
/// Cancel safe: dropping the future stops reading.
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
    // After the timeout the connection closes as well.
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
    async fn reading_from_a_silent_client_ends_at_the_timeout() {
        let (mut here, _there) = tokio::io::duplex(1);
        let start = tokio::time::Instant::now();
        linger(&mut here).await;
        assert_eq!(start.elapsed(), LINGER_TIMEOUT);
    }
}
