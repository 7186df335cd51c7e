//! A provider's discovery document (OpenID Connect Discovery §3), checked.
//!
//! The document comes from the issuer's own origin and names that issuer. Its endpoints may be on other hosts, as Google's and
//! Entra ID's are, but must be https.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};
use url::Url;

use crate::urls::is_local;
use crate::verifier::algorithm;

/// The longest endpoint address, in bytes.
const MAX_ADDRESS_BYTES: usize = 2048;

/// The parts of a discovery document that the gateway uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Where people sign in.
    pub authorization_endpoint: Url,
    /// Where the gateway exchanges codes.
    pub token_endpoint: Url,
    /// The provider's keys.
    pub jwks_uri: Url,
    /// Where the gateway reads further claims; `None` if the provider has no such endpoint.
    pub userinfo_endpoint: Option<Url>,
    /// Where people sign out at the provider; `None` if they cannot.
    pub end_session_endpoint: Option<Url>,
    /// Whether every answer has `iss` (RFC 9207 §3).
    pub promises_iss: bool,
    /// Whether the token endpoint accepts a secret in the body, but not by Basic authentication.
    pub wants_secret_in_body: bool,
    /// The algorithms of ID tokens; empty if the document does not list them.
    pub id_token_algorithms: Vec<Algorithm>,
    /// Whether the document lists S256 for PKCE; `None` if it lists no method.
    pub lists_s256: Option<bool>,
}

/// The reason for refusing a discovery document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataFault {
    /// `issuer` is missing.
    #[error("the discovery document has no issuer")]
    NoIssuer,
    /// `issuer` differs from the setting.
    #[error("the discovery document's issuer is {found:?}; set the issuer to exactly that{}", slash(*is_slash))]
    OtherIssuer {
        /// The document's issuer, shortened.
        found: String,
        /// Whether both differ only by a trailing slash.
        is_slash: bool,
    },
    /// An endpoint is missing.
    #[error("the discovery document has no {0}")]
    Missing(&'static str),
    /// An endpoint is not an https URL.
    #[error("{0} of the discovery document is not an https URL without login and fragment")]
    Endpoint(&'static str),
    /// ID tokens are signed only with algorithms that are not supported.
    #[error(
        "the provider signs ID tokens only with algorithms that the gateway does not support; choose RS256 or ES256"
    )]
    Algorithms,
}

fn slash(is_slash: bool) -> &'static str {
    if is_slash { " (they differ by a trailing slash)" } else { "" }
}

impl Metadata {
    /// Checks a document of `issuer`. With `allows_http`, endpoints may be http on this machine.
    ///
    /// # Errors
    /// [`MetadataFault`].
    pub fn read(document: &Map<String, Value>, issuer: &str, allows_http: bool) -> Result<Self, MetadataFault> {
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let found = text("issuer").ok_or(MetadataFault::NoIssuer)?;
        if found != issuer {
            let is_slash = found.trim_end_matches('/') == issuer.trim_end_matches('/');
            return Err(MetadataFault::OtherIssuer { found: found.chars().take(256).collect(), is_slash });
        }
        let optional = |name: &'static str| match text(name) {
            None => Ok(None),
            Some(address) => endpoint(address, allows_http).map(Some).ok_or(MetadataFault::Endpoint(name)),
        };
        let required = |name: &'static str| optional(name)?.ok_or(MetadataFault::Missing(name));
        let list = |name: &str| document.get(name).and_then(Value::as_array);
        let has = |list: &Vec<Value>, wanted: &str| list.iter().any(|entry| entry == wanted);
        let algorithms = list("id_token_signing_alg_values_supported");
        let id_token_algorithms: Vec<Algorithm> = algorithms
            .into_iter()
            .flatten()
            .filter_map(|name| algorithm(name.as_str()?))
            .filter(|algorithm| !matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512))
            .collect();
        if algorithms.is_some() && id_token_algorithms.is_empty() {
            return Err(MetadataFault::Algorithms);
        }
        Ok(Self {
            authorization_endpoint: required("authorization_endpoint")?,
            token_endpoint: required("token_endpoint")?,
            jwks_uri: required("jwks_uri")?,
            userinfo_endpoint: optional("userinfo_endpoint")?,
            // A fault here must not prevent sign-ins.
            end_session_endpoint: optional("end_session_endpoint").unwrap_or_default(),
            promises_iss: document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
            wants_secret_in_body: list("token_endpoint_auth_methods_supported")
                .is_some_and(|methods| has(methods, "client_secret_post") && !has(methods, "client_secret_basic")),
            id_token_algorithms,
            lists_s256: list("code_challenge_methods_supported").map(|methods| has(methods, "S256")),
        })
    }

    /// Returns the endpoints, with their names, for the doctor.
    pub fn endpoints(&self) -> impl Iterator<Item = (&'static str, &Url)> {
        let required = [
            ("authorization_endpoint", &self.authorization_endpoint),
            ("token_endpoint", &self.token_endpoint),
            ("jwks_uri", &self.jwks_uri),
        ];
        let optional = [
            self.userinfo_endpoint.as_ref().map(|url| ("userinfo_endpoint", url)),
            self.end_session_endpoint.as_ref().map(|url| ("end_session_endpoint", url)),
        ];
        required.into_iter().chain(optional.into_iter().flatten())
    }
}

