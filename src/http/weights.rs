//! Reads the lists in which a browser states its preferences: `Accept`, `Accept-Language`, `Accept-Encoding` (RFC 9110
//! §12.4.2).
//!
//! Each entry is parsed separately, as bytes. A malformed entry is skipped and affects no other.

use axum::http::HeaderName;
use axum::http::header::{ACCEPT, HeaderMap};

use super::fields;

/// Returns the entries of a header with their weights from 0 to 1, in the order sent. Parameters other than the weight stay
/// with their entry.
pub(super) fn weighted(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = (&str, f32)> {
    fields::texts(headers, name).filter_map(|entry| {
        let parameters =
            entry.match_indices(';').map(|(at, _)| (at, entry[at + 1..].split(';').next().unwrap_or_default()));
        let mut named = parameters.map(|(at, parameter)| (at, parameter.split_once('=').unwrap_or((parameter, ""))));
        let weight = named.find(|(_, (name, _))| name.trim().eq_ignore_ascii_case("q"));
        let (range, weight) = match weight {
            Some((at, (_, weight))) => (&entry[..at], weight.trim().parse().ok()?),
            None => (entry, 1.0),
        };
        let range = range.trim();
        let is_named = !range.is_empty() && !range.starts_with(';');
        (is_named && (0.0..=1.0).contains(&weight)).then_some((range, weight))
    })
}

/// Returns whether the request prefers a page to JSON: `Accept` names HTML, and gives JSON a lower weight and `*/*` no higher
/// one (RFC 9110 §12.5.1).
///
/// Browsers name HTML when they open an address. Scripts, `EventSource` and programs send `*/*` or the type they want.
pub(super) fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut page, mut json, mut any) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (range, weight) in weighted(headers, ACCEPT) {
        let kind = fields::media_type(range.as_bytes()).to_ascii_lowercase();
        let best = match kind.as_slice() {
            b"text/html" | b"application/xhtml+xml" => &mut page,
            b"*/*" => &mut any,
            json_like if json_like.ends_with(b"json") => &mut json,
            _ => continue,
        };
        *best = best.max(weight);
    }
    page > json && page >= any
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(value: &[u8]) -> Vec<(String, f32)> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_bytes(value).unwrap())]);
        weighted(&headers, ACCEPT).map(|(entry, weight)| (entry.to_owned(), weight)).collect()
    }

    #[test]
    fn a_malformed_entry_does_not_affect_others() {
        let expected = vec![("a/b".to_owned(), 1.0), ("c/d;v=b3".to_owned(), 0.5), ("e".to_owned(), 0.0)];
        assert_eq!(read(b"a/b, c/d;v=b3;q=0.5 ,e;Q=0"), expected);
        assert_eq!(read(b"a/b,x\xff\xfe,y;q=2,z;q=,;;,,w;q=NaN, c/d;v=b3 ; q=0.5,e;q=0"), expected);
    }

    #[test]
    fn html_is_preferred_only_with_the_highest_weight() {
        for accept in [
            "text/html",
            "TEXT/HTML;charset=utf-8",
            "application/xhtml+xml",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
            "application/json;q=0.9, text/html",
            "text/html, */*",
            "text/html;q=0.5, image/png",
        ] {
            assert!(prefers(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/json",
            "application/problem+json, text/html",
            "application/json, text/html;q=0.9",
            "text/event-stream",
            "text/html;q=0",
            "text/html;q=0.5, */*",
            "text/htmlx",
            "text/*",
            "image/avif,image/webp,*/*",
            "text/css,*/*;q=0.1",
        ] {
            assert!(!prefers(accept), "{accept}");
        }
    }

    fn prefers(accept: &str) -> bool {
        prefers_html(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(accept).unwrap())]))
    }

    #[test]
    fn html_may_be_preferred_on_any_line() {
        let lines = [&b"application/json;q=0.9"[..], b"\xff, Text/HTML;level=1"]
            .map(|line| HeaderValue::from_bytes(line).unwrap());
        assert!(prefers_html(&lines.into_iter().map(|line| (ACCEPT, line)).collect()));
    }
}
