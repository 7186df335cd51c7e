//! The endpoints of the OpenID Provider: handlers only. `openid_provider` has the rules.
//!
//! | file | owns |
//! |---|---|
//! | `authorize` | the authorization endpoint: the sign-in page, or an answer without one |
//! | `done` | the address that the page opens after the confirmation: the answer with the code |
//! | `answers` | sends an answer to a client's redirect URI, by a redirect or a form |
//! | `token`, `revoke`, `introspect` | the endpoints that clients call |
//! | `userinfo` | the claims of a person, for an access token |
//! | `logout` | the end of a browser's session, begun by a client |
//! | `discovery` | the description of the provider |
//! | `paths` | the paths of the endpoints that browsers open |
//! | `form` | the forms that clients send, and the credentials beside them |
//! | `error` | the JSON errors of RFC 6749 §5.2 |

mod answers;
pub(super) mod authorize;
pub(super) mod discovery;
pub(super) mod done;
pub(super) mod error;
mod form;
pub(super) mod introspect;
pub(super) mod logout;
pub(super) mod paths;
pub(super) mod revoke;
pub(super) mod token;
pub(super) mod userinfo;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{self, Problem};
use super::state::SharedGateway;

/// Returns the endpoints that programs and scripts call. Without an OpenID client they do not exist.
pub(super) fn api(gateway: &SharedGateway) -> OpenApiRouter<SharedGateway> {
    OpenApiRouter::new()
        .routes(routes!(token::token))
        .routes(routes!(userinfo::userinfo, userinfo::userinfo_by_form))
        .routes(routes!(revoke::revoke))
        .routes(routes!(introspect::introspect))
        .routes(routes!(discovery::document))
        .route("/.well-known/oauth-authorization-server", get(discovery::document))
        .route_layer(from_fn_with_state(SharedGateway::clone(gateway), with_clients))
}

async fn with_clients(State(gateway): State<SharedGateway>, request: Request, next: Next) -> Response {
    if gateway.clients.iter().any(|client| client.openid.is_some()) {
        next.run(request).await
    } else {
        Problem::from(&problem::NOT_FOUND).into_response()
    }
}
