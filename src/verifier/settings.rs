//! Which identity provider vouches for approvers.

use std::time::Duration;

use url::Url;

/// The shortest shared secret, in bytes (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// The source of approvers' identities.
#[derive(Clone)]
pub enum IdentitySettings {
    /// The demo: made-up people.
    Demo,
    /// A provider that shares a secret with the gateway.
    Secret {
        /// The secret, at least [`MIN_SECRET_BYTES`] long.
        secret: Vec<u8>,
        /// The required `iss`.
        issuer: String,
        /// The required `aud`.
        audience: String,
    },
    /// A provider that publishes its keys.
    Jwks {
        /// Where its key set is.
        url: Url,
        /// The required `iss`.
        issuer: String,
        /// The required `aud`.
        audience: String,
        /// How long the gateway trusts keys that it cannot fetch again.
        max_age: Duration,
    },
}
