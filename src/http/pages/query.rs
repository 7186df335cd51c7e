//! Reads and changes the query string of a page.

use axum::http::Uri;
use url::form_urlencoded;

/// Returns a parameter of the query string. If it is repeated, the last one is used, as in the pages' scripts.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned())
}

/// Returns the languages that the address of a request of an OpenID client asks for, the preferred first: the one that the person
/// chose, then the client's wishes (OpenID Connect Core §3.1.2.1).
pub(super) fn wanted_languages(uri: &Uri) -> impl Iterator<Item = String> {
    let wishes = parameter(uri, "ui_locales").unwrap_or_default();
    let wishes: Vec<String> = wishes.split(' ').map(str::to_owned).collect();
    parameter(uri, "lang").into_iter().chain(wishes)
}

/// Returns the query string with another `lang`. All other bytes stay unchanged, because the app's `state` must be returned
/// unchanged.
pub(super) fn with_language(query: &str, tag: &str) -> String {
    let is_lang = |pair: &str| form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| key == "lang");
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !is_lang(pair));
    let all: Vec<String> = kept.map(str::to_owned).chain([format!("lang={tag}")]).collect();
    format!("?{}", all.join("&"))
}
