//! The settings of the identity provider.

use std::time::Duration;

use url::Url;

/// The minimum length of a shared secret, in bytes (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// The source of approvers' identities.
#[derive(Clone)]
pub enum IdentitySettings {
    /// The demo, in which anyone can sign in under any name.
    Demo,
    /// The identity providers at which people sign in by browser, and no other.
    Providers,
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
        /// The URL of its key set.
        url: Url,
        /// The required `iss`.
        issuer: String,
        /// The required `aud`.
        audience: String,
        /// How long the gateway trusts keys that it cannot fetch again.
        max_age: Duration,
    },
}
