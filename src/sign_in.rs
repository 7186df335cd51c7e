//! The use cases of a sign-in.

use std::time::Duration;

/// The times that tickets and tokens live.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// A pending ticket's.
    pub ticket: Duration,
    /// What is left at least after a scan.
    pub decision: Duration,
    /// How long a confirmed JWT may be fetched.
    pub redeem: Duration,
    /// The JWT's own.
    pub token: Duration,
}
