//! Bearer token → person: checks the tokens that phones bring from their own identity provider.
//!
//! A signature counts only with a key that fits the token's algorithm, and `iss`, `aud`, `exp` and `sub` must be there and
//! fit. Keys come from the provider's JWK Set (`jwks`), or there is one shared secret. What is refused is counted and logged
//! here, once, whoever asked. The JWTs that the gateway issues are `signer`'s concern.

mod bearer;
mod claims;
pub mod demo;
mod fault;
mod jwk;
pub mod jwks;
mod jws;
mod key_set;
mod name;
mod refusals;
pub mod settings;

pub use bearer::{Identity, MAX_TOKEN_BYTES, Verifier};
pub use fault::{Fault, NoKeys, VerifyError};
pub use jwk::Unusable;
pub use key_set::Skipped;
pub use settings::MIN_SECRET_BYTES;

#[cfg(test)]
mod tests;
