//! The API's description of itself: OpenAPI 3.1, made from the handlers' own annotations.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

/// Answers with the document, which never changes while the process runs.
pub(super) fn document(json: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, json.to_string()).into_response()
}

/// What stands in the document beside the routes.
pub(super) fn description() -> OpenApi {
    let info = InfoBuilder::new()
        .title("scangate")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Sign in by QR code. A browser makes a ticket and waits on its event stream; a signed-in phone scans the \
             ticket's code and confirms; the browser gets a JWT. Errors are application/problem+json (RFC 9457) with a \
             stable `code`.",
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
