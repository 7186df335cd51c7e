//! Sessions for sites without a login of their own: the JWT in a cookie, and a proxy that has each request checked here.
//!
//! nginx's `auth_request` calls `verify`. `begin` redirects a browser to the gateway's authorization endpoint, as any OpenID client
//! does; `callback` turns the answer into the cookie. `redeem` does so with a JWT that a page of the site has, and `sign_out` ends
//! the session. The site's own proxy forwards all five, so their cookies belong to the site. The gateway keeps no session: a
//! session is a JWT that is still valid.

pub(in crate::http) mod begin;
pub(in crate::http) mod callback;
mod claims;
mod path;
pub(in crate::http) mod redeem;
pub(in crate::http) mod sign_out;
mod state;
pub(in crate::http) mod verify;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::clients::Client;
use crate::clients::openid::{OpenIdClient, TokenAuth};
use crate::http::cookies::{self, SetCookie};
use crate::http::extract::{JsonBody, read_body};
use crate::http::fields;
use crate::http::problem::{self, Problem};
use crate::http::state::Gateway;
use crate::signer::issued::Issued;

/// The client of a session.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SessionQuery {
    /// The client; the default client if omitted.
    client_id: Option<String>,
}

/// A body: either a page's form, whose response is a page, or a script's JSON.
pub(in crate::http) enum FormOrJson<T> {
    Form(Bytes),
    Json(T),
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for FormOrJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if fields::is_form(request.headers()) {
            return read_body(request, state).await.map(Self::Form);
        }
        JsonBody::from_request(request, state).await.map(|JsonBody(body)| Self::Json(body))
    }
}

fn find<'a>(gateway: &'a Gateway, id: Option<&str>) -> Result<&'a Client, Problem> {
    gateway.clients.find(id).map(AsRef::as_ref).ok_or_else(|| Problem::from(&problem::UNKNOWN_CLIENT))
}

/// Returns a client's settings if its sites sign people in by `/v1/sign-in`: only a client without a secret. The
/// gateway uses the code without a secret there, which it must never do with a code of another client.
fn openid_of_site(client: &Client) -> Option<&OpenIdClient> {
    client.openid.as_deref().filter(|openid| openid.token_auth == TokenAuth::None)
}

fn bearer_jwt(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    fields::bearer(headers).map_err(|_problem| {
        Problem::from(&problem::INVALID_SESSION)
            .detail("Authorization: Bearer must have one token; send one JWT of this gateway.")
    })
}

/// Verifies a JWT and returns the cookie that carries it for the rest of its lifetime.
fn session_cookie(gateway: &Gateway, client: &Client, token: &str) -> Result<SetCookie, Problem> {
    let Issued { expires_in, .. } = gateway.signer.verify(token, &client.id.0)?;
    cookies::set_session(gateway, token, expires_in)
}
