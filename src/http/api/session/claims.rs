//! The claims of a signed-in person as headers for a proxy: `X-Auth-Subject`, and one header for each requested claim.
//!
//! A value is the claim's text in UTF-8 with all characters except `A-Z a-z 0-9 - . _ ~ : @` percent-encoded (RFC 3986 §2.1). So
//! any text is one line of ASCII, and decoding it once restores it. A value that is too long is omitted, because a truncated one
//! could mean something else.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::http::problem::{self, Problem};
use crate::signer::issued::Issued;
use crate::ticket::Claims;

/// The maximum number of requested claims.
const MAX_CLAIMS: usize = 8;
/// The longest name of a claim, in characters.
const MAX_NAME_CHARS: usize = 32;
/// The longest value of a claim, encoded, in bytes.
const MAX_VALUE_BYTES: usize = 1024;
/// The maximum length of all values together, encoded, in bytes. With the rest of the response's head they fit into 8 KB, which
/// an nginx with `proxy_buffer_size 8k` reads.
const MAX_BYTES: usize = 6 * 1024;
/// The header of the subject.
const SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");

/// The characters that percent-encoding keeps.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'@');

/// The claims that a proxy requests, each with its header.
pub(super) struct RequestedClaims(Vec<(String, HeaderName)>);

impl RequestedClaims {
    /// Parses a list such as `name,email`.
    ///
    /// # Errors
    /// 400 for names that no header can carry, or for two that would share one header.
    pub(super) fn parse(list: Option<&str>) -> Result<Self, Problem> {
        let refused = |detail: String| Err(Problem::from(&problem::INVALID_REQUEST).detail(detail));
        let mut requested: Vec<(String, HeaderName)> = Vec::new();
        for claim in list.unwrap_or_default().split(',').filter(|claim| !claim.is_empty()) {
            let Some(header) = header_of(claim) else {
                return refused(format!(
                    "claims must be names of 1 to {MAX_NAME_CHARS} characters from a-z A-Z 0-9 _ -, separated by commas."
                ));
            };
            if header == SUBJECT || requested.iter().any(|(_, other)| *other == header) {
                return refused(format!(
                    "claims: two values would share the header {header}; request only one of them."
                ));
            }
            requested.push((claim.to_owned(), header));
        }
        if requested.len() > MAX_CLAIMS {
            return refused(format!("claims may have at most {MAX_CLAIMS} names."));
        }
        Ok(Self(requested))
    }

    /// Returns the headers that describe a session. They always include the subject.
    pub(super) fn headers(&self, session: &Issued) -> HeaderMap {
        let subject = encode(&session.subject);
        let mut left = MAX_BYTES.saturating_sub(subject.len());
        let mut headers = HeaderMap::with_capacity(self.0.len() + 1);
        insert(&mut headers, &SUBJECT, &subject);
        for (claim, header) in &self.0 {
            let Some(value) = text_of(&session.claims, claim) else { continue };
            if value.len() <= MAX_VALUE_BYTES.min(left) {
                left -= value.len();
                insert(&mut headers, header, &value);
            }
        }
        headers
    }
}

/// Returns `X-Auth-` and the claim's name. An underscore becomes a hyphen: nginx drops headers with underscores.
fn header_of(claim: &str) -> Option<HeaderName> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let fits = (1..=MAX_NAME_CHARS).contains(&claim.len()) && claim.chars().all(is_plain);
    let name = format!("x-auth-{}", claim.to_ascii_lowercase().replace('_', "-"));
    fits.then(|| name.parse().ok()).flatten()
}

/// Returns a claim as one text; a list as its members separated by commas. Objects and null have no text.
fn text_of(claims: &Claims, name: &str) -> Option<String> {
    match claims.get(name)? {
        Value::Array(members) => {
            let members: Option<Vec<String>> = members.iter().map(text_of_one).collect();
            members.map(|members| members.join(","))
        }
        value => text_of_one(value),
    }
}

