//! The forms that clients send to the endpoints of the OpenID Provider, and the credentials beside them. A form that a browser
//! opens as a page becomes a query.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header::{self, HeaderMap};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use url::form_urlencoded;

use super::error::OAuthError;
use crate::http::address::BrowserAddress;
use crate::http::extract::read_body;
use crate::http::fields;
use crate::http::origin::is_known;
use crate::http::pages;
use crate::http::problem::{self, Problem, ProblemType};
use crate::http::state::{Gateway, SharedGateway};
use crate::openid_provider::client_auth::{AuthenticatedClient, Credentials};
use crate::openid_provider::failure::TokenError;
use crate::openid_provider::request::encode_form;

const BASIC: &[u8] = b"basic ";

/// The parameters of a request. Unknown ones are ignored (RFC 6749 §3.2).
pub(super) struct Form {
    headers: HeaderMap,
    body: Bytes,
}

impl Form {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// [`TokenError::InvalidRequest`] if it is no form, too large, truncated or too slow.
    pub(super) async fn read(request: Request, gateway: &SharedGateway) -> Result<Self, TokenError> {
        let headers = request.headers().clone();
        if !fields::is_form(&headers) {
            return Err(TokenError::InvalidRequest("The body must be application/x-www-form-urlencoded."));
        }
        let body = read_body(request, gateway).await;
        let body = body.map_err(|_problem| {
            TokenError::InvalidRequest("The body is too large, truncated, or did not arrive in time.")
        })?;
        Ok(Self { headers, body })
    }

    /// Reads a client's request, identifies the client, and takes one of the caller's requests.
    ///
    /// # Errors
    /// As [`Form::read`] and [`Form::authenticate`]; [`TokenError::TemporarilyUnavailable`] if the caller has no request left.
    pub(super) async fn of_client(
        request: Request,
        gateway: &SharedGateway,
        address: BrowserAddress,
    ) -> Result<(Self, AuthenticatedClient), OAuthError> {
        let form = Self::read(request, gateway).await?;
        let client = form.authenticate(gateway, address)?;
        gateway.limits.token.take_or_oauth_error(address.0)?;
        Ok((form, client))
    }

    /// Returns a parameter; `None` if it is absent or empty (RFC 6749 §3.2).
    ///
    /// # Errors
    /// [`TokenError::InvalidRequest`] if it is repeated.
    pub(super) fn get(&self, name: &str) -> Result<Option<Cow<'_, str>>, TokenError> {
        let mut values = form_urlencoded::parse(&self.body).filter(|(found, _)| found == name).map(|(_, value)| value);
        let value = values.next();
        if values.next().is_some() {
            return Err(TokenError::InvalidRequest("A parameter is repeated."));
        }
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// Returns a required parameter.
    ///
    /// # Errors
    /// [`TokenError::InvalidRequest`] with `sentence` if it is absent, or if it is repeated.
    pub(super) fn require(&self, name: &str, sentence: &'static str) -> Result<Cow<'_, str>, TokenError> {
        self.get(name)?.ok_or(TokenError::InvalidRequest(sentence))
    }

    /// Identifies the client, verifies its secret, and checks that a page that sent the request is one of the client's.
    ///
    /// # Errors
    /// [`TokenError`]. An unknown client or a wrong secret takes one of the caller's attempts.
    fn authenticate(&self, gateway: &Gateway, address: BrowserAddress) -> Result<AuthenticatedClient, OAuthError> {
        let (id, secret) = (self.get("client_id")?, self.get("client_secret")?);
        let credentials =
            Credentials { basic: basic(&self.headers)?, client_id: id.as_deref(), client_secret: secret.as_deref() };
        let client = match gateway.openid_provider.authenticate(credentials) {
            Err(error @ TokenError::InvalidClient { .. }) => {
                gateway.limits.invalid_client.take_or_oauth_error(address.0)?;
                return Err(error.into());
            }
            result => result?,
        };
        let is_known = |origin: &HeaderValue| is_known(gateway, client.client(), origin);
        if !self.headers.get(header::ORIGIN).is_none_or(is_known) {
            return Err(TokenError::ForeignOrigin.into());
        }
        Ok(client)
    }
}

/// Turns a form that a browser opens as a page into the same parameters in the query of `path`. Browsers send the cookie of a
/// session with a navigation from another site, but not with a form of another site. The redirect keeps the opener of a popup.
///
/// # Errors
/// [`problem::UNSUPPORTED_MEDIA_TYPE`] if the body is no form; `refused` if it is no valid text, or if the query would have more
/// than `max_bytes`. As [`read_body`].
pub(super) async fn redirect_to_query(
    gateway: &SharedGateway,
    request: Request,
    path: &str,
    max_bytes: usize,
    refused: &'static ProblemType,
) -> Result<Response, Problem> {
    if !fields::is_form(request.headers()) {
        return Err(Problem::from(&problem::UNSUPPORTED_MEDIA_TYPE)
            .detail("Send the parameters in the query, or as application/x-www-form-urlencoded."));
    }
    let body = read_body(request, gateway).await?;
    let query = str::from_utf8(&body).ok().and_then(encode_form).filter(|query| query.len() <= max_bytes);
    let location = query.and_then(|query| HeaderValue::from_str(&format!("{path}?{query}")).ok());
    let location = location.ok_or_else(|| Problem::from(refused))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)], pages::KEEP_OPENER).into_response())
}

/// Returns the credentials of `Authorization: Basic`. Ignores other schemes, which are for another server.
///
/// # Errors
/// [`TokenError::InvalidRequest`] if there are two.
fn basic(headers: &HeaderMap) -> Result<Option<&[u8]>, TokenError> {
    let mut all = headers.get_all(header::AUTHORIZATION).into_iter().filter_map(basic_credentials);
    let first = all.next();
    if all.next().is_some() {
        return Err(TokenError::InvalidRequest("There are two Authorization headers."));
    }
    Ok(first)
}

fn basic_credentials(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(BASIC.len())?;
    scheme.eq_ignore_ascii_case(BASIC).then(|| fields::trim(rest))
}
