//! The API's description of itself: OpenAPI 3.1, made from the handlers' own annotations.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

/// Where the document is.
pub(in crate::http) const PATH: &str = "/v1/openapi.json";

/// Answers with the document, which never changes while the process runs.
pub(in crate::http) fn document(json: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, json.to_string()).into_response()
}

/// Returns the document, with what the annotations of handlers cannot say.
///
/// - No body counts as `{}`, so no body is required; and none is `null`.
/// - Problems are pages to those who prefer one.
/// - A schema describes one thing. A stream is many, which `itemSchema` of OpenAPI 3.2 will say.
/// - What a new ticket may have hangs on its flow.
pub(in crate::http) fn complete(openapi: &OpenApi) -> String {
    let mut document = serde_json::to_value(openapi).unwrap_or_default();
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let items = paths.into_iter().flat_map(|paths| paths.values_mut()).filter_map(Value::as_object_mut);
    for operation in items.flat_map(|item| item.values_mut()) {
        if let Some(body) = operation.get_mut("requestBody").and_then(Value::as_object_mut) {
            body.remove("required");
        }
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for content in responses
            .into_iter()
            .flat_map(|all| all.values_mut())
            .filter_map(|response| response.get_mut("content").and_then(Value::as_object_mut))
        {
            if content.contains_key("application/problem+json") {
                content.insert("text/html; charset=utf-8".to_owned(), json!({ "schema": { "type": "string" } }));
            }
            if let Some(stream) = content.get_mut("text/event-stream").and_then(Value::as_object_mut) {
                stream.remove("schema");
            }
        }
    }
    let new_ticket = document.pointer_mut("/components/schemas/CreateTicket").and_then(Value::as_object_mut);
    if let Some(new_ticket) = new_ticket {
        let none = json!({ "type": "null" });
        new_ticket
            .insert("if".to_owned(), json!({ "properties": { "flow": { "const": "share" } }, "required": ["flow"] }));
        new_ticket.insert("then".to_owned(), json!({ "properties": { "binding": false, "return_to": none } }));
        new_ticket.insert("else".to_owned(), json!({ "properties": { "release": none } }));
    }
    document.to_string()
}

/// What stands in the document beside the routes.
pub(in crate::http) fn description() -> OpenApi {
    let info = InfoBuilder::new()
        .title("scangate")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Sign in by QR code. A browser makes a ticket and waits on its event stream; a signed-in phone scans the \
             ticket's code and confirms; the browser gets a JWT. Errors are application/problem+json (RFC 9457) with a \
             stable `code`, and pages to those whose Accept prefers text/html. Beside what stands here, every route answers \
             400 `malformed_request`, 414 `uri_too_long` and 431 `head_too_large` to requests that are not well-formed HTTP \
             or have too large a head, 405 `method_not_allowed` with `Allow`, and 500 `internal`.",
        ))
        .license(Some(LicenseBuilder::new().name("Apache-2.0 OR MIT").build()))
        .build();
    let bearer = |description: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build())
    };
    let components = ComponentsBuilder::new()
        .security_scheme(
            "cookie",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                "__Host-scangate",
                "The binding of a browser, set when it makes its first ticket (plain `scangate` over http)",
            ))),
        )
        .security_scheme("ticket_secret", bearer("The `ticket_secret` of a ticket made with `\"binding\": \"bearer\"`"))
        .security_scheme(
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                "__Host-scangate-session",
                "The JWT, set by /v1/redeem on a site's own host (plain `scangate-session` over http)",
            ))),
        )
        .security_scheme("jwt", bearer("A JWT that this gateway issued to the client"))
        .security_scheme("identity", bearer("The person's token of their own identity provider"))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}
