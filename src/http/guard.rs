//! What every request passes through: it is given an id and a client address, its origin is checked, its answer gets the
//! headers that every answer has, and is counted.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use percent_encoding::{AsciiSet, utf8_percent_encode};
use tracing::Instrument as _;
use utoipa::openapi::OpenApi;

use super::error::{self, Problem, Refused};
use super::extract::{ClientAddress, Peer};
use super::pages::Reader;
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
/// Routes on which `HEAD` is refused: to read them with `GET` is what hands the JWT over, and `HEAD` would lose it.
const READINGS: [&str; 2] = ["/v1/tickets/{id}", "/v1/tickets/{id}/events"];

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
    let reader = Reader::of(&request);
    // The path alone: a query string may hold what is nobody's business. What is not ASCII may hold what breaks a line or
    // turns a terminal's text around.
    let span = tracing::info_span!(
        "request",
        id = %request_id,
        method = %request.method(),
        path = %utf8_percent_encode(request.uri().path(), &AsciiSet::EMPTY),
        address = %address.0,
    );
    async {
        let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let response = response.unwrap_or_else(|panic| error::from_panic(&*panic));
        tracing::debug!(status = response.status().as_u16(), "answered");
        finish(&gateway, response, &request_id, &reader)
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

fn finish(gateway: &Gateway, mut response: Response, request_id: &str, reader: &Reader) -> Response {
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        gateway.metrics.refused(refused.reason);
        if gateway.journal.takes("refused", Some(refused.reason)) {
            refused.log();
        }
        let mut answer = refused.answer(Some(request_id), Some(reader));
        // Keeps what layers in between have added, such as Allow and CORS headers.
        let own: Vec<HeaderName> = answer.headers().keys().cloned().collect();
        for (name, value) in response.headers() {
            // What the answer hangs on adds up; but that it hangs on `Accept` it says itself.
            let is_addition = if name == header::VARY { value != "accept" } else { !own.contains(name) };
            if is_addition && name != header::CONTENT_LENGTH {
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

/// The methods of every route that is not in the API's description, unless [`Methods`] has it.
const PAGE_METHODS: &str = "GET,HEAD";

/// The methods of routes, by the route's path.
pub(super) type Methods = BTreeMap<String, String>;

/// Returns the methods of every route in the API's description.
pub(super) fn methods(description: &OpenApi) -> Methods {
    let all = description.paths.paths.iter().map(|(path, item)| {
        let of_get = if READINGS.contains(&path.as_str()) { "GET" } else { "GET,HEAD" };
        let operations = [
            (item.get.is_some(), of_get),
            (item.post.is_some(), "POST"),
            (item.put.is_some(), "PUT"),
            (item.patch.is_some(), "PATCH"),
            (item.delete.is_some(), "DELETE"),
        ];
        let there: Vec<&str> = operations.into_iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name).collect();
        (path.clone(), there.join(","))
    });
    all.collect()
}

/// Says which methods a route has where one is refused (RFC 9110 §15.5.6), and where `OPTIONS` asks for them (§9.3.7).
///
/// The routes that are not in `described` are pages, and read alone. The router would name a route's methods too, but only
/// when every layer has passed.
pub(super) async fn allow(State(described): State<Arc<Methods>>, request: Request, next: Next) -> Response {
    let is_asked = *request.method() == Method::OPTIONS;
    let path = matched(&request);
    let mut response = next.run(request).await;
    let is_refused = response.status() == StatusCode::METHOD_NOT_ALLOWED;
    let Some(path) = path.filter(|_| is_asked || is_refused) else { return response };
    let methods = described.get(path.as_str()).map_or(PAGE_METHODS, String::as_str);
    let allow = methods.split(',').chain(["OPTIONS"]).map(str::trim).collect::<Vec<_>>().join(", ");
    if is_asked && is_refused {
        response = StatusCode::NO_CONTENT.into_response();
    }
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Returns the route that a request is for, as it stands in the router; none where there is no such route.
fn matched(request: &Request) -> Option<MatchedPath> {
    request.extensions().get().cloned()
}

/// Refuses state-changing requests that a page of another origin makes a browser send, and `HEAD` where `GET` hands
/// something over.
///
/// Browsers tell where a request comes from in `Origin` and `Sec-Fetch-Site`; what sends neither is no browser, or one so
/// old that it sends `Origin` wherever a page can make it send JSON.
pub(super) async fn same_origin(State(gateway): State<SharedGateway>, request: Request, next: Next) -> Response {
    let method = request.method();
    if method == Method::HEAD && matched(&request).is_some_and(|path| READINGS.contains(&path.as_str())) {
        return Problem::from(&error::METHOD_NOT_ALLOWED).into_response();
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
