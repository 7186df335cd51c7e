//! The end of a session in one browser.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};
use url::{Url, form_urlencoded};
use utoipa::ToSchema;

use super::{FormOrJson, SessionQuery, find, path};
use crate::clients::Client;
use crate::http::api::openapi::{JSON_BODY, problem_responses};
use crate::http::cookies;
use crate::http::extract::{EmptyObject, ValidQuery};
use crate::http::fields;
use crate::http::oauth2::paths::LOGOUT_PATH;
use crate::http::origin::is_own_page;
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};

problem_responses!(SignOutProblems: JSON_BODY, &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::ORIGIN_NOT_ALLOWED,
]);

/// Ends a session in this browser
///
/// Deletes the cookie. A copy of the JWT stays valid until its `exp`. A form of a client with `single_sign_on` goes on to the
/// gateway's sign-out page, which asks whether to end the browser's session at the gateway, too.
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
            ("location" = String, description = "A path of the same site, or the gateway's sign-out page"),
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
    let path = path::local(return_to.as_deref().unwrap_or("/"));
    let location = sign_out_page(&gateway, client, path, &headers).unwrap_or_else(|| path.to_owned());
    Ok((StatusCode::SEE_OTHER, cookie, [(header::LOCATION, location)]).into_response())
}

/// Returns the address of the gateway's sign-out page for a client with single sign-on. Otherwise the site, which has
/// no cookie any more, would immediately sign the same person in again. The page leads back to `path` if the client has
/// registered it.
fn sign_out_page(gateway: &Gateway, client: &Client, path: &str, headers: &HeaderMap) -> Option<String> {
    let openid = client.openid.as_ref().filter(|openid| openid.single_sign_on)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("client_id", &client.id.0);
    // A form of a page without referrer states no origin. Then any of the client's hosts with this path will do.
    let origin = headers.get(header::ORIGIN).and_then(fields::text).filter(|origin| *origin != "null");
    let is_back = |address: &&String| {
        let url = Url::parse(address).ok().filter(|url| url.origin().is_tuple());
        url.is_some_and(|url| {
            let site = url.origin().ascii_serialization();
            origin.is_none_or(|origin| origin == site) && address.strip_prefix(&*site) == Some(path)
        })
    };
    if let Some(back) = openid.post_logout_redirect_uris.iter().find(is_back) {
        query.append_pair("post_logout_redirect_uri", back);
    }
    Some(format!("{}{LOGOUT_PATH}?{}", gateway.origin(), query.finish()))
}

/// The form with which a page signs out.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the form; the handler reads its one field directly")]
struct SignOutForm {
    /// The path of the same site to return to; any other address becomes the site's root. A client with `single_sign_on` must have
    /// its whole address among `post_logout_redirect_uris`.
    return_to: Option<String>,
}
