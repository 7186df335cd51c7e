//! Sends an answer to a client's redirect URI, by a redirect or by a form.

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

use crate::clients::Client;
use crate::http::pages;
use crate::http::problem::{self, Problem};
use crate::http::state::Gateway;
use crate::openid_provider::answer::{Answer, Destination};
use crate::openid_provider::failure::AuthorizationError;
use crate::openid_provider::request::Refused;
use crate::ticket::ResponseMode;

/// Sends an answer.
///
/// A redirect is a 303: nothing of this request goes with the next one, whatever its method was (RFC 9700 §4.12). It keeps the
/// opener of a popup, as the sign-in page does.
///
/// # Errors
/// [`problem::INTERNAL`] if the form cannot be rendered, or if the address fits into no header field.
pub(super) fn send(client: &Client, answer: &Answer, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    if answer.response_mode == ResponseMode::FormPost {
        return pages::form_post(client, answer, uri, headers);
    }
    let location = HeaderValue::from_str(&answer.address()).map_err(|_error| Problem::from(&problem::INTERNAL))?;
    let location = [(header::LOCATION, location)];
    Ok((StatusCode::SEE_OTHER, location, pages::KEEP_OPENER).into_response())
}

/// Sends an error back to a client, and counts and logs it.
///
/// # Errors
/// As [`send`].
pub(super) fn send_error(
    gateway: &Gateway,
    client: &Client,
    to: Destination,
    error: AuthorizationError,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let answer = Answer::error(to, error, gateway.openid_provider.issuer());
    if error == AuthorizationError::AccessDenied {
        gateway.metrics.openid.authorization("declined");
    } else {
        gateway.metrics.openid.authorization_error(error.as_str());
        if gateway.log_limiter.should_log("authorization request refused", Some(error.as_str())) {
            let (client, reason) = (&client.id, error.description());
            tracing::info!(%client, error = error.as_str(), reason, "authorization request refused");
        }
    }
    send(client, &answer, uri, headers)
}

/// Sends the response to a refused request: an error at the client, or an error page.
///
/// # Errors
/// [`problem::SIGN_IN_ADDRESS`] if there is no address to which an error may go: one page for an unknown client and for an
/// address that is not registered. As [`send`] otherwise.
pub(super) fn refuse(gateway: &Gateway, refused: Refused, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    match refused {
        Refused::Page => {
            gateway.metrics.openid.authorization("refused");
            Err(Problem::from(&problem::SIGN_IN_ADDRESS))
        }
        Refused::Back { client, to, error } => send_error(gateway, &client, to, error, uri, headers),
    }
}
