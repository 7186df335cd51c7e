//! The methods that each route has.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::OpenApi;

use super::problem::{self, Problem};

/// Routes on which `HEAD` is refused: to read them with `GET` is what hands the JWT over, and `HEAD` would lose it.
const READINGS: [&str; 2] = ["/v1/tickets/{id}", "/v1/tickets/{id}/events"];

/// The methods of every route that is not in the API's description, unless [`Methods`] has it.
const PAGE_METHODS: &str = "GET,HEAD";

/// The methods of routes, by the route's path.
pub(super) type Methods = BTreeMap<String, String>;

/// Returns the methods of every route in the API's description.
pub(super) fn of_api(description: &OpenApi) -> Methods {
    let all = description.paths.paths.iter().map(|(path, item)| {
        let of_get = if READINGS.contains(&path.as_str()) { "GET" } else { "GET,HEAD" };
        let operations = [
            (item.get.is_some(), of_get),
            (item.post.is_some(), "POST"),
            (item.put.is_some(), "PUT"),
            (item.patch.is_some(), "PATCH"),
            (item.delete.is_some(), "DELETE"),
        ];
        let there: Vec<&str> = operations.into_iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name).collect();
        (path.clone(), there.join(","))
    });
    all.collect()
}

/// Says which methods a route has where one is refused (RFC 9110 §15.5.6), and where `OPTIONS` asks for them (§9.3.7).
///
/// The routes that are not in `described` are pages, and read alone. The router would name a route's methods too, but only
/// when every layer has passed.
pub(super) async fn allow(State(described): State<Arc<Methods>>, request: Request, next: Next) -> Response {
    let is_asked = *request.method() == Method::OPTIONS;
    let path = matched(&request);
    let would_lose =
        *request.method() == Method::HEAD && path.as_ref().is_some_and(|path| READINGS.contains(&path.as_str()));
    let mut response = if would_lose { method_not_allowed().await.into_response() } else { next.run(request).await };
    let is_refused = response.status() == StatusCode::METHOD_NOT_ALLOWED;
    let Some(path) = path.filter(|_| is_asked || is_refused) else { return response };
    let methods = described.get(path.as_str()).map_or(PAGE_METHODS, String::as_str);
    let allow = methods.split(',').chain(["OPTIONS"]).map(str::trim).collect::<Vec<_>>().join(", ");
    if is_asked && is_refused {
        response = StatusCode::NO_CONTENT.into_response();
    }
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Returns the route that a request is for, as it stands in the router; none where there is no such route.
fn matched(request: &Request) -> Option<MatchedPath> {
    request.extensions().get().cloned()
}

/// Answers what no route is for.
pub(super) async fn not_found() -> Problem {
    Problem::from(&problem::NOT_FOUND)
}

/// Answers a route's wrong method.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::from(&problem::METHOD_NOT_ALLOWED)
}
