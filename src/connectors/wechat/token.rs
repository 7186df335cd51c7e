//! The access token that all replicas share: kept in the store, fetched by one replica at a time, renewed before it expires.
//!
//! While a token is valid, one caller renews it and all others continue to use it. Without a token, or with one that WeChat
//! refused, all wait for the caller that holds the lock. The lock is a value with a short lifetime, so a crash cannot hold it
//! forever.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::api::{Api, ApiError, IssuedToken};
use crate::random::{self, RandomId};
use crate::secret::Secret;
use crate::store::{Put, Store, StoreError};

/// The time before its expiry at which a token is renewed. WeChat issues no new one earlier.
const RENEW_EARLY: Duration = Duration::from_secs(5 * 60);
/// The longest random delay of a renewal, so that replicas do not all renew at once.
const RENEW_JITTER_SECS: u64 = 60;
/// The time before its expiry at which a token is no longer used.
const MARGIN: Duration = Duration::from_secs(10);
/// The longest lifetime that is accepted: WeChat's tokens are valid for two hours, and Redis refuses a lifetime that overflows.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The lock's lifetime: longer than two calls to two hosts each.
const LOCK_TTL: Duration = Duration::from_secs(20);
/// How long all callers wait after a failure before they try again.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// The prefix of the lock's value after a failure; the error follows.
const FAILED: &str = "failed: ";
/// The minimum time between forced renewals. WeChat ignores earlier ones and allows twenty a day.
const FORCE_PAUSE: Duration = Duration::from_secs(30);
/// How long a caller waits for a token that another caller fetches.
const MAX_WAIT: Duration = Duration::from_secs(8);
/// The interval at which it reads the store meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The reason why no token is available.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another gateway did not fetch WeChat's access token in time")]
    TimedOut,
    #[error("{0}; the gateway waits a moment before it tries again")]
    Failed(String),
    #[error("WeChat refuses the access token that it has just issued; another system may be renewing it by force")]
    Refused,
}

/// A token as the store keeps it.
#[derive(Serialize, Deserialize)]
struct StoredToken {
    token: String,
    /// In milliseconds since 1970, by the clock of the gateway that fetched it.
    renew_at: u64,
}

/// The token that a new one replaces.
enum OldToken {
    /// No token.
    None,
    /// A token that is still valid for a while.
    Expiring(Secret),
    /// A token that WeChat refused.
    Refused(Secret),
}

impl OldToken {
    fn token(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Expiring(token) | Self::Refused(token) => Some(token.reveal()),
        }
    }
}

/// The token of one account. Clones share it.
#[derive(Clone)]
pub(super) struct Tokens {
    api: Arc<Api>,
    store: Arc<dyn Store>,
    key: String,
    /// Held by the caller that waits for the store's lock, so that one caller per process waits.
    lock_waiter: Arc<Mutex<()>>,
}

impl Tokens {
    pub(super) fn new(app_id: &str, api: Arc<Api>, store: Arc<dyn Store>) -> Self {
        Self { api, store, key: format!("wechat:token:{app_id}"), lock_waiter: Arc::default() }
    }

    /// Returns a token that should be valid.
    pub(super) async fn current(&self) -> Result<Secret, TokenError> {
        let Some(stored) = self.stored().await? else { return self.fetch_or_wait(None).await };
        if now_millis() >= stored.renew_at && self.lock().await? {
            match self.fetch(OldToken::Expiring(Secret::new(stored.token.clone()))).await {
                Ok(token) => return Ok(token),
                Err(error) => {
                    tracing::warn!(%error, "cannot renew WeChat's access token; using the old one while it is valid");
                }
            }
        }
        Ok(Secret::new(stored.token))
    }

    /// Returns a token other than `refused`, which WeChat refused.
    pub(super) async fn renew(&self, refused: &Secret) -> Result<Secret, TokenError> {
        self.fetch_or_wait(Some(refused)).await
    }

