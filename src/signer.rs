//! Signs the JWTs that the gateway issues, and publishes the keys to check them with.
//!
//! The newest key of the directory signs, and `jwks.json` publishes all of them (RFC 7517). The signer reads the directory every
//! [`RESCAN_INTERVAL`]. Without a directory, the process creates one key at startup. The content of a JWT comes only from the
//! claimed ticket. `issued` verifies issued JWTs that sites send back; `verifier` verifies approvers' tokens.

mod claims;
pub mod issued;
pub mod keys;
mod pseudonym;
mod signing;

pub use claims::RESERVED_CLAIMS;
pub use signing::{RESCAN_INTERVAL, SignError, Signer};

#[cfg(test)]
mod tests;
