//! Signs JWTs, and reloads the key directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::Header;
use serde::Serialize;

use super::claims::IssuedClaims;
use super::keys::{self, KeyAlgorithm, KeyError, SigningKey, SigningKeys};
use crate::ticket::{Flow, Grant, Receipt, Subject};

/// The interval at which the key directory is read.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(5);

/// Signs JWTs and publishes the keys. Clones share the keys.
#[derive(Clone)]
pub struct Signer {
    pub(super) issuer: Arc<str>,
    pub(super) keys: Arc<ArcSwap<SigningKeys>>,
    /// The algorithms that clients name. There is always a key of each.
    named: Arc<[KeyAlgorithm]>,
    directory: Option<Arc<Path>>,
}

/// The types of JWTs, in the header's `typ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtType {
    /// `JWT`: the JWT of a claimed ticket, which has the claim `flow`, and the ID token, which has none.
    Jwt,
    /// `at+jwt`: an access token (RFC 9068 §2.1).
    AccessToken,
}

impl JwtType {
    /// Returns the value of `typ`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "JWT",
            Self::AccessToken => "at+jwt",
        }
    }
}

/// The action at startup if there is no key of an algorithm that clients name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKey {
    /// Create it: no other process signs for the same clients.
    Create,
    /// Refuse to start: each replica would create another one.
    Refuse,
}

/// The reason why a JWT could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The cryptographic library failed.
    #[error("the JWT could not be signed: {0}")]
    Failed(#[from] jsonwebtoken::errors::Error),
    /// There is no key of the algorithm. [`Signer::with_algorithms`] excludes it for the algorithms of clients.
    #[error("there is no {0} key to sign with")]
    NoKey(KeyAlgorithm),
}

impl Signer {
    /// Reads the keys of `directory`. Without a directory, it creates one key for this process.
    ///
    /// # Errors
    /// [`KeyError`] if the directory cannot be read, has no key, or has an unusable one.
    pub fn open(issuer: &str, directory: Option<PathBuf>) -> Result<Self, KeyError> {
        let keys = match &directory {
            Some(directory) => SigningKeys::read(directory)?,
            None => SigningKeys::of_pems(&[keys::generate(KeyAlgorithm::Es256)?])?,
        };
        Ok(Self { directory: directory.map(Into::into), ..Self::of_keys(issuer, keys, &[]) })
    }

    /// Creates a signer with only `keys`, one of each algorithm in `named`.
    #[must_use]
    pub fn of_keys(issuer: &str, keys: SigningKeys, named: &[KeyAlgorithm]) -> Self {
        let keys = Arc::new(ArcSwap::from_pointee(keys));
        Self { issuer: issuer.into(), keys, named: named.into(), directory: None }
    }

    /// Ensures that there is a key of each algorithm in `named`, the algorithms that clients name. Without a directory, it creates
    /// the missing keys for this process. It blocks: an RSA key takes up to a second.
    ///
    /// # Errors
    /// If `missing` is to refuse: [`KeyError::Missing`] if the directory lacks a key, [`KeyError::NoDirectory`] if clients name
    /// algorithms and there is no directory, even if the key of this process has the algorithm. [`KeyError::NotCreated`] if a
    /// key cannot be written.
    pub fn with_algorithms(self, named: &[KeyAlgorithm], missing: MissingKey) -> Result<Self, KeyError> {
        for algorithm in named.iter().copied() {
            if self.directory.is_none() && missing == MissingKey::Refuse {
                return Err(KeyError::NoDirectory(algorithm));
            }
            if self.keys.load().signing_for(algorithm).is_some() {
                continue;
            }
            let keys = match &self.directory {
                None => self.keys.load().with_newer(&keys::generate(algorithm)?)?,
                Some(directory) if missing == MissingKey::Refuse => {
                    return Err(KeyError::Missing { algorithm, directory: directory.to_path_buf() });
                }
                Some(directory) => {
                    keys::create(directory, algorithm).map_err(|cause| KeyError::NotCreated {
                        algorithm,
                        directory: directory.to_path_buf(),
                        cause: Box::new(cause),
                    })?;
                    SigningKeys::read(directory)?
                }
            };
            self.keys.store(Arc::new(keys));
        }
        Ok(Self { named: named.into(), ..self })
    }

    /// Signs the JWT of a claimed ticket. The same ticket always has the same claims.
    ///
    /// # Errors
    /// [`SignError`] if the cryptography fails.
    pub fn sign(&self, flow: Flow, audience: &str, grant: &Grant, receipt: &Receipt) -> Result<String, SignError> {
        let keys = self.keys.load();
        let claims = IssuedClaims::new(&self.issuer, flow, audience, grant, receipt);
        encode(keys.signing(&self.named), JwtType::Jwt, &claims)
    }

    /// Signs `claims` with the newest key of an algorithm. The caller sets every claim, `iss` too.
    ///
    /// # Errors
    /// [`SignError`] if there is no such key, or the cryptography fails.
    pub fn sign_with(
        &self,
        algorithm: KeyAlgorithm,
        typ: JwtType,
        claims: &impl Serialize,
    ) -> Result<String, SignError> {
        let keys = self.keys.load();
        encode(keys.signing_for(algorithm).ok_or(SignError::NoKey(algorithm))?, typ, claims)
    }

    /// Returns the issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
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
        let key = keys.signing(&self.named);
        format!("{} key {} ({} published)", key.algorithm, key.id, keys.len())
    }

    /// Reloads the key directory periodically. Never returns. If the directory is faulty, it logs that and keeps the keys in use.
    pub async fn reload(self) {
        let Some(directory) = &self.directory else { return };
        let mut logged_error = None;
        loop {
            tokio::time::sleep(RESCAN_INTERVAL).await;
            let directory = Arc::clone(directory);
            let named = Arc::clone(&self.named);
            let read = move || SigningKeys::read(&directory)?.requiring(&named, &directory);
            let Ok(found) = tokio::task::spawn_blocking(read).await else { continue };
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

fn encode(key: &SigningKey, typ: JwtType, claims: &impl Serialize) -> Result<String, SignError> {
    let mut header = Header::new(key.algorithm.jws());
    header.typ = Some(typ.as_str().to_owned());
    header.kid = Some(key.id.clone());
    Ok(jsonwebtoken::encode(&header, claims, &key.secret)?)
}
