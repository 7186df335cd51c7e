//! Signs the JWTs that the gateway issues, and publishes the keys to check them with.
//!
//! The newest key of an algorithm signs, and `jwks.json` publishes all of them (RFC 7517). The signer reads the directory every
//! [`RESCAN_INTERVAL`]. Without a directory, the process creates its keys at startup. The content of a ticket's JWT comes only from
//! the claimed ticket; `openid_provider` makes the content of ID tokens and access tokens. `issued` verifies issued JWTs that sites
//! send back; `verifier` verifies approvers' tokens.

mod claims;
pub mod issued;
pub mod key;
pub mod keys;
mod pseudonym;
mod signing;

pub use claims::RESERVED_CLAIMS;
pub use signing::{JwtType, MissingKey, RESCAN_INTERVAL, SignError, Signer};

#[cfg(test)]
mod tests;
