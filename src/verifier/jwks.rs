//! The identity provider's public keys: fetched, kept while the provider is down, fetched again for an unknown `kid`.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::VerifyError;
use crate::metrics::Metrics;

/// How often the keys are fetched with no particular reason, so that revoked ones go.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// How long after a fetch an unknown `kid` causes no other: made-up ones must not turn into a load on the provider.
pub const COOL_DOWN: Duration = Duration::from_secs(10);
/// The bound of one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest key set that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// The most keys that are kept.
const MAX_KEYS: usize = 64;

/// A key and the one algorithm that it may be used with.
pub struct PinnedKey {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The public half.
    pub public: DecodingKey,
}

type Keys = HashMap<Option<String>, Arc<PinnedKey>>;

/// The keys behind one URL. Clones share them.
#[derive(Clone)]
pub struct RemoteKeys {
    url: Url,
    http: reqwest::Client,
    keys: Arc<ArcSwap<Keys>>,
    /// When a fetch last began; held while one runs, so that there is one at a time.
    last_fetch: Arc<Mutex<Option<Instant>>>,
    metrics: Arc<Metrics>,
}

/// Why the keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer, or not a good one.
    #[error("{}", cause(.0))]
    Http(#[from] reqwest::Error),
    /// The answer is no JWK Set, or a larger one than is read.
    #[error("the answer is not a JWK Set (RFC 7517) of at most {MAX_BYTES} bytes")]
    NotJwks,
    /// None of the keys can verify a signature.
    #[error("the JWK Set holds no key for RS256/384/512, PS256/384/512, ES256/384 or EdDSA signatures")]
    NoUsableKey,
}

/// Returns what lies under a failed request, which by itself says no more than that it failed: a refused connection, a name
/// that is not found, a certificate that is not trusted.
#[must_use]
pub fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

impl RemoteKeys {
    /// Prepares for `url`; nothing is fetched yet.
    ///
    /// # Errors
    /// The HTTP client's, if TLS cannot be set up.
    pub fn new(url: Url, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .connect_timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::limited(3))
            // A redirect must not lead from a protected answer to one that anybody on the way can write.
            .https_only(url.scheme() == "https")
            .user_agent(concat!("scangate/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { url, http, keys: Arc::default(), last_fetch: Arc::default(), metrics })
    }

    /// Returns whether any key was ever fetched.
    #[must_use]
    pub fn are_known(&self) -> bool {
        !self.keys.load().is_empty()
    }

    /// Returns the key called `kid`, or the only one for a token that names none.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] for an unknown one, [`VerifyError::NoKeys`] while there are none at all.
    pub async fn find(&self, kid: Option<&str>) -> Result<Arc<PinnedKey>, VerifyError> {
        if let Some(key) = self.known(kid) {
            return Ok(key);
        }
        // In a task of its own: a caller who hangs up must not end the fetch and leave its cool-down behind.
        let fetch = Self::fetch_now(self.clone(), Some(COOL_DOWN));
        // It fails only if the task panicked, which was logged; the keys are looked at either way.
        let _ = crate::task::spawn("identity-fetch", fetch).await;
        if let Some(key) = self.known(kid) {
            return Ok(key);
        }
        if self.are_known() {
            Err(VerifyError::Invalid("the token is signed with a key that the identity provider does not publish"))
        } else {
            Err(VerifyError::NoKeys)
        }
    }

    /// Keeps the keys fresh for ever.
    pub async fn refresh(self) {
        loop {
            self.clone().fetch_now(None).await;
            let pause = if self.are_known() { REFRESH_EVERY } else { COOL_DOWN };
            tokio::time::sleep(pause).await;
        }
    }

    fn known(&self, kid: Option<&str>) -> Option<Arc<PinnedKey>> {
        let keys = self.keys.load();
        match kid {
            Some(kid) => keys.get(&Some(kid.to_owned())).cloned(),
            None if keys.len() == 1 => keys.values().next().cloned(),
            None => None,
        }
    }

    /// Fetches, unless that was done within `cool_down`.
    async fn fetch_now(self, cool_down: Option<Duration>) {
        let mut last_fetch = self.last_fetch.lock().await;
        let is_cooling = |at: Instant| cool_down.is_some_and(|cool_down| at.elapsed() < cool_down);
        if last_fetch.is_some_and(is_cooling) {
            return;
        }
        *last_fetch = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => self.keys.store(Arc::new(keys)),
            Err(error) => {
                self.metrics.identity_errors.inc();
                tracing::warn!(error = %error, url = %self.url, "the identity provider's keys could not be fetched; known ones are kept");
            }
        }
    }

    /// Fetches the keys once, for the doctor; returns how many there are.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn probe(&self) -> Result<usize, FetchError> {
        Ok(self.fetch().await?.len())
    }

    async fn fetch(&self) -> Result<Keys, FetchError> {
        let response = self.http.get(self.url.clone()).send().await?.error_for_status()?;
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk?);
            if body.len() > MAX_BYTES {
                return Err(FetchError::NotJwks);
            }
        }
        parse(&body)
    }
}

fn parse(body: &[u8]) -> Result<Keys, FetchError> {
    let set: JwkSet = serde_json::from_slice(body).map_err(|_error| FetchError::NotJwks)?;
    let keys: Keys = set
        .keys
        .iter()
        .filter_map(|jwk| Some((jwk.common.key_id.clone(), Arc::new(pin(jwk)?))))
        .take(MAX_KEYS)
        .collect();
    if keys.is_empty() { Err(FetchError::NoUsableKey) } else { Ok(keys) }
}

/// Returns the key with the algorithm that it names, or the usual one of its kind; `None` for what signs nothing.
fn pin(jwk: &Jwk) -> Option<PinnedKey> {
    if matches!(&jwk.common.public_key_use, Some(other) if *other != PublicKeyUse::Signature) {
        return None;
    }
    let named = match jwk.common.key_algorithm {
        Some(algorithm) => Some(algorithm.to_string().parse::<Algorithm>().ok()?),
        None => None,
    };
    let fitting: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(_) => &[Algorithm::EdDSA],
        // A symmetric key in a public place is no secret.
        _ => return None,
    };
    let algorithm = named.unwrap_or(fitting[0]);
    if !fitting.contains(&algorithm) {
        return None;
    }
    Some(PinnedKey { algorithm, public: DecodingKey::from_jwk(jwk).ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    fn algorithms(jwk: &serde_json::Value) -> Option<Algorithm> {
        let body = serde_json::to_vec(&json!({ "keys": [jwk] })).unwrap();
        parse(&body).ok()?.values().next().map(|key| key.algorithm)
    }

    #[test]
    fn a_key_is_pinned_to_its_own_algorithm() {
        assert_eq!(algorithms(&json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y})), Some(Algorithm::ES256));
        assert_eq!(
            algorithms(&json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "PS256"})),
            Some(Algorithm::PS256)
        );
        assert_eq!(algorithms(&json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"})), Some(Algorithm::RS256));
    }

    #[test]
    fn what_must_not_verify_is_left_out() {
        assert_eq!(algorithms(&json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"})), None);
        assert_eq!(algorithms(&json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "HS256"})), None);
        assert_eq!(algorithms(&json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc"})), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_a_key_set_or_refused(text in ".{0,200}") {
            let _ = parse(text.as_bytes());
        }
    }
}
