//! The description of the provider (OpenID Connect Discovery §4, RFC 8414 §3): one document at both addresses.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::http::state::SharedGateway;

/// Caches may keep the document as long as the keys that it names.
const CACHE: &str = "public, max-age=300";

/// The description of the OpenID Provider (OpenID Connect Discovery)
#[utoipa::path(
    get,
    path = "/.well-known/openid-configuration",
    tag = "openid",
    responses((status = 200, content_type = "application/json", body = Object, description = "The provider's metadata"))
)]
pub(in crate::http) async fn document(State(gateway): State<SharedGateway>) -> impl IntoResponse {
    let providers = gateway.relying_party.providers();
    let document =
        gateway.openid_provider.document(providers.iter().flat_map(|provider| &provider.settings.acr_values));
    // The document is public: an app without a server reads it in the browser.
    let headers = [(header::CACHE_CONTROL, CACHE), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    (headers, Json(document))
}
