//! The two use cases: a sign-in begins, and its answer finishes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use url::Url;

use super::answer::Answer;
use super::begun::{self, Begun, Found, Return, Secrets};
use super::failure::{self, Failed, SignInError};
use super::id_token::IdTokenFault;
use super::provider::Provider;
use super::request::{self, Wishes};
use super::userinfo::Wanted;
use crate::log_limit::LogLimiter;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::ticket::BindingSecret;
use crate::verifier::Identity;

/// All identity providers, and the sign-ins at them.
pub struct RelyingParty {
    providers: Vec<Arc<Provider>>,
    store: Arc<dyn Store>,
    redirect_uri: String,
    released_claims: BTreeSet<String>,
    metrics: Arc<Metrics>,
    log_limiter: Arc<LogLimiter>,
}

/// A finished sign-in.
#[derive(Debug)]
pub struct Finished {
    /// The person. With several providers, the subject begins with the provider's id.
    pub identity: Identity,
    /// The provider's id.
    pub provider: String,
    /// The page from which the person began.
    pub return_to: Return,
}

impl RelyingParty {
    /// Creates the use cases. `released_claims` are those that any client may release: they are taken from userinfo if the ID
    /// token lacks them.
    #[must_use]
    pub fn new(
        providers: Vec<Arc<Provider>>,
        store: Arc<dyn Store>,
        redirect_uri: String,
        released_claims: impl IntoIterator<Item = String>,
        metrics: Arc<Metrics>,
        log_limiter: Arc<LogLimiter>,
    ) -> Self {
        metrics.provider_sign_ins.init_failed_series(SignInError::REASONS.into_iter());
        let released_claims = released_claims.into_iter().collect();
        Self { providers, store, redirect_uri, released_claims, metrics, log_limiter }
    }

