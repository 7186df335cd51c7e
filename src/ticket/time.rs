//! Points in the store's time, and the bounds of dates that other parties write.

use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The last second with a four-digit year (RFC 3339 §1). A greater number is not a time in seconds; it may be
/// milliseconds.
pub const MAX_DATE: f64 = 253_402_300_799.0;
/// The difference between two clocks that is tolerated, in seconds: the identity provider's, the store's and this machine's.
pub const CLOCK_LEEWAY_SECS: u32 = 30;

/// A point in the store's time: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Returns the time since `earlier`, or zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns whole seconds since the Unix epoch, the unit of JWTs (RFC 7519 §2, `NumericDate`).
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }
}

/// Returns the whole milliseconds of `span`, or `u64::MAX` if there are more.
#[must_use]
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
