//! The pages: sign-in, confirm, share, receive. They are rendered in the reader's language, so that they are right before any
//! script runs; their files and what other origins may have of them are in `pages/files`, a client's look in `pages/look`,
//! the languages in `pages/texts`.

mod files;
mod look;
mod problem;
#[cfg(test)]
mod tests;
mod texts;

use std::sync::LazyLock;

use axum::extract::State as FromState;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, HtmlEscape, UndefinedBehavior, context};
use url::{Url, form_urlencoded};

use super::error::{self, Problem};
use super::extract::{Name, State};
use super::guard::EMBEDDABLE;
use super::view::ClientView;
use super::{Gateway, fields};
use crate::clients::Client;
use crate::net::is_local;
use crate::ticket::Flow;
use files::Assets;
pub(super) use look::{logo, theme};
pub(super) use problem::Reader;
use texts::{Language, Languages};

/// For what holds nothing secret and is used by pages of other origins.
const FOR_ANY_ORIGIN: [(HeaderName, &str); 2] = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"), EMBEDDABLE];

/// Denies what browsers offer to pages and these do not use: a script that got in could not use it either.
const NO_PERMISSIONS: [(HeaderName, &str); 1] = [(
    HeaderName::from_static("permissions-policy"),
    "accelerometer=(), autoplay=(), camera=(), display-capture=(), encrypted-media=(), fullscreen=(), geolocation=(), \
     gyroscope=(), hid=(), idle-detection=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), payment=(), \
     picture-in-picture=(), publickey-credentials-create=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), \
     storage-access=(), usb=(), xr-spatial-tracking=()",
)];

static PAGES: LazyLock<Pages> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "all that it is made of is part of the binary, and the tests read it")]
    Pages::new(files::texts()).expect("the pages' own texts and templates")
});

/// What may be wrong with what the pages are made of.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("static/texts/{tag}.json: {cause}")]
    Texts { tag: String, cause: serde_json::Error },
    #[error("there is no static/texts/en.json")]
    NoDefaultLanguage,
    #[error("{0}")]
    Template(#[from] minijinja::Error),
}

/// The pages' names, which are also those of their templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    SignIn,
    Confirm,
    Share,
    Receive,
}

impl Page {
    fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Confirm => "confirm",
            Self::Share => "share",
            Self::Receive => "receive",
        }
    }
}

/// Everything that pages are made of.
struct Pages {
    assets: Assets,
    languages: Languages,
    templates: Environment<'static>,
}

/// What of a page differs from one request to the next.
struct Request<'a> {
    language: &'a Language,
    /// Whose page it is, where that is known.
    client: Option<ClientView>,
    /// Where its people can share a sign-in, if it has that.
    share_href: Option<String>,
    /// How people prove who they are.
    identity: &'static str,
    query: &'a str,
}

impl Pages {
    fn new<'a>(tables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Fault> {
        let assets = Assets::new();
        let urls = assets.urls();
        let mut templates = Environment::new();
        templates.set_syntax(
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?,
        );
        // A slip of the pen is an error instead of nothing.
        templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        templates.add_filter("fill", fill);
        templates.add_filter("fill_isolated", fill_isolated);
        templates.add_function("asset", move |path: &str| {
            let no_file = || minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, format!("no static/{path}"));
            urls.get(path).cloned().map(Value::from_safe_string).ok_or_else(no_file)
        });
        for (path, source) in files::templates() {
            templates.add_template(path, source)?;
        }
        Ok(Self { assets, languages: Languages::read(tables)?, templates })
    }

    fn render(&self, page: Page, request: &Request<'_>) -> Result<String, minijinja::Error> {
        let Request { language, client, share_href, identity, query } = request;
        let texts = language.texts(page);
        let logo = client.as_ref().and_then(|client| client.logo.clone());
        let others = self.languages.others(language);
        let languages: Vec<Value> = others
            .map(|other| context! { code => &other.tag, name => &other.name, href => in_language(query, &other.tag) })
            .collect();
        self.templates.get_template(&format!("{}.html", page.name()))?.render(context! {
            page => page.name(),
            lang => &language.tag,
            text => texts.text.clone(),
            data => texts.data.clone(),
            client => client.clone().map(|client| Value::from(Serde(client))),
            logo,
            share_href,
            identity => *identity,
            languages,
        })
    }
}

