//! Verifies bearer tokens and returns the person that each one identifies.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};

use super::fault::{Fault, VerifyError};
use super::jwks::RemoteKeys;
use super::jws::Jws;
use super::refusals::Refusals;
use super::{claims, name};
use crate::metrics::Metrics;
use crate::ticket::{Claims, Person, Subject};

/// The maximum length of a token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The longest `sub`, in characters (OpenID Connect Core §2).
const MAX_SUBJECT_CHARS: usize = 255;
/// The longest picture URL that the gateway passes on, in bytes; it drops a longer one.
const MAX_PICTURE_BYTES: usize = 2048;

/// The person that a token identifies, and all its claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The person, as the other screen may show them.
    pub person: Person,
    /// Every claim of the token.
    pub claims: Claims,
}

/// Checks tokens of one identity provider.
pub struct Verifier {
    keys: Keys,
    issuer: String,
    audience: String,
    refusals: Refusals,
}

enum Keys {
    Secret(DecodingKey),
    Remote(RemoteKeys),
}

impl Verifier {
    /// Creates a verifier of HS256 tokens, with a secret that the provider and the gateway share.
    #[must_use]
    pub fn with_secret(secret: &[u8], issuer: String, audience: String, metrics: Arc<Metrics>) -> Self {
        let keys = Keys::Secret(DecodingKey::from_secret(secret));
        Self { keys, issuer, audience, refusals: Refusals::new(metrics) }
    }

    /// Creates a verifier that uses the provider's published keys.
    #[must_use]
    pub fn with_jwks(keys: RemoteKeys, issuer: String, audience: String, metrics: Arc<Metrics>) -> Self {
        Self { keys: Keys::Remote(keys), issuer, audience, refusals: Refusals::new(metrics) }
    }

    /// Verifies a token, and returns the person that it identifies.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] if the token is malformed, of another type, badly signed, expired, not yet valid, from another
    /// issuer or for another audience; [`VerifyError::NoKeys`] while the gateway has no keys, or only outdated ones.
    pub async fn verify(&self, token: &str) -> Result<Identity, VerifyError> {
        match self.check(token).await {
            Ok(identity) => Ok(identity),
            Err(error) => Err(self.refuse(error)),
        }
    }

    /// Counts and logs a refused token, and returns the error.
    #[must_use]
    pub fn refuse(&self, error: VerifyError) -> VerifyError {
        self.refusals.record(error, &self.issuer, &self.audience);
        error
    }

    /// Returns whether the verifier has ever had keys.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.keys {
            Keys::Secret(_) => true,
            Keys::Remote(keys) => keys.are_known(),
        }
    }

    async fn check(&self, token: &str) -> Result<Identity, VerifyError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::Invalid(Fault::TooLong));
        }
        let jws = Jws::read(token).map_err(VerifyError::Invalid)?;
        match &self.keys {
            Keys::Secret(_) if jws.algorithm != Algorithm::HS256 => {
                return Err(VerifyError::Invalid(Fault::OtherAlgorithm));
            }
            Keys::Secret(key) if !jws.is_signed_by(key) => return Err(VerifyError::Invalid(Fault::Signature)),
            Keys::Secret(_) => {}
            Keys::Remote(keys) => keys.check(&jws).await?,
        }
        let claims = jws.claims().map_err(VerifyError::Invalid)?;
        claims::check(&claims, &self.issuer, &self.audience).map_err(VerifyError::Invalid)?;
        identity(claims).map_err(VerifyError::Invalid)
    }
}

fn identity(claims: Claims) -> Result<Identity, Fault> {
    let text = |name: &str| claims.get(name).and_then(serde_json::Value::as_str);
    // Not trimmed: two subjects that differ by a space are two people.
    let subject = text("sub").unwrap_or_default();
    if !(1..=MAX_SUBJECT_CHARS).contains(&subject.chars().count()) || subject.chars().any(char::is_control) {
        return Err(Fault::Subject);
    }
    let person = Person {
        subject: Subject(subject.to_owned()),
        name: [text("name"), text("preferred_username")]
            .into_iter()
            .flatten()
            .map(name::readable)
            .find(|name| !name.is_empty()),
        picture: text("picture")
            .map(str::trim)
            .filter(|url| url.starts_with("https://") && url.len() <= MAX_PICTURE_BYTES)
            .map(str::to_owned),
    };
    Ok(Identity { person, claims })
}