    /// Returns all providers, in the order of the settings.
    #[must_use]
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    /// Returns the provider with this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| provider.settings.id == id)
    }

    /// Begins a sign-in of the browser that holds `browser`. Returns the provider's address to which the browser goes.
    ///
    /// # Errors
    /// [`SignInError::Discovery`] while the provider's discovery document is unknown; [`SignInError::Store`].
    pub async fn begin(
        &self,
        provider: &Provider,
        browser: &BindingSecret,
        return_to: Return,
        wishes: &Wishes,
    ) -> Result<Url, SignInError> {
        let result = self.try_begin(provider, browser, return_to, wishes).await;
        match &result {
            Ok(_) => self.metrics.provider_sign_ins.begun(),
            Err(error) => self.report(error, &provider.settings.id),
        }
        result
    }

    async fn try_begin(
        &self,
        provider: &Provider,
        browser: &BindingSecret,
        return_to: Return,
        wishes: &Wishes,
    ) -> Result<Url, SignInError> {
        let metadata = provider.discovery.metadata().await?;
        let secrets = Secrets::new();
        let url = request::authorization_url(&provider.settings, &metadata, &self.redirect_uri, &secrets, wishes);
        let Secrets { state, nonce, code_verifier } = secrets;
        let begun =
            Begun { provider: provider.settings.id.clone(), code_verifier, nonce, return_to, browser: browser.hash() };
        begun::put(self.store.as_ref(), &state, &begun).await?;
        Ok(url)
    }

    /// Finishes the sign-in of an answer. `browser` is the secret of the browser that brings it, if it has one.
    ///
    /// An answer that comes in another browser, or from another provider, leaves the sign-in as it is: the person can still
    /// finish it. Any other answer uses it up before the code is exchanged.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn finish(&self, answer: &Answer, browser: Option<&BindingSecret>) -> Result<Finished, Failed> {
        let result = self.try_finish(answer, browser).await;
        match &result {
            Ok(_) => self.metrics.provider_sign_ins.finished(),
            Err(failed) => self.report(&failed.error, failed.provider.as_deref().unwrap_or_default()),
        }
        result
    }

    /// Counts an answer that [`Answer::read`] refused, and returns its failure.
    #[must_use]
    pub fn refuse_answer(&self) -> Failed {
        self.report(&SignInError::Malformed, "");
        Failed::without_page(SignInError::Malformed)
    }

    async fn try_finish(&self, answer: &Answer, browser: Option<&BindingSecret>) -> Result<Finished, Failed> {
        let state = answer.state.as_deref().and_then(|state| state.parse::<BindingSecret>().ok());
        let state = state.ok_or_else(|| Failed::without_page(SignInError::UnknownState))?;
        let begun = match begun::find(self.store.as_ref(), &state).await.map_err(Failed::without_page)? {
            Found::Waiting(begun) => begun,
            Found::Used(used) => {
                let is_own = browser.is_some_and(|browser| browser.hash() == used.browser);
                let failed = Failed::without_page(SignInError::UsedBefore);
                return Err(Failed { return_to: is_own.then_some(used.return_to), ..failed });
            }
            Found::Unknown => return Err(Failed::without_page(SignInError::UnknownState)),
        };
        let finished = self.identify(answer, browser, &state, &begun).await;
        let Begun { provider, return_to, .. } = begun;
        finished.map_err(|error| Failed { error, return_to: Some(return_to), provider: Some(provider) })
    }

    async fn identify(
        &self,
        answer: &Answer,
        browser: Option<&BindingSecret>,
        state: &BindingSecret,
        begun: &Begun,
    ) -> Result<Finished, SignInError> {
        if browser.is_none_or(|browser| browser.hash() != begun.browser) {
            return Err(SignInError::OtherBrowser);
        }
        let provider = self.find(&begun.provider).ok_or(SignInError::UnknownProvider)?;
        let metadata = provider.discovery.metadata().await?;
        check_issuer(answer.iss.as_deref(), &provider.settings.issuer, metadata.promises_iss)?;
        if !begun::use_up(self.store.as_ref(), state, begun).await? {
            return Err(SignInError::UsedBefore);
        }
        if let Some(error) = &answer.error {
            return Err(failure::of_answer(error));
        }
        let code = answer.code.as_deref().filter(|code| !code.is_empty()).ok_or(SignInError::Malformed)?;
        let wanted = Wanted { released: &self.released_claims, of_userinfo: &provider.settings.userinfo_claims };
        let secrets = (begun.code_verifier.as_str(), begun.nonce.as_str());
        let claims = provider.identify(&metadata, &self.redirect_uri, code, secrets, &wanted).await?;
        let prefix = self.prefix_of(provider);
        let identity = Identity::of(claims, prefix.as_deref()).map_err(IdTokenFault::Token)?;
        let provider = begun.provider.clone();
        Ok(Finished { identity, provider, return_to: begun.return_to.clone() })
    }

    /// Returns the prefix of a provider's subjects: none if it is the only one.
    #[must_use]
    pub fn prefix_of(&self, provider: &Provider) -> Option<String> {
        (self.providers.len() > 1).then(|| provider.settings.id.clone())
    }

    /// Counts and logs a failure. Anyone can cause some of them without a provider, so those have no line: the metric counts them,
    /// and the response is logged as a refusal. Anyone can cause others too, by a made-up code, so the lines are limited.
    fn report(&self, error: &SignInError, provider: &str) {
        let reason = error.as_str();
        self.metrics.provider_sign_ins.failed(reason);
        let is_of_anyone = matches!(
            error,
            SignInError::UnknownState
                | SignInError::UsedBefore
                | SignInError::OtherBrowser
                | SignInError::MixUp
                | SignInError::Malformed
                | SignInError::Denied
        );
        if !is_of_anyone && self.log_limiter.should_log("provider_sign_in_failed", Some(reason)) {
            tracing::warn!(reason, provider, "a sign-in at an identity provider failed: {error}");
        }
    }
}

/// RFC 9207 §2.4: `iss` must be the provider's issuer, and must be there if the provider promises it.
fn check_issuer(iss: Option<&str>, issuer: &str, is_promised: bool) -> Result<(), SignInError> {
    match iss {
        Some(iss) if iss == issuer => Ok(()),
        None if !is_promised => Ok(()),
        Some(_) | None => Err(SignInError::MixUp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_provider_is_a_mix_up() {
        let of = |iss, is_promised| check_issuer(iss, "https://one.example", is_promised).is_ok();
        assert!(of(Some("https://one.example"), true));
        assert!(of(Some("https://one.example"), false));
        assert!(of(None, false));
        assert!(!of(None, true));
        for iss in ["https://two.example", "https://one.example/", "HTTPS://one.example", ""] {
            assert!(!of(Some(iss), true) && !of(Some(iss), false), "{iss}");
        }
    }
}
