//! The one way in which transitions are stored: read, step, replace, and again if another was faster.

use std::sync::Arc;

use super::contract::{Reading, Replaced, Store, StoreError};
use crate::ticket::{Outcome, Refusal, Ticket, TicketId, Timestamp};

/// How often a transition is tried again when others change the same ticket at the same time.
///
/// Each round has one winner, and a winner's change makes most others refusals or repeats, so a handful would do.
pub const MAX_TRANSITION_ATTEMPTS: u32 = 32;

/// Why a transition was not made.
#[derive(Debug, thiserror::Error)]
pub enum TransitionError {
    /// There is no such ticket (any more).
    #[error("no such ticket")]
    NoTicket,
    /// The ticket's state or the party forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A transition that was made, or had been made before.
#[derive(Debug)]
pub struct Transition {
    /// The ticket after it, with the store's time.
    pub reading: Reading,
    /// Whether this very call made it; false where the same party had done so before.
    pub changed: bool,
}

/// Applies `step` to the stored ticket, atomically: read, step, replace, and again where another was faster.
///
/// # Errors
/// [`TransitionError::NoTicket`] for an unknown or expired id; [`TransitionError::Refused`] as `step` says;
/// [`TransitionError::Store`] if the store fails or [`MAX_TRANSITION_ATTEMPTS`] others were faster.
///
/// # Cancel safety
/// Dropped half-way, the transition was made whole or not at all.
pub async fn transition(
    store: &Arc<dyn Store>,
    id: &TicketId,
    step: impl Fn(&Ticket, Timestamp) -> Result<Outcome, Refusal> + Send + Sync,
) -> Result<Transition, TransitionError> {
    let reading = store.get(id).await?.ok_or(TransitionError::NoTicket)?;
    transition_from(store, reading, step).await
}

/// Does the same, beginning with a ticket that was just read. Should it have changed since, it is read again.
///
/// # Errors
/// As [`transition`].
///
/// # Cancel safety
/// As [`transition`].
pub async fn transition_from(
    store: &Arc<dyn Store>,
    mut reading: Reading,
    step: impl Fn(&Ticket, Timestamp) -> Result<Outcome, Refusal> + Send + Sync,
) -> Result<Transition, TransitionError> {
    for _ in 0..MAX_TRANSITION_ATTEMPTS {
        let Reading { ticket, now } = reading;
        let next = match step(&ticket, now) {
            Ok(Outcome::Changed(next)) => next,
            Ok(Outcome::Unchanged(same)) => {
                // Whoever made it may have been told that it is not safe yet.
                store.confirm_replicated(&same).await?;
                return Ok(Transition { reading: Reading { ticket: same, now }, changed: false });
            }
            Err(Refusal::Expired) => return Err(TransitionError::NoTicket),
            Err(refusal) => {
                // Nobody is refused for what is about to be taken back, or was read at a primary that is none any more.
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
    Err(StoreError::Unavailable("too many changes to one ticket at once".to_owned()).into())
}
