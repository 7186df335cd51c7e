//! The exchange of a JWT for the session cookie.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use super::{FormOrJson, SessionQuery, bearer_jwt, find, path, session_cookie};
use crate::clients::Client;
use crate::http::api::openapi::{JSON_BODY, problem_responses};
use crate::http::cookies;
use crate::http::extract::ValidQuery;
use crate::http::origin::{is_known, is_own_page};
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};
use crate::ticket::BindingSecret;

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
