//! Why a connector makes no code.

use super::quota::QuotaError;
use crate::store::StoreError;

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// Its service does not answer, or refuses. Worth another try in a moment.
    #[error("the connector cannot make a code: {0}")]
    Unavailable(String),
    /// What the service gives in a day is used up, or the caller's share of it.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
