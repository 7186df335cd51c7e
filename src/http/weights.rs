//! Reads the lists by which a client says what it prefers: `Accept`, `Accept-Language`, `Accept-Encoding` (RFC 9110 §12.4.2).
//!
//! Each entry is read on bytes and alone: one that is malformed is left out, and costs none of the others.

use axum::http::HeaderName;
use axum::http::header::HeaderMap;

use super::fields;

/// Returns the entries of a header with their weights from 0 to 1, in the order in which they were sent. Parameters other than
/// the weight stay with their entry.
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

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::ACCEPT;

    use super::*;

    fn read(value: &[u8]) -> Vec<(String, f32)> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_bytes(value).unwrap())]);
        weighted(&headers, ACCEPT).map(|(entry, weight)| (entry.to_owned(), weight)).collect()
    }

    #[test]
    fn an_entry_that_is_malformed_costs_itself_alone() {
        let expected = vec![("a/b".to_owned(), 1.0), ("c/d;v=b3".to_owned(), 0.5), ("e".to_owned(), 0.0)];
        assert_eq!(read(b"a/b, c/d;v=b3;q=0.5 ,e;Q=0"), expected);
        assert_eq!(read(b"a/b,x\xff\xfe,y;q=2,z;q=,;;,,w;q=NaN, c/d;v=b3 ; q=0.5,e;q=0"), expected);
    }
}
