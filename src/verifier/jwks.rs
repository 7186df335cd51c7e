//! The identity provider's public keys. This module fetches them regularly, keeps them for a while when the provider fails, and
//! fetches again for a token that no known key has signed. `key_set` and `jwk` read the fetched set.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::fault::{Fault, NoKeys, VerifyError};
use super::jwk::PublicKey;
use super::jws::Jws;
use super::key_set::{KeySet, Skipped};
use crate::metrics::Metrics;
use crate::outbound::{BodyError, read_body, root_cause};
use crate::ticket::Claims;

/// The interval of regular fetches, so that revoked keys disappear.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// The minimum time between a fetch and one for a token with an unknown key: forged tokens must not load the provider.
pub const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(10);
/// The timeout of one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a key set, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// The maximum number of keys tried for one token; each takes some tens of microseconds.
const MAX_TRIED: usize = 8;
/// The maximum number of skipped entries named in one log message or error.
const MAX_NAMED: usize = 16;

/// The maximum length of a bearer token, in bytes: it must fit into a request's head.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The maximum length of an ID token from a token endpoint, in bytes. People with hundreds of groups have long ones.
const MAX_ID_TOKEN_BYTES: usize = 64 * 1024;

/// The content of a token whose signature was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// The algorithm of the signature.
    pub algorithm: Algorithm,
    /// Whether `typ` marks an access token.
    pub is_access_token: bool,
    /// The claims, unchecked.
    pub claims: Claims,
}

/// The last fetched set, and its time.
struct Known {
    set: KeySet,
    fetched_at: Instant,
}

/// The keys behind one URL. Clones share them.
#[derive(Clone)]
pub struct RemoteKeys {
    /// `None` until the provider's discovery document has named it.
    url: Arc<ArcSwapOption<Url>>,
    max_age: Duration,
    http: reqwest::Client,
    known: Arc<ArcSwapOption<Known>>,
    /// When the last fetch began. A running fetch holds the lock, so that there is one at a time.
    last_fetch: Arc<Mutex<Option<Instant>>>,
    metrics: Arc<Metrics>,
}

/// The reason why the keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request failed, or the response has an error status.
    #[error("{}", root_cause(.0))]
    Http(#[from] reqwest::Error),
    /// The response is larger than the gateway reads.
    #[error("the response has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// The response is not a JWK Set.
    #[error("the response is not a JWK Set (RFC 7517), a JSON object with an array keys")]
    NotJwks,
    /// The discovery document, which names the key set's URL, was not fetched yet.
    #[error("the identity provider's discovery document has not been fetched yet")]
    NoUrl,
    /// No key can verify a signature.
    #[error("the JWK Set has no key that can verify signatures{}", reasons(.0))]
    NoUsableKey(Vec<Skipped>),
}

fn reasons(skipped: &[Skipped]) -> String {
    let named: Vec<String> = skipped.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    if named.is_empty() { ": it is empty".to_owned() } else { format!(": {}", named.join("; ")) }
}

