//! What tells two tickets of the same id and revision apart.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;

use super::state::State;
use super::time::Timestamp;

/// A hash over everything that has become of a ticket; zero for one that was just made.
///
/// Revisions alone do not name a state: a primary that fails can take a scan of revision 2 with it, and its successor store
/// another scan as revision 2. Who has read the first must not change the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stamp(u64);

impl Stamp {
    /// Returns the stamp of what comes after the ticket with this one.
    pub(super) fn after(self, state: &State, deadline: Timestamp) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&self.0.to_le_bytes());
        hash.update(&deadline.0.to_le_bytes());
        // It does not fail: what is written has string keys only.
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
