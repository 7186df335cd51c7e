//! Reads header fields that other parties write, as bytes, member by member.
//!
//! Any app of a host, any proxy and any browser extension can put a non-ASCII byte into a field. `HeaderValue::to_str` refuses
//! the whole line then, so a lint forbids it. Here an unusable member affects no other member.

use axum::http::HeaderValue;
use axum::http::header::{AUTHORIZATION, AsHeaderName, CONTENT_TYPE, HeaderMap};

use super::problem::{self, Problem};

/// Returns the members of a comma-separated field, over all its lines (RFC 9110 §5.6.1).
pub(super) fn members(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    lines.flat_map(|line| line.split(|byte| *byte == b',')).map(trim)
}

/// Returns those [`members`] that are UTF-8.
pub(super) fn texts(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    members(headers, name).filter_map(|member| str::from_utf8(member).ok())
}

/// Returns a value if it is UTF-8.
pub(super) fn text(value: &HeaderValue) -> Option<&str> {
    str::from_utf8(value.as_bytes()).ok()
}

/// Removes the whitespace that the field syntax allows, spaces and tabs (RFC 9110 §5.6.3), but no other whitespace of Unicode or
/// ASCII.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let is_white = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(|byte| !is_white(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_white(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// Returns the media type in `Content-Type` or in a member of `Accept`, without its parameters.
pub(super) fn media_type(value: &[u8]) -> &[u8] {
    trim(value.split(|byte| *byte == b';').next().unwrap_or_default())
}

/// Returns whether the body is a form in the encoding that browsers use by default.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    media_type(content_type).eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// Returns whether a program sent the request, rather than a person who opens a page: it has a token, is marked as a script's,
/// or is a subresource (Fetch Metadata). A page in a frame is treated as a program, because none of ours can be framed.
pub(super) fn is_programmatic(headers: &HeaderMap) -> bool {
    !matches!(bearer(headers), Ok(None))
        || headers.contains_key("x-requested-with")
        || headers.get("sec-fetch-dest").is_some_and(|destination| destination != "document")
}

/// Returns the token in `Authorization: Bearer` (RFC 6750 §2.1); `None` without such a field.
///
/// Ignores fields with another scheme, which are for another server, such as the Basic authentication in front of a staging
/// site.
///
/// # Errors
/// [`problem::INVALID_TOKEN`] if the token is missing or not UTF-8, or if there are two such fields.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut tokens = headers.get_all(AUTHORIZATION).into_iter().filter_map(|value| bearer_token(value.as_bytes()));
    let Some(token) = tokens.next() else { return Ok(None) };
    let refuse = |detail: &'static str| Err(Problem::from(&problem::INVALID_TOKEN).detail(detail));
    if tokens.next().is_some() {
        return refuse("There are several Authorization: Bearer headers; send one.");
    }
    match str::from_utf8(token) {
        Ok(token) if !token.is_empty() => Ok(Some(token)),
        _ => refuse("Authorization: Bearer has no token."),
    }
}

/// Returns the rest after the scheme `Bearer`, which is case-insensitive (RFC 9110 §11.1); `None` for another scheme.
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let value = trim(value);
    let end = value.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
    let (scheme, token) = value.split_at(end);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| trim(token))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: &'static str, lines: &[&[u8]]) -> HeaderMap {
        let lines = lines.iter().map(|line| (name.parse().unwrap(), HeaderValue::from_bytes(line).unwrap()));
        lines.collect()
    }

    #[test]
    fn a_bad_member_does_not_affect_others() {
        let headers = headers("accept-language", &[b"\xff, de;q=0.5", "sv ,\u{a0}en,\u{e9}".as_bytes(), b""]);
        let read: Vec<_> = texts(&headers, "accept-language").collect();
        assert_eq!(read, ["de;q=0.5", "sv", "\u{a0}en", "\u{e9}", ""]);
        assert_eq!(members(&headers, "accept-language").count(), 6);
    }

    #[test]
    fn a_token_a_script_or_a_destination_marks_a_program() {
        let program =
            [("authorization", "Bearer x"), ("x-requested-with", "XMLHttpRequest"), ("sec-fetch-dest", "empty")];
        for (name, value) in program.into_iter().chain([("sec-fetch-dest", "iframe")]) {
            assert!(is_programmatic(&headers(name, &[value.as_bytes()])), "{name}: {value}");
        }
        for (name, value) in [("sec-fetch-dest", "document"), ("authorization", "Basic YTpi"), ("accept", "*/*")] {
            assert!(!is_programmatic(&headers(name, &[value.as_bytes()])), "{name}: {value}");
        }
    }

    #[test]
    fn another_scheme_is_ignored() {
        let bearer_of =
            |lines: &[&[u8]]| bearer(&headers("authorization", lines)).ok().map(|token| token.map(str::to_owned));
        let foreign: [&[u8]; 10] = [
            b"",
            b"Basic YTpi",
            b"Digest username=\"\xc3\xbc\"",
            b"Negotiate YII=",
            b"garbage",
            b"Bearer,x",
            b"Bearerx y",
            b"\xffBearer x",
            b"Basic Bearer x",
            "\u{a0}Bearer x".as_bytes(),
        ];
        for value in foreign {
            assert_eq!(bearer_of(&[value]), Some(None), "{value:?}");
            assert_eq!(bearer_of(&[value, b"bEARER  t"]), Some(Some("t".to_owned())), "{value:?}");
            assert_eq!(bearer_of(&[b"Bearer\tt ", value]), Some(Some("t".to_owned())), "{value:?}");
        }
        for refused in [&[&b"Bearer"[..]][..], &[b"Bearer "], &[b"Bearer \xff"], &[b"Bearer a", b"Bearer a"]] {
            assert_eq!(bearer_of(refused), None, "{refused:?}");
        }
    }

    proptest! {
        #[test]
        fn any_authorization_is_read_or_refused(value in prop::collection::vec(b' '..=255, 0..60)) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            if let Ok(Some(token)) = bearer(&headers) {
                prop_assert!(!token.is_empty());
            }
        }

        #[test]
        fn trimming_removes_only_spaces_and_tabs(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let trimmed = trim(&bytes);
            let white = bytes.iter().filter(|byte| matches!(byte, b' ' | b'\t')).count();
            prop_assert!(bytes.len() - trimmed.len() <= white);
            prop_assert_eq!(trim(trimmed), trimmed);
        }
    }
}
