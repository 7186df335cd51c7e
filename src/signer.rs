//! Signs the JWTs that the gateway issues, and publishes the keys to check them with.
//!
//! The newest key of the directory signs, all of them are published (`jwks.json`, RFC 7517); the directory is looked at
//! every [`RESCAN_EVERY`]. Without a directory there is one key, made at start and gone at the end. What is *in* a JWT comes
//! from the claimed ticket alone. `issued` checks such a JWT when it comes back; tokens that phones bring are `verifier`'s
//! concern.

pub mod issued;
pub mod keys;
mod pseudonym;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use crate::ticket::{Authentication, Claims, Flow, Grant, Receipt, Subject};
use keys::{KeyAlgorithm, KeyError, KeySet};

/// How often the key directory is looked at.
pub const RESCAN_EVERY: Duration = Duration::from_secs(5);

/// The authentication methods of a JWT of the flow `login`, where the identity provider names none: two devices took part
/// (RFC 8176 §2, `mca`).
const LOGIN_AMR: &str = "mca";

/// Claims that the gateway sets itself; no client may have them released from the approver's token.
pub const RESERVED_CLAIMS: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "auth_time",
    "acr",
    "amr",
    "azp",
    "nonce",
    "cnf",
    "flow",
    "confirmed_at",
];

/// Signs and publishes. Clones share the keys.
#[derive(Clone)]
pub struct Signer {
    issuer: Arc<str>,
    keys: Arc<ArcSwap<KeySet>>,
    directory: Option<Arc<Path>>,
}

/// Why a JWT could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("the JWT could not be signed: {0}")]
pub struct SignError(#[from] jsonwebtoken::errors::Error);

#[derive(Serialize)]
struct IssuedClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: &'a str,
    flow: Flow,
    confirmed_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<&'a serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<Vec<&'a str>>,
    #[serde(flatten)]
    released: &'a Claims,
}

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

/// Returns the methods that a JWT names: the provider's as they are. A share signs nobody in, so that it names none of its own.
fn methods(flow: Flow, authentication: &Authentication) -> Option<Vec<&str>> {
    match (&authentication.amr, flow) {
        (Some(methods), _) => Some(methods.iter().map(String::as_str).collect()),
        (None, Flow::Login) => Some(vec![LOGIN_AMR]),
        (None, Flow::Share) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::{Value, json};

    use super::*;
    use crate::ticket::{Subject, Timestamp};

    fn claimed(claims: &Value) -> (Grant, Receipt) {
        let now = Timestamp(1_700_000_000_000);
        let grant = Grant {
            subject: Subject("ada".into()),
            claims: claims.as_object().unwrap().clone(),
            authentication: Authentication::default(),
            confirmed_at: now,
        };
        let receipt = Receipt {
            jti: "one".into(),
            issued_at: now + Duration::from_secs(1),
            expires_at: now + Duration::from_secs(3601),
            redeem_until: now,
        };
        (grant, receipt)
    }

    fn verify(signer: &Signer, token: &str) -> Value {
        let jwks: JwkSet = serde_json::from_str(&signer.jwks()).unwrap();
        let header = jsonwebtoken::decode_header(token).unwrap();
        let jwk = jwks.find(&header.kid.unwrap()).unwrap();
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&["web"]);
        validation.validate_exp = false;
        jsonwebtoken::decode(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation).unwrap().claims
    }

    #[test]
    fn every_algorithm_signs_what_its_published_key_verifies() {
        for algorithm in [KeyAlgorithm::Es256, KeyAlgorithm::Eddsa, KeyAlgorithm::Rs256] {
            let directory = tempfile::tempdir().unwrap();
            keys::create(directory.path(), algorithm).unwrap();
            let signer = Signer::open("https://gate.example", Some(directory.path().into())).unwrap();
            let (grant, receipt) = claimed(&json!({"name": "Ada"}));
            let claims = verify(&signer, &signer.sign(Flow::Login, "web", &grant, &receipt).unwrap());
            let expected = json!({
                "iss": "https://gate.example", "sub": "ada", "aud": "web", "jti": "one",
                "iat": 1_700_000_001, "nbf": 1_700_000_001, "exp": 1_700_003_601,
                "flow": "login", "confirmed_at": 1_700_000_000, "amr": ["mca"], "name": "Ada",
            });
            assert_eq!(claims, expected, "{algorithm}");
        }
    }

    #[test]
    fn how_somebody_signed_in_is_said_as_the_provider_says_it() {
        let signer = Signer::open("https://gate.example", None).unwrap();
        let (mut grant, receipt) = claimed(&json!({"name": "Ada"}));
        grant.authentication = Authentication {
            auth_time: Some(1_600_000_000.into()),
            acr: Some("urn:example:loa:3".into()),
            amr: Some(vec!["pwd".into(), "otp".into()]),
        };
        for (flow, name) in [(Flow::Login, "login"), (Flow::Share, "share")] {
            let claims = verify(&signer, &signer.sign(flow, "web", &grant, &receipt).unwrap());
            assert_eq!(claims["auth_time"], 1_600_000_000);
            assert_eq!(claims["acr"], "urn:example:loa:3");
            assert_eq!(claims["amr"], json!(["pwd", "otp"]));
            assert_eq!((&claims["flow"], &claims["confirmed_at"]), (&json!(name), &json!(1_700_000_000)));
        }
        grant.authentication = Authentication::default();
        let share = verify(&signer, &signer.sign(Flow::Share, "web", &grant, &receipt).unwrap());
        assert!(["auth_time", "acr", "amr"].iter().all(|name| share.get(*name).is_none()), "{share}");
    }

    #[test]
    fn a_released_claim_never_replaces_one_of_the_gateways_own() {
        let signer = Signer::open("https://gate.example", None).unwrap();
        let (grant, receipt) =
            claimed(&json!({"sub": "mallory", "aud": "admin", "iss": "x", "flow": "share", "email": "a@b"}));
        let token = signer.sign(Flow::Login, "web", &grant, &receipt).unwrap();
        let claims = verify(&signer, &token);
        assert_eq!(claims["sub"], "ada");
        assert_eq!(claims["aud"], "web");
        assert_eq!(claims["flow"], "login");
        assert_eq!(claims["email"], "a@b");
    }

    #[test]
    fn the_newest_key_signs_and_the_older_one_stays_published() {
        let directory = tempfile::tempdir().unwrap();
        let old = keys::create(directory.path(), KeyAlgorithm::Es256).unwrap();
        let past = std::time::SystemTime::now() - Duration::from_secs(60);
        std::fs::File::open(&old).unwrap().set_modified(past).unwrap();
        let before = Signer::open("i", Some(directory.path().into())).unwrap();
        keys::create(directory.path(), KeyAlgorithm::Eddsa).unwrap();
        let after = Signer::open("i", Some(directory.path().into())).unwrap();
        let (grant, receipt) = claimed(&json!({}));
        verify(&after, &before.sign(Flow::Login, "web", &grant, &receipt).unwrap());
        let token = after.sign(Flow::Login, "web", &grant, &receipt).unwrap();
        assert_eq!(jsonwebtoken::decode_header(&token).unwrap().alg, jsonwebtoken::Algorithm::EdDSA);
    }
}
