//! The access token, which all replicas share: kept in the store, fetched by one of them at a time, renewed before it ends.
//!
//! While a token is good, one caller renews it and all others go on with it. Without one, or with one that WeChat has refused,
//! all wait for the one that holds the lock. The lock is a value with a short time to live, so nobody's end keeps it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::api::{Api, ApiError, IssuedToken};
use crate::random::RandomId;
use crate::secret::Secret;
use crate::store::{Put, Store, StoreError};

/// How long before its end a token is renewed. WeChat issues no new one before its last five minutes.
const RENEW_EARLY: Duration = Duration::from_secs(5 * 60);
/// What may be taken off that, at random, so that replicas do not all come at once.
const RENEW_JITTER_SECS: u64 = 60;
/// How long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(10);
/// How long a token is kept at most, whatever is said: WeChat's live for two hours. Redis takes no time that overflows.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the lock is kept at most: longer than two calls take, to two hosts each.
const LOCK_TTL: Duration = Duration::from_secs(20);
/// How long nobody asks again after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// What the lock says then, before why.
const FAILED: &str = "failed: ";
/// How far apart forced renewals are at least: WeChat ignores those that come sooner, and allows twenty a day.
const FORCE_PAUSE: Duration = Duration::from_secs(30);
/// How long a caller waits for another's token.
const MAX_WAIT: Duration = Duration::from_secs(8);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another gateway that fetches WeChat's access token has not done so in time")]
    Waited,
    #[error("{0}; that was a moment ago, and is not tried again at once")]
    Failed(String),
    #[error("WeChat refuses the access token that it has just issued; another system may be renewing it by force")]
    Refused,
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    token: String,
    /// In milliseconds since 1970, by the clock of the gateway that fetched it.
    renew_at: u64,
}

/// What a fetched token is to take the place of.
enum Outdated {
    /// None is there.
    None,
    /// One that is still good, for a while.
    Old(Secret),
    /// One that WeChat does not take.
    Refused(Secret),
}

impl Outdated {
    fn token(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Old(token) | Self::Refused(token) => Some(token.reveal()),
        }
    }
}

/// The token of one account. Clones share it.
#[derive(Clone)]
pub(super) struct Tokens {
    api: Arc<Api>,
    store: Arc<dyn Store>,
    name: String,
    /// Held by who waits for the lock, so that one caller of this process does.
    turn: Arc<Mutex<()>>,
}

impl Tokens {
    pub(super) fn new(app_id: &str, api: Arc<Api>, store: Arc<dyn Store>) -> Self {
        Self { api, store, name: format!("wechat:token:{app_id}"), turn: Arc::default() }
    }

    /// Returns a token that should be good.
    pub(super) async fn current(&self) -> Result<Secret, TokenError> {
        let Some(kept) = self.kept().await? else { return self.fetch_alone(None).await };
        if now_millis() >= kept.renew_at && self.lock().await? {
            match self.fetch(Outdated::Old(Secret::new(kept.token.clone()))).await {
                Ok(token) => return Ok(token),
                Err(error) => {
                    tracing::warn!(%error, "WeChat's access token could not be renewed; the old one is used as long as it is good");
                }
            }
        }
        Ok(Secret::new(kept.token))
    }

    /// Returns another token than `refused`, which WeChat does not take any more.
    pub(super) async fn renewed(&self, refused: &Secret) -> Result<Secret, TokenError> {
        self.fetch_alone(Some(refused)).await
    }

    /// Fetches a token, or waits for another that does.
    async fn fetch_alone(&self, refused: Option<&Secret>) -> Result<Secret, TokenError> {
        let until = Instant::now() + MAX_WAIT;
        let _turn = tokio::time::timeout_at(until, self.turn.lock()).await.map_err(|_elapsed| TokenError::Waited)?;
        loop {
            let kept = self.kept().await?.filter(|kept| refused.is_none_or(|refused| refused.reveal() != kept.token));
            if let Some(kept) = kept {
                return Ok(Secret::new(kept.token));
            }
            if self.lock().await? {
                let outdated = refused.map_or(Outdated::None, |refused| Outdated::Refused(refused.clone()));
                return self.fetch(outdated).await;
            }
            // All who wait would fail, one after the other.
            let held = self.store.value(&self.lock_name()).await?;
            if let Some(why) = held.as_deref().and_then(|held| held.strip_prefix(FAILED)) {
                return Err(TokenError::Failed(why.to_owned()));
            }
            if Instant::now() >= until {
                return Err(TokenError::Waited);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn kept(&self) -> Result<Option<Kept>, StoreError> {
        let value = self.store.value(&self.name).await?;
        Ok(value.and_then(|value| serde_json::from_str(&value).ok()))
    }

    async fn lock(&self) -> Result<bool, StoreError> {
        self.store.put_value(&self.lock_name(), &RandomId::new().to_string(), LOCK_TTL, Put::IfAbsent).await
    }

    fn lock_name(&self) -> String {
        format!("{}:lock", self.name)
    }

    /// Fetches a token with the lock held, and gives it back.
    async fn fetch(&self, outdated: Outdated) -> Result<Secret, TokenError> {
        let this = self.clone();
        let (done, result) = oneshot::channel();
        // In a task of its own: a caller who hangs up must not leave the lock behind.
        crate::task::spawn("wechat-token", async move {
            let result = this.fetch_and_keep(&outdated).await;
            let unlocked = match &result {
                Ok(_) => this.store.remove_value(&this.lock_name()).await,
                Err(error) => {
                    let failed = format!("{FAILED}{error}");
                    this.store.put_value(&this.lock_name(), &failed, FAILURE_PAUSE, Put::Always).await.map(drop)
                }
            };
            if let Err(error) = unlocked {
                tracing::warn!(%error, "the lock of WeChat's access token is left to expire");
            }
            let _ = done.send(result);
        });
        result.await.unwrap_or(Err(TokenError::Waited))
    }

    async fn fetch_and_keep(&self, outdated: &Outdated) -> Result<Secret, TokenError> {
        // Another may have been faster since the last look, and given the lock back already.
        if let Some(kept) = self.kept().await?.filter(|kept| outdated.token() != Some(&kept.token)) {
            return Ok(Secret::new(kept.token));
        }
        let mut issued = self.api.stable_token(false).await?;
        if matches!(outdated, Outdated::Refused(refused) if refused.reveal() == issued.access_token) {
            let forced = format!("{}:forced", self.name);
            if !self.store.put_value(&forced, &RandomId::new().to_string(), FORCE_PAUSE, Put::IfAbsent).await? {
                return Err(TokenError::Refused);
            }
            tracing::warn!("WeChat refuses the access token that it issues; it is renewed by force");
            issued = self.api.stable_token(true).await?;
        }
        let IssuedToken { access_token, expires_in } = issued;
        let lifetime = Duration::from_secs(expires_in).min(MAX_LIFETIME);
        let jitter = Duration::from_secs(rand::random_range(0..=RENEW_JITTER_SECS));
        // A short life is used for its half at least.
        let renew_in = lifetime.saturating_sub(RENEW_EARLY.saturating_sub(jitter)).max(lifetime / 2);
        let renew_at = now_millis() + u64::try_from(renew_in.as_millis()).unwrap_or(u64::MAX / 2);
        let kept = Kept { token: access_token, renew_at };
        let ttl = lifetime.saturating_sub(MARGIN).max(lifetime / 2);
        if let Ok(value) = serde_json::to_string(&kept)
            && !ttl.is_zero()
        {
            self.store.put_value(&self.name, &value, ttl, Put::Always).await?;
        }
        Ok(Secret::new(kept.token))
    }
}

fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
