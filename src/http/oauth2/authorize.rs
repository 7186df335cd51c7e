//! The authorization endpoint (OpenID Connect Core §3.1.2): the sign-in page, or an answer without one.
//!
//! It stores nothing. The page creates a ticket for the request's query, and the gateway reads that query again then.

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::header::HeaderMap;
use axum::response::Response;

use super::answers::{refuse, send, send_error};
use super::form::redirect_to_query;
use super::paths::AUTHORIZE_PATH;
use crate::http::address::BrowserAddress;
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;
use crate::http::{cookies, pages};
use crate::openid_provider::answer::{Answer, Destination};
use crate::openid_provider::request::MAX_QUERY_BYTES;

/// Answers an authorization request in the query.
pub(in crate::http) async fn authorize(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    gateway.limits.authorize.take_or_problem(address)?;
    let request = match gateway.openid_provider.read_request(uri.query().unwrap_or_default()) {
        Ok(request) => request,
        Err(refused) => return refuse(&gateway, refused, &uri, &headers),
    };
    let secret = cookies::single_sign_on(&headers, &gateway);
    let to = Destination::from(&request.authorization);
    match gateway.openid_provider.code_by_session(&request, secret.as_ref()).await {
        Ok(code) => {
            gateway.metrics.openid.authorization("sso");
            let answer = Answer::code(to, code, gateway.openid_provider.issuer());
            return send(&request.client, &answer, &uri, &headers);
        }
        Err(error) if request.is_silent => {
            return send_error(&gateway, &request.client, to, error, &uri, &headers);
        }
        // The person signs in by a scan.
        Err(_) => {}
    }
    gateway.metrics.openid.authorization("page");
    pages::authorization(&gateway, &request, &uri, &headers)
}

/// Takes an authorization request in a form (OpenID Connect Core §3.1.2.1). The request that follows takes an attempt.
pub(in crate::http) async fn authorize_by_form(
    State(gateway): State<SharedGateway>,
    request: Request,
) -> Result<Response, Problem> {
    redirect_to_query(&gateway, request, AUTHORIZE_PATH, MAX_QUERY_BYTES, &problem::SIGN_IN_ADDRESS).await
}
