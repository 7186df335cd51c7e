//! The description of the provider (OpenID Connect Discovery §3, RFC 8414 §2). It lists only what the gateway and its
//! settings support: the scopes, algorithms and claims are those of the registered clients.

use serde::Serialize;

use super::OpenIdProvider;
use crate::clients::Clients;
use crate::clients::openid::{OpenIdClient, RefreshTokens, TokenAuth};
use crate::clients::scopes::SCOPES;

/// The claims that every ID token may have besides those of people.
const OWN_CLAIMS: [&str; 12] =
    ["sub", "iss", "aud", "exp", "iat", "jti", "sid", "auth_time", "acr", "amr", "nonce", "at_hash"];
/// The languages of the pages.
const LOCALES: [&str; 2] = ["en", "zh"];

/// The document.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the specification names these members")]
pub struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: String,
    jwks_uri: String,
    revocation_endpoint: String,
    /// Public clients cannot use it, so without others it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection_endpoint: Option<String>,
    end_session_endpoint: String,
    scopes_supported: Vec<&'static str>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 2],
    grant_types_supported: Vec<&'static str>,
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    code_challenge_methods_supported: [&'static str; 1],
    claim_types_supported: [&'static str; 1],
    claims_supported: Vec<String>,
    claims_parameter_supported: bool,
    request_parameter_supported: bool,
    request_uri_parameter_supported: bool,
    require_request_uri_registration: bool,
    prompt_values_supported: [&'static str; 4],
    display_values_supported: [&'static str; 1],
    ui_locales_supported: [&'static str; 2],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    acr_values_supported: Vec<String>,
    authorization_response_iss_parameter_supported: bool,
}

impl OpenIdProvider {
    /// Returns the description of this provider. `acr_of_providers` are the classes that its identity providers are asked for.
    #[must_use]
    pub fn document<'a>(&'a self, acr_of_providers: impl Iterator<Item = &'a String>) -> Document {
        document(&self.issuer, &self.clients, acr_of_providers)
    }
}

fn document<'a>(issuer: &str, clients: &'a Clients, acr_of_providers: impl Iterator<Item = &'a String>) -> Document {
    let of_clients = || clients.iter().filter(|client| client.openid.is_some());
    let openid = || clients.iter().filter_map(|client| client.openid.as_deref());
    let at = |path: &str| format!("{issuer}{path}");
    let methods = auth_methods(openid());
    let of_confidential: Vec<_> = methods.iter().copied().filter(|method| *method != "none").collect();
    let acr_of_clients = of_clients().flat_map(|client| &client.freshness.acr_values);
    let grants = if openid().any(|openid| openid.refresh_tokens != RefreshTokens::Never) {
        vec!["authorization_code", "refresh_token"]
    } else {
        vec!["authorization_code"]
    };
    let is_granted = |scope: &&str| openid().any(|openid| openid.scopes.iter().any(|granted| granted == scope));
    Document {
        issuer: issuer.to_owned(),
        authorization_endpoint: at("/oauth2/authorize"),
        token_endpoint: at("/oauth2/token"),
        userinfo_endpoint: at("/oauth2/userinfo"),
        jwks_uri: at("/.well-known/jwks.json"),
        revocation_endpoint: at("/oauth2/revoke"),
        introspection_endpoint: (!of_confidential.is_empty()).then(|| at("/oauth2/introspect")),
        end_session_endpoint: at("/oauth2/logout"),
        scopes_supported: SCOPES.into_iter().filter(is_granted).collect(),
        response_types_supported: ["code"],
        response_modes_supported: ["query", "form_post"],
        grant_types_supported: grants,
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: clients.algorithms().iter().map(ToString::to_string).collect(),
        revocation_endpoint_auth_methods_supported: methods.clone(),
        token_endpoint_auth_methods_supported: methods,
        introspection_endpoint_auth_methods_supported: of_confidential,
        code_challenge_methods_supported: ["S256"],
        claim_types_supported: ["normal"],
        claims_supported: distinct(
            OWN_CLAIMS.map(str::to_owned).iter().chain(of_clients().flat_map(|client| &client.claims)),
        ),
        claims_parameter_supported: true,
        request_parameter_supported: false,
        request_uri_parameter_supported: false,
        require_request_uri_registration: false,
        prompt_values_supported: ["none", "login", "consent", "select_account"],
        display_values_supported: ["page"],
        ui_locales_supported: LOCALES,
        acr_values_supported: distinct(acr_of_clients.chain(acr_of_providers)),
        authorization_response_iss_parameter_supported: true,
    }
}

/// Returns the ways in which some client authenticates at the token endpoint.
fn auth_methods<'a>(clients: impl Iterator<Item = &'a OpenIdClient>) -> Vec<&'static str> {
    let used: Vec<TokenAuth> = clients.map(|client| client.token_auth).collect();
    let is_used = |methods: &[TokenAuth]| used.iter().any(|method| methods.contains(method));
    let all = [
        ("client_secret_basic", is_used(&[TokenAuth::Secret, TokenAuth::Basic])),
        ("client_secret_post", is_used(&[TokenAuth::Secret, TokenAuth::Post])),
        ("none", is_used(&[TokenAuth::None])),
    ];
    all.into_iter().filter_map(|(name, is_used)| is_used.then_some(name)).collect()
}

