//! What operators ask, on the admin listener alone.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::extract::State;

/// Says that the process is alive. Never depends on anything else: a restart would not bring Redis back.
pub(super) async fn healthz() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

/// Says whether requests should be sent here.
pub(super) async fn readyz(axum::extract::State(gateway): State) -> Response {
    let mut problems = Vec::new();
    if gateway.streams.is_draining() {
        problems.push("the gateway is stopping".to_owned());
    }
    if let Err(error) = gateway.store.check().await {
        problems.push(error.to_string());
    }
    if !gateway.verifier.is_ready() {
        problems.push("the identity provider's keys are not known yet".to_owned());
    }
    if problems.is_empty() {
        Json(json!({ "status": "ready", "streams": gateway.streams.open() })).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not ready", "problems": problems }))).into_response()
    }
}

/// Returns every metric as OpenMetrics text.
pub(super) async fn metrics(axum::extract::State(gateway): State) -> Response {
    match gateway.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
