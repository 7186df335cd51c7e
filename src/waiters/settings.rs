//! The bounds of the waiting parties, and the errors when one is reached.

use std::time::Duration;

use crate::callers::Tier;
use crate::store::StoreError;

/// Bounds and intervals of the waiting parties.
#[derive(Debug, Clone, Copy)]
pub struct WaiterLimits {
    /// The maximum number of registrations for one ticket.
    pub per_ticket: usize,
    /// The maximum number of registrations of one browser address (one /64 for IPv6). [`Tier::factor`] gives the multiple for wider networks.
    pub per_address: usize,
    /// The maximum number of registrations in this process.
    pub per_process: usize,
    /// The interval between two heartbeats of a stream.
    pub heartbeat: Duration,
    /// The time over which a drain spreads the ends of the streams.
    pub drain_spread: Duration,
}

/// The reason why a party cannot register.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// [`WaiterLimits::per_ticket`] is reached.
    #[error("too many streams wait for this ticket")]
    TicketFull,
    /// [`WaiterLimits::per_address`] is reached, for the address or a network that contains it.
    #[error("too many streams from this address or network")]
    CallerFull(Tier),
    /// [`WaiterLimits::per_process`] is reached.
    #[error("the gateway has reached its limit on streams")]
    ProcessFull,
    /// No permit became free in time: too many parties register at once.
    #[error("too many streams are being opened")]
    TooManyAtOnce,
    /// The gateway is draining.
    #[error("the gateway is shutting down")]
    Draining,
    /// The store could not watch the ticket.
    #[error(transparent)]
    Store(#[from] StoreError),
}
