//! The identity provider's public keys: fetched, kept for a while when the provider fails, fetched again for a signature that
//! none of them has made. What an entry of the set is good for is `jwk`'s concern.

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
use crate::net::{BodyError, read_body, root_cause};

/// How often the keys are fetched with no particular reason, so that revoked ones go.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// How long after a fetch a signature of an unknown key causes no other: made-up ones must not turn into a load on the provider.
pub const COOL_DOWN: Duration = Duration::from_secs(10);
/// The bound of one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest key set that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// The most keys that one token is tried with: some tens of microseconds each.
const MAX_TRIED: usize = 8;
/// Of how many entries that are left out the log tells.
const MAX_TOLD: usize = 16;

/// What was fetched last, and when.
struct Known {
    set: KeySet,
    fetched_at: Instant,
}

/// The keys behind one URL. Clones share them.
#[derive(Clone)]
pub struct RemoteKeys {
    url: Url,
    max_age: Duration,
    http: reqwest::Client,
    known: Arc<ArcSwapOption<Known>>,
    /// When a fetch last began; held while one runs, so that there is one at a time.
    last_fetch: Arc<Mutex<Option<Instant>>>,
    metrics: Arc<Metrics>,
}

/// Why the keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer, or not a good one.
    #[error("{}", root_cause(.0))]
    Http(#[from] reqwest::Error),
    /// The answer is larger than one that is read.
    #[error("the answer has more than {MAX_BYTES} bytes")]
    TooLarge,
    /// The answer is no JWK Set.
    #[error("the answer is not a JWK Set (RFC 7517): a JSON object with a list called keys")]
    NotJwks,
    /// None of the keys can verify a signature.
    #[error("the JWK Set holds no key that can verify signatures{}", because(.0))]
    NoUsableKey(Vec<Skipped>),
}

fn because(skipped: &[Skipped]) -> String {
    let told: Vec<String> = skipped.iter().take(MAX_TOLD).map(ToString::to_string).collect();
    if told.is_empty() { ": it is empty".to_owned() } else { format!(": {}", told.join("; ")) }
}

