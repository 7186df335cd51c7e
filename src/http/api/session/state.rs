//! The `state` of a site's sign-in (RFC 6749 §10.12). It ties the answer of the OpenID Provider to the browser, the
//! client and the path of the request. Pure: the gateway stores nothing for a sign-in that only began.
//!
//! The text is `{id}.{seal}.{redirect}.{client}:{path}`. The seal is derived from the secret in the browser's cookie,
//! so a `state` that was made for another browser, or was changed, matches no cookie. The PKCE verifier and the nonce
//! are derived from the same secret: a code of another sign-in matches no `state`.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use super::path;
use crate::random::RandomId;
use crate::ticket::BindingSecret;

/// A begun sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignInState {
    /// Its id: 22 characters of base64url.
    id: String,
    /// The place of the redirect URI in the client's list.
    pub(super) redirect: usize,
    /// The client's id.
    pub(super) client: String,
    /// The path to return to, with its query.
    pub(super) path: String,
}

impl SignInState {
    /// Begins a sign-in. A `path` that leads to another site, or is too long, becomes the site's root.
    pub(super) fn new(client: &str, redirect: usize, path: &str) -> Self {
        let path = path::local(path).to_owned();
        Self { id: RandomId::new().to_string(), redirect, client: client.to_owned(), path }
    }

    /// Returns the text of `state` for the browser with this secret.
    pub(super) fn to_text(&self, secret: &BindingSecret) -> String {
        let Self { id, redirect, client, path } = self;
        format!("{id}.{}.{redirect}.{client}:{path}", self.seal(secret))
    }

    /// Reads a `state` that was made for the browser with this secret; `None` for any other text.
    pub(super) fn open(text: &str, secret: &BindingSecret) -> Option<Self> {
        let (id, rest) = text.split_once('.')?;
        let (seal, rest) = rest.split_once('.')?;
        let (redirect, rest) = rest.split_once('.')?;
        let (client, path) = rest.split_once(':')?;
        let redirect = redirect.parse().ok()?;
        let state = Self { id: id.to_owned(), redirect, client: client.to_owned(), path: path.to_owned() };
        let fits: bool = state.seal(secret).as_bytes().ct_eq(seal.as_bytes()).into();
        // The text may differ from the original only in the form of a number.
        (fits && state.to_text(secret) == text).then_some(state)
    }

    /// Returns the path in a `state` of unknown origin, for a link on a page; the site's root if there is none.
    pub(super) fn path_in(text: &str) -> &str {
        path::local(text.split_once(':').map_or("/", |(_, path)| path))
    }

    /// Returns the PKCE verifier (RFC 7636 §4.1): 43 characters.
    pub(super) fn code_verifier(&self, secret: &BindingSecret) -> String {
        URL_SAFE_NO_PAD.encode(secret.derive("scangate site verifier", &[&self.id]))
    }

    /// Returns the PKCE challenge by the method S256 (RFC 7636 §4.2).
    pub(super) fn code_challenge(&self, secret: &BindingSecret) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.code_verifier(secret).as_bytes()))
    }

    /// Returns the `nonce` (OpenID Connect Core §3.1.2.1): 43 characters.
    pub(super) fn nonce(&self, secret: &BindingSecret) -> String {
        URL_SAFE_NO_PAD.encode(secret.derive("scangate site nonce", &[&self.id]))
    }

    /// Returns the name under which the store remembers that it was used.
    pub(super) fn store_name(&self) -> String {
        format!("site-state:{}", self.id)
    }

    fn seal(&self, secret: &BindingSecret) -> String {
        let texts = [&*self.client, &self.redirect.to_string(), &self.id, &self.path];
        URL_SAFE_NO_PAD.encode(secret.derive("scangate site", &texts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random;

    #[test]
    fn a_state_is_opened_only_by_its_own_browser() {
        let secret = random::binding_secret();
        let state = SignInState::new("intranet.test", 1, "/reports?a=b:c.d&e=%20");
        let text = state.to_text(&secret);
        assert_eq!(SignInState::open(&text, &secret), Some(state));
        assert_eq!(SignInState::path_in(&text), "/reports?a=b:c.d&e=%20");
        assert_eq!(SignInState::open(&text, &random::binding_secret()), None);
    }

    #[test]
    fn no_part_of_a_state_can_be_changed() {
        let secret = random::binding_secret();
        let text = SignInState::new("intranet", 0, "/reports").to_text(&secret);
        let other = SignInState::new("intranet", 0, "/reports").to_text(&secret);
        let changed = [
            text.replace("intranet", "pc"),
            text.replace(".0.", ".1."),
            text.replace(".0.", ".00."),
            text.replace(".0.", ".+0."),
            text.replace("/reports", "/admin"),
            text.replace("/reports", "//evil.example"),
            format!("{}{}", &other[..22], &text[22..]),
            format!("{text}x"),
            text[..22].to_owned(),
            String::new(),
            "/".to_owned(),
            "....:/".to_owned(),
        ];
        for text in changed {
            assert_eq!(SignInState::open(&text, &secret), None, "{text}");
        }
    }

    #[test]
    fn each_sign_in_has_a_verifier_and_a_nonce_of_its_own() {
        let secret = random::binding_secret();
        let (one, other) = (SignInState::new("a", 0, "/"), SignInState::new("a", 0, "/"));
        assert_eq!(one.code_verifier(&secret).len(), 43);
        assert_ne!(one.code_verifier(&secret), other.code_verifier(&secret));
        assert_ne!(one.nonce(&secret), other.nonce(&secret));
        assert_ne!(one.nonce(&secret), one.code_verifier(&secret));
        assert_ne!(one.code_verifier(&secret), one.code_verifier(&random::binding_secret()));
    }

    #[test]
    fn a_link_leads_to_no_other_site() {
        for text in ["", "x", "a.b.0.c://evil.example", "a.b.0.c:https://evil.example", ":"] {
            assert_eq!(SignInState::path_in(text), "/", "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text in "[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{43}\\.[0-9]{1,2}\\.[a-z.]{0,9}:/.{0,20}|.{0,80}") {
            prop_assert_eq!(SignInState::open(&text, &random::binding_secret()), None);
        }
    }
}
