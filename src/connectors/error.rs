//! The error of a connector that could not create a code.

use super::quota::QuotaError;
use crate::store::StoreError;

/// The reason why a connector could not create a code.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The service does not respond, or refuses. A later attempt may succeed.
    #[error("the connector cannot create a code: {0}")]
    Unavailable(String),
    /// The service's daily quota is used up, or the caller's share of it.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
