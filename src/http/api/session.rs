//! Sessions for sites without a login of their own: the JWT in a cookie, and a proxy that has each request checked here.
//!
//! `begin` redirects a browser to the sign-in page, `redeem` turns the JWT that the page posts into the cookie, nginx's
//! `auth_request` calls `verify`, and `sign_out` ends the session. The site's own proxy forwards all four, so their cookies
//! belong to the site. The gateway keeps no state: a session is a JWT that is still valid.

mod claims;
mod path;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};

use super::openapi::{JSON_BODY, problem_responses};
use crate::clients::Client;
use crate::http::cookies::{self, SetCookie};
use crate::http::extract::{EmptyObject, JsonBody, ValidQuery, read_body};
use crate::http::fields;
use crate::http::origin::{is_known, is_own_page};
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};
use crate::http::weights::prefers_html;
use crate::random;
use crate::signer::issued::Issued;
use crate::ticket::BindingSecret;
use claims::RequestedClaims;

/// nginx puts the requested path into this header.
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// The session to check, and the claims to return.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VerifyQuery {
    /// The client whose session to check; the default client if omitted.
    client_id: Option<String>,
    /// The claims to return, separated by commas: `name,email` become `X-Auth-Name` and `X-Auth-Email`.
    #[param(pattern = "^,*([A-Za-z0-9_-]{1,32}(,+[A-Za-z0-9_-]{1,32}){0,7},*)?$")]
    claims: Option<String>,
}

problem_responses!(VerifyProblems: &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::NO_SESSION,
    &problem::INVALID_SESSION,
]);

/// Reports to a proxy whether a request comes from a signed-in person
///
/// For nginx's `auth_request`. The JWT is the bearer token or, without one, the session cookie.
#[utoipa::path(
    get,
    path = "/v1/verify",
    tag = "sessions",
    params(VerifyQuery),
    security(("session" = []), ("jwt" = [])),
    responses(
        (status = 204, description = "A person is signed in", headers(
            ("x-auth-subject" = String, description = "The JWT's `sub`, percent-encoded; each requested claim has a header of its own"),
        )),
        VerifyProblems,
    )
)]
pub(in crate::http) async fn verify(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<VerifyQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    let requested = RequestedClaims::parse(query.claims.as_deref())?;
    // An invalid token is refused even with a valid cookie: the sender chose the token as its identity.
    let token = match bearer_jwt(&headers)? {
        Some(token) => Some(token),
        None => cookies::session(&headers, &gateway),
    };
    let token = token.ok_or_else(|| Problem::from(&problem::NO_SESSION))?;
    let session = gateway.signer.verify(token, &client.id.0)?;
    Ok((StatusCode::NO_CONTENT, requested.headers(&session)).into_response())
}

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

/// The client of a session.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SessionQuery {
    /// The client; the default client if omitted.
    client_id: Option<String>,
}

/// The JSON that a script posts to turn its JWT into a session.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeemJwt {
    /// The JWT, unless it is sent as `Authorization: Bearer`.
    access_token: Option<String>,
}

problem_responses!(RedeemProblems: JSON_BODY, &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::NO_SESSION,
    &problem::INVALID_SESSION,
    &problem::ORIGIN_NOT_ALLOWED,
    &problem::SIGN_IN_NOT_BEGUN,
]);

/// Turns a JWT into a session cookie that no script can read
///
/// The sign-in page posts it as a form (OAuth 2.0 Form Post Response Mode), with the `state` of the sign-in that started at
/// `/v1/sign-in` in this browser. Forms get pages as responses, including refusals. A script of the site sends the JWT as JSON,
/// or as its bearer token.
#[utoipa::path(
    post,
    path = "/v1/redeem",
    tag = "sessions",
    params(SessionQuery),
    request_body(content(
        (RedeemJwt = "application/json"),
        (RedeemForm = "application/x-www-form-urlencoded"),
    )),
    security((), ("jwt" = [])),
    responses(
        (status = 204, description = "To a script: the session is set", headers(("set-cookie" = String, description = "The session"))),
        (status = 303, description = "To a form: the session is set, and the browser is redirected to the requested path", headers(
            ("location" = String, description = "A path of the same site"),
            ("set-cookie" = String, description = "The session"),
        )),
        RedeemProblems,
    )
)]
pub(in crate::http) async fn redeem(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<SessionQuery>,
    headers: HeaderMap,
    body: FormOrJson<RedeemJwt>,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    match body {
        FormOrJson::Form(bytes) => {
            let form = RedeemForm::parse(&bytes);
            // A person with an old bookmark of the sign-in page, or with an expired JWT, can retry from the requested path.
            redeem_form(&gateway, client, &headers, &form).map_err(|problem| problem.as_page(form.requested_path()))
        }
        FormOrJson::Json(body) => {
            let token = match (bearer_jwt(&headers)?, &body.access_token) {
                (Some(_), Some(_)) => {
                    return Err(Problem::from(&problem::INVALID_REQUEST)
                        .detail("The request has the JWT in the header and in the body; send it once."));
                }
                (bearer, posted) => bearer.or(posted.as_deref()).ok_or_else(|| Problem::from(&problem::NO_SESSION))?,
            };
            if !is_own_page(&gateway, client, &headers) {
                return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
            }
            Ok((StatusCode::NO_CONTENT, session_cookie(&gateway, client, token)?).into_response())
        }
    }
}

