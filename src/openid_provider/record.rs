//! The form of the records that the provider keeps in the store: JSON with a version.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// The version of all records. A gateway treats a record of another version as absent.
const VERSION: u8 = 1;
/// How much longer the store keeps a record than its code or grant is valid: more than the clocks of two machines
/// differ.
pub(super) const SLACK: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u8,
    #[serde(flatten)]
    content: T,
}

/// Returns the stored form of a record.
pub(super) fn encode<T: Serialize>(content: &T) -> Result<String, StoreError> {
    let record = Versioned { v: VERSION, content };
    serde_json::to_string(&record).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Reads a stored record; `None` if this version cannot.
pub(super) fn decode<T: DeserializeOwned>(stored: &str) -> Option<T> {
    if let Ok(Versioned { v: VERSION, content }) = serde_json::from_str(stored) {
        return Some(content);
    }
    // The message of serde_json may quote the record, which contains personal data.
    tracing::warn!("the store holds a record of a sign-in that this version cannot read; it counts as ended");
    None
}

/// Returns the SHA-256 of a secret, in base64url: its form in the store.
pub(super) fn hash(secret: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret))
}
