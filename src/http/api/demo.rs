//! Signs in demo users. The route exists only in the demo.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::http::address::BrowserAddress;
use crate::http::extract::JsonBody;
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;
use crate::verifier::demo::{MAX_NAME_CHARS, TOKEN_TTL};

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

/// Returns a token for the name that the caller chose.
pub(in crate::http) async fn sign_in(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    JsonBody(SignIn { name }): JsonBody<SignIn>,
) -> Result<Json<SignedIn>, Problem> {
    gateway.limits.scan.check(address)?;
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
    Ok(Json(SignedIn { access_token, token_type: "Bearer", expires_in: TOKEN_TTL.as_secs() }))
}
