//! What every request passes through: it is given an id and a client address, its origin is checked, its answer gets the
//! headers that every answer has, and is counted.

use std::panic::AssertUnwindSafe;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::Method;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::error::{self, Problem, Refused};
use super::extract::{ClientAddress, Peer};
use super::{Gateway, SharedGateway, fields, session, sse};
use crate::ticket::TicketId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// For what pages of other sites embed: codes, logos, the drop-in script and its style. Everything else is for the gateway's
/// own pages, and for those that CORS lets read it.
pub(super) const EMBEDDABLE: (HeaderName, &str) = (CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin");
/// The longest request id that is taken over from a proxy, in characters.
const MAX_REQUEST_ID_CHARS: usize = 64;

/// Gives the request its id and client address, and the answer its headers; logs and counts it.
pub(super) async fn introduce(
    State(gateway): State<SharedGateway>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = ClientAddress::find(peer, request.headers(), &gateway.trusted_proxies);
    let is_proxied = match peer {
        Peer::Unix => true,
        Peer::Tcp(socket) => {
            gateway.trusted_proxies.iter().any(|network| network.contains(&socket.ip().to_canonical()))
        }
    };
    let request_id = request_id(request.headers(), is_proxied);
    request.extensions_mut().insert(address);
    // The path alone: a query string may hold what is nobody's business.
    let span = tracing::info_span!(
        "request",
        id = %request_id,
        method = %request.method(),
        path = %request.uri().path(),
        address = %address.0,
    );
    async {
        let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let response = response.unwrap_or_else(|panic| error::from_panic(&*panic));
        tracing::debug!(status = response.status().as_u16(), "answered");
        finish(&gateway, response, &request_id)
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
        // As unguessable and as unique as a ticket's.
        _ => TicketId::random().to_string(),
    }
}

fn finish(gateway: &Gateway, mut response: Response, request_id: &str) -> Response {
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        gateway.metrics.refused(refused.reason);
        if gateway.journal.takes("refused", Some(refused.reason)) {
            refused.log();
        }
        let mut answer = refused.answer(Some(request_id));
        // Keeps what layers in between have added, such as Allow and CORS headers.
        for (name, value) in response.headers() {
            if !answer.headers().contains_key(name) && name != header::CONTENT_LENGTH {
                answer.headers_mut().append(name, value.clone());
            }
        }
        response = answer;
    }
    gateway.metrics.request(response.status().as_u16());
    let headers = response.headers_mut();
    if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        // The layer says it to everybody; without leave to read the answer it means nothing.
        headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
    }
    if gateway.streams.is_draining() {
        // So that what comes next comes to another replica.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    // What tells a browser how to treat a document says nothing about a stream of events, and the edge keeps the head of
    // each stream for as long as it lasts.
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

/// Refuses state-changing requests that a page of another origin makes a browser send, and `HEAD` where `GET` hands
/// something over.
///
/// Browsers tell where a request comes from in `Origin` and `Sec-Fetch-Site`; what sends neither is no browser, or one so
/// old that it sends `Origin` wherever a page can make it send JSON.
pub(super) async fn same_origin(State(gateway): State<SharedGateway>, request: Request, next: Next) -> Response {
    use axum::response::IntoResponse as _;

    let method = request.method();
    if method == Method::HEAD && request.uri().path().starts_with("/v1/tickets/") {
        let allowed = [(header::ALLOW, "GET, POST, DELETE")];
        return (allowed, Problem::from(&error::METHOD_NOT_ALLOWED)).into_response();
    }
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let checks_itself = session::SITES_PATHS.contains(&request.uri().path());
    if !is_safe && !checks_itself && !may_change(request.headers(), &gateway) {
        return Problem::from(&error::ORIGIN_NOT_ALLOWED).into_response();
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

/// Answers what no route is for.
pub(super) async fn not_found() -> Problem {
    Problem::from(&error::NOT_FOUND)
}

/// Answers a route's wrong method.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::from(&error::METHOD_NOT_ALLOWED)
}
