//! The states of a ticket.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::authentication::Authentication;
use super::parties::{Claims, Scanner, Subject};
use super::time::Timestamp;

/// Where a ticket stands, with what is known there. `expired` is no state: an expired ticket is not there any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// The code is shown; nobody has scanned it.
    Pending,
    /// Somebody scanned; the approver is deciding.
    Scanned {
        /// Who scanned, and is the only one that may go on.
        scanner: Scanner,
    },
    /// The approver said yes; the recipient has not yet fetched the JWT.
    Confirmed {
        /// Who scanned.
        scanner: Scanner,
        /// What the JWT will say.
        grant: Grant,
    },
    /// The recipient was handed the JWT.
    Claimed {
        /// Who scanned.
        scanner: Scanner,
        /// What the JWT says.
        grant: Grant,
        /// The JWT's fixed parts, the same for every redelivery.
        receipt: Receipt,
    },
    /// One party ended it.
    Cancelled {
        /// Who scanned, if anybody had.
        scanner: Option<Scanner>,
        /// Why it ended.
        reason: CancelReason,
    },
}

/// What the approver granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The person whom the JWT is about.
    pub subject: Subject,
    /// The released claims, exactly as they go into the JWT.
    pub claims: Claims,
    /// How and when the person signed in to their identity provider.
    #[serde(default, skip_serializing_if = "Authentication::is_empty")]
    pub authentication: Authentication,
    /// When the approver confirmed.
    pub confirmed_at: Timestamp,
}

/// What the claim fixes, so that a redelivered JWT is the same one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The JWT's id (`jti`).
    pub jti: String,
    /// When the JWT was issued (`iat`, `nbf`).
    pub issued_at: Timestamp,
    /// When the JWT ends (`exp`).
    pub expires_at: Timestamp,
    /// Until when the same binding may be handed it again.
    pub redeem_until: Timestamp,
}

/// Why a ticket was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CancelReason {
    /// The approver said no.
    Declined,
    /// The presenter went away.
    Closed,
    /// The presenter asked for a fresh ticket.
    Superseded,
    /// The approver gave a number that the other screen did not show.
    Mismatch,
}

impl CancelReason {
    /// Returns the word as it stands in answers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Closed => "closed",
            Self::Superseded => "superseded",
            Self::Mismatch => "mismatch",
        }
    }
}