fn text_of_one(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(encode(text)),
        Value::Bool(_) | Value::Number(_) => Some(encode(&value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, value: &str) {
    // An encoded value is always one line of ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn headers_of(subject: &str, list: &str, claims: &Value) -> HeaderMap {
        let claims = claims.as_object().unwrap().clone();
        let session = Issued { subject: subject.to_owned(), claims, expires_in: Duration::from_secs(1) };
        RequestedClaims::parse(Some(list)).unwrap().headers(&session)
    }

    #[test]
    fn every_kind_of_claim_becomes_one_line() {
        let claims = json!({
            "name": "Åsa\r\nX-Auth-Subject: eve", "email": "a+b@example.com", "given_name": "小明", "age": 7, "is-it": true,
            "groups": ["a,b", "c d"], "address": {"country": "SE"}, "nothing": null, "nested": [["x"]],
        });
        let list = "name,email,given_name,age,is-it,groups,address,nothing";
        let headers = headers_of("demo:Ada 100%", list, &claims);
        let expected = [
            ("x-auth-subject", "demo:Ada%20100%25"),
            ("x-auth-name", "%C3%85sa%0D%0AX-Auth-Subject%3A%20eve"),
            ("x-auth-email", "a%2Bb@example.com"),
            ("x-auth-given-name", "%E5%B0%8F%E6%98%8E"),
            ("x-auth-age", "7"),
            ("x-auth-is-it", "true"),
            ("x-auth-groups", "a%2Cb,c%20d"),
        ];
        for (name, value) in expected {
            let value = value.replace("%3A", ":");
            assert_eq!(headers[name], value, "{name}");
        }
        assert_eq!(headers.len(), expected.len(), "{headers:?}");
        assert_eq!(headers_of("ada", "nested", &claims).len(), 1);
        assert_eq!(headers_of("ada", "", &claims).len(), 1);
    }

    #[test]
    fn a_claim_that_is_too_long_is_omitted() {
        let claims = json!({ "a": "x".repeat(1024), "b": "x".repeat(1025), "c": "å".repeat(200), "d": "x" });
        let headers = headers_of("ada", "a,b,c,d", &claims);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-auth-subject", "x-auth-a", "x-auth-d"]);
        // The longest possible subject, and claims up to the bound on their total.
        let claims = json!({ "a": "x".repeat(1024), "b": "x".repeat(1024), "c": "x".repeat(1024), "d": "x" });
        let subject = "😀".repeat(255);
        let headers = headers_of(&subject, "a,b,c,d", &claims);
        assert_eq!(headers["x-auth-subject"].len(), 255 * 12);
        assert_eq!(
            headers.keys().collect::<Vec<_>>(),
            ["x-auth-subject", "x-auth-a", "x-auth-b", "x-auth-c", "x-auth-d"]
        );
        assert!(headers.values().map(HeaderValue::len).sum::<usize>() <= MAX_BYTES);
    }

    #[test]
    fn no_claim_replaces_the_subject_or_another_claim() {
        let nine = "a,b,c,d,e,f,g,h,i";
        for list in ["subject", "Subject", "given_name,given-name", "name,name", "a b", "naïve", "a:b", nine] {
            assert!(RequestedClaims::parse(Some(list)).is_err(), "{list}");
        }
        assert!(RequestedClaims::parse(Some(&"x".repeat(33))).is_err());
        assert!(RequestedClaims::parse(None).is_ok() && RequestedClaims::parse(Some("name,,email,")).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_restored_from_one_line(text in any::<String>()) {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
            prop_assert_eq!(percent_encoding::percent_decode_str(&encoded).decode_utf8().unwrap(), text);
        }

        #[test]
        fn any_list_is_read_or_refused(list in ".{0,60}") {
            let _ = RequestedClaims::parse(Some(&list));
        }
    }
}
