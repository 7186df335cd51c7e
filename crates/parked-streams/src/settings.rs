//! A server's settings and their bounds.

use std::time::Duration;

/// The default of [`Settings::write_timeout`], and the longest time that is useful for it: a client that takes nothing for
/// 30 seconds has gone or is not reading.
pub const MAX_WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The smallest request head that can be the bound, in bytes. hyper accepts no smaller one.
const MIN_HEAD_BYTES: usize = 8 * 1024;

/// The settings of a [`Server`](crate::Server).
///
/// ```
/// use parked_streams::Settings;
///
/// let settings = Settings { max_connections: 50_000, ..Settings::default() };
/// # assert!(settings.park);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most connections that may be open at a time, parked ones included. Further ones wait in the system's queue. Each
    /// listener keeps one of them in reserve while it waits for a connection. The process needs one open file for each.
    /// Default: 1,024.
    pub max_connections: usize,
    /// Whether the server parks idle event streams. If not, every connection stays with hyper, as under `axum::serve`.
    /// Default: true.
    pub park: bool,
    /// How long data may wait for a client to take it. On TCP it is also `TCP_USER_TIMEOUT`. Default: 30 seconds.
    pub write_timeout: Duration,
    /// How long a request's head may take to arrive, and how long a connection may be idle between requests. Default: 30
    /// seconds.
    pub head_timeout: Duration,
    /// The largest request head, in bytes. It also bounds what a client may send ahead while its stream is parked. At least
    /// 8,192; smaller values count as that. Default: 16,384.
    pub max_head_bytes: usize,
    /// The most header fields of a request. Default: 64.
    pub max_headers: usize,
    /// Whether the service answers requests whose head hyper cannot parse. If not, hyper answers them with a bare status.
    ///
    /// With `true`, the service gets a stand-in request for each of them, marked by
    /// [`UnreadableHead`](crate::UnreadableHead). **The service must check for that extension before anything else.**
    /// Default: false.
    pub pass_unreadable_heads: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            park: true,
            write_timeout: MAX_WRITE_TIMEOUT,
            head_timeout: Duration::from_secs(30),
            max_head_bytes: 16 * 1024,
            max_headers: 64,
            pass_unreadable_heads: false,
        }
    }
}

impl Settings {
    /// Returns the largest request head, in bytes, as it is enforced.
    pub(crate) fn enforced_head_bytes(&self) -> usize {
        self.max_head_bytes.max(MIN_HEAD_BYTES)
    }
}
