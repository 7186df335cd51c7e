//! The provider's answer, as the browser brings it to the redirect URI (RFC 6749 §4.1.2, RFC 9207 §2).

use url::form_urlencoded;

/// The longest parameter that is read, in bytes. Codes of some providers are signed tokens.
const MAX_PARAMETER_BYTES: usize = 4096;

/// The parameters of an answer. Other parameters are ignored.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// `state`, which the request had.
    pub state: Option<String>,
    /// The authorization code.
    pub code: Option<String>,
    /// The issuer (RFC 9207 §2).
    pub iss: Option<String>,
    /// The name of an error (RFC 6749 §4.1.2.1).
    pub error: Option<String>,
}

impl Answer {
    /// Reads a query string. Returns `None` if a parameter occurs twice (RFC 6749 §3.1) or is too long, and if the answer
    /// contains a token: the gateway asks for none.
    #[must_use]
    pub fn read(query: &str) -> Option<Self> {
        let mut answer = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut answer.state,
                "code" => &mut answer.code,
                "iss" => &mut answer.iss,
                "error" => &mut answer.error,
                "access_token" | "id_token" => return None,
                _ => continue,
            };
            if value.len() > MAX_PARAMETER_BYTES || place.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_with_a_parameter_twice_or_a_token_is_refused() {
        let answer = Answer::read("code=a%20b&state=s&iss=https%3A%2F%2Fid.example&session_state=x&x=1&x=2").unwrap();
        assert_eq!(answer.code.as_deref(), Some("a b"));
        assert_eq!(answer.iss.as_deref(), Some("https://id.example"));
        for query in ["state=a&state=a", "code=a&%63ode=b", "access_token=x&state=a", "id_token=x", "iss=a&iss="] {
            assert!(Answer::read(query).is_none(), "{query}");
        }
        assert!(Answer::read(&format!("code={}", "x".repeat(MAX_PARAMETER_BYTES + 1))).is_none());
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in ".{0,120}") {
            let _ = Answer::read(&query);
        }
    }
}
