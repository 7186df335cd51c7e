//! The exchange of a JWT for the session cookie.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{SessionQuery, bearer_jwt, find, session_cookie};
use crate::http::api::openapi::{JSON_BODY, problem_responses};
use crate::http::extract::{JsonBody, ValidQuery};
use crate::http::origin::is_own_page;
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;

/// The JSON that a script posts to turn its JWT into a session.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeemJwt {
    /// The JWT, unless it is sent as `Authorization: Bearer`.
    access_token: Option<String>,
}

problem_responses!(RedeemProblems: JSON_BODY, &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::NO_SESSION,
    &problem::INVALID_SESSION,
    &problem::ORIGIN_NOT_ALLOWED,
]);

/// Turns a JWT into a session cookie that no script can read
///
/// A script of the site sends the JWT that it got from the gateway, as JSON or as its bearer token. People who open a page of the
/// site sign in by `/v1/sign-in` instead, and no script has the JWT.
#[utoipa::path(
    post,
    path = "/v1/redeem",
    tag = "sessions",
    params(SessionQuery),
    request_body = RedeemJwt,
    security((), ("jwt" = [])),
    responses(
        (status = 204, description = "The session is set", headers(("set-cookie" = String, description = "The session"))),
        RedeemProblems,
    )
)]
pub(in crate::http) async fn redeem(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<SessionQuery>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RedeemJwt>,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    let token = match (bearer_jwt(&headers)?, &body.access_token) {
        (Some(_), Some(_)) => {
            return Err(Problem::from(&problem::INVALID_REQUEST)
                .detail("The request has the JWT in the header and in the body; send it once."));
        }
        (bearer, posted) => bearer.or(posted.as_deref()).ok_or_else(|| Problem::from(&problem::NO_SESSION))?,
    };
    if !is_own_page(&gateway, client, &headers) {
        return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
    }
    Ok((StatusCode::NO_CONTENT, session_cookie(&gateway, client, token)?).into_response())
}
