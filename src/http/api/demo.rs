//! Signs in demo users. The route exists only in the demo.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use crate::http::address::BrowserAddress;
use crate::http::extract::JsonBody;
use crate::http::origin::is_own_fetch;
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;
use crate::http::{cookies, device};
use crate::verifier::demo::{MAX_NAME_CHARS, PROVIDER, TOKEN_TTL};

/// The path of the demo's sign-in.
pub(in crate::http) const PATH: &str = "/demo/sign-in";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SignIn {
    name: String,
}

#[derive(Serialize)]
pub(in crate::http) struct SignedIn {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
}

/// Signs in a person under the name that the caller chose: starts a session in this browser, and returns a token for programs.
/// A page of another origin gets the token only.
pub(in crate::http) async fn sign_in(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    headers: HeaderMap,
    JsonBody(SignIn { name }): JsonBody<SignIn>,
) -> Result<Response, Problem> {
    gateway.limits.scan.take_or_problem(address)?;
    let demo = gateway.demo.as_ref().ok_or_else(|| Problem::from(&problem::NOT_FOUND))?;
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(Problem::from(&problem::INVALID_REQUEST)
            .detail(format!("name must have 1 to {MAX_NAME_CHARS} characters, none of them a control character.")));
    }
    let access_token = demo.sign_in(name).map_err(|error| {
        tracing::error!(%error, "failed to sign a demo token");
        Problem::from(&problem::INTERNAL)
    })?;
    let cookie = if is_own_fetch(&headers, &gateway) {
        // The verifier makes the name safe to display, as for every other person.
        let identity = gateway.verifier.verify(&access_token).await?;
        let (device, old) = (device::describe(address, &headers), cookies::login(&headers, &gateway));
        let secret = gateway.sessions.start(&identity, PROVIDER, &device, old.as_ref()).await?;
        Some(cookies::set_login(&gateway, &secret))
    } else {
        None
    };
    let signed_in = Json(SignedIn { access_token, token_type: "Bearer", expires_in: TOKEN_TTL.as_secs() });
    Ok((cookie, signed_in).into_response())
}
