//! A server's settings and their bounds.

use std::time::Duration;

/// The default of [`Settings::write_timeout`], and its maximum useful value: a client that reads nothing for 30 seconds is
/// gone or stuck.
pub const MAX_WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The minimum of the bound on request heads, in bytes. hyper accepts no smaller bound.
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
    /// The maximum number of open connections, including parked ones. Further connections wait in the system's accept queue.
    /// Each listener reserves one while it waits for a connection. The process needs one open file per connection. Default:
    /// 1,024.
    pub max_connections: usize,
    /// Whether the server parks idle event streams. If not, every connection stays with hyper, as under `axum::serve`.
    /// Default: true.
    pub park: bool,
    /// How long data may wait for a client to read it. On TCP it is also `TCP_USER_TIMEOUT`. Default: 30 seconds.
    pub write_timeout: Duration,
    /// How long a request's head may take to arrive, and how long a connection may be idle between requests. Default: 30
    /// seconds.
    pub head_timeout: Duration,
    /// The maximum length of a request head, in bytes. It also bounds the data that a client may send while its stream is
    /// parked. The minimum is 8,192; smaller values are raised to it. Default: 16,384.
    pub max_head_bytes: usize,
    /// The maximum number of header fields in a request. Default: 64.
    pub max_headers: usize,
    /// Whether the service answers requests whose head hyper cannot parse. If not, hyper answers them with a bare status.
    ///
    /// With `true`, the service gets a substitute request for each of them, marked with
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
    /// Returns the enforced maximum length of a request head, in bytes.
    pub(crate) fn enforced_head_bytes(&self) -> usize {
        self.max_head_bytes.max(MIN_HEAD_BYTES)
    }
}
