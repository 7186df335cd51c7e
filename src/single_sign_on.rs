//! The sessions of browsers that have signed in by a code: start, find and end one.
//!
//! Such a session lets a second app sign the same person in without a second scan. It belongs to the browser that showed the
//! code. It is not the session of the person's phone (`sessions`): it can neither scan nor confirm.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::signer::Signer;
use crate::store::{Store, StoreError};
use crate::ticket::{BindingSecret, Grant, TicketId, Timestamp};

/// How long sessions of browsers last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SingleSignOnLifetimes {
    /// Without use.
    pub idle: Duration,
    /// Altogether.
    pub absolute: Duration,
}

/// A browser's session.
#[derive(Debug, Clone, PartialEq)]
pub struct BrowserSession {
    /// Its public id: `sid` of ID tokens (OpenID Connect Front-Channel Logout §3).
    pub sid: String,
    /// The person's grant, with the claims that the client of the sign-in could have.
    pub grant: Grant,
    /// The names of the claims that the person could grant at the sign-in, whether the provider gave them or not.
    pub offered: Vec<String>,
    /// When it started.
    pub created_at: Timestamp,
}

/// Starts, finds and ends sessions of browsers. Clones share everything.
#[derive(Clone)]
pub struct SingleSignOn {
    #[expect(dead_code, reason = "skeleton")]
    store: Arc<dyn Store>,
    #[expect(dead_code, reason = "skeleton")]
    signer: Signer,
    #[expect(dead_code, reason = "skeleton")]
    metrics: Arc<Metrics>,
    lifetimes: SingleSignOnLifetimes,
}

/// The secret of a browser's session, for its cookie.
#[derive(Clone)]
pub struct BrowserSecret(#[expect(dead_code, reason = "skeleton")] [u8; 32]);

impl SingleSignOn {
    /// Creates the use cases.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, signer: Signer, metrics: Arc<Metrics>, lifetimes: SingleSignOnLifetimes) -> Self {
        Self { store, signer, metrics, lifetimes }
    }

    /// Returns the configured lifetimes.
    #[must_use]
    pub fn lifetimes(&self) -> SingleSignOnLifetimes {
        self.lifetimes
    }

    /// Derives the secret of the session that a claimed ticket starts: a repeated request of the same browser gets the same one.
    #[must_use]
    pub fn secret_of(_binding: &BindingSecret, _ticket: &TicketId, _jti: &str) -> BrowserSecret {
        BrowserSecret([0; 32])
    }

    /// Returns whether the session with this id still lives.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn is_alive(&self, _sid: &str) -> Result<bool, StoreError> {
        Err(StoreError::Unavailable("sessions of browsers are not built yet".to_owned()))
    }
}
