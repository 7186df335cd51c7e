//! The token endpoint (RFC 6749 §3.2, OpenID Connect Core §3.1.3).

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ClientErrors, OAuthError, OAuthErrorBody, no_store};
use super::form::Form;
use crate::http::address::BrowserAddress;
use crate::http::state::SharedGateway;
use crate::openid_provider::codes::PresentedCode;
use crate::openid_provider::failure::TokenError;
use crate::openid_provider::tokens::Tokens;

/// The body of a request. Unknown parameters are ignored.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the form; the handler reads its fields by name")]
struct TokenRequest {
    /// `authorization_code` or `refresh_token`.
    grant_type: String,
    /// The code, for `authorization_code`.
    code: Option<String>,
    /// The redirect URI of the authorization request, for `authorization_code`.
    redirect_uri: Option<String>,
    /// The PKCE verifier, if the authorization request had a challenge.
    code_verifier: Option<String>,
    /// The refresh token, for `refresh_token`.
    refresh_token: Option<String>,
    /// The scopes of the new access token, for `refresh_token`: the granted ones or fewer.
    scope: Option<String>,
    /// The client, unless `Authorization: Basic` names it.
    client_id: Option<String>,
    /// Its secret, unless `Authorization: Basic` has it.
    client_secret: Option<String>,
}

/// The tokens (RFC 6749 §5.1).
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenResponse {
    /// A JWT of the type `at+jwt` (RFC 9068).
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
    /// The ID token.
    id_token: String,
    /// The scopes of the access token.
    scope: String,
    /// The refresh token, if the client gets one. Each can be used once.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

impl From<Tokens> for TokenResponse {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access_token,
            token_type: "Bearer",
            expires_in: tokens.expires_in.as_secs(),
            id_token: tokens.id_token,
            scope: tokens.scope,
            refresh_token: tokens.refresh_token,
        }
    }
}

/// Exchanges a code or a refresh token for tokens
///
/// A code can be used once, within a minute; a second use ends what was issued for the first. A refresh token can be used once; its
/// successor is in the answer. A client whose answer was lost gets the same successor again for 30 seconds; an older token ends the
/// sign-in.
#[utoipa::path(
    post,
    path = "/oauth2/token",
    tag = "openid",
    request_body(content((TokenRequest = "application/x-www-form-urlencoded"))),
    security((), ("client_basic" = [])),
    responses(
        (status = 200, body = TokenResponse, description = "The tokens"),
        (status = 400, body = OAuthErrorBody, description = "`invalid_request`, `invalid_grant`, `unsupported_grant_type` or `invalid_scope`"),
        (status = 500, body = OAuthErrorBody, description = "`server_error`"),
        ClientErrors,
    )
)]
pub(in crate::http) async fn token(
    State(gateway): State<SharedGateway>,
    address: BrowserAddress,
    request: Request,
) -> Result<Response, OAuthError> {
    let (form, client) = Form::of_client(request, &gateway, address).await?;
    let provider = &gateway.openid_provider;
    let tokens = match form.require("grant_type", "grant_type is missing.")?.as_ref() {
        "authorization_code" => {
            let code = form.require("code", "code is missing.")?;
            let redirect_uri = form.require("redirect_uri", "redirect_uri is missing.")?;
            let verifier = form.get("code_verifier")?;
            let presented = PresentedCode { code: &code, redirect_uri: &redirect_uri, verifier: verifier.as_deref() };
            provider.exchange_code(&client, presented).await?
        }
        "refresh_token" => {
            let token = form.require("refresh_token", "refresh_token is missing.")?;
            provider.refresh(&client, &token, form.get("scope")?.as_deref()).await?
        }
        _ => return Err(TokenError::UnsupportedGrantType.into()),
    };
    Ok(no_store(Json(TokenResponse::from(tokens))).into_response())
}
