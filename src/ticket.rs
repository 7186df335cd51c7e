//! Tickets, their states and the transitions between them: the one state machine of scangate.
//!
//! A [`Ticket`] is one sign-in attempt. Transitions are pure: they take the ticket, who acts and what time it is in the
//! store, and return the next revision, or why not. No I/O, no clock and no randomness live here; storing the next
//! revision atomically is the caller's part (`store::transition`).
//!
//! Invariant: every [`Outcome::Changed`] has a revision one above the ticket it came from, and a deadline after `now`.

#![deny(clippy::disallowed_types, reason = "a ticket has no clock: the store passes in the time")]

mod authentication;
mod id;
mod matching;
mod outcome;
mod parties;
mod record;
mod stamp;
mod state;
mod time;
mod transitions;

pub use authentication::{Authentication, MAX_DATE};
pub use id::{BindingHash, BindingSecret, ParseIdError, ScannerId, TicketId};
pub use matching::{MatchNumber, MatchPolicy, Matching, ParseMatchNumberError};
pub use outcome::{Decision, Outcome, Refusal};
pub use parties::{Audience, Claims, ClientId, Party, Person, Requester, Scanner, Subject};
pub use record::{Flow, NewTicket, Ticket, TicketRequest};
pub use stamp::Stamp;
pub use state::{CancelReason, Grant, Receipt, State};
pub use time::{Timestamp, millis};
pub use transitions::AFTERLIFE;

#[cfg(test)]
mod tests;
