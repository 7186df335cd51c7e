//! Who calls: the credentials of a request, and what they prove.

use std::net::IpAddr;

use axum::http::header::HeaderMap;

use super::cookies;
use super::fields::bearer;
use super::origin::is_same_origin_fetch;
use super::problem::{self, Problem};
use super::state::Gateway;
use crate::ticket::{BindingSecret, Party};
use crate::verifier::{Fault, Identity, VerifyError};

/// What a caller brought to prove itself, not yet compared with any ticket.
pub(super) enum Credentials {
    /// A browser or native client with a binding.
    Browser(BindingSecret),
    /// A signed-in person with a good token.
    Person(Box<Identity>),
}

impl Credentials {
    /// Returns the party that it would be of a ticket.
    pub(super) fn party(&self) -> Party {
        match self {
            Self::Browser(secret) => Party::Browser(secret.hash()),
            Self::Person(identity) => Party::Person(identity.person.clone()),
        }
    }

    /// Reads the credentials: the bearer token if there is one, else the cookie; `None` if there is neither.
    ///
    /// # Errors
    /// 401 for a bearer token that is neither a binding nor a good token.
    pub(super) async fn from_headers(headers: &HeaderMap, gateway: &Gateway) -> Result<Option<Self>, Problem> {
        let Some(bearer) = bearer(headers)? else {
            return Ok(cookie_secret(headers, gateway).map(Self::Browser));
        };
        if let Ok(secret) = bearer.parse() {
            return Ok(Some(Self::Browser(secret)));
        }
        Ok(Some(Self::Person(Box::new(identity(bearer, gateway).await?))))
    }
}

/// Returns the secret in the cookie, unless a page of another origin makes the browser send it.
pub(super) fn cookie_secret(headers: &HeaderMap, gateway: &Gateway) -> Option<BindingSecret> {
    if is_same_origin_fetch(headers) { cookies::binding(headers, gateway) } else { None }
}

/// A verified person; 401 for everybody else.
pub(super) struct Approver(pub(super) Identity);

impl Approver {
    /// # Errors
    /// 401 without a good token; 503 while the identity provider's keys are not known.
    pub(super) async fn from_headers(headers: &HeaderMap, gateway: &Gateway) -> Result<Self, Problem> {
        match bearer(headers)? {
            Some(token) => Ok(Self(identity(token, gateway).await?)),
            None => Err(Problem::from(&problem::NOT_SIGNED_IN)),
        }
    }
}

/// Returns whose token it is. Subjects that a connector gives are not the identity provider's to name.
async fn identity(token: &str, gateway: &Gateway) -> Result<Identity, Problem> {
    let identity = gateway.verifier.verify(token).await?;
    if gateway.connectors.owns(&identity.person.subject) {
        return Err(gateway.verifier.refuse(VerifyError::Invalid(Fault::ConnectorSubject)).into());
    }
    Ok(identity)
}

/// Returns who is calling; what proves nothing is told the same as for an id that never existed.
pub(super) async fn caller_party(headers: &HeaderMap, gateway: &Gateway, address: IpAddr) -> Result<Party, Problem> {
    let caller = Credentials::from_headers(headers, gateway).await;
    let caller = gateway.limits.invalid_confirm.charge_failures(address, caller)?;
    caller.map(|caller| caller.party()).ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))
}
