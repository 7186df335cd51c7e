//! The authorization endpoint (OpenID Connect Core §3.1.2): the sign-in page, or an answer without one.
//!
//! It stores nothing. The page creates a ticket for the request's query, and the gateway reads that query again then.

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use super::answers::{refuse, send, send_error};
use super::paths::AUTHORIZE_PATH;
use crate::http::address::BrowserAddress;
use crate::http::extract::read_body;
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;
use crate::http::{cookies, fields, pages};
use crate::openid_provider::answer::{Answer, Destination};
use crate::openid_provider::request::encode_form;

/// The media type of a form.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Answers an authorization request in the query.
pub(in crate::http) async fn authorize(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    gateway.limits.authorize.check(address)?;
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

/// Turns an authorization request in a form (OpenID Connect Core §3.1.2.1) into one in the query. Browsers send the cookie of a
/// session with a navigation from another site, but not with a form of another site. The request that follows takes an attempt.
pub(in crate::http) async fn authorize_by_form(
    State(gateway): State<SharedGateway>,
    request: Request,
) -> Result<Response, Problem> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !fields::media_type(content_type).eq_ignore_ascii_case(FORM) {
        return Err(Problem::from(&problem::UNSUPPORTED_MEDIA_TYPE)
            .detail("Send the parameters in the query, or as application/x-www-form-urlencoded."));
    }
    let body = read_body(request, &gateway).await?;
    let query =
        str::from_utf8(&body).ok().and_then(encode_form).ok_or_else(|| Problem::from(&problem::SIGN_IN_ADDRESS))?;
    let location = HeaderValue::from_str(&format!("{AUTHORIZE_PATH}?{query}"));
    let location = location.map_err(|_error| Problem::from(&problem::SIGN_IN_ADDRESS))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)], pages::KEEP_OPENER).into_response())
}