    /// Fetches a token, or waits until another caller has fetched one.
    async fn fetch_or_wait(&self, refused: Option<&Secret>) -> Result<Secret, TokenError> {
        let deadline = Instant::now() + MAX_WAIT;
        let _waiter = tokio::time::timeout_at(deadline, self.lock_waiter.lock())
            .await
            .map_err(|_elapsed| TokenError::TimedOut)?;
        loop {
            let stored = self.stored().await?;
            let stored = stored.filter(|stored| refused.is_none_or(|refused| refused.reveal() != stored.token));
            if let Some(stored) = stored {
                return Ok(Secret::new(stored.token));
            }
            if self.lock().await? {
                let old = refused.map_or(OldToken::None, |refused| OldToken::Refused(refused.clone()));
                return self.fetch(old).await;
            }
            // After a failure, all waiting callers fail. Otherwise they would try and fail one after the other.
            let lock = self.store.value(&self.lock_key()).await?;
            if let Some(error) = lock.as_deref().and_then(|lock| lock.strip_prefix(FAILED)) {
                return Err(TokenError::Failed(error.to_owned()));
            }
            if Instant::now() >= deadline {
                return Err(TokenError::TimedOut);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn stored(&self) -> Result<Option<StoredToken>, StoreError> {
        let value = self.store.value(&self.key).await?;
        Ok(value.and_then(|value| serde_json::from_str(&value).ok()))
    }

    async fn lock(&self) -> Result<bool, StoreError> {
        self.store.put_value(&self.lock_key(), &RandomId::new().to_string(), LOCK_TTL, Put::IfAbsent).await
    }

    fn lock_key(&self) -> String {
        format!("{}:lock", self.key)
    }

    /// Fetches a token while holding the lock, then releases it.
    async fn fetch(&self, old: OldToken) -> Result<Secret, TokenError> {
        let this = self.clone();
        let (done, result) = oneshot::channel();
        // In a separate task, because a caller that disconnects must not leave the lock held.
        crate::task::spawn("wechat-token", async move {
            let result = this.fetch_and_store(&old).await;
            let unlocked = match &result {
                Ok(_) => this.store.remove_value(&this.lock_key()).await,
                Err(error) => {
                    let failed = format!("{FAILED}{error}");
                    this.store.put_value(&this.lock_key(), &failed, FAILURE_PAUSE, Put::Always).await.map(drop)
                }
            };
            if let Err(error) = unlocked {
                tracing::warn!(%error, "cannot release the lock of WeChat's access token; it expires automatically");
            }
            let _ = done.send(result);
        });
        result.await.unwrap_or(Err(TokenError::TimedOut))
    }

    async fn fetch_and_store(&self, old: &OldToken) -> Result<Secret, TokenError> {
        // Another caller may have stored a token and released the lock since the last read.
        if let Some(stored) = self.stored().await?.filter(|stored| old.token() != Some(&stored.token)) {
            return Ok(Secret::new(stored.token));
        }
        let mut issued = self.api.stable_token(false).await?;
        if matches!(old, OldToken::Refused(refused) if refused.reveal() == issued.access_token) {
            let forced = format!("{}:forced", self.key);
            if !self.store.put_value(&forced, &RandomId::new().to_string(), FORCE_PAUSE, Put::IfAbsent).await? {
                return Err(TokenError::Refused);
            }
            tracing::warn!("WeChat refuses the access token that it issued; renewing it by force");
            issued = self.api.stable_token(true).await?;
        }
        let IssuedToken { access_token, expires_in } = issued;
        let lifetime = Duration::from_secs(expires_in).min(MAX_LIFETIME);
        let jitter = Duration::from_secs(random::within(0..=RENEW_JITTER_SECS));
        // A token with a short lifetime is used for at least half of it.
        let renew_in = lifetime.saturating_sub(RENEW_EARLY.saturating_sub(jitter)).max(lifetime / 2);
        let renew_at = now_millis() + u64::try_from(renew_in.as_millis()).unwrap_or(u64::MAX / 2);
        let stored = StoredToken { token: access_token, renew_at };
        let ttl = lifetime.saturating_sub(MARGIN).max(lifetime / 2);
        if let Ok(value) = serde_json::to_string(&stored)
            && !ttl.is_zero()
        {
            self.store.put_value(&self.key, &value, ttl, Put::Always).await?;
        }
        Ok(Secret::new(stored.token))
    }
}

fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
