//! The start of a sign-in: the redirect to the sign-in page.

use axum::extract::State;
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, percent_encode};
use serde::Deserialize;
use url::form_urlencoded;
use utoipa::IntoParams;

use super::{find, path};
use crate::http::api::openapi::problem_responses;
use crate::http::cookies;
use crate::http::extract::ValidQuery;
use crate::http::fields;
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;
use crate::http::weights::prefers_html;
use crate::random;

/// nginx puts the requested path into this header.
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");

/// The parameters of a redirect to the sign-in page.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct BeginQuery {
    /// The client to sign in to; the default client if omitted.
    client_id: Option<String>,
    /// The site's own address of `/v1/redeem`, exactly as in the client's list; the list's first entry if omitted.
    return_to: Option<String>,
}

problem_responses!(BeginProblems: &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::RETURN_TO_NOT_ALLOWED,
    &problem::NO_SESSION,
]);

/// Redirects a person's browser to the sign-in page
///
/// nginx sets `X-Original-URI` to the requested path, to which the browser returns after the sign-in. Scripts and programs get
/// 401 instead of a redirect.
#[utoipa::path(
    get,
    path = "/v1/sign-in",
    tag = "sessions",
    params(BeginQuery, ("x-original-uri" = Option<String>, Header, description = "The path, with its query, to return to")),
    responses(
        (status = 302, description = "To the sign-in page", headers(
            ("location" = String, description = "The sign-in page, with `client_id`, `return_to` and `state`"),
            ("set-cookie" = String, description = "Ties the sign-in to this browser"),
        )),
        BeginProblems,
    )
)]
pub(in crate::http) async fn begin(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<BeginQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    if !is_page_navigation(&headers) {
        return Err(Problem::from(&problem::NO_SESSION));
    }
    let return_to = match &query.return_to {
        Some(wanted) => client.return_to.iter().find(|allowed| *allowed == wanted),
        None => client.return_to.first(),
    };
    let return_to = return_to.ok_or_else(|| Problem::from(&problem::RETURN_TO_NOT_ALLOWED))?;
    // All tabs of a browser share one secret: a second sign-in must not invalidate the first.
    let nonce = cookies::sign_in_state(&headers, &gateway).unwrap_or_else(random::binding_secret);
    let original = headers.get(ORIGINAL_URI).map_or(&b"/"[..], HeaderValue::as_bytes);
    // nginx forwards the path unchanged. Browsers encode characters that are not ASCII, other programs do not.
    let original = percent_encode(original, &AsciiSet::EMPTY).to_string();
    let state = format!("{}.{}", nonce.reveal(), path::local(&original));
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", client.id.0.as_str()), ("return_to", return_to), ("state", &state)])
        .finish();
    let location = format!("{}/?{query}", gateway.origin());
    Ok((StatusCode::FOUND, cookies::set_sign_in_state(&gateway, &nonce), [(header::LOCATION, location)])
        .into_response())
}

/// Returns whether a person opens this as a page, and so can be redirected to the sign-in page.
fn is_page_navigation(headers: &HeaderMap) -> bool {
    // Only browsers send a destination, and some of them do not name HTML.
    !fields::is_programmatic(headers) && (headers.contains_key("sec-fetch-dest") || prefers_html(headers))
}
