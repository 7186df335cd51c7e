//! Signing in with a WeChat official account: the code is WeChat's own, and WeChat's servers tell of the scan.
//!
//! | file | owns |
//! |---|---|
//! | `settings` | the table of the TOML file |
//! | `api` | calls to WeChat |
//! | `token` | the access token that all replicas share |
//! | `callback` | what WeChat sends: whether it is genuine, and that it is done once and answered in time |
//! | `crypto`, `xml`, `message` | what it is made of |
//! | `sign_in` | what it leads to |
//! | `texts` | what is said in the chat |
//!
//! A code carries a random scene, which leads to its ticket for as long as that may live; the ticket's id is not sent to
//! WeChat. What replicas have to share is kept as values in the store.

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
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::random::RandomId;
use crate::secret::Secret;
use crate::sign_in::SignIns;
use crate::store::{Put, Store};
use crate::ticket::TicketId;
use api::{Api, ApiError};
use settings::WechatSettings;
use token::{TokenError, Tokens};

/// What the subjects of this connector begin with.
pub const SUBJECT_PREFIX: &str = "wechat:";
/// What the scenes of this gateway begin with: the account may have codes of other systems.
const SCENE_PREFIX: &str = "scangate_";
/// How long a code may take to be made.
const CODE_PATIENCE: Duration = Duration::from_secs(10);
/// How many callbacks are worked on at the same time.
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
    journal: Arc<Journal>,
    room: Arc<Semaphore>,
    quota: DailyQuota,
}

impl Wechat {
    /// Prepares; nothing is called yet.
    ///
    /// # Errors
    /// The HTTP client's, if TLS cannot be set up.
    pub fn new(
        settings: WechatSettings,
        store: Arc<dyn Store>,
        clients: Clients,
        sign_ins: SignIns,
        metrics: Arc<Metrics>,
        journal: Arc<Journal>,
    ) -> Result<Self, reqwest::Error> {
        let api = Arc::new(Api::new(&settings, Arc::clone(&metrics))?);
        let tokens = Tokens::new(&settings.app_id, Arc::clone(&api), Arc::clone(&store));
        let room = Arc::new(Semaphore::new(MAX_CALLBACKS));
        let quota = DailyQuota::of(settings.daily_codes);
        Ok(Self { settings, api, tokens, store, clients, sign_ins, metrics, journal, room, quota })
    }

    /// Makes the code of a ticket of `caller` that lives for `ttl`; returns what it says.
    ///
    /// # Errors
    /// [`ConnectorError`], after ten seconds at the latest.
    pub(super) async fn code(&self, id: &TicketId, ttl: Duration, caller: Caller) -> Result<String, ConnectorError> {
        self.quota.take(caller)?;
        let scene = format!("{SCENE_PREFIX}{}", RandomId::new());
        let make = async {
            let code = self.with_token(|token| self.api.create_code(token, &scene, ttl)).await?;
            // A scan may give the ticket more time, in which its scanner may scan again.
            let ttl = ttl + self.sign_ins.lifetimes().decision;
            self.store.put_value(&self.scene_name(&scene), &id.to_string(), ttl, Put::Always).await?;
            Ok(code)
        };
        tokio::time::timeout(CODE_PATIENCE, make)
            .await
            .unwrap_or_else(|_elapsed| Err(ConnectorError::Unavailable("it took too long".to_owned())))
    }

    pub(super) fn tidy(&self) {
        self.quota.tidy();
    }

    /// Calls the API, once more with another token if WeChat does not take the one that is kept.
    async fn with_token<T, F>(&self, call: impl Fn(Secret) -> F) -> Result<T, TokenError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let token = self.tokens.current().await?;
        match call(token.clone()).await {
            Err(error) if error.is_of_token() => {
                let token = self.tokens.renewed(&token).await?;
                Ok(call(token).await?)
            }
            answer => Ok(answer?),
        }
    }

    /// The name of the value that leads from a scene to its ticket.
    fn scene_name(&self, scene: &str) -> String {
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