/// Returns each text once, in the order in which it comes first.
fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in texts {
        if !found.contains(text) {
            found.push(text.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::clients::table::ClientTable;
    use crate::clients::tables::from_tables;

    #[derive(Deserialize)]
    struct File {
        clients: Vec<ClientTable>,
    }

    fn of(clients: &str) -> Value {
        let file: File = toml::from_str(clients).unwrap();
        let clients = from_tables(file.clients, Path::new("/nowhere"), true, |_connector| None).unwrap();
        let of_providers = ["urn:loa:2".to_owned(), "phr".to_owned()];
        serde_json::to_value(document("https://gate.example", &clients, of_providers.iter())).unwrap()
    }

    const SPA: &str = "[[clients]]\nid = \"spa\"\nredirect_uris = [\"https://spa.example/\"]\ntoken_auth = \"none\"\n";

    #[test]
    fn the_document_says_what_the_clients_may_have_and_no_more() {
        let document = of(SPA);
        assert_eq!(document["issuer"], "https://gate.example");
        assert_eq!(document["scopes_supported"], json!(["openid", "profile", "email"]));
        assert_eq!(document["grant_types_supported"], json!(["authorization_code"]));
        assert_eq!(document["id_token_signing_alg_values_supported"], json!(["RS256"]));
        assert_eq!(document["token_endpoint_auth_methods_supported"], json!(["none"]));
        // Nobody could use the endpoint, and RFC 8414 §3.2 allows no empty array.
        for name in ["introspection_endpoint", "introspection_endpoint_auth_methods_supported"] {
            assert_eq!(document.get(name), None, "{name}");
        }
        assert!(document.as_object().unwrap().values().all(|value| *value != json!([])), "{document}");
        assert_eq!(document["acr_values_supported"], json!(["urn:loa:2", "phr"]));
        let both = format!(
            "{SPA}claims = [\"groups\", \"email\"]\n[[clients]]\nid = \"app\"\nredirect_uris = [\"https://app.example/\"]\n\
             secret = \"0123456789abcdefghijklmnopqrstuvwxyz\"\nsigning_alg = \"ES256\"\nrefresh_tokens = \"offline_access\"\n\
             scopes = [\"openid\", \"offline_access\"]\nacr_values = [\"phr\"]\n\
             [[clients]]\nid = \"site\"\nclaims = [\"of_the_site\"]\nacr_values = [\"of_the_site\"]\n"
        );
        let document = of(&both);
        assert_eq!(document["scopes_supported"], json!(["openid", "profile", "email", "offline_access"]));
        assert_eq!(document["grant_types_supported"], json!(["authorization_code", "refresh_token"]));
        assert_eq!(document["id_token_signing_alg_values_supported"], json!(["RS256", "ES256"]));
        let methods = json!(["client_secret_basic", "client_secret_post", "none"]);
        assert_eq!(document["token_endpoint_auth_methods_supported"], methods);
        assert_eq!(document["revocation_endpoint_auth_methods_supported"], methods);
        let confidential = json!(["client_secret_basic", "client_secret_post"]);
        assert_eq!(document["introspection_endpoint_auth_methods_supported"], confidential);
        assert_eq!(document["introspection_endpoint"], "https://gate.example/oauth2/introspect");
        assert_eq!(document["acr_values_supported"], json!(["phr", "urn:loa:2"]));
        let claims = document["claims_supported"].as_array().unwrap();
        assert!(["sub", "sid", "groups", "email"].iter().all(|name| claims.contains(&json!(name))), "{claims:?}");
        assert!(!claims.contains(&json!("of_the_site")) && !claims.contains(&json!("name")), "{claims:?}");
    }

    #[test]
    fn every_member_that_the_specifications_require_is_there() {
        let document = of(SPA);
        for name in [
            // OpenID Connect Discovery §3.
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "response_types_supported",
            "subject_types_supported",
            "id_token_signing_alg_values_supported",
            // RFC 7636 §4.2 for clients that ask for PKCE, RFC 9207 §3, RP-Initiated Logout §2.1.
            "code_challenge_methods_supported",
            "authorization_response_iss_parameter_supported",
            "end_session_endpoint",
        ] {
            assert!(document.get(name).is_some(), "{name} is missing");
        }
        let urls = document.as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_endpoint"));
        for (name, url) in urls {
            assert!(url.as_str().unwrap().starts_with("https://gate.example/oauth2/"), "{name}: {url}");
        }
    }
}
