//! The revocation endpoint (RFC 7009).

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::error::{ClientErrors, OAuthError, OAuthErrorBody, no_store};
use super::form::Form;
use super::introspect::TokenForm;
use crate::http::address::BrowserAddress;
use crate::http::state::SharedGateway;

/// Ends a sign-in's tokens
///
/// An access token or a refresh token of the client ends everything that was issued for its sign-in. Any other text is answered in
/// the same way, and nothing happens (RFC 7009 §2.2).
#[utoipa::path(
    post,
    path = "/oauth2/revoke",
    tag = "openid",
    request_body(content((TokenForm = "application/x-www-form-urlencoded"))),
    security((), ("client_basic" = [])),
    responses(
        (status = 200, description = "The token is not valid, or not any more"),
        (status = 400, body = OAuthErrorBody, description = "`invalid_request`"),
        ClientErrors,
    )
)]
pub(in crate::http) async fn revoke(
    State(gateway): State<SharedGateway>,
    address: BrowserAddress,
    request: Request,
) -> Result<Response, OAuthError> {
    let (form, client) = Form::of_client(request, &gateway, address).await?;
    let token = form.require("token", "token is missing.")?;
    gateway.openid_provider.revoke(&client, &token).await?;
    Ok(no_store(StatusCode::OK).into_response())
}
