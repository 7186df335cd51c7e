//! Sessions for sites that have no login of their own: the JWT in a cookie, and an edge that asks here about each request.
//!
//! `begin` sends a browser to the sign-in page, `redeem` takes the JWT that comes back and sets the cookie, `verify` is what
//! nginx's `auth_request` asks, `sign_out` ends it. All are called through the site's own edge, so their cookies are the
//! site's. Nothing is kept here: a session is a JWT that is still good, and no store is asked.

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

use crate::clients::Client;
use crate::http::cookies::{self, SetCookie};
use crate::http::extract::{JsonBody, Nothing, ValidQuery, read_body};
use crate::http::fields;
use crate::http::origin::{is_known, is_own_page};
use crate::http::problem::{self, Problem, ProblemBody};
use crate::http::state::{Gateway, SharedGateway};
use crate::http::weights::prefers_html;
use crate::random;
use crate::signer::issued::Issued;
use crate::ticket::BindingSecret;
use claims::Wanted;

/// Where nginx says what was asked for.
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Whose session it is to be, and what to tell of it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct VerifyQuery {
    /// The client whose session counts; the default one if left out.
    client_id: Option<String>,
    /// Claims to answer with, with commas between: `name,email` become `X-Auth-Name` and `X-Auth-Email`.
    #[param(pattern = "^,*([A-Za-z0-9_-]{1,32}(,+[A-Za-z0-9_-]{1,32}){0,7},*)?$")]
    claims: Option<String>,
}

/// Answers an edge whether a request comes from somebody who is signed in
///
/// For nginx's `auth_request`. The JWT is the bearer token if there is one, else the session cookie.
#[utoipa::path(
    get,
    path = "/v1/verify",
    tag = "sessions",
    params(VerifyQuery),
    security(("session" = []), ("jwt" = [])),
    responses(
        (status = 204, description = "Somebody is", headers(
            ("x-auth-subject" = String, description = "The JWT's `sub`, percent-encoded; each claim that was asked for stands beside it in a header of its own"),
        )),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "`invalid_request` or `unknown_client`"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "`no_session` or `invalid_session`"),
    )
)]
pub(in crate::http) async fn verify(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<VerifyQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    let wanted = Wanted::read(query.claims.as_deref())?;
    // A bad token is never made up for by a good cookie: who sends one wants to be that one.
    let token = match bearer_jwt(&headers)? {
        Some(token) => Some(token),
        None => cookies::session(&headers, &gateway),
    };
    let token = token.ok_or_else(|| Problem::from(&problem::NO_SESSION))?;
    let session = gateway.signer.verify(token, &client.id.0)?;
    Ok((StatusCode::NO_CONTENT, wanted.headers(&session)).into_response())
}

/// Where a sign-in begins.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct BeginQuery {
    /// The client to sign in to; the default one if left out.
    client_id: Option<String>,
    /// The site's own address of `/v1/redeem`, as it stands in the client's list; the first one there if left out.
    return_to: Option<String>,
}

/// Sends a person's browser to the sign-in page
///
/// What was asked for stands in `X-Original-URI`, which nginx sets; the browser comes back there in the end. Scripts and
/// programs, which could do nothing with a page, are told 401 instead.
#[utoipa::path(
    get,
    path = "/v1/sign-in",
    tag = "sessions",
    params(BeginQuery, ("x-original-uri" = Option<String>, Header, description = "The path, with its query, to come back to")),
    responses(
        (status = 302, description = "To the sign-in page", headers(
            ("location" = String, description = "The sign-in page, with `client_id`, `return_to` and `state`"),
            ("set-cookie" = String, description = "Ties the sign-in to this browser"),
        )),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "`invalid_request`, `unknown_client` or `return_to_not_allowed`"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "`no_session`: this is no page that is opened"),
    )
)]
pub(in crate::http) async fn begin(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<BeginQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    if !opens_a_page(&headers) {
        return Err(Problem::from(&problem::NO_SESSION));
    }
    let return_to = match &query.return_to {
        Some(wanted) => client.return_to.iter().find(|allowed| *allowed == wanted),
        None => client.return_to.first(),
    };
    let return_to = return_to.ok_or_else(|| Problem::from(&problem::RETURN_TO_NOT_ALLOWED))?;
    // One for all tabs of a browser: a second one that begins must not undo the first.
    let nonce = cookies::begun(&headers, &gateway).unwrap_or_else(random::binding_secret);
    let asked_for = headers.get(ORIGINAL_URI).map_or(&b"/"[..], HeaderValue::as_bytes);
    // nginx gives the address as it came. Browsers encode what is not ASCII, other programs do not.
    let asked_for = percent_encode(asked_for, &AsciiSet::EMPTY).to_string();
    let state = format!("{}.{}", nonce.reveal(), path::local(&asked_for));
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", client.id.0.as_str()), ("return_to", return_to), ("state", &state)])
        .finish();
    let location = format!("{}/?{query}", gateway.origin());
    Ok((StatusCode::FOUND, cookies::set_begun(&gateway, &nonce), [(header::LOCATION, location)]).into_response())
}

