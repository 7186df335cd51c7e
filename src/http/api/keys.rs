//! The public keys that the gateway's JWTs are checked with.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::http::state::SharedGateway;

/// How long the keys may be cached. A verifier that meets an unknown `kid` should fetch them again before that.
const CACHE: &str = "public, max-age=300";

/// The keys that issued JWTs are signed with (RFC 7517)
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
        // They are public: any page may check a JWT.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, gateway.signer.jwks().to_string()).into_response()
}
