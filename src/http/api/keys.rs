//! The public keys that verify the gateway's JWTs.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::http::state::SharedGateway;

/// Caches may keep the keys for five minutes. A verifier that finds an unknown `kid` should fetch them earlier.
const CACHE: &str = "public, max-age=300";

/// The public keys of the issued JWTs (RFC 7517)
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "keys",
    responses((status = 200, content_type = "application/json", body = Object, description = "A JWK Set"))
)]
pub(in crate::http) async fn jwks(State(gateway): State<SharedGateway>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, CACHE),
        // The keys are public: any page may verify a JWT.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, gateway.signer.jwks().to_string()).into_response()
}
