//! Signs the JWTs that the gateway issues, and publishes the keys to check them with.
//!
//! The newest key of the directory signs, and `jwks.json` publishes all of them (RFC 7517). The directory is read every
//! [`RESCAN_INTERVAL`]. Without a directory, the process has one key, from its start to its end. The content of a JWT comes only
//! from the claimed ticket. `issued` checks these JWTs when they come back; `verifier` checks approvers' tokens.

mod claims;
pub mod issued;
pub mod keys;
mod pseudonym;
mod signing;

pub use claims::RESERVED_CLAIMS;
pub use signing::{RESCAN_INTERVAL, SignError, Signer};

#[cfg(test)]
mod tests;
