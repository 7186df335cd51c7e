//! Verifies bearer tokens and returns the person that each one identifies.
//!
//! Each issuer is a [`Source`] with its own keys and audiences; they are never mixed. If there are several, the token's `iss`,
//! read before its signature is checked, chooses the sources to try. It chooses nothing else: each source checks it again.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};

use super::claims;
use super::fault::{Fault, VerifyError};
use super::identity::Identity;
use super::jwks::{MAX_TOKEN_BYTES, RemoteKeys};
use super::jws::Jws;
use super::refusals::Refusals;
use crate::metrics::Metrics;

/// One issuer of tokens.
pub struct Source {
    keys: Keys,
    issuer: String,
    audiences: Vec<String>,
    /// The prefix of its subjects, if there are several providers.
    prefix: Option<String>,
    /// Whether the gateway is ready without its keys.
    is_optional: bool,
}

enum Keys {
    Secret(DecodingKey),
    Remote(RemoteKeys),
}

impl Source {
    /// An issuer of HS256 tokens, which shares a secret with the gateway.
    #[must_use]
    pub fn with_secret(secret: &[u8], issuer: String, audience: String) -> Self {
        let keys = Keys::Secret(DecodingKey::from_secret(secret));
        Self { keys, issuer, audiences: vec![audience], prefix: None, is_optional: false }
    }

    /// An issuer that publishes its keys.
    #[must_use]
    pub fn with_jwks(keys: RemoteKeys, issuer: String, audience: String) -> Self {
        Self { keys: Keys::Remote(keys), issuer, audiences: vec![audience], prefix: None, is_optional: false }
    }

    /// A provider at which people sign in by browser. The gateway is ready without its keys: people who are signed in need
    /// no provider, and one provider's failure must not stop the others'.
    #[must_use]
    pub fn of_provider(keys: RemoteKeys, issuer: String, audiences: Vec<String>, prefix: Option<String>) -> Self {
        Self { keys: Keys::Remote(keys), issuer, audiences, prefix, is_optional: true }
    }

    /// Sets the prefix of its subjects.
    #[must_use]
    pub fn prefixed(self, prefix: Option<String>) -> Self {
        Self { prefix, ..self }
    }

    fn has_keys(&self) -> bool {
        match &self.keys {
            Keys::Secret(_) => true,
            Keys::Remote(keys) => keys.are_known(),
        }
    }

    async fn check(&self, jws: &Jws<'_>) -> Result<Identity, VerifyError> {
        match &self.keys {
            Keys::Secret(_) if jws.algorithm != Algorithm::HS256 => {
                return Err(VerifyError::Invalid(Fault::OtherAlgorithm));
            }
            Keys::Secret(key) if !jws.is_signed_by(key) => return Err(VerifyError::Invalid(Fault::Signature)),
            Keys::Secret(_) => {}
            Keys::Remote(keys) => keys.check(jws).await?,
        }
        let claims = jws.claims().map_err(VerifyError::Invalid)?;
        claims::check(&claims, &self.issuer, &self.audiences).map_err(VerifyError::Invalid)?;
        claims::check_person(&claims).map_err(VerifyError::Invalid)?;
        Identity::of(claims, self.prefix.as_deref()).map_err(VerifyError::Invalid)
    }
}

/// Checks tokens of the identity providers.
pub struct Verifier {
    sources: Vec<Source>,
    refusals: Refusals,
}

impl Verifier {
    /// Creates a verifier of the tokens of these issuers. Two sources may have the same issuer.
    #[must_use]
    pub fn new(sources: Vec<Source>, metrics: Arc<Metrics>) -> Self {
        Self { sources, refusals: Refusals::new(metrics) }
    }

    /// Creates a verifier of HS256 tokens, with a secret that the provider and the gateway share.
    #[must_use]
    pub fn with_secret(secret: &[u8], issuer: String, audience: String, metrics: Arc<Metrics>) -> Self {
        Self::new(vec![Source::with_secret(secret, issuer, audience)], metrics)
    }

    /// Verifies a token, and returns the person that it identifies.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] if the token is malformed, of another type, badly signed, expired, not yet valid, from another
    /// issuer, for another audience, or a program's own; [`VerifyError::NoKeys`] while the gateway has no keys, or only
    /// outdated ones.
    pub async fn verify(&self, token: &str) -> Result<Identity, VerifyError> {
        match self.check(token).await {
            Ok(identity) => Ok(identity),
            Err(error) => Err(self.refuse(error)),
        }
    }

    /// Counts and logs a refused token, and returns the error.
    #[must_use]
    pub fn refuse(&self, error: VerifyError) -> VerifyError {
        let issuers: Vec<&str> = self.sources.iter().map(|source| source.issuer.as_str()).collect();
        let audiences: Vec<&str> =
            self.sources.iter().flat_map(|source| source.audiences.iter().map(String::as_str)).collect();
        self.refusals.record(error, &issuers.join(" "), &audiences.join(" "));
        error
    }

    /// Returns whether every source that the gateway needs has ever had keys.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.sources.iter().all(|source| source.is_optional || source.has_keys())
    }

    async fn check(&self, token: &str) -> Result<Identity, VerifyError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::Invalid(Fault::TooLong));
        }
        let jws = Jws::read(token).map_err(VerifyError::Invalid)?;
        // With one source, a bad signature is reported before another issuer.
        if let [source] = &self.sources[..] {
            return source.check(&jws).await;
        }
        let claims = jws.claims().map_err(VerifyError::Invalid)?;
        let issuer = match claims.get("iss") {
            Some(serde_json::Value::String(issuer)) => issuer,
            Some(_) => return Err(VerifyError::Invalid(Fault::MalformedClaim)),
            None => return Err(VerifyError::Invalid(Fault::MissingClaim)),
        };
        let without_slash = issuer.trim_end_matches('/');
        let is_near = self.sources.iter().any(|source| source.issuer.trim_end_matches('/') == without_slash);
        let mut result = Err(VerifyError::Invalid(if is_near { Fault::IssuerSlash } else { Fault::OtherIssuer }));
        for source in self.sources.iter().filter(|source| source.issuer == *issuer) {
            match (source.check(&jws).await, &result) {
                (Ok(identity), _) => return Ok(identity),
                // Without its keys, this source might have accepted the token: the caller should try again.
                (Err(_), Err(VerifyError::NoKeys(_))) => {}
                (refused, _) => result = refused,
            }
        }
        result
    }
}
