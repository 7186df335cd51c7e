//! The userinfo endpoint (OpenID Connect Core §5.3).

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::error::{OAuthError, OAuthErrorBody, no_store};
use super::form::Form;
use crate::http::address::BrowserAddress;
use crate::http::fields;
use crate::http::origin::is_known;
use crate::http::state::{Gateway, SharedGateway};
use crate::openid_provider::failure::TokenError;
use crate::openid_provider::inspection::UserInfo;
use crate::store::StoreError;

/// The reason why a request with or without an access token is refused (RFC 6750 §3.1).
enum Refused {
    /// There is no token.
    NoToken,
    /// The request is malformed, or has two tokens. The sentence says which.
    InvalidRequest(&'static str),
    /// The request comes from a page of another app.
    ForeignOrigin,
    /// The token has expired, or its sign-in has ended.
    EndedToken,
    /// The text is not an access token of this gateway.
    ForeignToken,
    /// The caller has no attempts left.
    Limited(TokenError),
    /// Any other error.
    Other(OAuthError),
}

impl Refused {
    fn into_response(self) -> Response {
        let (status, error, sentence) = match self {
            // RFC 6750 §3.1: no error code for a request without a token. The body is JSON, as of every other answer.
            Self::NoToken => {
                let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"scangate\"")];
                return (StatusCode::UNAUTHORIZED, challenge, no_store(Json(json!({})))).into_response();
            }
            Self::InvalidRequest(sentence) => (StatusCode::BAD_REQUEST, "invalid_request", sentence),
            Self::ForeignOrigin => {
                let error = TokenError::ForeignOrigin;
                (StatusCode::FORBIDDEN, error.as_str(), error.description())
            }
            Self::EndedToken | Self::ForeignToken => {
                let sentence = "The access token is invalid or has expired, or its sign-in has ended.";
                (StatusCode::UNAUTHORIZED, "invalid_token", sentence)
            }
            Self::Limited(error) => return OAuthError::from(error).into_response(),
            Self::Other(error) => return error.into_response(),
        };
        let challenge = format!("Bearer realm=\"scangate\", error=\"{error}\", error_description=\"{sentence}\"");
        let mut response =
            (status, no_store(Json(json!({ "error": error, "error_description": sentence })))).into_response();
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::InvalidRequest(sentence) => Self::InvalidRequest(sentence),
            error => Self::Other(error.into()),
        }
    }
}

/// The errors of both requests.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "it describes the responses")]
enum UserinfoErrors {
    /// `invalid_request`: two tokens
    #[response(status = 400)]
    TwoTokens(OAuthErrorBody),
    /// `invalid_token` with its description, or for no token an empty object
    #[response(status = 401)]
    InvalidToken(serde_json::Value),
    /// `invalid_request`: the page that sent this is not of the client's origins
    #[response(status = 403)]
    ForeignOrigin(OAuthErrorBody),
    /// `temporarily_unavailable`: too many requests, or texts that are no access token of this gateway
    #[response(status = 429)]
    Limited(OAuthErrorBody),
    /// `temporarily_unavailable`: the store cannot be reached
    #[response(status = 503)]
    Unavailable(OAuthErrorBody),
}

/// The claims of the person that an access token is for
///
/// `sub`, and the claims of the token's scopes that the person has released. The ID token has the same.
#[utoipa::path(
    get,
    path = "/oauth2/userinfo",
    tag = "openid",
    security(("access_token" = [])),
    responses(
        (status = 200, body = Object, description = "`sub` and the released claims"),
        UserinfoErrors,
    )
)]
pub(in crate::http) async fn userinfo(
    State(gateway): State<SharedGateway>,
    address: BrowserAddress,
    request: Request,
) -> Response {
    respond(&gateway, address, request).await
}

/// The same, with the access token in the header or in the body
#[utoipa::path(
    post,
    path = "/oauth2/userinfo",
    tag = "openid",
    request_body(content((TokenInForm = "application/x-www-form-urlencoded"))),
    security((), ("access_token" = [])),
    responses(
        (status = 200, body = Object, description = "`sub` and the released claims"),
        UserinfoErrors,
    )
)]
pub(in crate::http) async fn userinfo_by_form(
    State(gateway): State<SharedGateway>,
    address: BrowserAddress,
    request: Request,
) -> Response {
    respond(&gateway, address, request).await
}

/// The body of a request without the header.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes the form; the handler reads its fields by name")]
struct TokenInForm {
    /// The access token (RFC 6750 §2.2).
    access_token: Option<String>,
}

async fn respond(gateway: &SharedGateway, address: BrowserAddress, request: Request) -> Response {
    let metrics = &gateway.metrics.openid;
    match find(gateway, address, request).await {
        Ok(claims) => {
            metrics.userinfo("ok");
            no_store(Json(claims)).into_response()
        }
        Err(Refused::Other(error)) => {
            metrics.userinfo("unavailable");
            error.into_response()
        }
        Err(refused) => {
            metrics.userinfo("refused");
            // An app asks with the token that it has, and refreshes it after a 401. The tokens of all people of an app
            // may come from one address, so a token that was valid once costs no attempt.
            let is_limited = matches!(refused, Refused::ForeignToken);
            match is_limited.then(|| gateway.limits.invalid_client.take_or_oauth_error(address.0)) {
                Some(Err(limited)) => OAuthError::from(limited).into_response(),
                Some(Ok(())) | None => refused.into_response(),
            }
        }
    }
}

async fn find(
    gateway: &SharedGateway,
    address: BrowserAddress,
    request: Request,
) -> Result<crate::ticket::Claims, Refused> {
    let headers = request.headers().clone();
    let in_header =
        fields::bearer(&headers).map_err(|_problem| Refused::InvalidRequest("Authorization is malformed."))?;
    let form = if request.method() == Method::POST && fields::is_form(&headers) {
        Some(Form::read(request, gateway).await?)
    } else {
        None
    };
    let in_form = form.as_ref().map(|form| form.get("access_token")).transpose()?.flatten();
    let token = match (in_header, in_form.as_deref()) {
        (Some(_), Some(_)) => return Err(Refused::InvalidRequest("The access token is sent twice.")),
        (Some(token), None) | (None, Some(token)) => token,
        (None, None) => return Err(Refused::NoToken),
    };
    let provider = &gateway.openid_provider;
    let Some(access_token) = provider.verify_access_token(token) else {
        return Err(if provider.has_issued(token) { Refused::EndedToken } else { Refused::ForeignToken });
    };
    // Before the grant is read.
    gateway.limits.userinfo.take_or_oauth_error(address.0).map_err(Refused::Limited)?;
    let Some(UserInfo { client, claims }) = provider.userinfo(access_token).await? else {
        return Err(Refused::EndedToken);
    };
    if !headers.get(header::ORIGIN).is_none_or(|origin| is_known(gateway as &Gateway, &client, origin)) {
        return Err(Refused::ForeignOrigin);
    }
    Ok(claims)
}
