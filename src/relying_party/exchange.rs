//! The token request: exchanges the code for tokens (RFC 6749 §4.1.3, RFC 7636 §4.5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, RequestBuilder};
use serde_json::{Map, Value};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::calls::{self, CallError};
use super::failure::SignInError;
use super::metadata::Metadata;
use super::settings::{ClientAuthentication, ProviderSettings};

/// The tokens of one person, for the time of one sign-in. It has no `Debug` form.
pub(super) struct Tokens {
    pub(super) id_token: String,
    pub(super) access_token: String,
}

/// Exchanges a code.
///
/// # Errors
/// [`SignInError::CodeRefused`], [`SignInError::Token`].
pub(super) async fn exchange(
    http: &Client,
    settings: &ProviderSettings,
    metadata: &Metadata,
    redirect_uri: &str,
    code: &str,
    code_verifier: &str,
) -> Result<Tokens, SignInError> {
    let grant = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", code_verifier),
    ];
    let request = http.post(metadata.token_endpoint.clone());
    let response =
        calls::send(authenticated(request, settings, metadata, &grant)).await.map_err(|error| match error {
            // Providers differ in the body and the status of a refusal. All are client errors, except those that ask for
            // another try: Request Timeout and Too Many Requests.
            CallError::Status(status @ 400..=499) if !matches!(status, 408 | 429) => SignInError::CodeRefused(status),
            error => SignInError::Token(error),
        })?;
    read(&response).map_err(SignInError::Token)
}

/// Adds the body and the client's authentication.
fn authenticated(
    request: RequestBuilder,
    settings: &ProviderSettings,
    metadata: &Metadata,
    grant: &[(&str, &str)],
) -> RequestBuilder {
    let mut body = Serializer::new(String::new());
    body.extend_pairs(grant);
    let (basic, post) = match &settings.authentication {
        ClientAuthentication::Public => (None, None),
        ClientAuthentication::Post(secret) => (None, Some(secret)),
        ClientAuthentication::Discovered(secret) if metadata.wants_secret_in_body => (None, Some(secret)),
        ClientAuthentication::Basic(secret) | ClientAuthentication::Discovered(secret) => (Some(secret), None),
    };
    let request = if let Some(secret) = basic {
        request.header("authorization", basic_credentials(&settings.client_id, secret.reveal()))
    } else {
        body.append_pair("client_id", &settings.client_id);
        request
    };
    if let Some(secret) = post {
        body.append_pair("client_secret", secret.reveal());
    }
    request.header("content-type", "application/x-www-form-urlencoded").body(body.finish())
}

/// RFC 6749 §2.3.1: both are form-encoded before they are joined.
fn basic_credentials(client_id: &str, secret: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(client_id), encoded(secret))))
}

/// Reads the response (OpenID Connect Core §3.1.3.3). A refresh token is not read.
fn read(response: &Map<String, Value>) -> Result<Tokens, CallError> {
    let text = |name: &'static str| {
        let text = response.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or(CallError::Missing(name))
    };
    if !text("token_type")?.eq_ignore_ascii_case("bearer") {
        return Err(CallError::Missing("token_type"));
    }
    Ok(Tokens { id_token: text("id_token")?, access_token: text("access_token")? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{metadata, settings};
    use super::*;
    use crate::secret::Secret;

    /// Returns the authorization field and the body of a token request.
    fn request(authentication: ClientAuthentication, wants_secret_in_body: bool) -> (Option<String>, String) {
        let settings = ProviderSettings { authentication, client_id: "a b".to_owned(), ..settings("one") };
        let metadata = Metadata { wants_secret_in_body, ..metadata("one") };
        let request = Client::new().post(metadata.token_endpoint.clone());
        let request = authenticated(request, &settings, &metadata, &[("code", "c&d")]).build().unwrap();
        let field = request.headers().get("authorization").map(|value| String::from_utf8(value.as_bytes().to_vec()));
        let body = request.body().unwrap().as_bytes().unwrap().to_vec();
        (field.map(Result::unwrap), String::from_utf8(body).unwrap())
    }

    #[test]
    fn the_secret_goes_where_the_settings_or_the_provider_want_it() {
        let secret = || Secret::new("s:e%".to_owned());
        let basic = Some(format!("Basic {}", STANDARD.encode("a+b:s%3Ae%25")));
        let (only_code, posted) = ("code=c%26d", "code=c%26d&client_id=a+b&client_secret=s%3Ae%25");
        for (authentication, wants_secret_in_body, expected) in [
            (ClientAuthentication::Public, true, (None, "code=c%26d&client_id=a+b")),
            (ClientAuthentication::Basic(secret()), true, (basic.clone(), only_code)),
            (ClientAuthentication::Post(secret()), false, (None, posted)),
            (ClientAuthentication::Discovered(secret()), false, (basic.clone(), only_code)),
            (ClientAuthentication::Discovered(secret()), true, (None, posted)),
        ] {
            let (field, body) = request(authentication.clone(), wants_secret_in_body);
            assert_eq!((field, body.as_str()), expected, "{authentication:?}");
        }
    }

    #[test]
    fn a_response_without_both_tokens_is_malformed() {
        let good = json!({"token_type": "bearer", "id_token": "i", "access_token": "a", "refresh_token": "r"});
        assert!(read(good.as_object().unwrap()).is_ok());
        for (name, value) in [
            ("token_type", json!("DPoP")),
            ("token_type", json!(null)),
            ("id_token", json!("")),
            ("id_token", json!({})),
            ("access_token", json!(null)),
        ] {
            let mut response = good.clone();
            response[name] = value;
            assert_eq!(read(response.as_object().unwrap()).err(), Some(CallError::Missing(name)), "{name}");
        }
    }
}
