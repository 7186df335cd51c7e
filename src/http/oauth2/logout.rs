//! The end of a browser's session, begun by a client (OpenID Connect RP-Initiated Logout). `openid_provider` has the rules.

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use super::form::redirect_to_query;
use super::paths::LOGOUT_PATH;
use crate::http::address::BrowserAddress;
use crate::http::cookies;
use crate::http::origin::is_own_fetch;
use crate::http::pages::{self, SignOutView};
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};
use crate::openid_provider::sign_out::{SignOut, SignOutRequest};
use crate::signer::issued::MAX_JWT_BYTES;

/// The maximum length of a query that a form becomes, in bytes: the longest ID token that is accepted, an address and a state. It
/// fits the bound on a request's head.
const MAX_QUERY_BYTES: usize = MAX_JWT_BYTES + 2 * 1024;

/// Signs out, or asks the person.
pub(in crate::http) async fn logout(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    gateway.limits.authorize.take_or_problem(address)?;
    let request = read(&gateway, &uri)?;
    let browser = cookies::single_sign_on(&headers, &gateway);
    let done = gateway.openid_provider.sign_out(&request, browser.as_ref()).await;
    match done? {
        SignOut::SessionEnded => {
            let left = leave(&gateway, &request, &uri, &headers)?;
            Ok((cookies::end_single_sign_on(&gateway), left).into_response())
        }
        SignOut::Done => leave(&gateway, &request, &uri, &headers),
        SignOut::Ask => pages::sign_out(&gateway, &request, SignOutView::Question, &uri, &headers),
    }
}

/// Takes a request in a form (RP-Initiated Logout §2). The request that follows takes an attempt.
pub(in crate::http) async fn logout_by_form(
    State(gateway): State<SharedGateway>,
    request: Request,
) -> Result<Response, Problem> {
    redirect_to_query(&gateway, request, LOGOUT_PATH, MAX_QUERY_BYTES, &problem::SIGN_OUT_ADDRESS).await
}

/// Signs out after the person has agreed on the gateway's own page. The query is that of the request, and is checked in
/// the same way.
pub(in crate::http) async fn confirm(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // A page of the same site could post with the cookie, too.
    if !is_own_fetch(&headers, &gateway) {
        return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
    }
    let question = format!("{LOGOUT_PATH}?{}", query_of(&uri));
    gateway.limits.authorize.take_or_problem(address).map_err(|problem| problem.as_page(&question))?;
    let request = read(&gateway, &uri)?;
    if let Some(secret) = cookies::single_sign_on(&headers, &gateway) {
        let ended = gateway.openid_provider.single_sign_on().end(&secret).await;
        ended.map_err(|error| Problem::from(error).as_page(&question))?;
    }
    let done = pages::sign_out(&gateway, &request, SignOutView::Done, &uri, &headers)?;
    Ok((cookies::end_single_sign_on(&gateway), done).into_response())
}

fn read(gateway: &Gateway, uri: &Uri) -> Result<SignOutRequest, Problem> {
    let request = gateway.openid_provider.read_sign_out(query_of(uri));
    request.ok_or_else(|| Problem::from(&problem::SIGN_OUT_ADDRESS))
}

fn query_of(uri: &Uri) -> &str {
    uri.query().unwrap_or_default()
}

/// Redirects the browser back to the client. Without an address, the browser stays on a page that says what happened.
fn leave(gateway: &Gateway, request: &SignOutRequest, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    let Some(back) = &request.back else {
        return pages::sign_out(gateway, request, SignOutView::Done, uri, headers);
    };
    let location = HeaderValue::from_str(back).map_err(|_error| Problem::from(&problem::SIGN_OUT_ADDRESS))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)], pages::KEEP_OPENER).into_response())
}
