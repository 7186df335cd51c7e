//! The stamp, which distinguishes two tickets of the same id and revision.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;

use super::state::State;
use super::time::Timestamp;

/// A hash over all states that a ticket has had; zero for a new ticket.
///
/// A revision alone does not identify a state: a primary that fails may lose a scan stored as revision 2, and its successor may
/// store another scan as revision 2. A caller that has read the first must not replace the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stamp(u64);

impl Stamp {
    /// Returns the stamp of the next revision.
    pub(super) fn after(self, state: &State, deadline: Timestamp) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&self.0.to_le_bytes());
        hash.update(&deadline.0.to_le_bytes());
        // Serialisation does not fail: every map has string keys.
        hash.update(&serde_json::to_vec(state).unwrap_or_default());
        let hash = hash.finish();
        Self(hash.as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Stamp {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}
