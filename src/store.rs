//! The ticket store: the contract that every engine keeps, the engines, and the only way to store a transition.
//!
//! `contract` holds the traits and their types. [`memory`] and [`redis`] are the engines; `app` chooses one, and
//! [`instrumented`] adds metrics to either. `transition` applies a transition of [`ticket`](crate::ticket) to a stored ticket.

mod contract;
pub mod instrumented;
mod key;
pub mod memory;
pub mod redis;
mod transition;

pub use contract::{Changes, MAX_VALUE_BYTES, Put, Reading, Replaced, Store, StoreError};
pub use transition::{MAX_TRANSITION_ATTEMPTS, Transition, TransitionError, transition, transition_from};
