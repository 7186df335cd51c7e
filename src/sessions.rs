//! The sessions of people who are signed in to the gateway in a browser: start, find and end one.
//!
//! A session follows a sign-in at an identity provider, so that the next scan on the same phone needs no other one. The
//! browser has a [`SessionSecret`] in a cookie (`http::cookies`); the store has the [`Session`] under the secret's hash. This
//! module counts and logs each start and end. It does not sign anyone in: the caller passes a verified [`Identity`]. The
//! sessions of sites (`/v1/verify`) are JWTs and none of these.
//!
//! Invariant: a session that was ended stays ended. Only [`Sessions::start`] creates a value in the store; the time of the
//! last use is stored by [`Store::replace_value`], which does nothing to a value that is gone.

mod record;
mod secret;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clients::Clients;
use crate::clock::now;
use crate::metrics::{Metrics, SessionEnd};
use crate::signer::Signer;
use crate::store::{Put, Store, StoreError};
use crate::ticket::{Device, Timestamp};
use crate::verifier::Identity;
pub use record::{MAX_LIFETIME, Session, SessionLifetimes};
pub use secret::{ParseSecretError, SessionSecret};

/// The claims that every session keeps: those that pages show, and the provider's statements about the sign-in.
const CLAIMS_OF_EVERY_SESSION: [&str; 6] = ["name", "picture", "preferred_username", "auth_time", "acr", "amr"];

/// Starts, finds and ends sessions. Clones share everything.
#[derive(Clone)]
pub struct Sessions {
    store: Arc<dyn Store>,
    signer: Signer,
    metrics: Arc<Metrics>,
    lifetimes: SessionLifetimes,
    /// The names of the claims that sessions keep.
    kept_claims: Arc<BTreeSet<String>>,
    /// The identity providers in the settings: the namespace of each one's subjects, by the provider's id.
    providers: Arc<BTreeMap<String, String>>,
}

impl Sessions {
    /// Creates the use cases. A session keeps the claims that a client of `clients` may receive. `providers` are the ids of the
    /// identity providers, each with the namespace of its subjects: a text that differs whenever equal subjects may be
    /// different people. Sessions of another provider or namespace are not valid: a provider that was removed from the
    /// settings, or has got another issuer, signs nobody in.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        signer: Signer,
        metrics: Arc<Metrics>,
        lifetimes: SessionLifetimes,
        clients: &Clients,
        providers: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let of_clients = clients.iter().flat_map(|client| client.claims.iter().cloned());
        let of_all = CLAIMS_OF_EVERY_SESSION.map(str::to_owned);
        Self {
            store,
            signer,
            metrics,
            lifetimes,
            kept_claims: Arc::new(of_clients.chain(of_all).collect()),
            providers: Arc::new(providers.into_iter().collect()),
        }
    }

    /// Returns the configured lifetimes.
    #[must_use]
    pub fn lifetimes(&self) -> SessionLifetimes {
        self.lifetimes
    }

    /// Starts a session of a person who has just signed in with `provider`, under a new secret. Ends the session that the
    /// browser had before: a secret that was known before the sign-in proves nothing after it.
    ///
    /// # Errors
    /// As [`Store::put_value`] and [`Sessions::end`]. The caller must not set the cookie then.
    pub async fn start(
        &self,
        identity: &Identity,
        provider: &str,
        device: &Device,
        old: Option<&SessionSecret>,
    ) -> Result<SessionSecret, StoreError> {
        let now = now();
        let namespace = self.providers.get(provider).map_or("", String::as_str);
        let mut session = Session::new(identity, (provider, namespace), device, &self.kept_claims, now);
        session.shorten().map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let secret = SessionSecret::generate();
        let ttl = session.ttl(self.lifetimes, now);
        self.store.put_value(&secret.store_name(), &encode(&session)?, ttl, Put::Always).await?;
        if let Some(old) = old {
            self.remove(old, SessionEnd::Replaced).await?;
        }
        self.metrics.sessions.started.inc();
        let subject = self.signer.log_pseudonym(&identity.person.subject);
        tracing::info!(subject, provider, "session started");
        Ok(secret)
    }

    /// Returns the session of this secret, and stores that it was used now. Returns `None` if there is none, if one of its
    /// lifetimes is over, or if its identity provider is not in the settings any more, or has other subjects.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the session cannot be read. A failure to store the time of its use is not an error.
    pub async fn find(&self, secret: &SessionSecret) -> Result<Option<Session>, StoreError> {
        let name = secret.store_name();
        let Some(stored) = self.store.value(&name).await? else { return Ok(None) };
        let now = now();
        let Some(session) = self.read(&stored, now) else { return Ok(None) };
        if !session.is_touch_due(self.lifetimes, now) {
            return Ok(Some(session));
        }
        let touched = Session { used_at: now, ..session.clone() };
        let ttl = touched.ttl(self.lifetimes, now);
        match self.store.replace_value(&name, &stored, &encode(&touched)?, ttl).await {
            Ok(true) => Ok(Some(touched)),
            // Another request has touched or ended it since.
            Ok(false) => Ok(self.store.value(&name).await?.and_then(|stored| self.read(&stored, now))),
            Err(error) => {
                tracing::debug!(%error, "failed to store the last use of a session");
                Ok(Some(session))
            }
        }
    }

    /// Returns the session of this secret as [`Sessions::find`] does, and changes nothing: to read is not to use it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read.
    pub async fn peek(&self, secret: &SessionSecret) -> Result<Option<Session>, StoreError> {
        let stored = self.store.value(&secret.store_name()).await?;
        Ok(stored.and_then(|stored| self.read(&stored, now())))
    }

    /// Ends the session of this secret because the person signs out. Returns the session, or `None` if there was none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the session may or may not have ended.
    pub async fn end(&self, secret: &SessionSecret) -> Result<Option<Session>, StoreError> {
        self.remove(secret, SessionEnd::SignedOut).await
    }

    async fn remove(&self, secret: &SessionSecret, end: SessionEnd) -> Result<Option<Session>, StoreError> {
        let name = secret.store_name();
        let stored = self.store.value(&name).await?;
        // Also if the read found none: a node that was the primary until just now may have served it.
        self.store.remove_value(&name).await?;
        let session = stored.and_then(|stored| self.read(&stored, now()));
        if let Some(session) = &session {
            self.metrics.sessions.ended(end);
            let subject = self.signer.log_pseudonym(&session.person.subject);
            tracing::info!(subject, provider = session.provider, reason = end.as_str(), "session ended");
        }
        Ok(session)
    }

    /// Reads a stored session; `None` if it is not valid. A record that cannot be read costs only its own session.
    fn read(&self, stored: &str, now: Timestamp) -> Option<Session> {
        let Ok(session) = serde_json::from_str::<Session>(stored) else {
            // The message of serde_json may quote the record, which contains personal data.
            tracing::warn!("the store holds a session that this version cannot read; its person must sign in again");
            return None;
        };
        let is_known = self.providers.get(&session.provider) == Some(&session.namespace);
        (session.is_alive(self.lifetimes, now) && is_known).then_some(session)
    }
}

fn encode(session: &Session) -> Result<String, StoreError> {
    serde_json::to_string(session).map_err(|error| StoreError::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests;
