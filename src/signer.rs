//! Signs the JWTs that the gateway issues, and publishes the keys to check them with.
//!
//! The newest key of the directory signs, all of them are published (`jwks.json`, RFC 7517); the directory is looked at
//! every [`RESCAN_EVERY`]. Without a directory there is one key, made at start and gone at the end. What is *in* a JWT comes
//! from the claimed ticket alone. `issued` checks such a JWT when it comes back; tokens that phones bring are `verifier`'s
//! concern.

mod claims;
pub mod issued;
pub mod keys;
mod pseudonym;
mod signing;

pub use claims::RESERVED_CLAIMS;
pub use signing::{RESCAN_EVERY, SignError, Signer};

#[cfg(test)]
mod tests;
