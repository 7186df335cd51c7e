//! The sessions of browsers that have signed in by a code: start, find and end one.
//!
//! Such a session lets a second app sign the same person in without a second scan. It belongs to the browser that showed the
//! code. It is not the session of the person's phone (`sessions`): it can neither scan nor confirm. The browser has a
//! [`BrowserSecret`] in a cookie (`http::cookies`); the store has the [`BrowserSession`] under the secret's hash.
//!
//! If the person of a session signs in again, the browser gets a new secret and a new session. The old one keeps its
//! lifetimes, because apps that have signed in with it still use its id. A sign-out ends both.
//!
//! Invariant: a session that was ended stays ended. Its record is replaced by an ended one, so neither a repeated request of the
//! same sign-in nor a late touch brings it back.

mod record;
mod secret;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::metrics::{Metrics, SessionEnd};
use crate::signer::Signer;
use crate::store::{Put, Store, StoreError};
use crate::ticket::{Subject, Timestamp};
pub use record::{BrowserSession, Required, SignedIn, SingleSignOnLifetimes, Unfit};
pub use secret::{BrowserSecret, ParseBrowserSecretError};

/// The version of the stored records.
const VERSION: u32 = 1;
/// How long an ended session is remembered: longer than a browser can repeat the request that started it, which is at most the
/// time in which a JWT can be received again.
const ENDED_TTL: Duration = Duration::from_secs(3600);
/// The maximum number of sessions of one person in one browser that a sign-out ends: more sign-ins than a person makes within an
/// idle lifetime.
const MAX_CHAIN: usize = 32;

/// Starts, finds and ends sessions of browsers. Clones share everything.
#[derive(Clone)]
pub struct SingleSignOn {
    store: Arc<dyn Store>,
    signer: Signer,
    metrics: Arc<Metrics>,
    lifetimes: SingleSignOnLifetimes,
    namespace: Arc<str>,
}

/// A record in the store.
#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one exists at a time, for as long as it is read or written")]
enum Content {
    Session(BrowserSession),
    Ended(Timestamp),
}

