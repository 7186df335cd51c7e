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