/// Which client a session is of.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SessionQuery {
    /// The client; the default one if left out.
    client_id: Option<String>,
}

/// What a script sends to turn its JWT into a session.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeemJwt {
    /// The JWT, unless it is sent as `Authorization: Bearer`.
    access_token: Option<String>,
}

/// Turns a JWT into a session cookie that no script can read
///
/// The sign-in page posts it as a form (OAuth 2.0 Form Post Response Mode), with the `state` of the sign-in that began at
/// `/v1/sign-in` in this browser. A script of the site sends it as JSON, or as its bearer token.
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
        (status = 303, description = "To a form: the session is set, and this is where the person wanted to go", headers(
            ("location" = String, description = "A path of the same site"),
            ("set-cookie" = String, description = "The session"),
        )),
        (status = 400, description = "`invalid_request`, `malformed_json` or `unknown_client`; to a form, as a page", content(
            (ProblemBody = "application/problem+json"),
            (String = "text/html; charset=utf-8"),
        )),
        (status = 401, description = "`no_session` or `invalid_session`; to a form, as a page", content(
            (ProblemBody = "application/problem+json"),
            (String = "text/html; charset=utf-8"),
        )),
        (status = 403, description = "`origin_not_allowed` or `sign_in_not_begun`; to a form, as a page", content(
            (ProblemBody = "application/problem+json"),
            (String = "text/html; charset=utf-8"),
        )),
        (status = 408, body = ProblemBody, content_type = "application/problem+json", description = "`request_timeout`"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "`too_large`"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "`unsupported_media_type`"),
    )
)]
pub(in crate::http) async fn redeem(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<SessionQuery>,
    headers: HeaderMap,
    body: Posted<RedeemJwt>,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    match body {
        Posted::Form(bytes) => {
            let form = RedeemForm::read(&bytes);
            // Somebody who comes by an old bookmark of the sign-in page, or too late, tries again from where they wanted to go.
            redeem_form(&gateway, client, &headers, &form).map_err(|problem| problem.on_a_page(form.asked_for()))
        }
        Posted::Script(body) => {
            let token = match (bearer_jwt(&headers)?, &body.access_token) {
                (Some(_), Some(_)) => {
                    return Err(
                        Problem::from(&problem::INVALID_REQUEST).detail("The JWT is there twice; send it once.")
                    );
                }
                (bearer, posted) => bearer.or(posted.as_deref()).ok_or_else(|| Problem::from(&problem::NO_SESSION))?,
            };
            if !is_own_page(&gateway, client, &headers) {
                return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
            }
            Ok((StatusCode::NO_CONTENT, session(&gateway, client, token)?).into_response())
        }
    }
}

/// What the sign-in page posts. Further fields, such as `token_type`, are left alone (RFC 6749 §4.2.2).
#[derive(Debug, Default, ToSchema)]
struct RedeemForm {
    /// The JWT.
    access_token: String,
    /// As the sign-in page was given it.
    state: String,
}

