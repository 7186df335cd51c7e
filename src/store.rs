//! The store contract: what every engine that keeps tickets must do, and the one way in which transitions are stored.
//!
//! The contract is small on purpose. An engine can create, get, and replace a ticket if its revision is still the
//! expected one; it tells the time; it reports changes to the tickets that are watched. It knows nothing of transitions:
//! [`transition`] reads, asks `ticket`, and replaces, again if somebody was faster. Which engine runs is `app`'s choice.
//!
//! Invariant: a ticket whose deadline has passed is never returned; a watcher learns of every change, or of a gap.

mod contract;
mod key;
pub mod measured;
pub mod memory;
pub mod redis;
mod transition;

pub use contract::{Changes, MAX_VALUE_BYTES, Put, Reading, Replaced, Store, StoreError};
pub use transition::{MAX_TRANSITION_ATTEMPTS, Transition, TransitionError, transition, transition_from};
