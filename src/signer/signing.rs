//! Signs JWTs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::{EncodingKey, Header};

use super::claims::{IssuedClaims, RESERVED_CLAIMS, methods};
use super::keys::{self, KeyAlgorithm, KeyError, KeySet};
use crate::ticket::{Claims, Flow, Grant, Receipt, Subject};

/// How often the key directory is looked at.
pub const RESCAN_EVERY: Duration = Duration::from_secs(5);

/// Signs and publishes. Clones share the keys.
#[derive(Clone)]
pub struct Signer {
    pub(super) issuer: Arc<str>,
    pub(super) keys: Arc<ArcSwap<KeySet>>,
    directory: Option<Arc<Path>>,
}

/// Why a JWT could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("the JWT could not be signed: {0}")]
pub struct SignError(#[from] jsonwebtoken::errors::Error);

impl Signer {
    /// Reads the keys of `directory`, or makes one for this process if there is none.
    ///
    /// # Errors
    /// [`KeyError`] if the directory cannot be read, holds no key, or holds one that is unusable.
    pub fn open(issuer: &str, directory: Option<PathBuf>) -> Result<Self, KeyError> {
        let keys = match &directory {
            Some(directory) => KeySet::read(directory)?,
            None => KeySet::single(&keys::generate(KeyAlgorithm::Es256)?)?,
        };
        Ok(Self {
            issuer: issuer.into(),
            keys: Arc::new(ArcSwap::from_pointee(keys)),
            directory: directory.map(Into::into),
        })
    }

    /// Signs with the one key in `pem`.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if it is unusable.
    pub fn of_key(issuer: &str, pem: &str) -> Result<Self, KeyError> {
        let keys = Arc::new(ArcSwap::from_pointee(KeySet::single(pem)?));
        Ok(Self { issuer: issuer.into(), keys, directory: None })
    }

    /// Returns the JWT of a claimed ticket. The same ticket always gives the same claims.
    ///
    /// # Errors
    /// [`SignError`] if the cryptography fails.
    pub fn sign(&self, flow: Flow, audience: &str, grant: &Grant, receipt: &Receipt) -> Result<String, SignError> {
        let keys = self.keys.load();
        let key = keys.signing();
        let mut header = Header::new(key.algorithm.jws());
        header.kid = Some(key.id.clone());
        let released: Claims = grant
            .claims
            .iter()
            .filter(|(name, _)| !RESERVED_CLAIMS.contains(&name.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        let claims = IssuedClaims {
            iss: &self.issuer,
            sub: &grant.subject.0,
            aud: audience,
            iat: receipt.issued_at.unix_seconds(),
            nbf: receipt.issued_at.unix_seconds(),
            exp: receipt.expires_at.unix_seconds(),
            jti: &receipt.jti,
            flow,
            confirmed_at: grant.confirmed_at.unix_seconds(),
            auth_time: grant.authentication.auth_time.as_ref(),
            acr: grant.authentication.acr.as_deref(),
            amr: methods(flow, &grant.authentication),
            released: &released,
        };
        let secret: &EncodingKey = &key.secret;
        Ok(jsonwebtoken::encode(&header, &claims, secret)?)
    }

    /// Returns the published keys as a JWK Set in JSON (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Arc<str> {
        self.keys.load().published()
    }

    /// Returns a secret for `purpose` that every process with the same key directory has, and nobody else.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        self.keys.load().derive(purpose)
    }

    /// Returns what a person is called in the log: see [`Signer::pseudonym`].
    #[must_use]
    pub fn name_in_log(&self, subject: &Subject) -> String {
        self.pseudonym("log", subject.0.as_bytes())
    }

    /// Returns the id and algorithm of the key that signs, for people to read.
    #[must_use]
    pub fn describe(&self) -> String {
        let keys = self.keys.load();
        let key = keys.signing();
        format!("{} key {} ({} published)", key.algorithm, key.id, keys.len())
    }

    /// Follows the key directory for ever. A faulty directory is logged and the keys in use are kept.
    pub async fn follow(self) {
        let Some(directory) = &self.directory else { return };
        let mut complained_of = None;
        loop {
            tokio::time::sleep(RESCAN_EVERY).await;
            let directory = Arc::clone(directory);
            let Ok(found) = tokio::task::spawn_blocking(move || KeySet::read(&directory)).await else { continue };
            match found {
                Ok(keys) if keys.published() == self.keys.load().published() => complained_of = None,
                Ok(keys) => {
                    self.keys.store(Arc::new(keys));
                    complained_of = None;
                    tracing::info!(keys = self.describe(), "the key directory has changed");
                }
                Err(error) => {
                    let complaint = error.to_string();
                    if complained_of.as_ref() != Some(&complaint) {
                        tracing::error!(error = complaint, "the key directory is faulty; the keys in use are kept");
                        complained_of = Some(complaint);
                    }
                }
            }
        }
    }
}