impl SingleSignOn {
    /// Creates the use cases. `namespace` describes the identity providers: a text that differs whenever equal subjects may be
    /// different people. A session of another namespace is not valid.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        signer: Signer,
        metrics: Arc<Metrics>,
        lifetimes: SingleSignOnLifetimes,
        namespace: &str,
    ) -> Self {
        Self { store, signer, metrics, lifetimes, namespace: namespace.into() }
    }

    /// Returns the configured lifetimes.
    #[must_use]
    pub fn lifetimes(&self) -> SingleSignOnLifetimes {
        self.lifetimes
    }

    /// Starts the session of a sign-in, under the secret derived from it. If the browser had a session of another
    /// person before, ends that, so nobody continues a session that somebody else has planted. A repeated call for the
    /// same sign-in finds the session that the first one started. Returns whether it is alive: false if it has been
    /// ended since.
    ///
    /// # Errors
    /// As [`Store::put_value`]. The caller must not set the cookie then; it may call again.
    pub async fn start(
        &self,
        secret: &BrowserSecret,
        signed_in: &SignedIn<'_>,
        old: Option<&BrowserSecret>,
    ) -> Result<bool, StoreError> {
        let earlier = match old.filter(|old| *old != secret) {
            Some(old) => self.replace(old, &signed_in.grant.subject).await?,
            None => None,
        };
        let (name, now) = (store_name(&secret.sid()), now());
        if let Some(stored) = self.store.value(&name).await? {
            return Ok(self.read(&stored, now).is_some());
        }
        let session = BrowserSession::new(signed_in, earlier, &self.namespace).map_err(corrupt)?;
        let record = encode(Content::Session(session.clone()))?;
        if !self.store.put_value(&name, &record, session.ttl(self.lifetimes, now), Put::IfAbsent).await? {
            return self.is_alive(&secret.sid()).await;
        }
        self.metrics.openid.sso_started();
        let subject = self.signer.log_pseudonym(&session.grant.subject);
        tracing::info!(subject, "browser session started");
        Ok(true)
    }

    /// Returns the session of this secret, and stores that it was used now. Returns `None` if there is none, if it was
    /// ended, if one of its lifetimes has passed, or if the identity providers have changed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read. A failure to store the time of its use is not an error.
    pub async fn find(&self, secret: &BrowserSecret) -> Result<Option<BrowserSession>, StoreError> {
        let name = store_name(&secret.sid());
        let Some(stored) = self.store.value(&name).await? else { return Ok(None) };
        let now = now();
        let Some(session) = self.read(&stored, now) else { return Ok(None) };
        if !session.is_touch_due(self.lifetimes, now) {
            return Ok(Some(session));
        }
        let touched = BrowserSession { used_at: now, ..session.clone() };
        let record = encode(Content::Session(touched.clone()))?;
        match self.store.replace_value(&name, &stored, &record, touched.ttl(self.lifetimes, now)).await {
            Ok(true) => Ok(Some(touched)),
            // Another request has touched or ended it since.
            Ok(false) => Ok(self.store.value(&name).await?.and_then(|stored| self.read(&stored, now))),
            Err(error) => {
                tracing::debug!(%error, "failed to store the last use of a browser session");
                Ok(Some(session))
            }
        }
    }

    /// Returns the session of this secret as [`SingleSignOn::find`] does, and changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read.
    pub async fn peek(&self, secret: &BrowserSecret) -> Result<Option<BrowserSession>, StoreError> {
        let stored = self.store.value(&store_name(&secret.sid())).await?;
        Ok(stored.and_then(|stored| self.read(&stored, now())))
    }

    /// Returns whether the session with this id is still alive. This does not extend it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read.
    pub async fn is_alive(&self, sid: &str) -> Result<bool, StoreError> {
        Ok(self.ends_at(sid).await?.is_some())
    }

    /// Returns when the session with this id ends at the latest; `None` if it is not alive. This does not extend it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read.
    pub async fn ends_at(&self, sid: &str) -> Result<Option<Timestamp>, StoreError> {
        let stored = self.store.value(&store_name(sid)).await?;
        let session = stored.and_then(|stored| self.read(&stored, now()));
        Ok(session.map(|session| session.created_at + self.lifetimes.absolute))
    }

    /// Returns the ids of the session of this secret and of those of the same person that it has replaced, the newest first. They
    /// are the ones that [`SingleSignOn::end`] ends. Returns none if the session is not alive.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if they cannot be read.
    pub async fn ids(&self, secret: &BrowserSecret) -> Result<Vec<String>, StoreError> {
        let (mut ids, mut next) = (Vec::new(), Some(secret.sid()));
        while let Some(sid) = next.filter(|_| ids.len() < MAX_CHAIN) {
            let stored = self.store.value(&store_name(&sid)).await?;
            let Some(session) = stored.and_then(|stored| self.read(&stored, now())) else { break };
            ids.push(sid);
            next = session.earlier;
        }
        Ok(ids)
    }

    /// Ends the session of this secret because the person signs out, and those of the same person that it has replaced. Returns
    /// the session, or `None` if there was none.
    ///
    /// # Errors
    /// [`StoreError`]: the session may or may not have ended.
    pub async fn end(&self, secret: &BrowserSecret) -> Result<Option<BrowserSession>, StoreError> {
        self.end_with(secret, SessionEnd::SignedOut).await
    }

    /// Ends the sessions with these ids, which [`SingleSignOn::ids`] has returned, because their person signs out.
    ///
    /// # Errors
    /// [`StoreError`]: each may or may not have ended.
    pub async fn end_all(&self, ids: &[String]) -> Result<(), StoreError> {
        // The newest last: after a failure, a repeated call still finds all of them.
        for sid in ids.iter().rev() {
            self.end_one(sid, SessionEnd::SignedOut).await?;
        }
        Ok(())
    }

    /// Ends the session of this secret unless it is one of this person; then returns its id.
    async fn replace(&self, old: &BrowserSecret, subject: &Subject) -> Result<Option<String>, StoreError> {
        if self.peek(old).await?.is_some_and(|session| session.grant.subject == *subject) {
            return Ok(Some(old.sid()));
        }
        self.end_with(old, SessionEnd::Replaced).await?;
        Ok(None)
    }

    async fn end_with(&self, secret: &BrowserSecret, end: SessionEnd) -> Result<Option<BrowserSession>, StoreError> {
        // The newest last: after a failure, a repeated call still finds all of them.
        for sid in self.ids(secret).await?.iter().skip(1).rev() {
            self.end_one(sid, end).await?;
        }
        self.end_one(&secret.sid(), end).await
    }

    async fn end_one(&self, sid: &str, end: SessionEnd) -> Result<Option<BrowserSession>, StoreError> {
        let (name, now) = (store_name(sid), now());
        // Anyone can send a made-up cookie, which must store nothing.
        let Some(stored) = self.store.value(&name).await? else { return Ok(None) };
        self.store.put_value(&name, &encode(Content::Ended(now))?, ENDED_TTL, Put::Always).await?;
        let session = self.read(&stored, now);
        if let Some(session) = &session {
            self.metrics.openid.sso_ended(end.as_str());
            let subject = self.signer.log_pseudonym(&session.grant.subject);
            tracing::info!(subject, reason = end.as_str(), "browser session ended");
        }
        Ok(session)
    }

    /// Reads a stored record; `None` if it is no session that is valid now. A record that cannot be read costs only its own
    /// session.
    fn read(&self, stored: &str, now: Timestamp) -> Option<BrowserSession> {
        match serde_json::from_str(stored) {
            Ok(Record { v: VERSION, content: Content::Session(session) }) => {
                (session.is_alive(self.lifetimes, now) && *session.namespace == *self.namespace).then_some(session)
            }
            Ok(Record { v: VERSION, content: Content::Ended(_) }) => None,
            // The message of serde_json may quote the record, which contains personal data.
            Ok(_) | Err(_) => {
                tracing::warn!(
                    "the store holds a browser session that this version cannot read; its person must scan again"
                );
                None
            }
        }
    }
}

fn store_name(sid: &str) -> String {
    format!("sso:{sid}")
}

fn encode(content: Content) -> Result<String, StoreError> {
    serde_json::to_string(&Record { v: VERSION, content }).map_err(corrupt)
}

#[expect(clippy::needless_pass_by_value, reason = "this is how map_err hands it over")]
fn corrupt(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

#[cfg(test)]
mod tests;
