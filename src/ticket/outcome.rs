//! What goes into a transition and what comes out of it.

use super::matching::MatchNumber;
use super::parties::Claims;
use super::record::Ticket;

/// What an approver who confirms says.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The approver's claims, of which those are granted that the ticket asks for.
    pub claims: &'a Claims,
    /// Which of those alone, if not all.
    pub release: Option<&'a [String]>,
    /// The number on the other screen.
    pub number: Option<MatchNumber>,
    /// Whom the approver saw to have scanned: [`Ticket::scanner_id`].
    pub scanner: Option<&'a str>,
}

impl<'a> Decision<'a> {
    /// Grants everything that the ticket asks for, to whoever has scanned.
    #[must_use]
    pub fn all(claims: &'a Claims) -> Self {
        Self { claims, release: None, number: None, scanner: None }
    }
}

/// What an allowed action leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The next revision, to be stored.
    Changed(Ticket),
    /// It was done before by the same party: the same answer again, nothing to store.
    Unchanged(Ticket),
}

impl Outcome {
    /// Returns the ticket as it is after the step.
    #[must_use]
    pub fn into_ticket(self) -> Ticket {
        match self {
            Self::Changed(ticket) | Self::Unchanged(ticket) => ticket,
        }
    }
}

/// Why an action is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The ticket's time is over.
    #[error("the ticket has expired")]
    Expired,
    /// The party is none of this ticket's, or not the one that may do this.
    #[error("this party may not do that")]
    NotPermitted,
    /// Presenters cannot scan their own ticket.
    #[error("this is the party's own ticket")]
    OwnTicket,
    /// Nobody has scanned yet.
    #[error("the ticket was not scanned yet")]
    NotScanned,
    /// Somebody else scanned first.
    #[error("somebody else has scanned the ticket")]
    AlreadyScanned,
    /// A claim was to be released that the ticket does not ask for.
    #[error("a claim is named that the ticket does not ask for")]
    NotOffered,
    /// The approver does not say whom they saw to have scanned.
    #[error("the scanner is not named")]
    ScannerUnnamed,
    /// It is somebody else who has scanned than the approver saw.
    #[error("somebody else has scanned than was named")]
    ScannerChanged,
    /// The number on the other screen is asked for and was not given.
    #[error("the number of the other screen is missing")]
    NumberMissing,
    /// A number was given and none is asked for.
    #[error("no number is asked for")]
    NumberUnasked,
    /// The number was wrong, which has ended the ticket.
    #[error("the number was not that of the other screen")]
    Mismatch,
    /// The approver has not confirmed yet.
    #[error("the ticket is not confirmed yet")]
    NotConfirmed,
    /// It is confirmed and can be neither scanned nor cancelled any more.
    #[error("the ticket is already confirmed")]
    AlreadyConfirmed,
    /// It was cancelled.
    #[error("the ticket was cancelled")]
    AlreadyCancelled,
}
