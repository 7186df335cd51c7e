//! The endpoints of the admin listener, and the host names that it accepts. The errors of these handlers have no problem body.
//!
//! They need no login: anyone who can reach the listener is an operator. A page in an operator's browser could reach it too,
//! by pointing its own host name at the listener's address (DNS rebinding), and the browser would let it read the responses.
//! Browsers send that host name in `Host`, so unknown host names are refused.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::http::fields;
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;

/// Refuses every host except IP addresses, `localhost` and the configured names. A page cannot rebind an IP address, and
/// browsers resolve `localhost` only to this machine.
pub(in crate::http) async fn check_host(State(names): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    // `head::check` ensures that `Host` is present, and equals the target's host if the target has one. HTTP/1.0 may omit it:
    // load balancers' checks use that version, and no browser does.
    let is_ours = match request.headers().get(header::HOST) {
        Some(host) => fields::text(host).is_some_and(|host| is_known(host, &names)),
        None => request.version() == Version::HTTP_10,
    };
    if is_ours { next.run(request).await } else { Problem::from(&problem::UNKNOWN_HOST).into_response() }
}

/// Returns whether `HOST` or `HOST:PORT` is one of our own. The text is compared unparsed, because a parser may find another
/// host than the browser does in a malformed text.
fn is_known(authority: &str, names: &[String]) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.parse::<Ipv4Addr>().is_ok()
        || v6.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// Reports that the process is alive. Redis does not matter here, because a restart of the gateway would not repair Redis.
pub(in crate::http) async fn healthz() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

/// Reports whether load balancers should send requests here.
pub(in crate::http) async fn readyz(State(gateway): State<SharedGateway>) -> Response {
    let mut problems = Vec::new();
    if gateway.waiters.is_draining() {
        problems.push("the gateway is stopping".to_owned());
    }
    if let Err(error) = gateway.store.check().await {
        problems.push(error.to_string());
    }
    if !gateway.verifier.is_ready() {
        problems.push("the identity provider's keys are not known yet".to_owned());
    }
    if problems.is_empty() {
        Json(json!({ "status": "ready", "streams": gateway.waiters.count() })).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not ready", "problems": problems }))).into_response()
    }
}

/// Returns every metric as OpenMetrics text.
pub(in crate::http) async fn metrics(State(gateway): State<SharedGateway>) -> Response {
    match gateway.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