/// The form that the sign-in page posts. Further fields, such as `token_type`, are ignored (RFC 6749 §4.2.2).
#[derive(Debug, Default, ToSchema)]
struct RedeemForm {
    /// The JWT.
    access_token: String,
    /// The `state` parameter of the sign-in page's URL, unchanged.
    state: String,
}

impl RedeemForm {
    fn parse(bytes: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(bytes) {
            match &*name {
                "access_token" => form.access_token = value.into_owned(),
                "state" => form.state = value.into_owned(),
                _ => {}
            }
        }
        form
    }

    /// Returns the path that the person requested before signing in.
    fn requested_path(&self) -> &str {
        path::local(self.state.split_once('.').map_or("/", |(_, path)| path))
    }
}

/// Redeems a form. Any page can post a form. The gateway's page sends no referrer and therefore `Origin: null`, as a hostile
/// page can. So only the `state`, which no other page knows, proves that this browser started the sign-in.
fn redeem_form(
    gateway: &Gateway,
    client: &Client,
    headers: &HeaderMap,
    form: &RedeemForm,
) -> Result<Response, Problem> {
    if headers.get(header::ORIGIN).is_some_and(|origin| origin != "null" && !is_known(gateway, client, origin)) {
        return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
    }
    let nonce = form.state.split('.').next().unwrap_or_default();
    let is_started_here = match (cookies::sign_in_state(headers, gateway), nonce.parse::<BindingSecret>()) {
        // The hashes compare in constant time.
        (Some(kept), Ok(posted)) => kept.hash() == posted.hash(),
        _ => false,
    };
    if !is_started_here {
        return Err(Problem::from(&problem::SIGN_IN_NOT_BEGUN));
    }
    if form.access_token.is_empty() {
        return Err(Problem::from(&problem::NO_SESSION));
    }
    let cookie = session_cookie(gateway, client, &form.access_token)?;
    let location = form.requested_path().to_owned();
    Ok((StatusCode::SEE_OTHER, cookie, [(header::LOCATION, location)]).into_response())
}

problem_responses!(SignOutProblems: JSON_BODY, &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::ORIGIN_NOT_ALLOWED,
]);

/// Ends a session in this browser
///
/// Deletes the cookie. A copy of the JWT stays valid until its `exp`.
#[utoipa::path(
    post,
    path = "/v1/sign-out",
    tag = "sessions",
    params(SessionQuery),
    request_body(content(
        (EmptyObject = "application/json"),
        (SignOutForm = "application/x-www-form-urlencoded"),
    )),
    responses(
        (status = 204, description = "To a script: signed out", headers(("set-cookie" = String, description = "Deletes the session"))),
        (status = 303, description = "To a form: signed out", headers(
            ("location" = String, description = "A path of the same site"),
            ("set-cookie" = String, description = "Deletes the session"),
        )),
        SignOutProblems,
    )
)]
pub(in crate::http) async fn sign_out(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<SessionQuery>,
    headers: HeaderMap,
    body: FormOrJson<EmptyObject>,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    if !is_own_page(&gateway, client, &headers) {
        return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
    }
    let cookie = cookies::end_session(&gateway);
    let FormOrJson::Form(bytes) = body else { return Ok((StatusCode::NO_CONTENT, cookie).into_response()) };
    let return_to = form_urlencoded::parse(&bytes).find(|(name, _)| name == "return_to").map(|(_, path)| path);
    let location = path::local(return_to.as_deref().unwrap_or("/")).to_owned();
    Ok((StatusCode::SEE_OTHER, cookie, [(header::LOCATION, location)]).into_response())
}

/// The form with which a page signs out.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the form; the handler reads its one field directly")]
struct SignOutForm {
    /// The path of the same site to redirect to; any other address redirects to the site's root.
    return_to: Option<String>,
}

/// A body: either a page's form, whose response is a page, or a script's JSON.
pub(in crate::http) enum FormOrJson<T> {
    Form(Bytes),
    Json(T),
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for FormOrJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if fields::media_type(content_type).eq_ignore_ascii_case(FORM) {
            return read_body(request, state).await.map(Self::Form);
        }
        JsonBody::from_request(request, state).await.map(|JsonBody(body)| Self::Json(body))
    }
}

fn find<'a>(gateway: &'a Gateway, id: Option<&str>) -> Result<&'a Client, Problem> {
    gateway.clients.find(id).map(AsRef::as_ref).ok_or_else(|| Problem::from(&problem::UNKNOWN_CLIENT))
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

/// Returns whether a person opens this as a page, and so can be redirected to the sign-in page.
fn is_page_navigation(headers: &HeaderMap) -> bool {
    // Only browsers send a destination, and some of them do not name HTML.
    !fields::is_programmatic(headers) && (headers.contains_key("sec-fetch-dest") || prefers_html(headers))
}
