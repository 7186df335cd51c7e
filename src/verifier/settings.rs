//! Which identity provider vouches for approvers.

use std::time::Duration;

use url::Url;

/// Who says who a phone's owner is.
#[derive(Clone)]
pub enum IdentitySettings {
    /// Made-up people.
    Demo,
    /// A provider that shares a secret with the gateway.
    Secret {
        /// The secret, at least [`MIN_SECRET_BYTES`](super::MIN_SECRET_BYTES) long.
        secret: Vec<u8>,
        /// What `iss` must say.
        issuer: String,
        /// What `aud` must say.
        audience: String,
    },
    /// A provider that publishes its keys.
    Jwks {
        /// Where.
        url: Url,
        /// What `iss` must say.
        issuer: String,
        /// What `aud` must say.
        audience: String,
        /// For how long keys are believed that could not be renewed.
        max_age: Duration,
    },
}
