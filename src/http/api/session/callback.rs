//! The answer of the OpenID Provider to a sign-in that a site began: the code becomes the session cookie.
//!
//! The site is an OpenID client in the gateway's own process. It uses the code as any client does, with its redirect URI and its
//! PKCE verifier. It has no secret (`token_auth = "none"`), and gets no tokens but the JWT of the cookie.
//!
//! If the gateway refuses an answer, it uses the code up. Otherwise an attacker could send people a link to a sign-in
//! that the attacker began, read the code in the site's log, and use it in the attacker's browser.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::{self, HeaderMap};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::openid_of_site;
use super::state::SignInState;
use crate::clients::Client;
use crate::clock;
use crate::http::address::BrowserAddress;
use crate::http::api::openapi::problem_responses;
use crate::http::cookies::{self, SIGN_IN_STATE_LIFETIME, SetCookie};
use crate::http::problem::{self, Problem, ProblemType};
use crate::http::state::{Gateway, SharedGateway};
use crate::random::RandomId;
use crate::relying_party::Answer;
use crate::store::Put;
use crate::ticket::{BindingSecret, ClientId, Flow, Grant, Receipt};

problem_responses!(CallbackProblems: &[
    &problem::INVALID_REQUEST,
    &problem::SIGN_IN_EXPIRED,
    &problem::SIGN_IN_MIXED_UP,
    &problem::SIGN_IN_NOT_BEGUN,
    &problem::SIGN_IN_DECLINED,
    &problem::SIGN_IN_USED,
    &problem::SIGN_IN_FAILED,
    &problem::RATE_LIMITED,
    &problem::UNAVAILABLE,
]);

/// Turns the answer to a site's sign-in into a session cookie that no script can read
///
/// The site's proxy forwards the whole query of its redirect URI, and the cookie that `/v1/sign-in` has set. Refusals are pages,
/// with a link to the path that the person wanted.
#[utoipa::path(
    get,
    path = "/v1/callback",
    tag = "sessions",
    params(
        ("state" = Option<String>, Query, description = "The `state` of the sign-in, unchanged"),
        ("code" = Option<String>, Query, description = "The authorization code"),
        ("iss" = Option<String>, Query, description = "The gateway's issuer (RFC 9207)"),
        ("error" = Option<String>, Query, description = "The error, if the sign-in ended without a code (RFC 6749 §4.1.2.1)"),
    ),
    responses(
        (status = 303, description = "The session is set, and the browser is redirected to the requested path", headers(
            ("location" = String, description = "A path of the same site"),
            ("set-cookie" = String, description = "The session"),
        )),
        CallbackProblems,
    )
)]
pub(in crate::http) async fn callback(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(answer) = Answer::read(uri.query().unwrap_or_default()) else {
        let detail = "The answer has a parameter twice, a parameter that is too long, or a token.";
        return Err(Problem::from(&problem::INVALID_REQUEST).detail(detail).as_page("/"));
    };
    let text = answer.state.as_deref().unwrap_or_default();
    // It uses a code like a token request, even if only to make it unusable. The site's proxy sends it for all its
    // people.
    let limited = gateway.limits.token.take_or_problem(address);
    limited.map_err(|problem| problem.as_page(SignInState::path_in(text)))?;
    let secret = cookies::sign_in_state(&headers, &gateway);
    let begun = secret.as_ref().and_then(|secret| Some((SignInState::open(text, secret)?, secret)));
    let Some((state, secret)) = begun else {
        let problem = refuse(&gateway, &answer, &problem::SIGN_IN_NOT_BEGUN).await;
        return Err(problem.as_page(SignInState::path_in(text)));
    };
    let finished = finish(&gateway, &answer, &state, secret).await;
    let cookie = finished.map_err(|problem| problem.as_page(&state.path))?;
    let no_referrer = [(header::REFERRER_POLICY, "no-referrer")];
    Ok((StatusCode::SEE_OTHER, cookie, no_referrer, [(header::LOCATION, state.path)]).into_response())
}

/// Uses the answer to a sign-in that this browser began, and returns the session cookie.
async fn finish(
    gateway: &Gateway,
    answer: &Answer,
    state: &SignInState,
    secret: &BindingSecret,
) -> Result<SetCookie, Problem> {
    let refused = async |problem_type| Err(refuse(gateway, answer, problem_type).await);
    if answer.iss.as_deref() != Some(gateway.openid_provider.issuer()) {
        return refused(&problem::SIGN_IN_MIXED_UP).await;
    }
    let code = match (answer.error.as_deref(), answer.code.as_deref()) {
        (None, Some(code)) => code,
        (Some("access_denied"), _) => return refused(&problem::SIGN_IN_DECLINED).await,
        _ => return refused(&problem::SIGN_IN_FAILED).await,
    };
    // The settings may have changed since the sign-in began.
    let client = gateway.clients.find(Some(&state.client));
    let redirect_uri = client.and_then(|client| openid_of_site(client)?.redirect_uris.get(state.redirect));
    let (Some(client), Some(redirect_uri)) = (client, redirect_uri) else {
        return refused(&problem::SIGN_IN_EXPIRED).await;
    };
    let verifier = state.code_verifier(secret);
    let used = gateway.openid_provider.redeem_code_in_process(&client.id, code, redirect_uri, &verifier).await?;
    let Some(content) = used else {
        let is_used = gateway.store.value(&state.store_name()).await?.is_some();
        return refused(if is_used { &problem::SIGN_IN_USED } else { &problem::SIGN_IN_EXPIRED }).await;
    };
    let nonce = content.nonce.unwrap_or_default();
    if !bool::from(nonce.as_bytes().ct_eq(state.nonce(secret).as_bytes())) {
        return refused(&problem::SIGN_IN_MIXED_UP).await;
    }
    // Only after a valid code: nobody can fill the store with sign-ins that only began.
    let use_id = RandomId::new().to_string();
    if !gateway.store.put_value(&state.store_name(), &use_id, SIGN_IN_STATE_LIFETIME, Put::IfAbsent).await? {
        return refused(&problem::SIGN_IN_USED).await;
    }
    session(gateway, client, &content.grant)
}

/// Uses up the code of an answer. Returns the problem: this one, or that the store cannot be reached.
async fn refuse(gateway: &Gateway, answer: &Answer, problem_type: &'static ProblemType) -> Problem {
    let is_site =
        |id: &ClientId| gateway.clients.find(Some(&id.0)).is_some_and(|client| openid_of_site(client).is_some());
    let code = answer.code.as_deref().unwrap_or_default();
    match gateway.openid_provider.use_up_code(code, is_site).await {
        Ok(()) => Problem::from(problem_type),
        Err(error) => Problem::from(error),
    }
}

/// Signs the JWT of a new session, and returns the cookie that carries it.
fn session(gateway: &Gateway, client: &Client, grant: &Grant) -> Result<SetCookie, Problem> {
    let issued_at = clock::now();
    let lifetime = gateway.sign_ins.lifetimes().token;
    let jti = RandomId::new().to_string();
    let receipt = Receipt { jti, issued_at, expires_at: issued_at + lifetime, redeem_until: issued_at };
    let jwt = gateway.signer.sign(Flow::Login, &client.id.0, grant, &receipt)?;
    // The JWT states whole seconds.
    cookies::set_session(gateway, &jwt, Duration::from_secs(lifetime.as_secs()))
}
