//! Native apps beside the gateway's pages: they bring tokens of the same provider, and their people are the same people.

use reqwest::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::person::{Manner, Person};
use super::*;
use crate::support::gateway::Phone;

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// Where the app's provider sends the code.
const APP: &str = "com.example.app:/signed-in";
/// What the app's access tokens are for.
const API: &str = "https://api.example";

/// Signs a person in to the provider's own native app. Returns the answer of the token endpoint.
pub async fn app_tokens(person: &Person, provider: &Provider, resource: Option<&str>) -> Value {
    let mut url = Url::parse(&format!("{}/auth", provider.issuer)).unwrap();
    url.query_pairs_mut().extend_pairs([
        ("client_id", "app"),
        ("response_type", "code"),
        ("redirect_uri", APP),
        ("scope", "openid profile email"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    let mut grant = vec![
        ("grant_type", "authorization_code".to_owned()),
        ("client_id", "app".to_owned()),
        ("redirect_uri", APP.to_owned()),
        ("code_verifier", VERIFIER.to_owned()),
    ];
    if let Some(resource) = resource {
        url.query_pairs_mut().append_pair("resource", resource);
        grant.push(("resource", resource.to_owned()));
    }
    let is_app = |url: &Url| url.scheme() == "com.example.app";
    let back = person.go_until(person.visit(url), Manner::SignIn, is_app).await;
    let code = back.url.query_pairs().find(|(name, _)| name == "code").unwrap_or_else(|| panic!("{back:?}")).1;
    grant.push(("code", code.into_owned()));
    let request = reqwest::Client::new().post(format!("{}/token", provider.issuer)).form(&grant);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_native_apps_are_the_same_people_as_the_sessions_of_browsers() {
    let place = Place::choose();
    let further = ["--resource", API, "--consent", "auto"];
    let provider = Provider::start(Program::OidcProvider, &[&place.url()], &further).await;
    let audiences = format!("audiences = [\"app\", {API:?}]");
    let site = Site::set(place, &format!("{WEB}{}", table("acme", &provider, "scangate", &audiences))).await;
    let alice = Person::new("alice", &site.edge);
    alice.sign_in("acme", "to=/share").await;
    let bob = Person::new("bob", &site.edge);
    let tokens = app_tokens(&alice, &provider, Some(API)).await;
    let others = app_tokens(&bob, &provider, Some(API)).await;
    for kind in ["id_token", "access_token"] {
        let phone = site.edge.phone(tokens[kind].as_str().unwrap().to_owned());
        let mut desk = site.desk("web").await;
        assert_eq!(phone.act(&desk.id, "scan").await.status(), StatusCode::OK, "{kind}");
        let other: Phone = site.edge.phone(others[kind].as_str().unwrap().to_owned());
        assert!(other.act(&desk.id, "confirm").await.status().is_client_error(), "{kind}");
        // Scanned in the app, confirmed on the page.
        let confirmed = alice.act(&desk.id, "confirm").await;
        assert_eq!(confirmed.status(), StatusCode::OK, "{kind}: {}", confirmed.text().await.unwrap());
        assert_eq!(desk.signed_in().await["sub"], "4f1c8a52-alice", "{kind}");
    }
    // An access token that only the provider can read.
    let opaque = app_tokens(&alice, &provider, None).await["access_token"].as_str().unwrap().to_owned();
    let desk = site.desk("web").await;
    assert_eq!(site.edge.phone(opaque).act(&desk.id, "scan").await.status(), StatusCode::UNAUTHORIZED);
    // The provider's tokens for the gateway itself do not come into anyone's hands; those of an app that is not named do.
    site_without_audiences(&provider, site, &tokens, &alice).await;
}

async fn site_without_audiences(provider: &Provider, mut site: Site, tokens: &Value, alice: &Person) {
    site.restart_with(&format!("{WEB}{}", table("acme", provider, "scangate", ""))).await;
    let mut desk = site.desk("web").await;
    for kind in ["id_token", "access_token"] {
        let phone = site.edge.phone(tokens[kind].as_str().unwrap().to_owned());
        assert_eq!(phone.act(&desk.id, "scan").await.status(), StatusCode::UNAUTHORIZED, "{kind}");
    }
    alice.approve(&desk.id).await;
    assert_eq!(json!([desk.signed_in().await["sub"]]), json!(["4f1c8a52-alice"]));
}