fn endpoint(address: &str, allows_http: bool) -> Option<Url> {
    let url = Url::parse(address).ok().filter(|_| address.len() <= MAX_ADDRESS_BYTES)?;
    let is_protected = url.scheme() == "https" || (allows_http && url.scheme() == "http" && is_local(&url));
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (is_protected && is_plain && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example/realm";

    fn document(change: impl FnOnce(&mut Value)) -> Result<Metadata, MetadataFault> {
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example/authorize?p=1",
            "token_endpoint": "https://token.example/token",
            "jwks_uri": "https://keys.example/jwks",
        });
        change(&mut document);
        Metadata::read(document.as_object().unwrap(), ISSUER, false)
    }

    #[test]
    fn a_document_is_read_and_its_endpoints_may_be_on_other_hosts() {
        let metadata = document(|_| ()).unwrap();
        assert_eq!(metadata.token_endpoint.as_str(), "https://token.example/token");
        assert_eq!((metadata.promises_iss, metadata.wants_secret_in_body, metadata.lists_s256), (false, false, None));
        assert_eq!(metadata.endpoints().count(), 3);
        let full = document(|document| {
            document["authorization_response_iss_parameter_supported"] = json!(true);
            document["token_endpoint_auth_methods_supported"] = json!(["client_secret_post", "none"]);
            document["id_token_signing_alg_values_supported"] = json!(["HS256", "RS256", "Ed25519", 7]);
            document["code_challenge_methods_supported"] = json!(["plain"]);
        })
        .unwrap();
        assert_eq!((full.promises_iss, full.wants_secret_in_body, full.lists_s256), (true, true, Some(false)));
        assert_eq!(full.id_token_algorithms, [Algorithm::RS256, Algorithm::EdDSA]);
    }

    #[test]
    fn a_document_of_another_issuer_is_refused() {
        for (issuer, is_slash) in [("https://id.example/realm/", true), ("https://evil.example", false)] {
            let result = document(|document| document["issuer"] = json!(issuer));
            let found = issuer.to_owned();
            assert_eq!(result, Err(MetadataFault::OtherIssuer { found, is_slash }));
        }
        assert_eq!(document(|document| document["issuer"] = json!(null)), Err(MetadataFault::NoIssuer));
    }

    #[test]
    fn an_endpoint_that_is_not_protected_is_refused() {
        for address in [
            "http://id.example/token",
            "http://127.0.0.1/token",
            "https://ada@id.example/token",
            "https://id.example/token#x",
            "javascript:alert(1)",
            "/token",
            "",
        ] {
            let result = document(|document| document["token_endpoint"] = json!(address));
            assert_eq!(result, Err(MetadataFault::Endpoint("token_endpoint")), "{address}");
            let metadata = document(|document| document["end_session_endpoint"] = json!(address)).unwrap();
            assert_eq!(metadata.end_session_endpoint, None, "{address}");
        }
        let result = document(|document| drop(document.as_object_mut().unwrap().remove("jwks_uri")));
        assert_eq!(result, Err(MetadataFault::Missing("jwks_uri")));
    }

    #[test]
    fn http_is_allowed_only_on_this_machine_and_only_if_the_issuer_is() {
        let local = json!({
            "issuer": "http://127.0.0.1:9", "authorization_endpoint": "http://127.0.0.1:9/a",
            "token_endpoint": "http://127.0.0.1:9/t", "jwks_uri": "http://127.0.0.1:9/j",
        });
        let read = |allows_http| Metadata::read(local.as_object().unwrap(), "http://127.0.0.1:9", allows_http);
        assert!(read(true).is_ok());
        assert!(read(false).is_err());
    }

    #[test]
    fn a_provider_that_signs_with_the_client_secret_is_refused() {
        let result = document(|document| document["id_token_signing_alg_values_supported"] = json!(["HS256"]));
        assert_eq!(result, Err(MetadataFault::Algorithms));
    }
}
