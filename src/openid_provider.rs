//! The OpenID Provider: answers authorization requests of registered clients with codes, and exchanges codes and refresh tokens
//! for ID tokens and access tokens (OpenID Connect Core, RFC 6749, RFC 9700).
//!
//! The ticket is the authorization request: `request` reads and checks the parameters, the ticket keeps them
//! ([`Authorization`](crate::ticket::Authorization)), and a confirmation can be used for nothing else.
//!
//! Invariant: nothing leaves the process before the store has acknowledged it: a code, a used code, a rotated refresh token.

pub mod answer;
pub mod client_auth;
pub mod codes;
pub mod discovery;
pub mod exchange;
pub mod failure;
pub mod grants;
pub mod inspection;
mod record;
pub mod refresh;
pub mod request;
pub mod scopes;
pub mod sign_out;
mod silent;
pub mod tokens;

use std::sync::Arc;

use crate::clients::{Client, Clients};
use crate::log_limit::LogLimiter;
use crate::metrics::Metrics;
use crate::signer::Signer;
use crate::single_sign_on::SingleSignOn;
use crate::store::Store;
use crate::ticket::Subject;
use answer::Destination;
use failure::AuthorizationError;
use request::{AuthorizationRequest, Refused};

/// The use cases of the OpenID Provider. Clones share everything.
#[derive(Clone)]
pub struct OpenIdProvider {
    store: Arc<dyn Store>,
    signer: Signer,
    clients: Clients,
    /// `iss` of everything that it issues, and the start of its endpoints' addresses.
    issuer: Arc<str>,
    single_sign_on: SingleSignOn,
    metrics: Arc<Metrics>,
    log_limiter: Arc<LogLimiter>,
}

impl OpenIdProvider {
    /// Creates the use cases.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        signer: Signer,
        clients: Clients,
        issuer: &str,
        single_sign_on: SingleSignOn,
        metrics: Arc<Metrics>,
        log_limiter: Arc<LogLimiter>,
    ) -> Self {
        metrics.openid.init_error_series(AuthorizationError::NAMES.into_iter());
        Self { store, signer, clients, issuer: issuer.into(), single_sign_on, metrics, log_limiter }
    }

    /// Returns the issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Reads an authorization request, as its query was sent.
    ///
    /// # Errors
    /// [`Refused`]: the error, and the address to which it may go, if any.
    pub fn read_request(&self, query: &str) -> Result<AuthorizationRequest, Refused> {
        let mut request = request::read(query, &self.clients)?;
        if let Some(hint) = &request.id_token_hint {
            let named = request.authorization.hinted_subject.as_ref();
            let hinted = self.hinted_subject(hint, &request.client, named).map_err(|error| Refused::Back {
                client: Arc::clone(&request.client),
                to: Destination::from(&request.authorization),
                error,
            })?;
            request.authorization.hinted_subject = Some(hinted);
        }
        Ok(request)
    }

    /// Returns the person of an ID token that the client got here once; it may have expired. `named` is the person of the
    /// parameter `claims`.
    fn hinted_subject(
        &self,
        hint: &str,
        client: &Client,
        named: Option<&Subject>,
    ) -> Result<Subject, AuthorizationError> {
        let hint = self.signer.verify_id_token(hint, Some(&client.id.0), true);
        let hint = hint.map_err(|_error| {
            AuthorizationError::InvalidRequest("id_token_hint is not an ID token that this client got here.")
        })?;
        let hinted = Subject(hint.subject);
        // The two name different people: nobody can be both.
        if named.is_some_and(|named| *named != hinted) { Err(AuthorizationError::LoginRequired) } else { Ok(hinted) }
    }

    /// Returns the sessions of browsers.
    #[must_use]
    pub fn single_sign_on(&self) -> &SingleSignOn {
        &self.single_sign_on
    }
}

#[cfg(test)]
mod tests;
