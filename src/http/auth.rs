//! Identifies the caller from the credentials of a request.

use std::net::IpAddr;

use axum::http::header::HeaderMap;

use super::cookies;
use super::fields::bearer;
use super::origin::is_same_origin_fetch;
use super::problem::{self, Problem};
use super::state::Gateway;
use crate::ticket::{BindingSecret, Party};
use crate::verifier::{Fault, Identity, VerifyError};

/// The credentials of a request, valid in themselves but not yet compared with any ticket.
pub(super) enum Credentials {
    /// The binding of a browser or native app.
    Browser(BindingSecret),
    /// The verified token of a signed-in person.
    Person(Box<Identity>),
}

impl Credentials {
    /// Returns the party that these credentials identify.
    pub(super) fn party(&self) -> Party {
        match self {
            Self::Browser(secret) => Party::Browser(secret.hash()),
            Self::Person(identity) => Party::Person(identity.person.clone()),
        }
    }

    /// Reads the bearer token or, without one, the cookie. Returns `None` if the request has neither.
    ///
    /// # Errors
    /// 401 for a bearer token that is neither a binding nor a valid token.
    pub(super) async fn from_headers(headers: &HeaderMap, gateway: &Gateway) -> Result<Option<Self>, Problem> {
        let Some(bearer) = bearer(headers)? else {
            return Ok(cookie_secret(headers, gateway).map(Self::Browser));
        };
        if let Ok(secret) = bearer.parse() {
            return Ok(Some(Self::Browser(secret)));
        }
        Ok(Some(Self::Person(Box::new(verify(bearer, gateway).await?))))
    }
}

/// Returns the secret in the cookie, unless a page of another origin made the browser send it.
pub(super) fn cookie_secret(headers: &HeaderMap, gateway: &Gateway) -> Option<BindingSecret> {
    if is_same_origin_fetch(headers) { cookies::binding(headers, gateway) } else { None }
}

/// A verified person, who may approve. Any other caller gets 401.
pub(super) struct Approver(pub(super) Identity);

impl Approver {
    /// Verifies the bearer token.
    ///
    /// # Errors
    /// 401 without a valid token; 503 while the identity provider's keys are unknown.
    pub(super) async fn from_headers(headers: &HeaderMap, gateway: &Gateway) -> Result<Self, Problem> {
        match bearer(headers)? {
            Some(token) => Ok(Self(verify(token, gateway).await?)),
            None => Err(Problem::from(&problem::NOT_SIGNED_IN)),
        }
    }
}

/// Returns the party that calls. A request without credentials gets the same response as one for an unknown ticket.
///
/// # Errors
/// 401 for an invalid bearer token, 404 without credentials, 429 after too many of either.
pub(super) async fn caller_party(headers: &HeaderMap, gateway: &Gateway, address: IpAddr) -> Result<Party, Problem> {
    let credentials = Credentials::from_headers(headers, gateway).await;
    let credentials = gateway.limits.invalid_confirm.charge_failures(address, credentials)?;
    credentials.map(|credentials| credentials.party()).ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))
}

/// Verifies a token and returns its owner. Refuses a subject that belongs to a connector.
async fn verify(token: &str, gateway: &Gateway) -> Result<Identity, Problem> {
    let identity = gateway.verifier.verify(token).await?;
    if gateway.connectors.owns(&identity.person.subject) {
        return Err(gateway.verifier.refuse(VerifyError::Invalid(Fault::ConnectorSubject)).into());
    }
    Ok(identity)
}
