//! The authorization request (OpenID Connect Core §3.1.2.1) with PKCE (RFC 7636): what the browser takes to the provider.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::Url;

use super::begun::Secrets;
use super::metadata::Metadata;
use super::settings::ProviderSettings;

/// What a sign-in asks of the provider besides the person's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The person must have signed in at the provider within this many seconds.
    pub max_age: Option<u32>,
    /// The accepted classes of authentication; the provider's setting if empty.
    pub acr_values: Vec<String>,
    /// The page to show at the provider although the person is signed in there.
    pub prompt: Option<Prompt>,
    /// The language of the page that the person comes from.
    pub ui_locale: Option<String>,
}

/// A value of `prompt`. `select_account` is none of them: some providers refuse it, and at all others `login` offers the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Sign in again.
    Login,
}

impl Prompt {
    fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
        }
    }
}

/// Returns the address to which the browser goes.
pub(super) fn authorization_url(
    settings: &ProviderSettings,
    metadata: &Metadata,
    redirect_uri: &str,
    secrets: &Secrets,
    wishes: &Wishes,
) -> Url {
    let mut url = metadata.authorization_endpoint.clone();
    let acr_values = if wishes.acr_values.is_empty() { &settings.acr_values } else { &wishes.acr_values };
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &settings.client_id)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("scope", &settings.scopes.join(" "))
        .append_pair("state", &secrets.state.reveal())
        .append_pair("nonce", &secrets.nonce)
        .append_pair("code_challenge", &challenge(&secrets.code_verifier))
        .append_pair("code_challenge_method", "S256");
    if let Some(max_age) = wishes.max_age {
        query.append_pair("max_age", &max_age.to_string());
    }
    if !acr_values.is_empty() {
        query.append_pair("acr_values", &acr_values.join(" "));
    }
    if let Some(prompt) = wishes.prompt {
        query.append_pair("prompt", prompt.as_str());
    }
    if let Some(locale) = &wishes.ui_locale {
        query.append_pair("ui_locales", locale);
    }
    drop(query);
    url
}

/// RFC 7636 §4.2, S256.
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::{metadata, settings};
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn the_request_asks_for_a_code_only() {
        let secrets = Secrets::new();
        let wishes = Wishes {
            max_age: Some(0),
            acr_values: vec!["mfa".to_owned(), "phr".to_owned()],
            prompt: Some(Prompt::Login),
            ui_locale: Some("zh".to_owned()),
        };
        let uri = "https://gate.example/sign-in/callback";
        let url = authorization_url(&settings("one"), &metadata("one"), uri, &secrets, &wishes);
        let (state, challenge) = (secrets.state.reveal(), challenge(&secrets.code_verifier));
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let expected = BTreeMap::from(
            [
                ("tenant", "one"),
                ("response_type", "code"),
                ("client_id", "gate"),
                ("redirect_uri", uri),
                ("scope", "openid profile"),
                ("state", state.as_str()),
                ("nonce", secrets.nonce.as_str()),
                ("code_challenge", challenge.as_str()),
                ("code_challenge_method", "S256"),
                ("max_age", "0"),
                ("acr_values", "mfa phr"),
                ("prompt", "login"),
                ("ui_locales", "zh"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        assert_eq!(query, expected);
        assert_eq!(url.query_pairs().count(), expected.len(), "no parameter is there twice");
    }
}
