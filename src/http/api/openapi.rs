//! The API's OpenAPI 3.1 description, built from the handlers' annotations and the table of problems.

use std::collections::BTreeMap;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
    response,
};

use crate::http::problem::{self, ProblemBody, ProblemType};

/// The path of the document.
pub(in crate::http) const PATH: &str = "/v1/openapi.json";

/// The problems of every operation with a JSON body.
pub(super) const JSON_BODY: &[&ProblemType] =
    &[&problem::MALFORMED_JSON, &problem::REQUEST_TIMEOUT, &problem::TOO_LARGE, &problem::UNSUPPORTED_MEDIA_TYPE];
/// The problems of every operation on a ticket that only a party may use.
pub(super) const OF_A_PARTY: &[&ProblemType] = &[
    &problem::INVALID_TOKEN,
    &problem::TICKET_NOT_FOUND,
    &problem::RATE_LIMITED,
    &problem::UNAVAILABLE,
    &problem::IDENTITY_UNAVAILABLE,
];

/// Declares the problems that an operation can return, as a type for its `responses(…)`.
macro_rules! problem_responses {
    ($name:ident: $($list:expr),+ $(,)?) => {
        /// The problems that the operation can return.
        enum $name {}

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
            > {
                $crate::http::api::openapi::problem_rows(&[$($list),+])
            }
        }
    };
}
pub(super) use problem_responses;

/// Returns one response for each status among these problems. It lists the codes with their titles.
pub(super) fn problem_rows(lists: &[&[&ProblemType]]) -> BTreeMap<String, RefOr<response::Response>> {
    let mut by_status: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in lists.iter().copied().flatten() {
        let codes = by_status.entry(row.status.as_str().to_owned()).or_default();
        codes.push(format!("`{}`: {}", row.code, row.title));
    }
    let row = |(status, codes): (String, Vec<String>)| {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let response =
            ResponseBuilder::new().description(codes.join("; ")).content("application/problem+json", content);
        (status, RefOr::T(response.build()))
    };
    by_status.into_iter().map(row).collect()
}

/// Returns the document, which never changes while the process runs.
pub(in crate::http) fn document(json: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, json.to_string()).into_response()
}

/// Returns the document, completed with rules that the handlers' annotations cannot express:
///
/// - A missing body is treated as `{}`, so a body is optional but never `null`.
/// - Callers that prefer HTML get problems as pages.
/// - A schema describes one value. A stream is a sequence of values, which OpenAPI 3.2 describes by `itemSchema`.
/// - The flow of a new ticket determines which fields it may have.
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
        new_ticket.insert("then".to_owned(), json!({ "properties": { "binding": false } }));
        new_ticket.insert("else".to_owned(), json!({ "properties": { "release": none } }));
    }
    document.to_string()
}

/// Returns the parts of the document besides the routes.
pub(in crate::http) fn description() -> OpenApi {
    let info = InfoBuilder::new()
        .title("scangate")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Sign in by QR code. A browser creates a ticket and waits on its event stream; a signed-in phone scans the \
             ticket's code and confirms; the browser gets a JWT. Errors are application/problem+json (RFC 9457) with a \
             stable `code`, or pages for callers whose Accept prefers text/html. In addition to the responses listed here, \
             every route answers 400 `malformed_request`, 414 `uri_too_long` and 431 `head_too_large` to requests that are \
             not well-formed HTTP or whose head is too large, 405 `method_not_allowed` with `Allow`, and 500 `internal`.",
        ))
        .license(Some(LicenseBuilder::new().name("Apache-2.0 OR MIT").build()))
        .build();
    let bearer = |description: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build())
    };
    let components = ComponentsBuilder::new()
        .schema_from::<ProblemBody>()
        .security_scheme(
            "cookie",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                "__Host-scangate",
                "The binding of a browser, set when it creates its first ticket (`scangate` over plain http)",
            ))),
        )
        .security_scheme(
            "ticket_secret",
            bearer("The `ticket_secret` of a ticket created with `\"binding\": \"bearer\"`"),
        )
        .security_scheme(
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                "__Host-scangate-session",
                "The JWT, set by /v1/redeem on a site's own host (`scangate-session` over plain http)",
            ))),
        )
        .security_scheme(
            "login",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                "__Host-scangate-login",
                "The session of a person who is signed in to the gateway in this browser (`scangate-login` over plain http)",
            ))),
        )
        .security_scheme(
            "client_basic",
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Basic)
                    .description(Some("The id and the secret of an OpenID client; they may be in the body instead"))
                    .build(),
            ),
        )
        .security_scheme("access_token", bearer("An access token of an OpenID client"))
        .security_scheme("jwt", bearer("A JWT that this gateway issued to the client"))
        .security_scheme("identity", bearer("The person's token from their own identity provider"))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}
