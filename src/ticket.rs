//! Tickets, their states and the transitions between them: the only state machine of scangate.
//!
//! A [`Ticket`] is one sign-in attempt. Transitions are pure functions: they take the ticket, the acting party and the
//! store's time, and return the next revision or a refusal. This module has no I/O, no clock and no random generator:
//! constructors take random bytes and numbers as arguments. The caller stores the next revision atomically
//! (`store::transition`).
//!
//! Invariant: every [`Outcome::Changed`] has a revision one above that of its predecessor, and a deadline after `now`.

#![deny(clippy::disallowed_types, reason = "a ticket has no clock: the store passes in the time")]

mod authentication;
mod authorization;
mod freshness;
mod id;
mod matching;
mod outcome;
mod parties;
mod record;
mod refusal;
mod stamp;
mod state;
mod time;
mod transitions;

pub use authentication::Authentication;
pub use authorization::{Authorization, RequestedClaims, ResponseMode};
pub use freshness::Freshness;
pub use id::{BindingHash, BindingSecret, ParseIdError, ScannerId, TicketId};
pub use matching::{MatchNumber, MatchPolicy, Matching, ParseMatchNumberError};
pub use outcome::{Decision, Outcome};
pub use parties::{Audience, Claims, ClientId, Device, Party, Person, Scanner, Subject, remove_longest};
pub use record::{Flow, NewTicket, Ticket, TicketRequest};
pub use refusal::Refusal;
pub use stamp::Stamp;
pub use state::{CancelReason, Grant, Receipt, State};
pub use time::{CLOCK_LEEWAY_SECS, MAX_DATE, Timestamp, millis};
pub use transitions::FINAL_STATE_TTL;

#[cfg(test)]
mod tests;
