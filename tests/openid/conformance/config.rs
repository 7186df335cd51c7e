//! The plan *Config*.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Suite;
use crate::support::openid::use_endpoints;

/// The members of OpenID Connect Discovery §3, RFC 8414 §2, RFC 9207 §3, RP-Initiated Logout §2.1 and Prompt Create §4.2 that may be there.
const MEMBERS: [&str; 31] = [
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "revocation_endpoint",
    "introspection_endpoint",
    "end_session_endpoint",
    "scopes_supported",
    "response_types_supported",
    "response_modes_supported",
    "grant_types_supported",
    "acr_values_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
    "token_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_methods_supported",
    "code_challenge_methods_supported",
    "display_values_supported",
    "claim_types_supported",
    "claims_supported",
    "service_documentation",
    "claims_locales_supported",
    "ui_locales_supported",
    "claims_parameter_supported",
    "request_parameter_supported",
    "request_uri_parameter_supported",
    "require_request_uri_registration",
    "authorization_response_iss_parameter_supported",
    "prompt_values_supported",
];

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_discovery_endpoint_verification() {
    let suite = Suite::start(None).await;
    let (gateway, issuer) = (&suite.gateway, &suite.gateway.public_url);
    let answer = reqwest::get(gateway.url("/.well-known/openid-configuration")).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    let document: Value = answer.json().await.unwrap();
    let known: BTreeSet<_> = MEMBERS.into_iter().collect();
    let unexpected: Vec<_> =
        document.as_object().unwrap().keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert_eq!(&document["issuer"], issuer);
    assert!(!issuer.ends_with('/'));
    use_endpoints(gateway, &suite.app, &document).await;
    let has =
        |member: &str, value: &str| document[member].as_array().is_some_and(|values| values.contains(&json!(value)));
    for (member, value) in [
        ("response_types_supported", "code"),
        ("response_modes_supported", "query"),
        ("response_modes_supported", "form_post"),
        ("subject_types_supported", "public"),
        ("id_token_signing_alg_values_supported", "RS256"),
        ("grant_types_supported", "authorization_code"),
        ("grant_types_supported", "refresh_token"),
        ("scopes_supported", "openid"),
        ("scopes_supported", "offline_access"),
        ("claims_supported", "sub"),
        ("claims_supported", "name"),
        ("token_endpoint_auth_methods_supported", "client_secret_basic"),
        ("token_endpoint_auth_methods_supported", "client_secret_post"),
        ("code_challenge_methods_supported", "S256"),
        ("ui_locales_supported", "en"),
        ("ui_locales_supported", "zh"),
    ] {
        assert!(has(member, value), "{member} lacks {value}: {document}");
    }
    // If this is left out, `request_uri` is supported by default (Discovery §3).
    for (member, value) in [
        ("request_uri_parameter_supported", false),
        ("request_parameter_supported", false),
        ("claims_parameter_supported", true),
        ("authorization_response_iss_parameter_supported", true),
    ] {
        assert_eq!(document[member], value, "{member}");
    }
    let jwks = document["jwks_uri"].as_str().unwrap().strip_prefix(issuer.as_str()).unwrap().to_owned();
    let keys: Value = reqwest::get(gateway.url(&jwks)).await.unwrap().json().await.unwrap();
    let keys = keys["keys"].as_array().unwrap();
    let kids: BTreeSet<_> = keys.iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(kids.len(), keys.len(), "a key id is there twice");
    for algorithm in document["id_token_signing_alg_values_supported"].as_array().unwrap() {
        assert!(keys.iter().any(|key| key["alg"] == *algorithm), "no key for {algorithm}");
    }
    let same = reqwest::get(gateway.url("/.well-known/oauth-authorization-server")).await.unwrap();
    assert_eq!(same.json::<Value>().await.unwrap(), document);
}
