//! Verifies the bearer tokens that approvers get from their own identity providers.
//!
//! A signature is accepted only with a key that fits the token's algorithm. The claims `iss`, `aud`, `exp` and `sub` are required
//! and must match the settings of the issuer. Keys come from the provider's JWK Set (`jwks`), or the provider shares one secret with the gateway. This module
//! counts and logs each refused token once, for every caller. `signer` verifies the JWTs that the gateway issues.

mod bearer;
pub mod claims;
pub mod demo;
mod fault;
mod identity;
mod jwk;
pub mod jwks;
mod jws;
mod key_set;
mod name;
mod refusals;
pub mod settings;

pub use bearer::{Source, Verifier};
pub use fault::{Fault, NoKeys, VerifyError};
pub use identity::Identity;
pub use jwk::Unusable;
pub use jwks::{MAX_TOKEN_BYTES, Signed};
pub use jws::algorithm;
pub use key_set::Skipped;
pub use settings::MIN_SECRET_BYTES;

#[cfg(test)]
mod tests;
