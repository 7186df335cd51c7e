//! Every rule on where a request comes from: `Origin`, `Sec-Fetch-Site`, CORS.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::fields;
use super::problem::{self, Problem};
use super::state::{Gateway, SharedGateway};
use crate::clients::Client;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// For what pages of other sites embed: codes, logos, the drop-in script and its style. Everything else is for the gateway's
/// own pages, and for those that CORS lets read it.
pub(super) const EMBEDDABLE: (HeaderName, &str) = (CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin");

/// The paths whose handlers look at `Origin` themselves: they are called on the sites' own hosts, which are not the gateway's.
const SITES_PATHS: [&str; 2] = ["/v1/redeem", "/v1/sign-out"];

/// How long a browser may remember what a preflight said.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// What a page of another origin may send beside what every page may: what the API reads, and what `EventSource` in script,
/// `fetch` wrappers and tracing (W3C Trace Context and Baggage) add by themselves.
const ALLOWED_HEADERS: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("last-event-id"),
    header::ACCEPT,
    header::CACHE_CONTROL,
    header::PRAGMA,
    HeaderName::from_static("x-requested-with"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

/// Lets the pages of registered origins call the API. Never with cookies: they use a bearer binding.
pub(super) fn cors(gateway: &SharedGateway) -> CorsLayer {
    let gateway = Arc::clone(gateway);
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _request| {
            fields::text(origin).is_some_and(|origin| gateway.clients.allow_origin(origin))
        }))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(ALLOWED_HEADERS)
        .expose_headers([header::RETRY_AFTER])
        .max_age(PREFLIGHT_MAX_AGE)
}

/// Refuses state-changing requests that a page of another origin makes a browser send.
///
/// Browsers tell where a request comes from in `Origin` and `Sec-Fetch-Site`; what sends neither is no browser, or one so
/// old that it sends `Origin` wherever a page can make it send JSON.
pub(super) async fn same_origin(State(gateway): State<SharedGateway>, request: Request, next: Next) -> Response {
    let method = request.method();
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let checks_itself = SITES_PATHS.contains(&request.uri().path());
    if !is_safe && !checks_itself && !may_change(request.headers(), &gateway) {
        return Problem::from(&problem::ORIGIN_NOT_ALLOWED).into_response();
    }
    next.run(request).await
}

fn may_change(headers: &HeaderMap, gateway: &Gateway) -> bool {
    match headers.get(header::ORIGIN) {
        Some(origin) if origin.as_bytes() == gateway.origin().as_bytes() => is_same_origin_fetch(headers),
        Some(origin) => fields::text(origin).is_some_and(|origin| gateway.clients.allow_origin(origin)),
        None => is_same_origin_fetch(headers),
    }
}

/// Returns whether no page of another origin is behind this request, as far as the browser says.
pub(super) fn is_same_origin_fetch(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_SITE) {
        Some(site) => site == "same-origin" || site == "none",
        None => true,
    }
}

/// A page of another origin may make and scan tickets for the clients that list it, and no other.
pub(super) fn check_origin(headers: &HeaderMap, gateway: &Gateway, client: &Client) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let is_allowed = fields::text(origin)
        .is_some_and(|origin| origin == gateway.origin() || client.origins.iter().any(|allowed| allowed == origin));
    if is_allowed { Ok(()) } else { Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED)) }
}

/// Returns whether the origin is the gateway's own or one of the client's.
pub(super) fn is_known(gateway: &Gateway, client: &Client, origin: &HeaderValue) -> bool {
    fields::text(origin).is_some_and(|origin| origin == gateway.origin() || client.has_origin(origin))
}

/// Returns whether a page of the site itself, or of the gateway, sent this; or what is no page at all.
pub(super) fn is_own_page(gateway: &Gateway, client: &Client, headers: &HeaderMap) -> bool {
    match headers.get(header::ORIGIN) {
        // So say the forms of pages that send no referrer. Whether they are of this very host, the browser says beside it.
        Some(origin) if origin == "null" => headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin"),
        Some(origin) => is_known(gateway, client, origin),
        None => is_same_origin_fetch(headers),
    }
}
