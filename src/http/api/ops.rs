//! What operators ask, on the admin listener alone, and by which names they may ask it.
//!
//! There is no login: to reach it is to be an operator. A page in an operator's browser would reach it too, if its name were
//! made to lead here (DNS rebinding), and browsers would let it read the answers. They say the name in `Host`, so names that
//! are not its own are refused.

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

/// Answers only what is asked by an IP address, as `localhost`, or by one of the operators' names. No page can have an
/// address that leads elsewhere first, and browsers take `localhost` for this machine alone.
pub(in crate::http) async fn own_names(State(names): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    // `head::check` has seen to it that there is one, and that it is the target's where the target names one. HTTP/1.0 needs
    // none, and no browser speaks it: load balancers' checks do.
    let is_ours = match request.headers().get(header::HOST) {
        Some(host) => fields::text(host).is_some_and(|host| is_known(host, &names)),
        None => request.version() == Version::HTTP_10,
    };
    if is_ours { next.run(request).await } else { Problem::from(&problem::UNKNOWN_HOST).into_response() }
}

/// Returns whether `HOST` or `HOST:PORT` is one of our own. The text is compared as it is: what a parser finds in a malformed
/// one may be another host than the browser's.
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

/// Says that the process is alive. Never depends on anything else: a restart would not bring Redis back.
pub(in crate::http) async fn healthz() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

/// Says whether requests should be sent here.
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
