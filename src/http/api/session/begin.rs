//! The start of a sign-in: the redirect to the sign-in page.

use axum::extract::State;
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, percent_encode};
use serde::Deserialize;
use url::form_urlencoded;
use utoipa::IntoParams;

use super::state::SignInState;
use super::{find, openid_of_site};
use crate::clients::scopes::OFFLINE_ACCESS;
use crate::http::api::openapi::problem_responses;
use crate::http::cookies;
use crate::http::extract::ValidQuery;
use crate::http::fields;
use crate::http::oauth2::paths::AUTHORIZE_PATH;
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
    /// The site's own address of `/v1/callback`, exactly as in the client's `redirect_uris`; the list's first entry if omitted.
    redirect_uri: Option<String>,
}

problem_responses!(BeginProblems: &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::REDIRECT_URI_NOT_ALLOWED,
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
            ("location" = String, description = "The authorization endpoint, with a `state` that is tied to this browser"),
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
    let openid = openid_of_site(client).ok_or_else(|| Problem::from(&problem::REDIRECT_URI_NOT_ALLOWED))?;
    let redirect = match &query.redirect_uri {
        Some(wanted) => openid.redirect_uris.iter().position(|allowed| allowed == wanted),
        None => Some(0),
    };
    let redirect = redirect.and_then(|place| Some((place, openid.redirect_uris.get(place)?)));
    let (place, redirect_uri) = redirect.ok_or_else(|| Problem::from(&problem::REDIRECT_URI_NOT_ALLOWED))?;
    // All tabs of a browser share one secret: a second sign-in must not invalidate the first.
    let secret = cookies::sign_in_state(&headers, &gateway).unwrap_or_else(random::binding_secret);
    let original = headers.get(ORIGINAL_URI).map_or(&b"/"[..], HeaderValue::as_bytes);
    // nginx forwards the path unchanged. Browsers encode characters that are not ASCII, other programs do not.
    let original = percent_encode(original, &AsciiSet::EMPTY).to_string();
    let state = SignInState::new(&client.id.0, place, &original);
    // A session cannot be refreshed, so a refresh token would have no use.
    let scopes: Vec<&str> = openid.scopes.iter().map(String::as_str).filter(|scope| *scope != OFFLINE_ACCESS).collect();
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", client.id.0.as_str()),
            ("response_type", "code"),
            ("redirect_uri", redirect_uri),
            ("scope", &scopes.join(" ")),
            ("state", &state.to_text(&secret)),
            ("nonce", &state.nonce(&secret)),
            ("code_challenge", &state.code_challenge(&secret)),
            ("code_challenge_method", "S256"),
        ])
        .finish();
    let location = format!("{}{AUTHORIZE_PATH}?{query}", gateway.origin());
    Ok((StatusCode::FOUND, cookies::set_sign_in_state(&gateway, &secret), [(header::LOCATION, location)])
        .into_response())
}

/// Returns whether a person opens this as a page, and so can be redirected to the sign-in page.
fn is_page_navigation(headers: &HeaderMap) -> bool {
    // Only browsers send a destination, and some of them do not name HTML.
    !fields::is_programmatic(headers) && (headers.contains_key("sec-fetch-dest") || prefers_html(headers))
}