/// Makes the client that the provider is asked with, for `url` and what belongs to it.
///
/// # Errors
/// The HTTP client's, if TLS cannot be set up.
pub fn client(url: &Url) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(FETCH_TIMEOUT)
        .connect_timeout(FETCH_TIMEOUT)
        .redirect(reqwest::redirect::Policy::limited(3))
        // A redirect must not lead from a protected answer to one that anybody on the way can write.
        .https_only(url.scheme() == "https")
        .user_agent(concat!("scangate/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Fetches `url`, of which no more than 256 KiB are read.
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
    /// Prepares for `url`; nothing is fetched yet. Keys that could not be renewed for `max_age` verify nothing: one that was
    /// withdrawn meanwhile must not be believed for ever.
    ///
    /// # Errors
    /// The HTTP client's, if TLS cannot be set up.
    pub fn new(url: Url, max_age: Duration, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let http = client(&url)?;
        Ok(Self { url, max_age, http, known: Arc::default(), last_fetch: Arc::default(), metrics })
    }

    /// Returns whether any key was ever fetched.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.known.load().is_some()
    }

    /// Checks the signature of a token with every key that it may be signed with: those of its `kid`, or all if it names none,
    /// that are for its algorithm.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] if none fits or none has signed it; [`VerifyError::NoKeys`] while there are none that are
    /// believed.
    pub(super) async fn check(&self, jws: &Jws<'_>) -> Result<(), VerifyError> {
        // A key that does not fit may be an old one: some providers put a new key under the id of the last, or name none.
        if let Some(Ok(())) = self.try_known(jws) {
            return Ok(());
        }
        // In a task of its own: a caller who hangs up must not end the fetch and leave its cool-down behind.
        let fetch = Self::fetch_now(self.clone(), Some(COOL_DOWN));
        // It fails only if the task panicked, which was logged; the keys are looked at either way.
        let _ = crate::task::spawn("identity-fetch", fetch).await;
        if let Some(verdict) = self.try_known(jws) {
            return verdict.map_err(VerifyError::Invalid);
        }
        let Some(known) = self.believed() else {
            let never = !self.are_known();
            return Err(VerifyError::NoKeys(if never { NoKeys::NeverFetched } else { NoKeys::TooOld }));
        };
        let is_there = known.set.keys.iter().any(|key| is_called(key, jws.kid.as_deref()));
        Err(VerifyError::Invalid(if is_there { Fault::OtherAlgorithm } else { Fault::UnknownKey }))
    }

    /// Keeps the keys fresh for ever.
    pub async fn refresh(self) {
        loop {
            self.clone().fetch_now(None).await;
            let pause = if self.believed().is_some() { REFRESH_EVERY.min(self.max_age / 2) } else { COOL_DOWN };
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns the keys, unless they could not be renewed for too long.
    fn believed(&self) -> Option<Arc<Known>> {
        self.known.load_full().filter(|known| known.fetched_at.elapsed() < self.max_age)
    }

    /// Checks with the keys at hand; `None` if none of them fits.
    fn try_known(&self, jws: &Jws<'_>) -> Option<Result<(), Fault>> {
        let known = self.believed()?;
        let mut candidates = candidates(&known.set.keys, jws.kid.as_deref(), jws.algorithm).peekable();
        candidates.peek()?;
        Some(if candidates.any(|key| jws.is_signed_by(&key.key)) { Ok(()) } else { Err(Fault::Signature) })
    }

    /// Fetches, unless that was done within `cool_down`.
    async fn fetch_now(self, cool_down: Option<Duration>) {
        let mut last_fetch = self.last_fetch.lock().await;
        let is_cooling = |at: Instant| cool_down.is_some_and(|cool_down| at.elapsed() < cool_down);
        if last_fetch.is_some_and(is_cooling) {
            return;
        }
        *last_fetch = Some(Instant::now());
        let previous = self.known.load_full();
        match self.fetch().await {
            Ok(set) => {
                self.tell_what_is_left_out(&set, previous.as_deref());
                self.metrics.identity.set_keys(set.keys.len(), set.skipped.len(), unix_seconds());
                self.known.store(Some(Arc::new(Known { set, fetched_at: Instant::now() })));
            }
            Err(error) => {
                self.metrics.identity.errors.inc();
                let url = &self.url;
                match previous.map(|known| known.fetched_at.elapsed()) {
                    None => {
                        tracing::warn!(%error, %url, "the identity provider's keys could not be fetched; phones are refused");
                    }
                    Some(age) if age < self.max_age => tracing::warn!(
                        %error, %url, age_secs = age.as_secs(), max_age_secs = self.max_age.as_secs(),
                        "the identity provider's keys could not be fetched; known ones are kept until they are too old"
                    ),
                    Some(age) => tracing::error!(
                        %error, %url, age_secs = age.as_secs(), max_age_secs = self.max_age.as_secs(),
                        "the identity provider's keys could not be fetched for too long and are no longer believed; phones are refused"
                    ),
                }
            }
        }
    }

    /// Logs each entry that is left out once, for as long as it stays the same.
    fn tell_what_is_left_out(&self, set: &KeySet, previous: Option<&Known>) {
        let is_new = |skipped: &&Skipped| !previous.is_some_and(|known| known.set.skipped.contains(skipped));
        for skipped in set.skipped.iter().filter(is_new).take(MAX_TOLD) {
            let url = &self.url;
            if skipped.reason.is_fault() {
                tracing::warn!(%url, "a key of the identity provider is left out: {skipped}");
            } else {
                tracing::info!(%url, "a key of the identity provider is left out: {skipped}");
            }
        }
    }

    /// Fetches the keys once, for the doctor; returns how many there are, and what is left out.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn probe(&self) -> Result<(usize, Vec<Skipped>), FetchError> {
        let set = self.fetch().await?;
        Ok((set.keys.len(), set.skipped))
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let body = fetch(&self.http, &self.url).await?;
        let set = KeySet::read(&body).ok_or(FetchError::NotJwks)?;
        if set.keys.is_empty() { Err(FetchError::NoUsableKey(set.skipped)) } else { Ok(set) }
    }
}

fn candidates<'a>(
    keys: &'a [PublicKey],
    kid: Option<&'a str>,
    algorithm: Algorithm,
) -> impl Iterator<Item = &'a PublicKey> {
    keys.iter().filter(move |key| is_called(key, kid) && key.verifies(algorithm)).take(MAX_TRIED)
}

/// Returns whether a token that names `kid`, or none, may be signed with that key.
fn is_called(key: &PublicKey, kid: Option<&str>) -> bool {
    kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
