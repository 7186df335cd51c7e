//! The check of a session, for nginx's `auth_request`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::claims::RequestedClaims;
use super::{bearer_jwt, find};
use crate::http::api::openapi::problem_responses;
use crate::http::cookies;
use crate::http::extract::ValidQuery;
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;

/// The session to check, and the claims to return.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VerifyQuery {
    /// The client whose session to check; the default client if omitted.
    client_id: Option<String>,
    /// The claims to return, separated by commas: `name,email` become `X-Auth-Name` and `X-Auth-Email`.
    #[param(pattern = "^,*([A-Za-z0-9_-]{1,32}(,+[A-Za-z0-9_-]{1,32}){0,7},*)?$")]
    claims: Option<String>,
}

problem_responses!(VerifyProblems: &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::NO_SESSION,
    &problem::INVALID_SESSION,
]);

/// Reports to a proxy whether a request comes from a signed-in person
///
/// For nginx's `auth_request`. The JWT is the bearer token or, without one, the session cookie.
#[utoipa::path(
    get,
    path = "/v1/verify",
    tag = "sessions",
    params(VerifyQuery),
    security(("session" = []), ("jwt" = [])),
    responses(
        (status = 204, description = "A person is signed in", headers(
            ("x-auth-subject" = String, description = "The JWT's `sub`, percent-encoded; each requested claim has a header of its own"),
        )),
        VerifyProblems,
    )
)]
pub(in crate::http) async fn verify(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<VerifyQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    let requested = RequestedClaims::parse(query.claims.as_deref())?;
    // An invalid token is refused even with a valid cookie: the sender chose the token as its identity.
    let token = match bearer_jwt(&headers)? {
        Some(token) => Some(token),
        None => cookies::session(&headers, &gateway),
    };
    let token = token.ok_or_else(|| Problem::from(&problem::NO_SESSION))?;
    let session = gateway.signer.verify(token, &client.id.0)?;
    Ok((StatusCode::NO_CONTENT, requested.headers(&session)).into_response())
}