/// The sign-in page, for the client that `?client_id=` names.
pub(super) async fn sign_in(FromState(gateway): State, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    page_of_client(&gateway, Page::SignIn, &uri, &headers)
}

/// The page that a phone's browser opens on scanning. Opening it changes nothing.
///
/// A code that was read wrong gets the page too: it says what to do in words, where a problem would be JSON.
pub(super) async fn confirm(FromState(gateway): State, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    page(&gateway, Page::Confirm, None, &uri, &headers)
}

/// The page of a signed-in person who shares, for the client that `?client_id=` names.
pub(super) async fn share(FromState(gateway): State, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    page_of_client(&gateway, Page::Share, &uri, &headers)
}

/// The page for whoever scans what is shared. Opening it changes nothing, as with [`confirm`].
pub(super) async fn receive(FromState(gateway): State, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
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
        return Err(Problem::from(&error::NOT_FOUND));
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(Redirect::permanent(&format!("/{}{query}", segments.join("/"))).into_response())
}

/// One of the pages' files.
pub(super) async fn asset(Name(path): Name, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let asset = PAGES.assets.find(&path).ok_or_else(|| Problem::from(&error::NOT_FOUND))?;
    Ok(asset.answer(&uri, &headers))
}

/// What a code on show says, for the script that others put into their pages.
pub(super) async fn texts(uri: Uri, headers: HeaderMap) -> Response {
    let language = PAGES.languages.choose(parameter(&uri, "lang").as_deref(), &headers);
    let kept = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    (FOR_ANY_ORIGIN, kept, of_language(language), language.code.clone()).into_response()
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
    let language = PAGES.languages.choose(parameter(uri, "lang").as_deref(), headers);
    let identity = if gateway.demo.is_some() { "demo" } else { "bearer" };
    let share_href = client.filter(|client| client.takes(Flow::Share)).map(|client| {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("client_id", &client.id.0).finish();
        format!("/share?{query}")
    });
    let posts_to = match page {
        Page::SignIn => client.and_then(|client| post_target(client, parameter(uri, "return_to")?.as_str())),
        Page::Confirm | Page::Share | Page::Receive => None,
    };
    let client = client.map(ClientView::new);
    let query = uri.query().unwrap_or_default();
    let html = PAGES.render(page, &Request { language, client, share_href, identity, query })?;
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    let policy = [(header::CONTENT_SECURITY_POLICY, content_security_policy(posts_to.as_deref()))];
    Ok((kind, policy, NO_PERMISSIONS, of_language(language), html).into_response())
}

/// What tells caches and readers which language it is, and what that hung on.
fn of_language(language: &Language) -> [(HeaderName, HeaderValue); 2] {
    let tag = HeaderValue::from_str(&language.tag).unwrap_or(HeaderValue::from_static("en"));
    [(header::CONTENT_LANGUAGE, tag), (header::VARY, HeaderValue::from_static("accept-language"))]
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

/// Returns a parameter of the query string; the last one where it is there again, as the pages' scripts do.
fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned())
}

/// Returns the query string with another `lang`. All else stays as it came, to the byte: a `state` is given back.
fn in_language(query: &str, tag: &str) -> String {
    let is_lang = |pair: &str| form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| key == "lang");
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !is_lang(pair));
    let all: Vec<String> = kept.map(str::to_owned).chain([format!("lang={tag}")]).collect();
    format!("?{}", all.join("&"))
}

/// Does the same as markup, with the value in an element of its own: whichever way a name is written, it turns nothing around it.
fn fill_isolated(text: &str, name: &str, value: &str) -> Value {
    let text = HtmlEscape(text).to_string();
    Value::from_safe_string(fill(&text, name, &format!("<bdi>{}</bdi>", HtmlEscape(value))))
}

/// Puts a value in the place of its name in braces: `text | fill("name", "Shop")`.
fn fill(text: &str, name: &str, value: &str) -> String {
    text.replace(&format!("{{{name}}}"), value)
}
