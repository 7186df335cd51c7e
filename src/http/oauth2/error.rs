//! The JSON errors of the endpoints that clients call (RFC 6749 §5.2). They are not problems of RFC 9457, because every
//! OAuth client reads `error`.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::openid_provider::exchange::ExchangeError;
use crate::openid_provider::failure::TokenError;
use crate::signer::SignError;
use crate::store::StoreError;

/// The time after which a client should try again if the store failed.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// The challenge to a client that tried the header (RFC 6749 §5.2, RFC 7617 §2.1).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"scangate\", charset=\"UTF-8\"");

/// An error that becomes a response.
#[derive(Debug, Clone)]
pub(in crate::http) struct OAuthError {
    error: TokenError,
    /// For the log only.
    cause: Option<String>,
}

/// The response's body.
#[derive(Debug, Serialize, ToSchema)]
pub struct OAuthErrorBody {
    /// The name to program against.
    error: &'static str,
    /// One sentence for the people who write the client.
    error_description: &'static str,
}

/// The errors of every endpoint at which a client authenticates.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "it describes the responses")]
pub(super) enum ClientErrors {
    /// `invalid_client`: the client is unknown, or did not authenticate as this endpoint requires
    #[response(status = 401)]
    InvalidClient(OAuthErrorBody),
    /// `invalid_request`: the page that sent this is not of the client's origins
    #[response(status = 403)]
    ForeignOrigin(OAuthErrorBody),
    /// `temporarily_unavailable`: too many attempts
    #[response(status = 429)]
    Limited(OAuthErrorBody),
    /// `temporarily_unavailable`: the store cannot be reached
    #[response(status = 503)]
    Unavailable(OAuthErrorBody),
}

impl From<TokenError> for OAuthError {
    fn from(error: TokenError) -> Self {
        Self { error, cause: None }
    }
}

impl From<StoreError> for OAuthError {
    fn from(cause: StoreError) -> Self {
        let error = match cause {
            StoreError::Unavailable(_) | StoreError::Full(_) => {
                TokenError::TemporarilyUnavailable { is_limited: false, retry_after: RETRY_AFTER }
            }
            StoreError::Corrupt(_) => TokenError::ServerError,
        };
        Self { error, cause: Some(cause.to_string()) }
    }
}

impl From<SignError> for OAuthError {
    fn from(cause: SignError) -> Self {
        Self { error: TokenError::ServerError, cause: Some(cause.to_string()) }
    }
}

impl From<ExchangeError> for OAuthError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused(error) => error.into(),
            ExchangeError::Store(error) => error.into(),
            ExchangeError::Sign(error) => error.into(),
        }
    }
}

fn status(error: TokenError) -> StatusCode {
    match error {
        TokenError::InvalidClient { .. } => StatusCode::UNAUTHORIZED,
        TokenError::ForeignOrigin => StatusCode::FORBIDDEN,
        TokenError::TemporarilyUnavailable { is_limited: true, .. } => StatusCode::TOO_MANY_REQUESTS,
        TokenError::TemporarilyUnavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        TokenError::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        TokenError::InvalidRequest(_)
        | TokenError::InvalidGrant(_)
        | TokenError::UnsupportedGrantType
        | TokenError::InvalidScope => StatusCode::BAD_REQUEST,
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let Self { error, cause } = self;
        let status = status(error);
        if status.is_server_error() {
            let cause = cause.as_deref().unwrap_or("unknown");
            tracing::error!(error = error.as_str(), cause, "failed to serve a client");
        }
        let body = OAuthErrorBody { error: error.as_str(), error_description: error.description() };
        let mut response = (status, no_store(Json(body))).into_response();
        let headers = response.headers_mut();
        if let TokenError::InvalidClient { by_header: true } = error {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if let TokenError::TemporarilyUnavailable { retry_after, .. } = error {
            // Rounded up, so a client that waits exactly this long waits long enough.
            let secs = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

/// Adds the headers that RFC 6749 §5.1 wants with a token.
pub(super) fn no_store(body: impl IntoResponse) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], body)
}
