//! Discovery documents and key sets that are wrong when the gateway starts: nobody signs in with them, and the gateway finds by itself
//! when they are right.

use futures_util::future::join_all;
use serde_json::json;

use super::*;
use crate::support::hostile::{Endpoint, Instead};

async fn nobody_begins_with(lies: Vec<(&'static str, Lie)>) {
    let (said, lies): (Vec<_>, Vec<_>) = lies.into_iter().unzip();
    let providers: Vec<Provider> = lies.into_iter().map(Provider::lying).collect();
    let gateway = with_providers(&providers).await;
    let id = Browser::new(&gateway).create().await;
    for (number, said) in said.iter().enumerate() {
        for language in LANGUAGES {
            let phone = PhoneBrowser::new(&gateway).reading(language);
            let told = Told::of(phone.begin(&format!("/sign-in/{number}?ticket={id}")).await).await;
            told.is(language, 503, "provider_unavailable", &format!("/s/{id}"));
            assert!(!told.headers.contains_key("set-cookie"), "{said}");
        }
        assert_eq!(providers[number].count("GET /authorize"), 0, "{said}");
        let log = gateway.log();
        let is_it = |line: &str| line.contains(&format!("\"provider\":\"{number}\"")) && line.contains(said);
        assert!(log.lines().any(is_it), "nothing says {said:?} of {number} in:\n{log}");
        assert!(providers[number].taken() < 8 * 1024 * 1024, "{} bytes were read", providers[number].taken());
    }
    providers.iter().for_each(Provider::be_honest);
    let paths: Vec<_> = (0..providers.len()).map(|number| format!("/sign-in/{number}?ticket={id}")).collect();
    join_all(paths.iter().map(|path| signs_in_at_last(&gateway, path))).await;
}

fn document(name: &'static str, value: Value) -> Lie {
    Lie::at(Endpoint::Discovery, move |document| document[name] = value.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_document_that_names_what_it_must_not_is_not_used() {
    nobody_begins_with(vec![
        ("set the issuer to exactly that", document("issuer", json!("https://other.example"))),
        ("has no issuer", document("issuer", Value::Null)),
        ("token_endpoint of the discovery document", document("token_endpoint", json!("http://id.example/token"))),
        ("jwks_uri of the discovery document", document("jwks_uri", json!("https://ada:pw@id.example/jwks"))),
        ("authorization_endpoint of the disc", document("authorization_endpoint", json!("javascript:alert(1)"))),
        ("userinfo_endpoint of the discovery", document("userinfo_endpoint", json!("/userinfo"))),
        ("has no jwks_uri", document("jwks_uri", Value::Null)),
        ("choose RS256 or ES256", document("id_token_signing_alg_values_supported", json!(["HS256", "none"]))),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_document_that_is_none_is_not_used_and_no_redirect_to_one_is_followed() {
    let elsewhere = Provider::start();
    let at = |instead| Lie::replacing(Endpoint::Discovery, instead);
    let url = format!("{}/.well-known/openid-configuration", elsewhere.issuer);
    nobody_begins_with(vec![
        ("HTTP status 307", at(Instead::Redirects(url))),
        ("not a JSON object", at(Instead::Page)),
        ("not a JSON object", at(Instead::Status(200, "[]"))),
        ("HTTP status 500", at(Instead::Status(500, "{}"))),
        ("HTTP status 404", at(Instead::Status(404, "{}"))),
        ("more than 262144 bytes", at(Instead::Endless)),
    ])
    .await;
    assert_eq!(elsewhere.count("GET /.well-known/openid-configuration"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_none_verify_nothing_and_no_redirect_to_some_is_followed() {
    let elsewhere = Provider::start();
    let lies = [
        Lie::replacing(Endpoint::Keys, Instead::Redirects(format!("{}/jwks", elsewhere.issuer))),
        Lie::replacing(Endpoint::Keys, Instead::Page),
        Lie::replacing(Endpoint::Keys, Instead::Status(500, "{}")),
        Lie::replacing(Endpoint::Keys, Instead::Endless),
        Lie::replacing(Endpoint::Keys, Instead::Status(200, "{\"keys\": {}}")),
        Lie::at(Endpoint::Keys, |keys| keys["keys"] = json!([])),
        Lie::at(Endpoint::Keys, |keys| keys["keys"] = json!([{"kty": "oct", "k": "AAAA", "kid": "the-key"}])),
    ];
    let providers: Vec<Provider> = lies.into_iter().map(Provider::lying).collect();
    let gateway = with_providers(&providers).await;
    let id = Browser::new(&gateway).create().await;
    let paths: Vec<_> = (0..providers.len()).map(|number| format!("/sign-in/{number}?ticket={id}")).collect();
    for (number, path) in paths.iter().enumerate() {
        let phone = PhoneBrowser::new(&gateway).reading(LANGUAGES[number % 2]);
        let told = Told::of(phone.sign_in(path).await).await;
        told.is(LANGUAGES[number % 2], 503, "provider_unavailable", &format!("/s/{id}"));
        assert_eq!((phone.session().await, providers[number].count("GET /userinfo")), (None, 0));
        assert!(providers[number].taken() < 8 * 1024 * 1024, "{} bytes were read", providers[number].taken());
    }
    let failed = gateway.metric(&failed_series("no_keys")).await;
    assert_eq!((failed, elsewhere.count("GET /jwks")), (7.0, 0));
    providers.iter().for_each(Provider::be_honest);
    join_all(paths.iter().map(|path| signs_in_at_last(&gateway, path))).await;
}
