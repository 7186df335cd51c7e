//! The discovery document of one provider, as last fetched. It is fetched at start and regularly, and kept while the provider
//! is down.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::Client;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::calls::{self, CallError};
use super::metadata::{Metadata, MetadataFault};
use super::settings::ProviderSettings;
use crate::metrics::Metrics;
use crate::verifier::jwks::RemoteKeys;

/// The interval of regular fetches, so that a moved endpoint is found.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// The pause after a failure while no document is known.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// The minimum time between a failed fetch and one for a person who begins: many of them must not load the provider.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(2);

/// The reason why no document is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// The request failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The document is refused.
    #[error(transparent)]
    Document(#[from] MetadataFault),
    /// The last fetch has just failed.
    #[error("the last request for the discovery document has just failed")]
    JustFailed,
}

/// The discovery document of one provider. Clones share it.
#[derive(Clone)]
pub struct Discovery {
    provider: String,
    issuer: String,
    allows_http: bool,
    address: Url,
    http: Client,
    keys: RemoteKeys,
    known: Arc<ArcSwapOption<Metadata>>,
    /// When the last fetch ended. A running fetch holds the lock, so that there is one at a time.
    last_fetch: Arc<Mutex<Option<Instant>>>,
    metrics: Arc<Metrics>,
}

/// Returns the address of an issuer's discovery document (OpenID Connect Discovery §4).
#[must_use]
pub fn address(issuer: &str) -> Option<Url> {
    let mut address = Url::parse(issuer).ok().filter(Url::has_host)?;
    let path = format!("{}/.well-known/openid-configuration", address.path().trim_end_matches('/'));
    address.set_path(&path);
    Some(address)
}

impl Discovery {
    /// Creates an unknown document. `keys` get the document's `jwks_uri`.
    pub(super) fn new(
        settings: &ProviderSettings,
        address: Url,
        http: Client,
        keys: RemoteKeys,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            provider: settings.id.clone(),
            issuer: settings.issuer.clone(),
            allows_http: settings.allows_http(),
            address,
            http,
            keys,
            known: Arc::default(),
            last_fetch: Arc::default(),
            metrics,
        }
    }

    /// Returns the document, fetching it if none is known.
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub async fn metadata(&self) -> Result<Arc<Metadata>, DiscoveryError> {
        if let Some(known) = self.known.load_full() {
            return Ok(known);
        }
        self.fetch_unless(Some(MIN_FETCH_INTERVAL)).await
    }

    /// Returns the document if one is known.
    #[must_use]
    pub fn known(&self) -> Option<Arc<Metadata>> {
        self.known.load_full()
    }

    /// Sets the document, for tests.
    #[cfg(test)]
    pub(super) fn know(&self, metadata: Metadata) {
        self.known.store(Some(Arc::new(metadata)));
    }

    /// Fetches the document regularly. Never returns.
    pub async fn refresh(self) {
        loop {
            // A failure is logged where it happens.
            let _ = self.fetch_unless(None).await;
            let pause = if self.known.load().is_some() { REFRESH_INTERVAL } else { RETRY_INTERVAL };
            tokio::time::sleep(pause).await;
        }
    }

    /// Fetches the document now, for the doctor.
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub async fn probe(&self) -> Result<Metadata, DiscoveryError> {
        let started = Instant::now();
        let document = calls::send(self.http.get(self.address.clone())).await;
        self.metrics.provider_sign_ins.called("discovery", started.elapsed(), document.is_ok());
        Ok(Metadata::read(&document?, &self.issuer, self.allows_http)?)
    }

    /// Fetches the document, unless a caller that waited for the lock finds it known or just failed.
    async fn fetch_unless(&self, min_interval: Option<Duration>) -> Result<Arc<Metadata>, DiscoveryError> {
        let mut last_fetch = self.last_fetch.lock().await;
        if let Some(min_interval) = min_interval {
            if let Some(known) = self.known.load_full() {
                return Ok(known);
            }
            if last_fetch.is_some_and(|at| at.elapsed() < min_interval) {
                return Err(DiscoveryError::JustFailed);
            }
        }
        let fetched = self.probe().await;
        *last_fetch = Some(Instant::now());
        let (provider, address) = (&self.provider, &self.address);
        let metadata = fetched.inspect_err(|error| {
            let kept = if self.known.load().is_some() { "; using the known one" } else { "; nobody can sign in there" };
            tracing::warn!(%error, provider, %address, "could not fetch the discovery document of an identity provider{kept}");
        })?;
        let previous = self.known.load_full();
        let metadata = Arc::new(metadata);
        if previous.as_deref() != Some(&metadata) {
            tracing::info!(provider, %address, "read the discovery document of an identity provider");
        }
        // While the lock is held: a caller that waits for it finds this document.
        self.known.store(Some(Arc::clone(&metadata)));
        drop(last_fetch);
        // In a separate task: a person who begins needs no keys yet, and may disconnect.
        let (keys, url) = (self.keys.clone(), metadata.jwks_uri.clone());
        crate::task::spawn("identity-provider-keys", async move { keys.set_url(&url).await });
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_follows_the_issuers_path() {
        for (issuer, expected) in [
            ("https://id.example", "https://id.example/.well-known/openid-configuration"),
            ("https://id.example/", "https://id.example/.well-known/openid-configuration"),
            ("https://id.example/realms/a", "https://id.example/realms/a/.well-known/openid-configuration"),
            ("https://id.example/o/a/", "https://id.example/o/a/.well-known/openid-configuration"),
        ] {
            assert_eq!(address(issuer).unwrap().as_str(), expected);
        }
        assert_eq!(address("id.example"), None);
    }
}