impl RedeemForm {
    fn read(bytes: &[u8]) -> Self {
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

    /// Returns where the person wanted to go.
    fn asked_for(&self) -> &str {
        path::local(self.state.split_once('.').map_or("/", |(_, path)| path))
    }
}

/// A form can be posted by any page there is, and the gateway's own says `Origin: null` like those that hide: it sends no
/// referrer. So it is the `state` that shows that this browser was sent to sign in; nobody else knows it.
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
    let is_begun = match (cookies::begun(headers, gateway), nonce.parse::<BindingSecret>()) {
        // The hashes compare in constant time.
        (Some(kept), Ok(posted)) => kept.hash() == posted.hash(),
        _ => false,
    };
    if !is_begun {
        return Err(Problem::from(&problem::SIGN_IN_NOT_BEGUN));
    }
    if form.access_token.is_empty() {
        return Err(Problem::from(&problem::NO_SESSION));
    }
    let cookie = session(gateway, client, &form.access_token)?;
    let location = form.asked_for().to_owned();
    Ok((StatusCode::SEE_OTHER, cookie, [(header::LOCATION, location)]).into_response())
}

/// Ends a session in this browser
///
/// The cookie is taken away. The JWT stays good until its `exp` for whoever has a copy.
#[utoipa::path(
    post,
    path = "/v1/sign-out",
    tag = "sessions",
    params(SessionQuery),
    request_body(content(
        (Nothing = "application/json"),
        (SignOutForm = "application/x-www-form-urlencoded"),
    )),
    responses(
        (status = 204, description = "To a script: signed out", headers(("set-cookie" = String, description = "Takes the session away"))),
        (status = 303, description = "To a form: signed out", headers(
            ("location" = String, description = "A path of the same site"),
            ("set-cookie" = String, description = "Takes the session away"),
        )),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "`invalid_request`, `malformed_json` or `unknown_client`"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "`origin_not_allowed`"),
        (status = 408, body = ProblemBody, content_type = "application/problem+json", description = "`request_timeout`"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "`too_large`"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "`unsupported_media_type`"),
    )
)]
pub(in crate::http) async fn sign_out(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<SessionQuery>,
    headers: HeaderMap,
    body: Posted<Nothing>,
) -> Result<Response, Problem> {
    let client = find(&gateway, query.client_id.as_deref())?;
    if !is_own_page(&gateway, client, &headers) {
        return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
    }
    let cookie = cookies::end_session(&gateway);
    let Posted::Form(bytes) = body else { return Ok((StatusCode::NO_CONTENT, cookie).into_response()) };
    let return_to = form_urlencoded::parse(&bytes).find(|(name, _)| name == "return_to").map(|(_, path)| path);
    let location = path::local(return_to.as_deref().unwrap_or("/")).to_owned();
    Ok((StatusCode::SEE_OTHER, cookie, [(header::LOCATION, location)]).into_response())
}

/// What a page's form may say with a sign-out.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the form to people; of one field, no more is read than that")]
struct SignOutForm {
    /// Where to go on to: a path of the same site, or else its root.
    return_to: Option<String>,
}

/// A body from a page's form, which wants a page in return, or from a script.
pub(in crate::http) enum Posted<T> {
    Form(Bytes),
    Script(T),
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Posted<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if fields::media_type(content_type).eq_ignore_ascii_case(FORM) {
            return read_body(request, state).await.map(Self::Form);
        }
        JsonBody::from_request(request, state).await.map(|JsonBody(body)| Self::Script(body))
    }
}

fn find<'a>(gateway: &'a Gateway, id: Option<&str>) -> Result<&'a Client, Problem> {
    gateway.clients.find(id).map(AsRef::as_ref).ok_or_else(|| Problem::from(&problem::UNKNOWN_CLIENT))
}

fn bearer_jwt(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    fields::bearer(headers).map_err(|_problem| {
        Problem::from(&problem::INVALID_SESSION)
            .detail("Authorization: Bearer must be there once, with a JWT of this gateway.")
    })
}

/// Returns the cookie that keeps a JWT in the browser for as long as it is good.
fn session(gateway: &Gateway, client: &Client, token: &str) -> Result<SetCookie, Problem> {
    let Issued { expires_in, .. } = gateway.signer.verify(token, &client.id.0)?;
    cookies::set_session(gateway, token, expires_in)
}

/// Returns whether a person opens this as a page, for whom signing in makes sense.
fn opens_a_page(headers: &HeaderMap) -> bool {
    // What names its destination is a browser, which may not name HTML.
    !fields::is_of_a_program(headers) && (headers.contains_key("sec-fetch-dest") || prefers_html(headers))
}
