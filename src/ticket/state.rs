//! The states of a ticket, each with the data that belongs to it.

use std::ops::Not;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::authentication::Authentication;
use super::parties::{Claims, Scanner, Subject};
use super::time::Timestamp;

/// The state of a ticket. `expired` is not a state: the store no longer has an expired ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// The presenter shows the code; no party has scanned it.
    Pending {
        /// Whether a phone has begun to sign in to its identity provider, to scan afterwards.
        #[serde(default, skip_serializing_if = "Not::not")]
        opened: bool,
    },
    /// A party scanned; the approver is deciding.
    Scanned {
        /// The party that scanned. No other party may scan any more.
        scanner: Scanner,
    },
    /// The approver confirmed; the recipient has not yet fetched the JWT.
    Confirmed {
        /// The party that scanned.
        scanner: Scanner,
        /// The content of the JWT.
        grant: Grant,
    },
    /// The recipient received the JWT.
    Claimed {
        /// The party that scanned.
        scanner: Scanner,
        /// The content of the JWT.
        grant: Grant,
        /// The JWT's id and times, the same for every redelivery.
        receipt: Receipt,
    },
    /// A party cancelled it.
    Cancelled {
        /// The party that scanned, if one had.
        scanner: Option<Scanner>,
        /// The reason.
        reason: CancelReason,
    },
}

impl State {
    /// The state of a new ticket.
    pub const NEW: Self = Self::Pending { opened: false };
}

/// The content of the JWT, as the approver granted it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The person that the JWT identifies.
    pub subject: Subject,
    /// The released claims, unchanged in the JWT.
    pub claims: Claims,
    /// How and when the person signed in to their identity provider.
    #[serde(default, skip_serializing_if = "Authentication::is_empty")]
    pub authentication: Authentication,
    /// When the approver confirmed.
    pub confirmed_at: Timestamp,
}

/// The JWT's id and times. The claim fixes them, so that a redelivered JWT is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The JWT's id (`jti`).
    pub jti: String,
    /// When the JWT was issued (`iat`, `nbf`).
    pub issued_at: Timestamp,
    /// When the JWT expires (`exp`).
    pub expires_at: Timestamp,
    /// The time until which the same recipient may receive it again.
    pub redeem_until: Timestamp,
}

/// The reason why a ticket was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CancelReason {
    /// The approver declined.
    Declined,
    /// The presenter closed the page.
    Closed,
    /// The presenter created a new ticket.
    Superseded,
    /// The approver entered a wrong number.
    Mismatch,
}

impl CancelReason {
    /// Returns the reason's name in responses and metrics.
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
