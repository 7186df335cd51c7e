//! Tests of whole sign-ins without a provider on the network: the discovery document, the keys and the store are made here.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use url::Url;

use super::begun::Begun;
use super::settings::{ClientAuthentication, ProviderSettings, SignOut};
use super::*;
use crate::metrics::Metrics;
use crate::random;
use crate::signer::Signer;
use crate::signer::keys::{self, KeyAlgorithm, SigningKeys};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::ticket::{BindingSecret, TicketId};
use crate::verifier::jwks::RemoteKeys;
use crate::verifier::{Fault, VerifyError};
use crate::waiters::{WaiterLimits, Waiters};

/// Returns the settings of the provider `https://{id}.example`.
pub(super) fn settings(id: &str) -> ProviderSettings {
    ProviderSettings {
        id: id.to_owned(),
        name: id.to_owned(),
        logo: None,
        issuer: format!("https://{id}.example"),
        client_id: "gate".to_owned(),
        authentication: ClientAuthentication::Public,
        scopes: vec!["openid".to_owned(), "profile".to_owned()],
        acr_values: Vec::new(),
        userinfo_claims: Vec::new(),
        audiences: vec!["native".to_owned()],
        sign_out: SignOut::Here,
        keys_max_age: Duration::from_secs(3600),
    }
}

/// Returns the discovery document of `https://{id}.example`.
pub(super) fn metadata(id: &str) -> Metadata {
    let url = |path: &str| Url::parse(&format!("https://{id}.example/{path}")).unwrap();
    Metadata {
        authorization_endpoint: url("authorize?tenant=one"),
        token_endpoint: url("token"),
        jwks_uri: url("jwks"),
        userinfo_endpoint: None,
        end_session_endpoint: None,
        promises_iss: true,
        wants_secret_in_body: false,
        id_token_algorithms: vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
        lists_s256: Some(true),
    }
}

struct Site {
    store: Arc<dyn Store>,
    relying_party: RelyingParty,
}

/// A gateway with two providers, whose discovery documents are known.
fn site() -> Site {
    let metrics = Arc::new(Metrics::new());
    let limits = WaiterLimits {
        per_ticket: 1,
        per_address: 1,
        per_process: 1,
        heartbeat: Duration::from_secs(1),
        drain_spread: Duration::from_secs(1),
    };
    let waiters = Waiters::new(limits, Arc::clone(&metrics));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::open(100, waiters.changes()));
    let provider = |id: &str| {
        let provider = Provider::new(settings(id), Arc::clone(&metrics)).unwrap();
        provider.discovery.know(metadata(id));
        Arc::new(provider)
    };
    let providers = vec![provider("one"), provider("two")];
    let uri = "https://gate.example/sign-in/callback".to_owned();
    let relying_party = RelyingParty::new(providers, Arc::clone(&store), uri, [], metrics, Arc::default());
    Site { store, relying_party }
}

impl Site {
    /// Begins a sign-in, and returns its `state`.
    async fn begin(&self, provider: &str, browser: &BindingSecret, ticket: TicketId) -> String {
        let provider = self.relying_party.find(provider).unwrap();
        let path = Return { path: ReturnPath::Ticket(ticket), language: None };
        let url = self.relying_party.begin(provider, browser, path, &Wishes::default()).await.unwrap();
        url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
    }

    async fn failure(&self, query: &str, browser: Option<&BindingSecret>) -> (&'static str, Option<ReturnPath>) {
        let answer = Answer::read(query).unwrap();
        let failed = self.relying_party.finish(&answer, browser).await.unwrap_err();
        (failed.error.as_str(), failed.return_to.map(|to| to.path))
    }
}

#[tokio::test]
async fn a_declined_sign_in_leads_back_to_its_ticket_and_is_used_once() {
    let (site, browser, ticket) = (site(), random::binding_secret(), random::ticket_id());
    let state = site.begin("one", &browser, ticket).await;
    let query = format!("error=access_denied&state={state}&iss=https://one.example");
    assert_eq!(site.failure(&query, Some(&browser)).await, ("denied", Some(ReturnPath::Ticket(ticket))));
    assert_eq!(site.failure(&query, Some(&browser)).await, ("used_before", Some(ReturnPath::Ticket(ticket))));
    assert_eq!(
        site.failure(&query, Some(&random::binding_secret())).await,
        ("used_before", None),
        "it is told nothing"
    );
}

#[tokio::test]
async fn a_callback_begun_in_another_browser_signs_nobody_in_and_costs_nobody_the_sign_in() {
    let (site, browser, ticket) = (site(), random::binding_secret(), random::ticket_id());
    let state = site.begin("one", &browser, ticket).await;
    let query = format!("error=access_denied&state={state}&iss=https://one.example");
    let back = Some(ReturnPath::Ticket(ticket));
    for other in [None, Some(random::binding_secret())] {
        assert_eq!(site.failure(&query, other.as_ref()).await, ("other_browser", back.clone()));
    }
    assert_eq!(site.failure(&query, Some(&browser)).await, ("denied", back));
}

