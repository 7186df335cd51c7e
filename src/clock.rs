//! This machine's clock, for values and JWTs whose times need not be the store's.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::ticket::Timestamp;

/// Returns this machine's time. It may differ from the store's; a time before 1970 becomes 1970.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
