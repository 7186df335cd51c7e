//! What a server tells about its connections.

use std::io;

/// Is told what happens to connections, to count it.
///
/// Every method is called on the server's own tasks: it must return at once.
pub trait Observer: Send + Sync + 'static {
    /// A connection was accepted.
    fn connection_opened(&self) {}

    /// A connection has ended.
    fn connection_closed(&self) {}

    /// An event stream was parked: from now on its connection costs a few hundred bytes.
    fn stream_parked(&self) {}

    /// A parked stream has ended, or its connection has.
    fn stream_unparked(&self) {}

    /// The connection of a parked stream ended before the stream did.
    fn stream_lost(&self, _reason: LossReason) {}
}

/// Observes nothing.
pub(crate) struct Nothing;

impl Observer for Nothing {}

/// Why a detached event stream's connection ended before its stream did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// The client closed it.
    Closed,
    /// The client, or something between, reset it.
    Reset,
    /// The client's system did not acknowledge what was sent for too long.
    Vanished,
    /// The client did not read for too long.
    Slow,
    /// The client sent more than it may before the stream had ended.
    Flooding,
    /// The stream itself broke off.
    Failed,
}

impl LossReason {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Closed, Self::Reset, Self::Vanished, Self::Slow, Self::Flooding, Self::Failed];

    /// Returns its name in one word, as a label of metrics.
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
}

impl LossReason {
    /// Tells why a connection ended whose socket failed with `error`.
    pub(crate) fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};

        match error.kind() {
            // What TCP_USER_TIMEOUT ends a connection with, or what was heard about the way to the client until then.
            TimedOut | HostUnreachable | NetworkUnreachable | NetworkDown => Self::Vanished,
            _ => Self::Reset,
        }
    }
}
