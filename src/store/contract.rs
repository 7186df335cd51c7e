//! What every engine that keeps tickets must do.
//!
//! Invariant: a ticket whose deadline has passed is never returned; a watcher learns of every change, or of a gap.

use std::time::Duration;

use async_trait::async_trait;

use crate::ticket::{NewTicket, Ticket, TicketId, Timestamp};

/// The longest value that is kept beside the tickets, in bytes.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;

/// A ticket as it was read, with the store's time of the reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The ticket.
    pub ticket: Ticket,
    /// What time the store had.
    pub now: Timestamp,
}

impl Reading {
    /// Returns how much time the ticket has left.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.ticket.deadline.since(self.now)
    }
}

/// What became of a [`Store::replace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// It is stored.
    Done,
    /// Somebody else stored a revision in between; nothing was changed.
    Conflict,
    /// The ticket is not there any more.
    Gone,
}

/// How a value is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// In the place of any other.
    Always,
    /// Only where there is none. Of several that are put at once, one is.
    IfAbsent,
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or does not answer in time. Worth another try in a moment.
    #[error("the ticket store is unavailable: {0}")]
    Unavailable(String),
    /// It has no room for another ticket. Worth another try when tickets have expired.
    #[error("the ticket store is full: {0}")]
    Full(String),
    /// It holds something that this version cannot read.
    #[error("the ticket store holds a ticket that cannot be read: {0}")]
    Corrupt(String),
}

/// Keeps tickets until their deadline, and small values by name beside them. Every method is bounded in time by the engine.
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores a new ticket, which lives from now for its `ttl`.
    ///
    /// # Errors
    /// [`StoreError::Full`] at the engine's bound; [`StoreError::Unavailable`].
    async fn create(&self, new: NewTicket) -> Result<Reading, StoreError>;

    /// Reads a ticket; `None` if it never was or its time is over. An engine that would tell watchers of the expiry late, or
    /// never, tells them at once when the ticket is read after its deadline.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn get(&self, id: &TicketId) -> Result<Option<Reading>, StoreError>;

    /// Stores `next` and its deadline in the place of `current`, both at once or not at all: only if what is stored is still
    /// `current`, by revision and stamp.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: it may or may not have been stored, or is not yet as safe as was asked for.
    async fn replace(&self, current: &Ticket, next: &Ticket) -> Result<Replaced, StoreError>;

    /// Returns once the ticket, as it was read, is as safe as what [`Store::replace`] has acknowledged: whoever acts on what
    /// another has stored calls this first. Returns whether it is still as it was read; otherwise it has gone on since.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also if what was read is lost.
    async fn confirm_replicated(&self, _ticket: &Ticket) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Returns once every later change of this ticket will be reported to the engine's [`Changes`]. A caller that wants
    /// to miss nothing watches first and reads then.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if that was not acknowledged in time.
    async fn watch(&self, id: &TicketId) -> Result<(), StoreError>;

    /// Ends what [`Store::watch`] began, at once or a little later.
    fn unwatch(&self, id: &TicketId);

    /// Keeps `value`, of at most [`MAX_VALUE_BYTES`], under `name` for `ttl`, as safely as [`Store::replace`]. Returns whether
    /// it is there now. Being asked again, because a connection broke, does no harm: what is there already counts as put.
    /// Who has to know that nobody else has put it makes it unlike all others.
    ///
    /// # Errors
    /// [`StoreError::Full`]; [`StoreError::Unavailable`]: it may or may not have been put.
    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError>;

    /// Returns the value under `name`; `None` if there is none or its time is over.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn value(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Forgets the value under `name`, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn remove_value(&self, name: &str) -> Result<(), StoreError>;

    /// Says whether the engine can serve, and can report changes, right now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with what is wrong.
    async fn check(&self) -> Result<(), StoreError>;
}

/// Where an engine reports changes. Both calls return at once.
pub trait Changes: Send + Sync {
    /// A watched ticket has changed or has expired. It only wakes: what is true comes from reading.
    fn changed(&self, id: &TicketId);

    /// Changes of these may have gone unreported; they want reading again, soon, but not all at once.
    fn missed(&self, ids: Vec<TicketId>);
}
