//! The outermost layer. It adds a request id and the browser's address to the request, and the common headers to the response.
//! It counts each response, and logs each refusal.

use std::panic::AssertUnwindSafe;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt as _;
use parked_streams::Peer;
use percent_encoding::{AsciiSet, utf8_percent_encode};
use tracing::Instrument as _;

use super::address::{BrowserAddress, is_trusted_peer};
use super::origin::CROSS_ORIGIN_RESOURCE_POLICY;
use super::pages::ProblemContext;
use super::problem::{self, Problem, ProblemBody};
use super::state::{Gateway, SharedGateway};
use super::{fields, sse};
use crate::random::RandomId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is accepted from a proxy, in characters.
const MAX_REQUEST_ID_CHARS: usize = 64;

/// Adds the request id and the browser's address to the request, and the common headers to the response. Logs and counts it.
pub(super) async fn request_context(
    State(gateway): State<SharedGateway>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = BrowserAddress::find(peer, request.headers(), &gateway.trusted_proxies);
    let is_proxied = is_trusted_peer(peer, &gateway.trusted_proxies);
    let request_id = request_id(request.headers(), is_proxied);
    request.extensions_mut().insert(address);
    let context = ProblemContext::of(&request);
    // The span has only the path, because a query string may contain secrets. Characters that are not ASCII are encoded: they
    // could break a line or reverse the text in a terminal.
    let span = tracing::info_span!(
        "request",
        id = %request_id,
        method = %request.method(),
        path = %utf8_percent_encode(request.uri().path(), &AsciiSet::EMPTY),
        address = %address.0,
    );
    async {
        let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let response = response.unwrap_or_else(|panic| problem::from_panic(&*panic));
        tracing::debug!(status = response.status().as_u16(), "answered");
        finish(&gateway, response, &request_id, &context)
    }
    .instrument(span)
    .await
}

fn request_id(headers: &HeaderMap, is_proxied: bool) -> String {
    let is_plain = |text: &&str| {
        (1..=MAX_REQUEST_ID_CHARS).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let given = headers.get(REQUEST_ID).and_then(fields::text).filter(is_plain);
    match given {
        Some(given) if is_proxied => given.to_owned(),
        _ => RandomId::new().to_string(),
    }
}

fn finish(gateway: &Gateway, mut response: Response, request_id: &str, context: &ProblemContext) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        gateway.metrics.refused(problem.reason());
        if gateway.log_limiter.should_log("refused", Some(problem.reason())) {
            problem.log();
        }
        let page = |body: &ProblemBody, retry_href: Option<&str>| problem_page(context, body, retry_href);
        let mut complete = problem.to_response(Some(request_id), page);
        // Keeps the headers that inner layers added, such as Allow and those of CORS.
        let own: Vec<HeaderName> = complete.headers().keys().cloned().collect();
        for (name, value) in response.headers() {
            // Vary may have several values, but the new response already has `accept`.
            let is_addition = if name == header::VARY { value != "accept" } else { !own.contains(name) };
            if is_addition && name != header::CONTENT_LENGTH {
                complete.headers_mut().append(name, value.clone());
            }
        }
        response = complete;
    }
    gateway.metrics.request(response.status().as_u16());
    let headers = response.headers_mut();
    if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        // The CORS layer adds this to every response. It has no effect if the page may not read the response.
        headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
    }
    if gateway.waiters.is_draining() {
        // Makes the next request open a new connection, which reaches another replica.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    // Document headers have no effect on an event stream, and the proxy keeps each stream's head in memory.
    let is_document = headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != sse::CONTENT_TYPE);
    let for_all = [(header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::CACHE_CONTROL, "no-store")];
    let for_documents = [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ];
    let defaults = for_all.into_iter().chain(for_documents.into_iter().filter(|_| is_document));
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Returns the problem as a page if the request was a form or its sender prefers pages.
fn problem_page(context: &ProblemContext, body: &ProblemBody, retry_href: Option<&str>) -> Option<Response> {
    if retry_href.is_none() && !context.prefers_page() {
        return None;
    }
    let page = context.render(body, retry_href);
    page.inspect_err(|error| tracing::error!(%error, "failed to render a problem as a page")).ok()
}
