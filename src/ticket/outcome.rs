//! The input of a confirmation, and the result of a transition.

use super::matching::MatchNumber;
use super::parties::Claims;
use super::record::Ticket;

/// The approver's input to a confirmation.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The approver's claims. The confirmation grants those that the ticket asks for.
    pub claims: &'a Claims,
    /// The names of the claims to grant; all claims that the ticket asks for if `None`.
    pub release: Option<&'a [String]>,
    /// The number that the other screen shows.
    pub number: Option<MatchNumber>,
    /// The scanner that the approver saw: [`Ticket::scanner_id`].
    pub scanner: Option<&'a str>,
}

impl<'a> Decision<'a> {
    /// Grants everything that the ticket asks for, to any scanner.
    #[must_use]
    pub fn all(claims: &'a Claims) -> Self {
        Self { claims, release: None, number: None, scanner: None }
    }
}

/// The result of an allowed action.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The next revision, which the caller stores.
    Changed(Ticket),
    /// The same party did this before: the response is the same, and nothing is stored.
    Unchanged(Ticket),
}

impl Outcome {
    /// Returns the ticket after the action, for tests.
    #[must_use]
    pub fn into_ticket(self) -> Ticket {
        match self {
            Self::Changed(ticket) | Self::Unchanged(ticket) => ticket,
        }
    }
}

/// The reason why an action is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The ticket has expired.
    #[error("the ticket has expired")]
    Expired,
    /// The caller is not a party of this ticket, or the action belongs to another party.
    #[error("this party may not do this")]
    NotPermitted,
    /// A presenter cannot scan its own ticket.
    #[error("a presenter cannot scan its own ticket")]
    OwnTicket,
    /// No party has scanned yet.
    #[error("the ticket has not been scanned yet")]
    NotScanned,
    /// Another party scanned first.
    #[error("another party has scanned the ticket")]
    AlreadyScanned,
    /// The approver released a claim that the ticket does not ask for.
    #[error("the ticket does not ask for a released claim")]
    NotOffered,
    /// The confirmation does not name the scanner that the approver saw.
    #[error("the confirmation does not name the scanner")]
    ScannerMissing,
    /// The ticket's scanner is not the one that the approver saw.
    #[error("the ticket's scanner is not the named one")]
    ScannerChanged,
    /// The ticket requires the number on the other screen, and the confirmation has none.
    #[error("the number on the other screen is missing")]
    NumberMissing,
    /// The confirmation has a number, and the ticket requires none.
    #[error("the ticket requires no number")]
    UnexpectedNumber,
    /// The number was wrong, which cancelled the ticket.
    #[error("the number is not the one on the other screen")]
    Mismatch,
    /// The approver has not confirmed yet.
    #[error("the ticket is not confirmed yet")]
    NotConfirmed,
    /// The ticket is confirmed and can no longer be scanned or cancelled.
    #[error("the ticket is already confirmed")]
    AlreadyConfirmed,
    /// The ticket was cancelled.
    #[error("the ticket was cancelled")]
    AlreadyCancelled,
}
