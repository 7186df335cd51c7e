//! The pages: sign-in, confirm, share, receive, and their files, all of them part of the binary.

use std::sync::LazyLock;

use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::Gateway;
use super::error::{self, Problem};
use super::extract::{Name, State};
use crate::config::is_local;

/// A file that browsers keep and ask about again.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    body: &'static str,
    etag: LazyLock<String>,
}

macro_rules! asset {
    ($name:literal, $content_type:literal) => {
        Asset {
            name: $name,
            content_type: $content_type,
            body: include_str!(concat!("../../static/", $name)),
            etag: LazyLock::new(|| etag(include_str!(concat!("../../static/", $name)))),
        }
    };
}

static ASSETS: [Asset; 12] = [
    asset!("page.js", "text/javascript; charset=utf-8"),
    asset!("person.js", "text/javascript; charset=utf-8"),
    asset!("number.js", "text/javascript; charset=utf-8"),
    asset!("outcome.js", "text/javascript; charset=utf-8"),
    asset!("watch.js", "text/javascript; charset=utf-8"),
    asset!("code.js", "text/javascript; charset=utf-8"),
    asset!("sign-in.js", "text/javascript; charset=utf-8"),
    asset!("confirm.js", "text/javascript; charset=utf-8"),
    asset!("share.js", "text/javascript; charset=utf-8"),
    asset!("receive.js", "text/javascript; charset=utf-8"),
    asset!("style.css", "text/css; charset=utf-8"),
    asset!("favicon.svg", "image/svg+xml"),
];

const SIGN_IN: &str = include_str!("../../static/sign-in.html");
const CONFIRM: &str = include_str!("../../static/confirm.html");
const SHARE: &str = include_str!("../../static/share.html");
const RECEIVE: &str = include_str!("../../static/receive.html");
/// Where a page is told how people prove who they are.
const IDENTITY_SLOT: &str = "{{identity}}";

/// The sign-in page, for the client that `?client_id=` names.
pub(super) async fn sign_in(axum::extract::State(gateway): State, uri: Uri, headers: HeaderMap) -> Response {
    if let Some(url) = own_url(&gateway, &uri, &headers) {
        return Redirect::temporary(url.as_str()).into_response();
    }
    page(&gateway, SIGN_IN)
}

/// The page that a phone's browser opens on scanning. Opening it changes nothing.
///
/// A code that was read wrong gets the page too: it says what to do in words, where a problem would be JSON.
pub(super) async fn confirm(axum::extract::State(gateway): State) -> Response {
    page(&gateway, CONFIRM)
}

/// The page of a signed-in person who shares, for the client that `?client_id=` names.
pub(super) async fn share(axum::extract::State(gateway): State, uri: Uri, headers: HeaderMap) -> Response {
    if let Some(url) = own_url(&gateway, &uri, &headers) {
        return Redirect::temporary(url.as_str()).into_response();
    }
    page(&gateway, SHARE)
}

/// The page for whoever scans what is shared. Opening it changes nothing, as with [`confirm`].
pub(super) async fn receive(axum::extract::State(gateway): State) -> Response {
    page(&gateway, RECEIVE)
}

/// One of the pages' files.
pub(super) async fn asset(Name(name): Name, headers: HeaderMap) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.name == name).ok_or_else(|| Problem::from(&error::NOT_FOUND))?;
    let kept = [(header::CACHE_CONTROL, "no-cache"), (header::ETAG, asset.etag.as_str())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|etag| etag.as_bytes() == asset.etag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    Ok((kept, [(header::CONTENT_TYPE, asset.content_type)], asset.body).into_response())
}

/// A client's logo.
pub(super) async fn logo(axum::extract::State(gateway): State, Name(id): Name) -> Result<Response, Problem> {
    let client = gateway.clients.find(Some(&id));
    let logo = client.and_then(|client| client.logo.as_ref()).ok_or_else(|| Problem::from(&error::NOT_FOUND))?;
    let headers = [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "public, max-age=300")];
    Ok((headers, logo.png.clone()).into_response())
}

fn page(gateway: &Gateway, html: &str) -> Response {
    let identity = if gateway.demo.is_some() { "demo" } else { "bearer" };
    let html = html.replace(IDENTITY_SLOT, identity);
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&content_security_policy(gateway)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Everything from here and nothing from anywhere else, but that the JWT may be posted to where clients return to.
fn content_security_policy(gateway: &Gateway) -> String {
    let mut targets: Vec<String> = gateway
        .clients
        .iter()
        .flat_map(|client| &client.return_to)
        .filter_map(|url| Some(Url::parse(url).ok()?.origin().ascii_serialization()))
        .collect();
    targets.sort_unstable();
    targets.dedup();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
        targets.join(" ")
    )
}

/// Returns the page's proper address where somebody tries the demo under another name of the same machine: the API would
/// refuse a page of that origin.
fn own_url(gateway: &Gateway, uri: &Uri, headers: &HeaderMap) -> Option<Url> {
    gateway.demo.as_ref()?;
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let asked = Url::parse(&format!("http://{host}/")).ok()?;
    let own = &gateway.public_url;
    let is_other_name = asked.host() != own.host() && is_local(&asked) && is_local(own) && own.scheme() == "http";
    if !is_other_name || asked.port_or_known_default() != own.port_or_known_default() {
        return None;
    }
    own.join(uri.path_and_query()?.as_str()).ok()
}

fn etag(body: &str) -> String {
    use base64::Engine as _;

    let hash = Sha256::digest(body);
    format!("\"{}\"", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&hash[..12]))
}
