//! The contract of a ticket store.
//!
//! The contract is small on purpose. An engine creates a ticket, reads it, and replaces it if the stored revision is
//! still the expected one. It provides the time, and it reports changes of watched tickets. It does not know
//! transitions: those are in `transition`.
//!
//! Invariants: an engine never returns a ticket whose deadline has passed. A watcher gets a report of every change, or
//! that it may have missed one.

use std::time::Duration;

use async_trait::async_trait;

use crate::ticket::{NewTicket, Ticket, TicketId, Timestamp};

/// The maximum length of a value that a store keeps beside the tickets, in bytes.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;

/// A ticket, and the store's time when it read the ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The ticket.
    pub ticket: Ticket,
    /// The store's time.
    pub now: Timestamp,
}

impl Reading {
    /// Returns the time until the ticket's deadline.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.ticket.deadline.since(self.now)
    }
}

/// The outcome of [`Store::replace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The store holds the new revision.
    Done,
    /// Another caller stored a revision first; this call changed nothing.
    Conflict,
    /// The ticket no longer exists.
    Gone,
}

/// The condition under which [`Store::put_value`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Always: it replaces any earlier value.
    Always,
    /// Only if the name has no value. If several callers put one at once, one of them wins.
    IfAbsent,
}

/// The reason why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, or does not answer in time. The caller may retry soon.
    #[error("the ticket store is unavailable: {0}")]
    Unavailable(String),
    /// The store has no room for another record. The caller may retry when tickets have expired.
    #[error("the ticket store is full: {0}")]
    Full(String),
    /// The store holds a record that this version cannot read.
    #[error("the ticket store holds a ticket that cannot be read: {0}")]
    Corrupt(String),
}

/// Keeps tickets until their deadline, and small named values beside them. The engine bounds the time of every method.
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores a new ticket. Its `ttl` begins now.
    ///
    /// # Errors
    /// [`StoreError::Full`] at the engine's bound; [`StoreError::Unavailable`].
    async fn create(&self, new: NewTicket) -> Result<Reading, StoreError>;

    /// Reads a ticket; `None` if it never existed or has expired. Some engines report expiry to watchers late or never.
    /// Such an engine reports it when this method reads the ticket after its deadline.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn get(&self, id: &TicketId) -> Result<Option<Reading>, StoreError>;

    /// Replaces `current` by `next`, together with its deadline, or changes nothing. It replaces only if the stored
    /// ticket has the revision and the stamp of `current`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the store may or may not hold `next`, or holds it on too few replicas.
    async fn replace(&self, current: &Ticket, next: &Ticket) -> Result<Replaced, StoreError>;

    /// Waits until the ticket, as the caller read it, is replicated to the degree that [`Store::replace`] guarantees. A
    /// caller that acts on a change made by another caller calls this first. Returns false if a later revision has
    /// superseded the ticket.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also if the store has lost that revision.
    async fn confirm_replicated(&self, _ticket: &Ticket) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Waits until the engine reports every later change of this ticket to its [`Changes`]. A caller that must miss no
    /// change watches first and reads afterwards.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis did not acknowledge the subscription in time.
    async fn watch(&self, id: &TicketId) -> Result<(), StoreError>;

    /// Ends a [`Store::watch`], now or shortly afterwards.
    fn unwatch(&self, id: &TicketId);

    /// Keeps `value`, of at most [`MAX_VALUE_BYTES`], under `name` for `ttl`, replicated as by [`Store::replace`].
    /// Returns whether the name now has this value. Repeated calls are safe: storing an equal value again succeeds, is
    /// replicated again, and begins the lifetime anew. To detect whether its own call stored the value, a caller makes the
    /// value unique.
    ///
    /// # Errors
    /// [`StoreError::Full`]; [`StoreError::Unavailable`]: the store may or may not hold the value.
    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError>;

    /// Replaces the value `expected` under `name` by `next`, of at most [`MAX_VALUE_BYTES`], for `ttl` from now, replicated as by
    /// [`Store::replace`]. Returns whether the name now has `next`. It changes nothing if the name has no value, or another
    /// one: a removed or expired value does not come back. Repeated calls are safe: if the name already has `next`, the call
    /// succeeds. To detect whether its own call stored the value, a caller makes the value unique.
    ///
    /// # Errors
    /// As [`Store::put_value`].
    async fn replace_value(&self, name: &str, expected: &str, next: &str, ttl: Duration) -> Result<bool, StoreError>;

    /// Returns the value under `name`; `None` if there is none or it has expired.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn value(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Removes the value under `name`, if there is one, replicated as by [`Store::replace`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the store may or may not hold the value.
    async fn remove_value(&self, name: &str) -> Result<(), StoreError>;

    /// Checks that the engine can serve requests and report changes right now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the reason.
    async fn check(&self) -> Result<(), StoreError>;
}

/// Receives an engine's reports of changes. Both methods return at once.
pub trait Changes: Send + Sync {
    /// A watched ticket has changed or has expired. The report only wakes the waiters: they read the ticket for its
    /// state.
    fn changed(&self, id: &TicketId);

    /// These tickets may have changed without a report. The receiver reads them again soon, but not all at once.
    fn missed(&self, ids: Vec<TicketId>);
}
