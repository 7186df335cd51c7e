//! The answer to an authorization request: its fields, and the address that carries them in the response mode `query`
//! (RFC 6749 §4.1.2, RFC 9207). `http` sends it.

use url::form_urlencoded;

use super::failure::AuthorizationError;
use crate::ticket::{Authorization, ResponseMode};

/// The address of an answer, and the way to it. The redirect URI is always one of the client's own list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The redirect URI, as registered.
    pub redirect_uri: String,
    /// How the answer gets there.
    pub response_mode: ResponseMode,
    /// The client's `state`, which goes back unchanged.
    pub state: Option<String>,
}

/// An answer, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The redirect URI, as registered.
    pub redirect_uri: String,
    /// How the answer gets there.
    pub response_mode: ResponseMode,
    /// Its fields: names and values, not encoded.
    pub fields: Vec<(&'static str, String)>,
}

impl From<&Authorization> for Destination {
    fn from(authorization: &Authorization) -> Self {
        Self {
            redirect_uri: authorization.redirect_uri.clone(),
            response_mode: authorization.response_mode,
            state: authorization.state.clone(),
        }
    }
}

impl Answer {
    /// Creates the answer with a code.
    #[must_use]
    pub fn code(to: Destination, code: String, issuer: &str) -> Self {
        Self::new(to, vec![("code", code)], issuer)
    }

    /// Creates the answer with an error.
    #[must_use]
    pub fn error(to: Destination, error: AuthorizationError, issuer: &str) -> Self {
        let fields = vec![("error", error.as_str().to_owned()), ("error_description", error.description().to_owned())];
        Self::new(to, fields, issuer)
    }

    /// Adds the fields of every answer. The issuer tells a client with several providers which one has answered (RFC 9207 §2).
    fn new(to: Destination, mut fields: Vec<(&'static str, String)>, issuer: &str) -> Self {
        fields.extend(to.state.map(|state| ("state", state)));
        fields.push(("iss", issuer.to_owned()));
        Self { redirect_uri: to.redirect_uri, response_mode: to.response_mode, fields }
    }

    /// Returns the redirect URI with the fields added to its query (RFC 6749 §4.1.2 and Appendix B).
    #[must_use]
    pub fn address(&self) -> String {
        let fields = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish();
        let separator = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{separator}{fields}", self.redirect_uri)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    const ISSUER: &str = "https://gate.example";

    fn to(redirect_uri: &str, state: Option<&str>) -> Destination {
        Destination {
            redirect_uri: redirect_uri.to_owned(),
            response_mode: ResponseMode::Query,
            state: state.map(str::to_owned),
        }
    }

    #[test]
    fn an_answer_has_its_fields_the_state_and_the_issuer() {
        let answer = Answer::code(to("https://app.example/cb", Some("a b&c")), "x".to_owned(), ISSUER);
        assert_eq!(answer.address(), "https://app.example/cb?code=x&state=a+b%26c&iss=https%3A%2F%2Fgate.example");
        let answer = Answer::error(to("com.example.app:/cb", None), AuthorizationError::LoginRequired, ISSUER);
        assert_eq!(
            answer.address(),
            "com.example.app:/cb?error=login_required&error_description=The+person+must+sign+in.&\
             iss=https%3A%2F%2Fgate.example"
        );
    }

    #[test]
    fn the_query_of_a_redirect_uri_stays() {
        let answer = Answer::code(to("https://app.example/cb?tenant=1", None), "x".to_owned(), ISSUER);
        assert_eq!(answer.address(), "https://app.example/cb?tenant=1&code=x&iss=https%3A%2F%2Fgate.example");
    }

    proptest! {
        #[test]
        fn any_state_comes_back_and_changes_nothing_else(state in "\\PC{0,60}") {
            let answer = Answer::code(to("https://app.example/cb?a=b", Some(&state)), "x".to_owned(), ISSUER);
            let address = Url::parse(&answer.address()).unwrap();
            prop_assert_eq!((address.host_str(), address.path(), address.fragment()), (Some("app.example"), "/cb", None));
            let pairs: Vec<_> = address.query_pairs().into_owned().collect();
            let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            prop_assert_eq!(pairs, [pair("a", "b"), pair("code", "x"), pair("state", &state), pair("iss", ISSUER)]);
            // A header field can contain it.
            prop_assert!(answer.address().bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
