//! Every rule on the origin of a request: `Origin`, `Sec-Fetch-Site`, CORS and `Cross-Origin-Resource-Policy`.

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

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// States which sites may embed a response.
pub(super) const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// For resources that pages of other sites embed: codes, logos, the drop-in script and its style. All other responses are for
/// the gateway's own pages, and for pages that CORS allows to read them.
pub(super) const EMBEDDABLE: (HeaderName, &str) = (CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin");
/// The paths at which a `POST` may come from any origin. Sites serve the first two on their own hosts, not on the gateway's: the
/// handlers check `Origin` by the client's settings. Apps post forms to the other two, which change nothing: the browser is
/// redirected to the same request as a `GET`, which any page could send it to.
const OPEN_TO_ANY_ORIGIN: [&str; 4] = ["/v1/redeem", "/v1/sign-out", "/oauth2/authorize", "/oauth2/logout"];
/// The paths of the API that no page of another origin may read: clients use their secret there, which no page has.
const READABLE_BY_NO_PAGE: [&str; 1] = ["/oauth2/introspect"];
/// How long a browser may cache a preflight.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// The headers that a page of another origin may send besides those that every page may: the ones that the API reads, and
/// the ones that `EventSource` libraries, `fetch` wrappers and tracing (W3C Trace Context and Baggage) add automatically.
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

/// Lets the pages of registered origins call the API, always without cookies: they use a bearer binding.
pub(super) fn cors(gateway: &SharedGateway) -> CorsLayer {
    let gateway = Arc::clone(gateway);
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, request| {
            !READABLE_BY_NO_PAGE.contains(&request.uri.path())
                && fields::text(origin).is_some_and(|origin| gateway.clients.allow_origin(origin))
        }))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(ALLOWED_HEADERS)
        .expose_headers([header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(PREFLIGHT_MAX_AGE)
        // Methods and headers are the same for every origin, so responses depend on nothing else.
        .vary([header::ORIGIN])
}

/// Refuses state-changing requests that a page of another origin makes a browser send.
///
/// Browsers name the source of a request in `Origin` and `Sec-Fetch-Site`. A request with neither comes from a program, or from
/// an old browser that still sends `Origin` with every JSON request.
pub(super) async fn same_origin(State(gateway): State<SharedGateway>, request: Request, next: Next) -> Response {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let is_open = OPEN_TO_ANY_ORIGIN.contains(&request.uri().path());
    if !is_safe && !is_open && !may_change(request.headers(), &gateway) {
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

/// Returns whether, according to the browser, no page of another origin caused this request.
pub(super) fn is_same_origin_fetch(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_SITE) {
        Some(site) => site == "same-origin" || site == "none",
        None => true,
    }
}

/// Returns whether, according to the browser, the response becomes the document of a tab, and not a resource of another page.
pub(super) fn is_navigation(headers: &HeaderMap) -> bool {
    headers.get(SEC_FETCH_DEST).is_none_or(|dest| dest == "document")
}

/// Returns whether the request comes from a page of the gateway itself, or from no page. Only then do cookies count: a page
/// of another origin, even of a registered one, must not act with them. Browsers without `Sec-Fetch-Site` name the source of
/// a state-changing request in `Origin`.
pub(super) fn is_own_fetch(headers: &HeaderMap, gateway: &Gateway) -> bool {
    let is_own = |origin: &HeaderValue| origin.as_bytes() == gateway.origin().as_bytes();
    is_same_origin_fetch(headers) && headers.get(header::ORIGIN).is_none_or(is_own)
}

/// Lets a page of another origin create and scan tickets only for clients that list the origin.
///
/// # Errors
/// [`problem::ORIGIN_NOT_ALLOWED`].
pub(super) fn check_origin(headers: &HeaderMap, gateway: &Gateway, client: &Client) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let is_allowed = fields::text(origin)
        .is_some_and(|origin| origin == gateway.origin() || client.origins.iter().any(|allowed| allowed == origin));
    if is_allowed { Ok(()) } else { Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED)) }
}

/// Returns whether the origin is the gateway's own, or the origin of one of the client's sites.
pub(super) fn is_known(gateway: &Gateway, client: &Client, origin: &HeaderValue) -> bool {
    fields::text(origin).is_some_and(|origin| origin == gateway.origin() || client.has_origin(origin))
}

/// Returns whether the sender is a page of the site itself or of the gateway, or not a page at all.
pub(super) fn is_own_page(gateway: &Gateway, client: &Client, headers: &HeaderMap) -> bool {
    match headers.get(header::ORIGIN) {
        // Forms of pages without referrer send "null". `Sec-Fetch-Site` shows whether such a page is on this host.
        Some(origin) if origin == "null" => headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin"),
        Some(origin) => is_known(gateway, client, origin),
        None => is_same_origin_fetch(headers),
    }
}
