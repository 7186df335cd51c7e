//! The only way to store a transition: read the ticket, apply the transition, replace the ticket; retry if another
//! caller was faster.

use std::sync::Arc;

use super::contract::{Reading, Replaced, Store, StoreError};
use crate::ticket::{Outcome, Refusal, Ticket, TicketId, Timestamp};

/// The number of attempts to store a transition when other callers change the same ticket at the same time.
///
/// Each round has one winner, whose change turns most other transitions into refusals or repeats. A handful of attempts
/// would suffice.
pub const MAX_TRANSITION_ATTEMPTS: u32 = 32;

/// The reason why a transition was not stored.
#[derive(Debug, thiserror::Error)]
pub enum TransitionError {
    /// The ticket does not exist, or has expired.
    #[error("no such ticket")]
    NoTicket,
    /// The ticket's state or the party forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A stored transition, made by this call or by an earlier one.
#[derive(Debug)]
pub struct Transition {
    /// The ticket after the transition, with the store's time.
    pub reading: Reading,
    /// True if this call made it; false if the same party had made it before.
    pub changed: bool,
}

/// Reads the ticket and stores the transition that `apply` returns for it, atomically.
///
/// # Errors
/// [`TransitionError::NoTicket`] for an unknown or expired id; [`TransitionError::Refused`] if `apply` refuses;
/// [`TransitionError::Store`] if the store fails, or after [`MAX_TRANSITION_ATTEMPTS`] conflicts.
///
/// # Cancel safety
/// If the future is dropped, the transition is stored whole or not at all.
pub async fn transition(
    store: &Arc<dyn Store>,
    id: &TicketId,
    apply: impl Fn(&Ticket, Timestamp) -> Result<Outcome, Refusal> + Send + Sync,
) -> Result<Transition, TransitionError> {
    let reading = store.get(id).await?.ok_or(TransitionError::NoTicket)?;
    transition_from(store, reading, apply).await
}

/// Like [`transition`], starting from a ticket that the caller has just read. If the ticket has changed since, this
/// function reads it again.
///
/// # Errors
/// As [`transition`].
///
/// # Cancel safety
/// As [`transition`].
pub async fn transition_from(
    store: &Arc<dyn Store>,
    mut reading: Reading,
    apply: impl Fn(&Ticket, Timestamp) -> Result<Outcome, Refusal> + Send + Sync,
) -> Result<Transition, TransitionError> {
    for _ in 0..MAX_TRANSITION_ATTEMPTS {
        let Reading { ticket, now } = reading;
        let next = match apply(&ticket, now) {
            Ok(Outcome::Changed(next)) => next,
            Ok(Outcome::Unchanged(unchanged)) => {
                // The earlier call may have failed because too few replicas had the change.
                store.confirm_replicated(&unchanged).await?;
                return Ok(Transition { reading: Reading { ticket: unchanged, now }, changed: false });
            }
            Err(Refusal::Expired) => return Err(TransitionError::NoTicket),
            Err(refusal) => {
                // A refusal must not be based on a change that a failover may undo, nor on a read from a former
                // primary.
                if store.confirm_replicated(&ticket).await? {
                    return Err(refusal.into());
                }
                reading = store.get(&ticket.id).await?.ok_or(TransitionError::NoTicket)?;
                continue;
            }
        };
        match store.replace(&ticket, &next).await? {
            Replaced::Done => return Ok(Transition { reading: Reading { ticket: next, now }, changed: true }),
            Replaced::Conflict => {}
            Replaced::Gone => return Err(TransitionError::NoTicket),
        }
        reading = store.get(&ticket.id).await?.ok_or(TransitionError::NoTicket)?;
    }
    Err(StoreError::Unavailable("too many concurrent changes of one ticket".to_owned()).into())
}
