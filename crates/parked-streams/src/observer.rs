//! Events that a server reports, for metrics.

use std::io;

/// Receives the events of a server's connections, for example to count them.
///
/// By default, every method does nothing. The server calls the methods on the tasks that serve connections, so they must not
/// block.
///
/// ```
/// use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
///
/// use parked_streams::Observer;
///
/// /// The number of streams that are parked right now.
/// #[derive(Default)]
/// struct Parked(AtomicI64);
///
/// impl Observer for Parked {
///     fn stream_parked(&self) {
///         self.0.fetch_add(1, Relaxed);
///     }
///
///     fn stream_unparked(&self) {
///         self.0.fetch_sub(1, Relaxed);
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Called when the server has accepted a connection.
    fn connection_opened(&self) {}

    /// Called when a connection has closed, once after each [`connection_opened`](Self::connection_opened).
    fn connection_closed(&self) {}

    /// Called when the server has parked an event stream.
    fn stream_parked(&self) {}

    /// Called when a stream is no longer parked, because it or its connection ended; once after each
    /// [`stream_parked`](Self::stream_parked).
    fn stream_unparked(&self) {}

    /// Called when the connection of a parked stream ended before the stream.
    fn stream_lost(&self, reason: LossReason) {
        let _ = reason;
    }
}

/// Ignores every event.
pub(crate) struct NoObserver;

impl Observer for NoObserver {}

/// The reason why a parked stream's connection ended before the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// The client closed the connection.
    Closed,
    /// The client, or a middlebox, reset the connection.
    Reset,
    /// The client's system did not acknowledge data within [`Settings::write_timeout`](crate::Settings::write_timeout), or
    /// became unreachable. TCP only.
    Vanished,
    /// The client did not read within [`Settings::write_timeout`](crate::Settings::write_timeout).
    Slow,
    /// The client sent more than [`Settings::max_head_bytes`](crate::Settings::max_head_bytes) before the stream ended.
    Flooding,
    /// The response body returned an error or panicked.
    Failed,
}

impl LossReason {
    /// Every reason, for metrics that create their series at startup.
    pub const ALL: [Self; 6] = [Self::Closed, Self::Reset, Self::Vanished, Self::Slow, Self::Flooding, Self::Failed];

    /// Returns the variant's name in lower case, for use as a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Vanished => "vanished",
            Self::Slow => "slow",
            Self::Flooding => "flooding",
            Self::Failed => "failed",
        }
    }

    /// Returns the reason for a socket's error.
    pub(crate) fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};

        match error.kind() {
            // TCP_USER_TIMEOUT ends a connection with `TimedOut`, or with the ICMP error received last.
            TimedOut | HostUnreachable | NetworkUnreachable | NetworkDown => Self::Vanished,
            _ => Self::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_timed_out_has_vanished_and_any_other_was_reset() {
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::HostUnreachable, io::ErrorKind::NetworkDown] {
            assert_eq!(LossReason::of(&kind.into()), LossReason::Vanished);
        }
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe] {
            assert_eq!(LossReason::of(&kind.into()), LossReason::Reset);
        }
    }
}
