//! The end of a session in one browser.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};
use url::form_urlencoded;
use utoipa::ToSchema;

use super::{FormOrJson, SessionQuery, find, path};
use crate::http::api::openapi::{JSON_BODY, problem_responses};
use crate::http::cookies;
use crate::http::extract::{EmptyObject, ValidQuery};
use crate::http::origin::is_own_page;
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;

problem_responses!(SignOutProblems: JSON_BODY, &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::ORIGIN_NOT_ALLOWED,
]);

/// Ends a session in this browser
///
/// Deletes the cookie. A copy of the JWT stays valid until its `exp`.
#[utoipa::path(
    post,
    path = "/v1/sign-out",
    tag = "sessions",
    params(SessionQuery),
    request_body(content(
        (EmptyObject = "application/json"),
        (SignOutForm = "application/x-www-form-urlencoded"),
    )),
    responses(
        (status = 204, description = "To a script: signed out", headers(("set-cookie" = String, description = "Deletes the session"))),
        (status = 303, description = "To a form: signed out", headers(
            ("location" = String, description = "A path of the same site"),
            ("set-cookie" = String, description = "Deletes the session"),
        )),
        SignOutProblems,
    )
)]
pub(in crate::http) async fn sign_out(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<SessionQuery>,
    headers: HeaderMap,
    body: FormOrJson<EmptyObject>,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    if !is_own_page(&gateway, client, &headers) {
        return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
    }
    let cookie = cookies::end_session(&gateway);
    let FormOrJson::Form(bytes) = body else { return Ok((StatusCode::NO_CONTENT, cookie).into_response()) };
    let return_to = form_urlencoded::parse(&bytes).find(|(name, _)| name == "return_to").map(|(_, path)| path);
    let location = path::local(return_to.as_deref().unwrap_or("/")).to_owned();
    Ok((StatusCode::SEE_OTHER, cookie, [(header::LOCATION, location)]).into_response())
}

/// The form with which a page signs out.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the form; the handler reads its one field directly")]
struct SignOutForm {
    /// The path of the same site to redirect to; any other address redirects to the site's root.
    return_to: Option<String>,
}
