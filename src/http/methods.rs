//! The methods of each route, and the responses to other methods and paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::OpenApi;

use super::oauth2::paths::{AUTHORIZE_PATH, DONE_PATH, LOGOUT_PATH};
use super::problem::{self, Problem};

/// Routes that refuse `HEAD`: their `GET` claims the JWT, issues a code or uses an answer up. A `HEAD` would lose the
/// result.
const CLAIMING_ROUTES: [&str; 8] = [
    "/v1/tickets/{id}",
    "/v1/tickets/{id}/events",
    "/sign-in/callback",
    "/sign-in/{provider}",
    AUTHORIZE_PATH,
    DONE_PATH,
    LOGOUT_PATH,
    "/v1/callback",
];

/// The methods of every route that has no entry in [`Methods`].
const PAGE_METHODS: &str = "GET,HEAD";

/// The methods of routes, by the route's path.
pub(super) type Methods = BTreeMap<String, String>;

/// Returns the methods of every route in the API's description.
pub(super) fn of_api(description: &OpenApi) -> Methods {
    let all = description.paths.paths.iter().map(|(path, item)| {
        let of_get = if CLAIMING_ROUTES.contains(&path.as_str()) { "GET" } else { "GET,HEAD" };
        let operations = [
            (item.get.is_some(), of_get),
            (item.post.is_some(), "POST"),
            (item.put.is_some(), "PUT"),
            (item.patch.is_some(), "PATCH"),
            (item.delete.is_some(), "DELETE"),
        ];
        let described: Vec<&str> =
            operations.into_iter().filter(|(is_described, _)| *is_described).map(|(_, name)| name).collect();
        (path.clone(), described.join(","))
    });
    all.collect()
}

/// Adds `Allow` to the response to a refused method (RFC 9110 §15.5.6) and to `OPTIONS` (§9.3.7). Refuses `HEAD` on routes
/// whose `GET` claims a ticket or uses an answer up.
///
/// Routes without an entry in `methods` are pages, which allow only reads. The router would add `Allow` itself, but only to
/// requests that pass every layer.
pub(super) async fn allow(State(methods): State<Arc<Methods>>, request: Request, next: Next) -> Response {
    let is_options = *request.method() == Method::OPTIONS;
    let is_head = *request.method() == Method::HEAD;
    let route: Option<MatchedPath> = request.extensions().get().cloned();
    let claims = route.as_ref().is_some_and(|route| CLAIMING_ROUTES.contains(&route.as_str()));
    let mut response =
        if is_head && claims { method_not_allowed().await.into_response() } else { next.run(request).await };
    let is_refused = response.status() == StatusCode::METHOD_NOT_ALLOWED;
    let Some(route) = route.filter(|_| is_options || is_refused) else { return response };
    let methods = methods.get(route.as_str()).map_or(PAGE_METHODS, String::as_str);
    let allow = methods.split(',').chain(["OPTIONS"]).map(str::trim).collect::<Vec<_>>().join(", ");
    if is_options && is_refused {
        response = StatusCode::NO_CONTENT.into_response();
    }
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Responds to a request that matches no route.
pub(super) async fn not_found() -> Problem {
    Problem::from(&problem::NOT_FOUND)
}

/// Responds to a method that the route does not have.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::from(&problem::METHOD_NOT_ALLOWED)
}
