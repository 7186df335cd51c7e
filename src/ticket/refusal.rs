//! The reasons for which a ticket refuses an action.

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
    /// The approver signed in to their identity provider longer ago than the client accepts.
    #[error("the approver's sign-in is too old")]
    SignInTooOld,
    /// The approver signed in to their identity provider in a weaker way than the client accepts.
    #[error("the client requires a stronger sign-in")]
    StrongerSignInNeeded,
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
