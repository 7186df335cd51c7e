//! Reads and changes the query string of a page.

use axum::http::Uri;
use url::form_urlencoded;

/// Returns a parameter of the query string. If it is repeated, the last one is used, as in the pages' scripts.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned())
}

/// Returns the query string with another `lang`. All other bytes stay unchanged, because the app's `state` must be returned
/// unchanged.
pub(super) fn with_language(query: &str, tag: &str) -> String {
    let is_lang = |pair: &str| form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| key == "lang");
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !is_lang(pair));
    let all: Vec<String> = kept.map(str::to_owned).chain([format!("lang={tag}")]).collect();
    format!("?{}", all.join("&"))
}