/// Creates the HTTP client for requests to the provider at `url`.
///
/// # Errors
/// The HTTP client's error, if TLS cannot be set up.
pub fn client(url: &Url) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(FETCH_TIMEOUT)
        .connect_timeout(FETCH_TIMEOUT)
        .redirect(reqwest::redirect::Policy::limited(3))
        // A redirect must not downgrade from https to http: anyone on the network path could change that response.
        .https_only(url.scheme() == "https")
        .user_agent(concat!("scangate/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Fetches `url`, and reads at most 256 KiB.
///
/// # Errors
/// [`FetchError::Http`], [`FetchError::TooLarge`].
pub async fn fetch(http: &reqwest::Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let response = http.get(url.clone()).send().await?.error_for_status()?;
    match read_body(response, MAX_BYTES).await {
        Ok(body) => Ok(body),
        Err(BodyError::Http(error)) => Err(FetchError::Http(error)),
        Err(BodyError::TooLarge) => Err(FetchError::TooLarge),
    }
}

impl RemoteKeys {
    /// Creates the keys of `url` without fetching them. Keys older than `max_age` verify nothing, because the provider may have withdrawn them
    /// since.
    ///
    /// # Errors
    /// The HTTP client's error, if TLS cannot be set up.
    pub fn new(url: Url, max_age: Duration, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let http = client(&url)?;
        let url = Arc::new(ArcSwapOption::from_pointee(url));
        Ok(Self { url, max_age, http, known: Arc::default(), last_fetch: Arc::default(), metrics })
    }

    /// Creates the keys of a provider whose discovery document names their URL: [`RemoteKeys::set_url`] sets it. `http` should
    /// follow no redirects.
    #[must_use]
    pub fn discovered(http: reqwest::Client, max_age: Duration, metrics: Arc<Metrics>) -> Self {
        Self { url: Arc::default(), max_age, http, known: Arc::default(), last_fetch: Arc::default(), metrics }
    }

    /// Sets the URL, and fetches the keys at once if it is another one than before.
    pub async fn set_url(&self, url: &Url) {
        if self.url.load().as_deref() == Some(url) {
            return;
        }
        self.url.store(Some(Arc::new(url.clone())));
        self.clone().fetch_now(None).await;
    }

    /// Checks the signature of an ID token, and returns its content. Its claims are not checked.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn open(&self, token: &str) -> Result<Signed, VerifyError> {
        if token.len() > MAX_ID_TOKEN_BYTES {
            return Err(VerifyError::Invalid(Fault::TooLong));
        }
        let jws = Jws::read(token).map_err(VerifyError::Invalid)?;
        self.check(&jws).await?;
        let claims = jws.claims().map_err(VerifyError::Invalid)?;
        Ok(Signed { algorithm: jws.algorithm, is_access_token: jws.is_access_token, claims })
    }

    /// Creates keys from the text of a JWK Set, for tests.
    #[cfg(test)]
    pub(crate) fn of_text(text: &str) -> Self {
        let keys = Self::discovered(reqwest::Client::new(), REFRESH_INTERVAL, Arc::default());
        let set = KeySet::read(text.as_bytes()).unwrap();
        keys.known.store(Some(Arc::new(Known { set, fetched_at: Instant::now() })));
        keys
    }

    /// Returns whether a fetch has ever succeeded.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.known.load().is_some()
    }

    /// Checks the signature of a token with every candidate key: the keys for its algorithm with its `kid`, or with any id if the
    /// token names none.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] if no key fits or none signed it; [`VerifyError::NoKeys`] while there are no keys, or only
    /// outdated ones.
    pub(super) async fn check(&self, jws: &Jws<'_>) -> Result<(), VerifyError> {
        // A mismatch may mean that the known key is old: some providers reuse the id of the last key, or name none.
        if let Some(Ok(())) = self.try_known(jws) {
            return Ok(());
        }
        // In a separate task: a caller that disconnects must not abort a fetch that has already blocked the next one.
        let fetch = Self::fetch_now(self.clone(), Some(MIN_FETCH_INTERVAL));
        // The task fails only by a panic, which is logged; the check below follows in either case.
        let _ = crate::task::spawn("identity-fetch", fetch).await;
        if let Some(verdict) = self.try_known(jws) {
            return verdict.map_err(VerifyError::Invalid);
        }
        let Some(known) = self.current() else {
            let never = !self.are_known();
            return Err(VerifyError::NoKeys(if never { NoKeys::NeverFetched } else { NoKeys::TooOld }));
        };
        let has_id = known.set.keys.iter().any(|key| has_kid(key, jws.kid.as_deref()));
        Err(VerifyError::Invalid(if has_id { Fault::OtherAlgorithm } else { Fault::UnknownKey }))
    }

    /// Fetches the keys regularly. Never returns.
    pub async fn refresh(self) {
        loop {
            self.clone().fetch_now(None).await;
            let pause =
                if self.current().is_some() { REFRESH_INTERVAL.min(self.max_age / 2) } else { MIN_FETCH_INTERVAL };
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns the keys, unless they are older than the maximum age.
    fn current(&self) -> Option<Arc<Known>> {
        self.known.load_full().filter(|known| known.fetched_at.elapsed() < self.max_age)
    }

    /// Checks with the known keys. Returns `None` if no key fits.
    fn try_known(&self, jws: &Jws<'_>) -> Option<Result<(), Fault>> {
        let known = self.current()?;
        let mut candidates = candidates(&known.set.keys, jws.kid.as_deref(), jws.algorithm).peekable();
        candidates.peek()?;
        Some(if candidates.any(|key| jws.is_signed_by(&key.key)) { Ok(()) } else { Err(Fault::Signature) })
    }

    /// Fetches, unless the last fetch began within `min_interval`.
    async fn fetch_now(self, min_interval: Option<Duration>) {
        let Some(url) = self.url.load_full() else { return };
        let mut last_fetch = self.last_fetch.lock().await;
        let is_too_soon = |at: Instant| min_interval.is_some_and(|min_interval| at.elapsed() < min_interval);
        if last_fetch.is_some_and(is_too_soon) {
            return;
        }
        *last_fetch = Some(Instant::now());
        let previous = self.known.load_full();
        match self.fetch(&url).await {
            Ok(set) => {
                log_skipped(&url, &set, previous.as_deref());
                self.metrics.identity.set_keys(set.keys.len(), set.skipped.len(), unix_seconds());
                self.known.store(Some(Arc::new(Known { set, fetched_at: Instant::now() })));
            }
            Err(error) => {
                self.metrics.identity.errors.inc();
                match previous.map(|known| known.fetched_at.elapsed()) {
                    None => {
                        tracing::warn!(%error, %url, "could not fetch the identity provider's keys; approvers are refused");
                    }
                    Some(age) if age < self.max_age => tracing::warn!(
                        %error, %url, age_secs = age.as_secs(), max_age_secs = self.max_age.as_secs(),
                        "could not fetch the identity provider's keys; using the known ones until they are too old"
                    ),
                    Some(age) => tracing::error!(
                        %error, %url, age_secs = age.as_secs(), max_age_secs = self.max_age.as_secs(),
                        "could not fetch the identity provider's keys for too long; approvers are refused"
                    ),
                }
            }
        }
    }

    /// Fetches the keys once, for the doctor. Returns the number of usable keys, and the skipped entries.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn probe(&self) -> Result<(usize, Vec<Skipped>), FetchError> {
        let url = self.url.load_full().ok_or(FetchError::NoUrl)?;
        self.probe_at(&url).await
    }

    /// Fetches the keys at `url` once, for the doctor, as [`RemoteKeys::probe`] does.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn probe_at(&self, url: &Url) -> Result<(usize, Vec<Skipped>), FetchError> {
        let set = self.fetch(url).await?;
        Ok((set.keys.len(), set.skipped))
    }

    async fn fetch(&self, url: &Url) -> Result<KeySet, FetchError> {
        let body = fetch(&self.http, url).await?;
        let set = KeySet::read(&body).ok_or(FetchError::NotJwks)?;
        if set.keys.is_empty() { Err(FetchError::NoUsableKey(set.skipped)) } else { Ok(set) }
    }
}

/// Logs each skipped entry, once until it changes.
fn log_skipped(url: &Url, set: &KeySet, previous: Option<&Known>) {
    let is_new = |skipped: &&Skipped| !previous.is_some_and(|known| known.set.skipped.contains(skipped));
    for skipped in set.skipped.iter().filter(is_new).take(MAX_NAMED) {
        if skipped.reason.is_fault() {
            tracing::warn!(%url, "skipped a key of the identity provider: {skipped}");
        } else {
            tracing::info!(%url, "skipped a key of the identity provider: {skipped}");
        }
    }
}

fn candidates<'a>(
    keys: &'a [PublicKey],
    kid: Option<&'a str>,
    algorithm: Algorithm,
) -> impl Iterator<Item = &'a PublicKey> {
    keys.iter().filter(move |key| has_kid(key, kid) && key.verifies(algorithm)).take(MAX_TRIED)
}

/// Returns whether a token that names `kid`, or none, may be signed with `key`.
fn has_kid(key: &PublicKey, kid: Option<&str>) -> bool {
    kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
