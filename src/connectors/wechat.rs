//! Sign-in with a WeChat official account: WeChat creates the code, and its servers report the scan.
//!
//! | file | owns |
//! |---|---|
//! | `settings` | the table of the TOML file |
//! | `api` | calls to WeChat's API |
//! | `token` | the access token that all replicas share |
//! | `callback` | WeChat's callbacks: verified, processed once, responded to in time |
//! | `crypto`, `xml`, `message` | their signatures and encryption, their XML, their content |
//! | `sign_in` | the changes of tickets that they cause |
//! | `texts` | the replies in the chat |
//!
//! A code carries a random scene. The store maps the scene to its ticket for the ticket's maximum lifetime, so WeChat never gets
//! the ticket's id. All state that replicas share is in the store.

pub mod api;
pub mod callback;
mod crypto;
mod message;
pub mod settings;
mod sign_in;
mod texts;
mod token;
mod xml;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::callers::Caller;
use crate::clients::Clients;
use crate::connectors::error::ConnectorError;
use crate::connectors::quota::DailyQuota;
use crate::log_limit::LogLimiter;
use crate::metrics::Metrics;
use crate::random::RandomId;
use crate::secret::Secret;
use crate::sign_in::SignIns;
use crate::store::{Put, Store};
use crate::ticket::TicketId;
use api::{Api, ApiError};
use settings::WechatSettings;
use token::{TokenError, Tokens};

/// The prefix of this connector's subjects.
pub const SUBJECT_PREFIX: &str = "wechat:";
/// The prefix of the gateway's scenes; other systems may create codes for the same account.
const SCENE_PREFIX: &str = "scangate_";
/// The time limit for creating a code.
const CODE_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of callbacks that are processed at the same time.
const MAX_CALLBACKS: usize = 256;

/// The connector of one official account.
pub struct Wechat {
    settings: WechatSettings,
    api: Arc<Api>,
    tokens: Tokens,
    store: Arc<dyn Store>,
    clients: Clients,
    sign_ins: SignIns,
    metrics: Arc<Metrics>,
    log_limiter: Arc<LogLimiter>,
    callback_permits: Arc<Semaphore>,
    quota: DailyQuota,
}

impl Wechat {
    /// Sets up the connector; sends nothing yet.
    ///
    /// # Errors
    /// The HTTP client's error if it cannot set up TLS.
    pub fn new(
        settings: WechatSettings,
        store: Arc<dyn Store>,
        clients: Clients,
        sign_ins: SignIns,
        metrics: Arc<Metrics>,
        log_limiter: Arc<LogLimiter>,
    ) -> Result<Self, reqwest::Error> {
        let api = Arc::new(Api::new(&settings, Arc::clone(&metrics))?);
        let tokens = Tokens::new(&settings.app_id, Arc::clone(&api), Arc::clone(&store));
        let callback_permits = Arc::new(Semaphore::new(MAX_CALLBACKS));
        let quota = DailyQuota::new(settings.daily_codes);
        Ok(Self { settings, api, tokens, store, clients, sign_ins, metrics, log_limiter, callback_permits, quota })
    }

    /// Creates the code of a ticket of `caller`, valid for `ttl`. Returns the text for its QR code.
    ///
    /// # Errors
    /// [`ConnectorError`], after [`CODE_TIMEOUT`] at the latest.
    pub(super) async fn code(&self, id: &TicketId, ttl: Duration, caller: Caller) -> Result<String, ConnectorError> {
        self.quota.take(caller)?;
        let scene = format!("{SCENE_PREFIX}{}", RandomId::new());
        let create = async {
            let code = self.with_token(|token| self.api.create_code(token, &scene, ttl)).await?;
            // A scan may extend the ticket's life, and its scanner may scan again in that time.
            let ttl = ttl + self.sign_ins.lifetimes().decision;
            self.store.put_value(&self.scene_key(&scene), &id.to_string(), ttl, Put::Always).await?;
            Ok(code)
        };
        tokio::time::timeout(CODE_TIMEOUT, create)
            .await
            .unwrap_or_else(|_elapsed| Err(ConnectorError::Unavailable("WeChat took too long".to_owned())))
    }

    pub(super) fn prune(&self) {
        self.quota.prune();
    }

    /// Calls the API. If WeChat refuses the stored access token, renews it and calls once more.
    async fn with_token<T, F>(&self, call: impl Fn(Secret) -> F) -> Result<T, TokenError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let token = self.tokens.current().await?;
        match call(token.clone()).await {
            Err(error) if error.is_bad_token() => {
                let token = self.tokens.renew(&token).await?;
                Ok(call(token).await?)
            }
            response => Ok(response?),
        }
    }

    /// Returns the key of the value that maps a scene to its ticket.
    fn scene_key(&self, scene: &str) -> String {
        format!("wechat:scene:{}:{scene}", self.settings.app_id)
    }
}

impl From<TokenError> for ConnectorError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Store(error) => Self::Store(error),
            error => Self::Unavailable(error.to_string()),
        }
    }
}