#[tokio::test]
async fn an_answer_of_the_other_provider_never_reaches_a_token_endpoint() {
    let (site, browser, ticket) = (site(), random::binding_secret(), random::ticket_id());
    let state = site.begin("one", &browser, ticket).await;
    for iss in ["&iss=https://two.example", ""] {
        let query = format!("code=stolen&state={state}{iss}");
        assert_eq!(site.failure(&query, Some(&browser)).await.0, "mix_up", "{iss}");
    }
}

#[tokio::test]
async fn an_unknown_state_and_an_answer_without_a_code_are_refused() {
    let (site, browser) = (site(), random::binding_secret());
    let unknown = random::binding_secret().reveal();
    for query in [format!("code=c&state={unknown}"), "code=c".to_owned(), "code=c&state=x".to_owned()] {
        assert_eq!(site.failure(&query, Some(&browser)).await, ("unknown_state", None), "{query}");
    }
    let state = site.begin("one", &browser, random::ticket_id()).await;
    let query = format!("state={state}&iss=https://one.example");
    assert_eq!(site.failure(&query, Some(&browser)).await.0, "malformed");
}

#[tokio::test]
async fn two_tabs_sign_in_side_by_side() {
    let (site, browser) = (site(), random::binding_secret());
    let (one, two) = (random::ticket_id(), random::ticket_id());
    let states = [site.begin("one", &browser, one).await, site.begin("two", &browser, two).await];
    for (state, provider, ticket) in [(&states[1], "two", two), (&states[0], "one", one)] {
        let query = format!("error=access_denied&state={state}&iss=https://{provider}.example");
        let back = Some(ReturnPath::Ticket(ticket));
        assert_eq!(site.failure(&query, Some(&browser)).await, ("denied", back), "{provider}");
    }
}

#[tokio::test]
async fn of_two_hundred_answers_one_is_used() {
    let (site, state) = (site(), random::binding_secret());
    let begun = Begun {
        provider: "one".to_owned(),
        code_verifier: String::new(),
        nonce: String::new(),
        return_to: Return { path: ReturnPath::Share(None), language: None },
        browser: random::binding_secret().hash(),
    };
    begun::put(site.store.as_ref(), &state, &begun).await.unwrap();
    let uses = (0..200).map(|_| begun::use_up(site.store.as_ref(), &state, &begun));
    let won = futures_util::future::join_all(uses).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn an_id_token_is_opened_only_with_its_providers_key() {
    let pem = keys::generate(KeyAlgorithm::Es256).unwrap();
    let (own, other) =
        (Signer::of_keys("one", SigningKeys::single(&pem).unwrap(), &[]), Signer::open("two", None).unwrap());
    let jwks: Value = serde_json::from_str(&own.jwks()).unwrap();
    let mut header = Header::new(Algorithm::ES256);
    header.kid = jwks["keys"][0]["kid"].as_str().map(str::to_owned);
    let claims = json!({"iss": "https://one.example", "sub": "ada"});
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(pem.as_bytes()).unwrap()).unwrap();
    let opened = RemoteKeys::of_text(&own.jwks()).open(&token).await.unwrap();
    assert_eq!((opened.algorithm, opened.is_access_token), (Algorithm::ES256, false));
    assert_eq!(Value::from(opened.claims), claims);
    let refused = RemoteKeys::of_text(&other.jwks()).open(&token).await;
    assert_eq!(refused, Err(VerifyError::Invalid(Fault::UnknownKey)));
    header.typ = Some("at+jwt".to_owned());
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(pem.as_bytes()).unwrap()).unwrap();
    assert!(RemoteKeys::of_text(&own.jwks()).open(&token).await.unwrap().is_access_token);
}

#[test]
fn the_sign_out_address_comes_from_discovery_and_the_settings() {
    let of = |sign_out, end_session_endpoint: Option<&str>| {
        let settings = ProviderSettings { sign_out, ..settings("one") };
        let provider = Provider::new(settings, Arc::default()).unwrap();
        let end_session_endpoint = end_session_endpoint.map(|url| Url::parse(url).unwrap());
        provider.discovery.know(Metadata { end_session_endpoint, ..metadata("one") });
        provider.sign_out_url("https://gate.example/").map(String::from)
    };
    let endpoint = Some("https://one.example/logout");
    assert_eq!(of(SignOut::Here, endpoint), None);
    assert_eq!(of(SignOut::Provider, None), None);
    let expected = "https://one.example/logout?client_id=gate&post_logout_redirect_uri=https%3A%2F%2Fgate.example%2F";
    assert_eq!(of(SignOut::Provider, endpoint).as_deref(), Some(expected));
}
