//! One identity provider: its settings, its discovery document, its keys, and the client for requests to it.

use std::sync::Arc;

use reqwest::Client;
use tokio::time::Instant;
use url::Url;

use super::discovery::{self, Discovery};
use super::exchange::{self, Tokens};
use super::failure::SignInError;
use super::metadata::Metadata;
use super::settings::{ProviderSettings, SignOut};
use super::userinfo::{self, Wanted};
use super::{calls, id_token};
use crate::metrics::Metrics;
use crate::ticket::Claims;
use crate::verifier::Source;
use crate::verifier::jwks::RemoteKeys;

/// The reason why a provider cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The issuer is not a URL. The check of the settings refuses such an issuer.
    #[error("the issuer {0} is not a URL")]
    Issuer(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

/// One identity provider.
pub struct Provider {
    /// Its settings.
    pub settings: ProviderSettings,
    /// Its discovery document.
    pub discovery: Discovery,
    keys: RemoteKeys,
    http: Client,
    metrics: Arc<Metrics>,
}

impl Provider {
    /// Sets the provider up; sends nothing yet.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(settings: ProviderSettings, metrics: Arc<Metrics>) -> Result<Self, SetupError> {
        let address = discovery::address(&settings.issuer);
        let address = address.ok_or_else(|| SetupError::Issuer(settings.issuer.clone()))?;
        let http = calls::client(settings.allows_http())?;
        let keys = RemoteKeys::discovered(http.clone(), settings.keys_max_age, Arc::clone(&metrics));
        let discovery = Discovery::new(&settings, address, http.clone(), keys.clone(), Arc::clone(&metrics));
        Ok(Self { settings, discovery, keys, http, metrics })
    }

    /// Keeps the discovery document and the keys current. Never returns.
    pub async fn refresh(self: Arc<Self>) {
        tokio::join!(self.discovery.clone().refresh(), self.keys.clone().refresh());
    }

    /// Returns the source of this provider's bearer tokens, which native apps send.
    #[must_use]
    pub fn bearer_source(&self, prefix: Option<String>) -> Source {
        let ProviderSettings { issuer, .. } = &self.settings;
        Source::of_provider(self.keys.clone(), issuer.clone(), self.settings.bearer_audiences(), prefix)
    }

    /// Returns the keys, for the doctor.
    #[must_use]
    pub fn keys(&self) -> &RemoteKeys {
        &self.keys
    }

    /// Returns the address at which the person signs out at the provider and comes back to `home`; `None` if the settings or the
    /// provider do not have one.
    #[must_use]
    pub fn sign_out_url(&self, home: &str) -> Option<Url> {
        if self.settings.sign_out == SignOut::Here {
            return None;
        }
        let mut url = self.discovery.known()?.end_session_endpoint.clone()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", home);
        Some(url)
    }

    /// Exchanges a code, checks the ID token, and returns its claims, with the wanted ones of userinfo.
    ///
    /// # Errors
    /// [`SignInError`]. Userinfo is not fetched before the ID token is verified.
    pub(super) async fn identify(
        &self,
        metadata: &Metadata,
        redirect_uri: &str,
        code: &str,
        begun: (&str, &str),
        wanted: &Wanted<'_>,
    ) -> Result<Claims, SignInError> {
        let (code_verifier, nonce) = begun;
        let settings = &self.settings;
        let started = Instant::now();
        let tokens = exchange::exchange(&self.http, settings, metadata, redirect_uri, code, code_verifier).await;
        self.metrics.provider_sign_ins.called("token", started.elapsed(), tokens.is_ok());
        let Tokens { id_token, access_token } = tokens?;
        // An unknown key has the keys fetched again, after a fetch that is running: the person waits for one of them.
        let opened = tokio::time::timeout(calls::CALL_TIMEOUT, self.keys.open(&id_token)).await;
        let token = opened.map_err(|_elapsed| SignInError::LateKeys)??;
        let expected = id_token::Expected { settings, metadata, nonce, access_token: &access_token };
        id_token::check(&token, &expected)?;
        let mut claims = token.claims;
        let wanted = wanted.of(&claims);
        if let Some(endpoint) = metadata.userinfo_endpoint.as_ref().filter(|_| !wanted.is_empty()) {
            let started = Instant::now();
            let added = userinfo::add(&self.http, endpoint, &access_token, &mut claims, &wanted).await;
            self.metrics.provider_sign_ins.called("userinfo", started.elapsed(), added.is_ok());
            added?;
        }
        Ok(claims)
    }
}
