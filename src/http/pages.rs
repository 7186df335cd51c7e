//! The handlers of the pages: sign-in, confirm, share and receive. Pages are rendered in the person's language, so they are
//! complete before any script runs.
//!
//! `pages/renderer` turns templates and texts into a page, `pages/texts` chooses the language, `pages/people` finds the person
//! who reads it, `pages/files` serves scripts and style sheets, `pages/branding` a client's logo and colours.
//! `pages/problem_page` renders errors for people.

mod branding;
mod files;
mod form_post;
mod headers;
mod people;
mod problem_page;
mod query;
mod renderer;
mod sign_out;
#[cfg(test)]
mod tests;
mod texts;

use axum::extract::State;
use axum::http::header::{self, HeaderMap};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use url::{Url, form_urlencoded};

use super::extract::NamePath;
use super::fields;
use super::oauth2::paths::CANCEL_PATH;
use super::problem::{self, Problem};
use super::state::{Gateway, SharedGateway};
use super::view::client::ClientView;
use crate::clients::Client;
use crate::openid_provider::request::AuthorizationRequest;
use crate::ticket::Flow;
use crate::urls::is_local;
pub(super) use branding::{logo, theme};
pub(super) use form_post::form_post;
pub(super) use headers::KEEP_OPENER;
use headers::{FOR_ANY_ORIGIN, NO_PERMISSIONS, language_headers};
use people::{People, Site};
pub(super) use problem_page::ProblemContext;
use query::{parameter, wanted_languages};
use renderer::{PageContext, RENDERER};
pub(super) use sign_out::{SignOutView, sign_out};
use texts::{Language, Page};

/// The pages' Content-Security-Policy: it allows only resources of the gateway's own origin, and no forms. Trusted Types keep scripts
/// from turning text into markup or code.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";

/// Serves the sign-in page, for the client in `?client_id=`. It is the same for everyone: a code is shown to a browser, not to a
/// person.
pub(super) async fn sign_in(
    State(gateway): State<SharedGateway>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // Earlier, the page posted the JWT to such an address. The person would never return to an app that still asks for
    // this.
    if parameter(&uri, "return_to").is_some() {
        return Err(Problem::from(&problem::SIGN_IN_ADDRESS));
    }
    page_of_client(&gateway, Page::SignIn, &People::unknown(&gateway), &uri, &headers)
}

/// Serves the sign-in page for an authorization request. Its script creates a ticket for the request's own query, and goes on to
/// the answer.
///
/// Unlike all other pages, it keeps the window that has opened it. A page may sign people in with a popup, and any
/// other opener policy, even of a redirect, would disconnect the popup (HTML, cross-origin opener policies).
pub(super) fn authorization(
    gateway: &Gateway,
    request: &AuthorizationRequest,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if let Some(url) = own_url(gateway, uri, headers) {
        return Ok((KEEP_OPENER, Redirect::to(url.as_str())).into_response());
    }
    let language = language_of_request(uri, headers);
    let client = Some(&*request.client);
    let cancel_href = format!("{CANCEL_PATH}?{}", uri.query().unwrap_or_default());
    let people = People::unknown(gateway);
    let page = page_in(gateway, Page::SignIn, client, &people, uri, language, Some(cancel_href))?;
    Ok((KEEP_OPENER, page).into_response())
}

/// Returns the language of a page for a request of an OpenID client: the one that the person chose, else the client's wishes, else
/// the browser's.
fn language_of_request(uri: &Uri, headers: &HeaderMap) -> &'static Language {
    RENDERER.languages.first_of(wanted_languages(uri), headers)
}

/// Serves the page that a phone's browser opens after it has scanned a code. Opening it changes nothing.
///
/// A malformed id gets the page too, which explains what to do.
pub(super) async fn confirm(
    State(gateway): State<SharedGateway>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let people = People::of_page(&headers, &gateway).await?;
    page(&gateway, Page::Confirm, None, &people, &uri, &headers)
}

/// Serves the presenter's page for sharing a sign-in, for the client in `?client_id=`.
pub(super) async fn share(
    State(gateway): State<SharedGateway>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let people = People::of_page(&headers, &gateway).await?;
    page_of_client(&gateway, Page::Share, &people, &uri, &headers)
}

/// Serves the page for the scanner of a shared sign-in. Opening it changes nothing, as with [`confirm`].
pub(super) async fn receive(
    State(gateway): State<SharedGateway>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let people = People::of_page(&headers, &gateway).await?;
    page(&gateway, Page::Receive, None, &people, &uri, &headers)
}

/// Redirects a page's address with trailing slashes to the page, and responds with `not_found` to every other unknown path.
///
/// The target consists of the path's own segments, none of them empty, so it cannot redirect to another host.
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

/// Serves a file of `static/`.
pub(super) async fn asset(NamePath(path): NamePath, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let asset = RENDERER.assets.find(&path).ok_or_else(|| Problem::from(&problem::NOT_FOUND))?;
    Ok(asset.response(&uri, &headers))
}

/// Serves the texts of the widget, for the drop-in script on pages of other sites.
pub(super) async fn texts(uri: Uri, headers: HeaderMap) -> Response {
    let language = RENDERER.languages.choose(parameter(&uri, "lang").as_deref(), &headers);
    let cached = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    (FOR_ANY_ORIGIN, cached, language_headers(language), language.code_json.clone()).into_response()
}

/// Returns the language of pages in this browser, unless their address names another one.
pub(super) fn language_of_browser(headers: &HeaderMap) -> &'static str {
    &RENDERER.languages.choose(None, headers).tag
}

fn page_of_client(
    gateway: &Gateway,
    kind: Page,
    people: &People,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if let Some(url) = own_url(gateway, uri, headers) {
        return Ok(Redirect::temporary(url.as_str()).into_response());
    }
    // An unknown client gets the page too: the page's script gets the error when it creates a ticket.
    let id = parameter(uri, "client_id").filter(|id| !id.is_empty());
    page(gateway, kind, gateway.clients.find(id.as_deref()).map(AsRef::as_ref), people, uri, headers)
}

fn page(
    gateway: &Gateway,
    page: Page,
    client: Option<&Client>,
    people: &People,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let language = RENDERER.languages.choose(parameter(uri, "lang").as_deref(), headers);
    page_in(gateway, page, client, people, uri, language, None)
}

fn page_in(
    gateway: &Gateway,
    page: Page,
    client: Option<&Client>,
    people: &People,
    uri: &Uri,
    language: &Language,
    cancel_href: Option<String>,
) -> Result<Response, Problem> {
    let site = Site::of(gateway, client);
    let may_share = |client: &&Client| client.allows(Flow::Share) && cancel_href.is_none();
    let share_href = client.filter(may_share).map(|client| {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("client_id", &client.id.0).finish();
        format!("/share?{query}")
    });
    let client = client.map(ClientView::new);
    let query = uri.query().unwrap_or_default();
    let html =
        RENDERER.render(page, &PageContext { language, client, share_href, site, people, query, cancel_href })?;
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    let policy = [(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY)];
    Ok((kind, policy, NO_PERMISSIONS, language_headers(language), html).into_response())
}

/// Returns the page's URL under the public URL if the demo was opened under another name of the same machine. The API would
/// refuse requests from that other origin.
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
