//! The person who is signed in to the gateway in this browser: who it is, and how to sign out. For the gateway's own pages;
//! the sessions of sites are in `session`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::{JSON_BODY, problem_responses};
use crate::http::address::BrowserAddress;
use crate::http::extract::{EmptyObject, JsonBody};
use crate::http::origin::is_own_fetch;
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;
use crate::http::{auth, cookies};
use crate::verifier::demo::{PROVIDER, PROVIDER_NAME};

/// The person who is signed in in this browser.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionView {
    /// Their name, if their identity provider states one.
    name: Option<String>,
    /// The id of the identity provider in the settings.
    #[schema(example = "acme")]
    provider: String,
    /// The provider's name on pages.
    #[schema(example = "Acme")]
    provider_name: String,
    /// When they signed in to the provider, in seconds since 1970, if the provider states it.
    auth_time: Option<u64>,
    /// Whether it is a made-up person of the demo.
    demo: bool,
}

problem_responses!(SessionProblems: &[&problem::NOT_SIGNED_IN, &problem::RATE_LIMITED, &problem::UNAVAILABLE]);

/// Reads who is signed in
///
/// Only for the gateway's own pages: the cookie does not count for pages of other origins, and no token does.
#[utoipa::path(
    get,
    path = "/v1/session",
    tag = "identity",
    security(("login" = [])),
    responses((status = 200, body = SessionView, description = "The person"), SessionProblems)
)]
pub(in crate::http) async fn read_session(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    headers: HeaderMap,
) -> Result<Json<SessionView>, Problem> {
    let session = auth::session(&headers, &gateway).await?;
    let session = session.ok_or_else(|| Problem::from(&problem::NOT_SIGNED_IN));
    // A page may ask without a cookie. A cookie without a session looks like guessing.
    let is_guess = cookies::login(&headers, &gateway).is_some();
    let session = if is_guess { gateway.limits.invalid_confirm.charge_failures(address, session)? } else { session? };
    let (auth_time, demo) = (session.auth_time(), session.provider == PROVIDER);
    let provider = gateway.relying_party.find(&session.provider);
    // Sessions of an unknown provider are not valid, so without one it is the demo's.
    let provider_name = provider.map_or(PROVIDER_NAME, |provider| &provider.settings.name).to_owned();
    Ok(Json(SessionView { name: session.person.name, provider: session.provider, provider_name, auth_time, demo }))
}

/// The next step after a sign-out.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignedOut {
    /// The URL at which the person signs out of their identity provider; `null` if that is not needed.
    continue_at: Option<String>,
}

problem_responses!(EndProblems: JSON_BODY, &[&problem::INVALID_REQUEST, &problem::ORIGIN_NOT_ALLOWED, &problem::UNAVAILABLE]);

/// Signs the person out of this browser
///
/// Ends the session for everyone who has a copy of its cookie, and deletes the cookie. Without a session, the response is the
/// same.
#[utoipa::path(
    post,
    path = "/v1/session/end",
    tag = "identity",
    request_body = EmptyObject,
    security(("login" = []), ()),
    responses(
        (status = 200, body = SignedOut, description = "They are signed out", headers(("set-cookie" = String, description = "Deletes the cookie"))),
        EndProblems,
    )
)]
pub(in crate::http) async fn end_session(
    State(gateway): State<SharedGateway>,
    headers: HeaderMap,
    JsonBody(EmptyObject {}): JsonBody<EmptyObject>,
) -> Result<Response, Problem> {
    // Stricter than for other routes: no page of a registered origin signs people out of the gateway.
    if !is_own_fetch(&headers, &gateway) {
        return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
    }
    let ended = match cookies::login(&headers, &gateway) {
        Some(secret) => gateway.sessions.end(&secret).await?,
        None => None,
    };
    let provider = ended.and_then(|session| gateway.relying_party.find(&session.provider));
    let continue_at = provider.and_then(|provider| provider.sign_out_url(gateway.public_url.as_str())).map(Into::into);
    let signed_out = SignedOut { continue_at };
    Ok((cookies::end_login(&gateway), Json(signed_out)).into_response())
}
