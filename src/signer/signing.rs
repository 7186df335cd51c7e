//! Signs JWTs, and reloads the key directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::{EncodingKey, Header};

use super::claims::IssuedClaims;
use super::keys::{self, KeyAlgorithm, KeyError, SigningKeys};
use crate::ticket::{Flow, Grant, Receipt, Subject};

/// The interval at which the key directory is read.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(5);

/// Signs JWTs and publishes the keys. Clones share the keys.
#[derive(Clone)]
pub struct Signer {
    pub(super) issuer: Arc<str>,
    pub(super) keys: Arc<ArcSwap<SigningKeys>>,
    directory: Option<Arc<Path>>,
}

/// The reason why a JWT could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("the JWT could not be signed: {0}")]
pub struct SignError(#[from] jsonwebtoken::errors::Error);

impl Signer {
    /// Reads the keys of `directory`. Without a directory, it creates one key for this process.
    ///
    /// # Errors
    /// [`KeyError`] if the directory cannot be read, has no key, or has an unusable one.
    pub fn open(issuer: &str, directory: Option<PathBuf>) -> Result<Self, KeyError> {
        let keys = match &directory {
            Some(directory) => SigningKeys::read(directory)?,
            None => SigningKeys::single(&keys::generate(KeyAlgorithm::Es256)?)?,
        };
        Ok(Self {
            issuer: issuer.into(),
            keys: Arc::new(ArcSwap::from_pointee(keys)),
            directory: directory.map(Into::into),
        })
    }

    /// Creates a signer with only the key in `pem`.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if it is unusable.
    pub fn of_key(issuer: &str, pem: &str) -> Result<Self, KeyError> {
        let keys = Arc::new(ArcSwap::from_pointee(SigningKeys::single(pem)?));
        Ok(Self { issuer: issuer.into(), keys, directory: None })
    }

    /// Signs the JWT of a claimed ticket. The same ticket always has the same claims.
    ///
    /// # Errors
    /// [`SignError`] if the cryptography fails.
    pub fn sign(&self, flow: Flow, audience: &str, grant: &Grant, receipt: &Receipt) -> Result<String, SignError> {
        let keys = self.keys.load();
        let key = keys.signing();
        let mut header = Header::new(key.algorithm.jws());
        header.kid = Some(key.id.clone());
        let claims = IssuedClaims::new(&self.issuer, flow, audience, grant, receipt);
        let secret: &EncodingKey = &key.secret;
        Ok(jsonwebtoken::encode(&header, &claims, secret)?)
    }

    /// Returns the published keys as a JWK Set in JSON (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Arc<str> {
        self.keys.load().published()
    }

    /// Derives a secret for `purpose` that only processes with the same key directory have.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        self.keys.load().derive(purpose)
    }

    /// Returns the pseudonym of a person for the log: see [`Signer::pseudonym`].
    #[must_use]
    pub fn log_pseudonym(&self, subject: &Subject) -> String {
        self.pseudonym("log", subject.0.as_bytes())
    }

    /// Describes the key that signs, for the log.
    #[must_use]
    pub fn describe(&self) -> String {
        let keys = self.keys.load();
        let key = keys.signing();
        format!("{} key {} ({} published)", key.algorithm, key.id, keys.len())
    }

    /// Reloads the key directory periodically. Never returns. If the directory is faulty, it logs that and keeps the keys in use.
    pub async fn reload(self) {
        let Some(directory) = &self.directory else { return };
        let mut logged_error = None;
        loop {
            tokio::time::sleep(RESCAN_INTERVAL).await;
            let directory = Arc::clone(directory);
            let Ok(found) = tokio::task::spawn_blocking(move || SigningKeys::read(&directory)).await else { continue };
            match found {
                Ok(keys) if keys.published() == self.keys.load().published() => logged_error = None,
                Ok(keys) => {
                    self.keys.store(Arc::new(keys));
                    logged_error = None;
                    tracing::info!(keys = self.describe(), "read changed keys from the key directory");
                }
                Err(error) => {
                    let error = error.to_string();
                    if logged_error.as_ref() != Some(&error) {
                        tracing::error!(error, "the key directory is faulty; keeping the keys in use");
                        logged_error = Some(error);
                    }
                }
            }
        }
    }
}
