//! The pages: sign-in, confirm, share, receive. They are rendered in the reader's language, so that they are right before any
//! script runs; their files and what other origins may have of them are in `pages/files`, a client's look in `pages/branding`,
//! the languages in `pages/texts`.

mod branding;
mod files;
mod headers;
mod problem_page;
mod query;
mod renderer;
#[cfg(test)]
mod tests;
mod texts;

use axum::extract::State;
use axum::http::header::{self, HeaderMap};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use url::{Url, form_urlencoded};

use super::extract::Name;
use super::fields;
use super::problem::{self, Problem};
use super::state::{Gateway, SharedGateway};
use super::view::ClientView;
use crate::clients::Client;
use crate::net::is_local;
use crate::ticket::Flow;
pub(super) use branding::{logo, theme};
use headers::{FOR_ANY_ORIGIN, NO_PERMISSIONS, language_headers};
pub(super) use problem_page::Reader;
use query::parameter;
use renderer::{PageContext, RENDERER};
use texts::Page;

/// The sign-in page, for the client that `?client_id=` names.
pub(super) async fn sign_in(
    State(gateway): State<SharedGateway>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    page_of_client(&gateway, Page::SignIn, &uri, &headers)
}

/// The page that a phone's browser opens on scanning. Opening it changes nothing.
///
/// A code that was read wrong gets the page too: it says what to do in words, where a problem would be JSON.
pub(super) async fn confirm(
    State(gateway): State<SharedGateway>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    page(&gateway, Page::Confirm, None, &uri, &headers)
}

/// The page of a signed-in person who shares, for the client that `?client_id=` names.
pub(super) async fn share(
    State(gateway): State<SharedGateway>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    page_of_client(&gateway, Page::Share, &uri, &headers)
}

/// The page for whoever scans what is shared. Opening it changes nothing, as with [`confirm`].
pub(super) async fn receive(
    State(gateway): State<SharedGateway>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    page(&gateway, Page::Receive, None, &uri, &headers)
}

/// Leads from a page's address with slashes behind it to the page; there is nothing else that no route is for.
///
/// The address is made of the path's own segments, none of them empty: it cannot lead to another host.
pub(super) async fn without_slash(method: Method, uri: Uri) -> Result<Response, Problem> {
    let path = uri.path();
    let page = path.trim_end_matches('/');
    let segments: Vec<&str> = page.split('/').skip(1).collect();
    let is_page = matches!(segments[..], [] | ["share"] | ["s" | "share", _]) && !segments.contains(&"");
    if !is_page || page.len() == path.len() || !matches!(method, Method::GET | Method::HEAD) {
        return Err(Problem::from(&problem::NOT_FOUND));
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(Redirect::permanent(&format!("/{}{query}", segments.join("/"))).into_response())
}

/// One of the pages' files.
pub(super) async fn asset(Name(path): Name, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let asset = RENDERER.assets.find(&path).ok_or_else(|| Problem::from(&problem::NOT_FOUND))?;
    Ok(asset.answer(&uri, &headers))
}

/// What a code on show says, for the script that others put into their pages.
pub(super) async fn texts(uri: Uri, headers: HeaderMap) -> Response {
    let language = RENDERER.languages.choose(parameter(&uri, "lang").as_deref(), &headers);
    let kept = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    (FOR_ANY_ORIGIN, kept, language_headers(language), language.code.clone()).into_response()
}

fn page_of_client(gateway: &Gateway, kind: Page, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    if let Some(url) = own_url(gateway, uri, headers) {
        return Ok(Redirect::temporary(url.as_str()).into_response());
    }
    // One that is not there is left to the page's script, which is told so when it asks for a code.
    let id = parameter(uri, "client_id").filter(|id| !id.is_empty());
    page(gateway, kind, gateway.clients.find(id.as_deref()).map(AsRef::as_ref), uri, headers)
}

fn page(
    gateway: &Gateway,
    page: Page,
    client: Option<&Client>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let language = RENDERER.languages.choose(parameter(uri, "lang").as_deref(), headers);
    let identity = if gateway.demo.is_some() { "demo" } else { "bearer" };
    let share_href = client.filter(|client| client.allows(Flow::Share)).map(|client| {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("client_id", &client.id.0).finish();
        format!("/share?{query}")
    });
    let posts_to = match page {
        Page::SignIn => client.and_then(|client| post_target(client, parameter(uri, "return_to")?.as_str())),
        Page::Confirm | Page::Share | Page::Receive => None,
    };
    let client = client.map(ClientView::new);
    let query = uri.query().unwrap_or_default();
    let html = RENDERER.render(page, &PageContext { language, client, share_href, identity, query })?;
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    let policy = [(header::CONTENT_SECURITY_POLICY, content_security_policy(posts_to.as_deref()))];
    Ok((kind, policy, NO_PERMISSIONS, language_headers(language), html).into_response())
}

/// Returns the origin that the page posts the JWT to, if this client's people may return there.
///
/// One origin, however many there are on the list: proxies bound the head of an answer.
fn post_target(client: &Client, return_to: &str) -> Option<String> {
    let allowed = client.return_to.iter().find(|allowed| *allowed == return_to)?;
    Some(Url::parse(allowed).ok()?.origin().ascii_serialization())
}

/// Allows everything from the gateway and nothing from anywhere else, except that the JWT may be posted to `posts_to`.
/// No script of a page makes markup or code from text (Trusted Types).
fn content_security_policy(posts_to: Option<&str>) -> String {
    let form_action = posts_to.unwrap_or("'none'");
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action {form_action}; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'"
    )
}

/// Returns the page's proper address where somebody tries the demo under another name of the same machine: the API would
/// refuse a page of that origin.
fn own_url(gateway: &Gateway, uri: &Uri, headers: &HeaderMap) -> Option<Url> {
    gateway.demo.as_ref()?;
    let host = fields::text(headers.get(header::HOST)?)?;
    let asked = Url::parse(&format!("http://{host}/")).ok()?;
    let own = &gateway.public_url;
    let is_other_name = asked.host() != own.host() && is_local(&asked) && is_local(own) && own.scheme() == "http";
    if !is_other_name || asked.port_or_known_default() != own.port_or_known_default() {
        return None;
    }
    own.join(uri.path_and_query()?.as_str()).ok()
}
