//! The introspection endpoint (RFC 7662). A client learns about its own tokens, and about access tokens that are for it.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use utoipa::ToSchema;

use super::error::{ClientErrors, OAuthError, OAuthErrorBody, no_store};
use super::form::Form;
use crate::clients::openid::TokenAuth;
use crate::http::address::BrowserAddress;
use crate::http::state::SharedGateway;
use crate::openid_provider::failure::TokenError;

/// The body of a request. Unknown parameters are ignored.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the form; the handler reads its fields by name")]
pub(super) struct TokenForm {
    /// An access token or a refresh token.
    token: String,
    /// Ignored: the token says what it is.
    token_type_hint: Option<String>,
    /// The client, unless `Authorization: Basic` names it.
    client_id: Option<String>,
    /// Its secret, unless `Authorization: Basic` has it.
    client_secret: Option<String>,
}

/// Says whether a token is active
///
/// `active` is false for a token that is not valid, whose sign-in has ended, or that was issued to another client, unless it is an
/// access token whose `aud` has the id of the client that asks.
#[utoipa::path(
    post,
    path = "/oauth2/introspect",
    tag = "openid",
    request_body(content((TokenForm = "application/x-www-form-urlencoded"))),
    security((), ("client_basic" = [])),
    responses(
        (status = 200, body = Object, description = "`active`, and for an active token its claims"),
        (status = 400, body = OAuthErrorBody, description = "`invalid_request`"),
        ClientErrors,
    )
)]
pub(in crate::http) async fn introspect(
    State(gateway): State<SharedGateway>,
    address: BrowserAddress,
    request: Request,
) -> Result<Response, OAuthError> {
    let (form, client) = Form::of_client(request, &gateway, address).await?;
    // RFC 7662 §2.1: without a secret, anyone could try tokens.
    if client.openid().token_auth == TokenAuth::None {
        return Err(TokenError::InvalidClient { by_header: false }.into());
    }
    let token = form.require("token", "token is missing.")?;
    let introspection = gateway.openid_provider.introspect(&client, &token).await?;
    Ok(no_store(Json(introspection)).into_response())
}
