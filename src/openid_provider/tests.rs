//! Tests of codes, grants and tokens on the in-process store, whole and failing at every step.

mod failover;
mod interleavings;
mod lifetimes;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client_auth::{AuthenticatedClient, Credentials};
use super::codes::{CODE_TTL, CodeContent, CodeSource, PresentedCode};
use super::exchange::ExchangeError;
use super::tokens::Tokens;
use super::*;
use crate::clients::table::ClientTable;
use crate::clients::tables::from_tables;
use crate::clock::now;
use crate::random;
use crate::signer::keys::KeyAlgorithm;
use crate::signer::{JwtType, MissingKey};
use crate::single_sign_on::SingleSignOnLifetimes;
use crate::store::Changes;
use crate::store::memory::MemoryStore;
use crate::ticket::{Authentication, BindingSecret, ClientId, Grant, RequestedClaims, Subject, TicketId};

const REDIRECT: &str = "https://app.example/cb";
/// Both lifetimes of a browser's session.
const DAY: Duration = Duration::from_secs(24 * 3600);
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The challenge of [`VERIFIER`], from RFC 7636 Appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Ignores reports: nobody waits.
struct Unwatched;

impl Changes for Unwatched {
    fn changed(&self, _id: &TicketId) {}

    fn missed(&self, _ids: Vec<TicketId>) {}
}

/// Returns clients with these ids, each with further lines of its table. `plain` is no OpenID client.
pub(super) fn clients(tables: &[(&str, &str)]) -> Clients {
    #[derive(Deserialize)]
    struct File {
        clients: Vec<ClientTable>,
    }
    let table =
        |(id, lines): &(&str, &str)| format!("[[clients]]\nid = {id:?}\nredirect_uris = [{REDIRECT:?}]\n{lines}\n");
    let text = tables.iter().map(table).chain(["[[clients]]\nid = \"plain\"\n".to_owned()]).collect::<String>();
    let file: File = toml::from_str(&text).unwrap();
    from_tables(file.clients, std::path::Path::new("/nowhere"), true, |_connector| None).unwrap()
}

/// A provider with the client `app`, which has refresh tokens, and the client `other`. Must be opened within a runtime.
fn open(store: Arc<dyn Store>, algorithm: &str) -> OpenIdProvider {
    open_with(store, algorithm, "")
}

/// The same, with further lines in the table of `app`.
fn open_with(store: Arc<dyn Store>, algorithm: &str, lines: &str) -> OpenIdProvider {
    let app = format!(
        "token_auth = \"none\"\nrefresh_tokens = \"always\"\nsigning_alg = {algorithm:?}\naudiences = [\"https://api.example\"]\nclaims = [\"name\", \"email\", \"groups\", \"phone_number\"]\n{lines}"
    );
    let clients = clients(&[("app", &app), ("other", "token_auth = \"none\"\nsigning_alg = \"ES256\"")]);
    let signer = Signer::open("https://gate.example", None).unwrap();
    let signer = signer.with_algorithms(&clients.algorithms(), MissingKey::Create).unwrap();
    let metrics = Arc::<Metrics>::default();
    let lifetimes = SingleSignOnLifetimes { idle: DAY, absolute: DAY };
    let sso = SingleSignOn::new(Arc::clone(&store), signer.clone(), Arc::clone(&metrics), lifetimes, "one");
    OpenIdProvider::new(store, signer, clients, "https://gate.example", sso, metrics, Arc::default())
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::open(1, Arc::new(Unwatched)))
}

fn client(provider: &OpenIdProvider, id: &str) -> AuthenticatedClient {
    provider.authenticate(Credentials { client_id: Some(id), ..Credentials::default() }).unwrap()
}

fn content() -> CodeContent {
    let claims =
        json!({"name": "Ada", "email": "ada@example.com", "groups": ["a"], "phone_number": "1", "zoneinfo": "UTC"});
    let authentication = Authentication { auth_time: Some(17.into()), acr: Some("gold".into()), amr: None };
    CodeContent {
        client_id: ClientId("app".to_owned()),
        redirect_uri: REDIRECT.to_owned(),
        code_challenge: Some(CHALLENGE.to_owned()),
        nonce: Some("n-0S6".to_owned()),
        scopes: ["openid", "email"].map(str::to_owned).to_vec(),
        is_offline_withheld: false,
        claims: RequestedClaims { id_token: vec!["phone_number".to_owned()], userinfo: vec!["name".to_owned()] },
        sid: None,
        grant: Grant {
            subject: Subject("ada".to_owned()),
            claims: claims.as_object().unwrap().clone(),
            authentication,
            confirmed_at: now(),
        },
        issued_at: now(),
    }
}

fn presented(code: &str) -> PresentedCode<'_> {
    PresentedCode { code, redirect_uri: REDIRECT, verifier: Some(VERIFIER) }
}

async fn issued(provider: &OpenIdProvider) -> String {
    provider.issue_code(CodeSource::Session, &content()).await.unwrap().unwrap()
}

async fn exchanged(provider: &OpenIdProvider) -> Tokens {
    exchanged_for(provider, &content()).await
}

async fn exchanged_for(provider: &OpenIdProvider, content: &CodeContent) -> Tokens {
    let code = provider.issue_code(CodeSource::Session, content).await.unwrap().unwrap();
    provider.exchange_code(&client(provider, "app"), presented(&code)).await.unwrap()
}

fn refused<T>(result: Result<T, ExchangeError>) -> &'static str {
    match result {
        Err(ExchangeError::Refused(error)) => error.as_str(),
        Err(error) => panic!("{error}"),
        Ok(_) => "issued",
    }
}

/// Returns whether the grant of an access token is alive, as the userinfo endpoint asks.
async fn is_alive(provider: &OpenIdProvider, tokens: &Tokens) -> bool {
    let token = provider.verify_access_token(&tokens.access_token).unwrap();
    provider.live_grant(&token.grant_id).await.unwrap().is_some()
}

/// Returns the parts of a JWT.
fn parts(token: &str) -> [Value; 2] {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let mut parts =
        token.split('.').map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap_or_default()));
    [parts.next().unwrap().unwrap(), parts.next().unwrap().unwrap()]
}

/// A text that is not an access token of this gateway costs an attempt; one that was an access token does not.
#[tokio::test]
async fn an_expired_access_token_is_told_from_a_text_that_was_never_one() {
    let provider = open(memory(), "ES256");
    let tokens = exchanged(&provider).await;
    let [_, mut claims] = parts(&tokens.access_token);
    claims["exp"] = json!(now().unix_seconds() - 3600);
    let sign = |typ| provider.signer.sign_with(KeyAlgorithm::Es256, typ, &claims).unwrap();
    let expired = sign(JwtType::AccessToken);
    for (token, is_valid, was_issued) in [
        (&tokens.access_token, true, true),
        (&expired, false, true),
        (&format!("{expired}x"), false, false),
        (&sign(JwtType::Jwt), false, false),
        (&tokens.id_token, false, false),
        (&"x".to_owned(), false, false),
    ] {
        let found = (provider.verify_access_token(token).is_some(), provider.has_issued(token));
        assert_eq!(found, (is_valid, was_issued), "{token}");
    }
    // One of another gateway.
    assert!(!open(memory(), "ES256").has_issued(&tokens.access_token));
}

#[tokio::test]
async fn a_second_use_of_a_code_ends_what_was_issued() {
    let provider = open(memory(), "ES256");
    let (app, code) = (client(&provider, "app"), issued(&provider).await);
    let tokens = provider.exchange_code(&app, presented(&code)).await.unwrap();
    assert!(is_alive(&provider, &tokens).await);
    assert_eq!(refused(provider.exchange_code(&client(&provider, "other"), presented(&code)).await), "invalid_grant");
    assert!(is_alive(&provider, &tokens).await, "another client has ended it");
    assert_eq!(refused(provider.exchange_code(&app, presented(&code)).await), "invalid_grant");
    assert!(!is_alive(&provider, &tokens).await);
    let refresh_token = tokens.refresh_token.unwrap();
    assert_eq!(refused(provider.refresh(&app, &refresh_token, None).await), "invalid_grant");
}

#[tokio::test]
async fn a_fault_of_the_request_does_not_use_the_code() {
    let provider = open(memory(), "ES256");
    let (app, other, code) = (client(&provider, "app"), client(&provider, "other"), issued(&provider).await);
    let with = |redirect_uri, verifier| PresentedCode { code: &code, redirect_uri, verifier };
    let long = "a".repeat(129);
    for (client, presented) in [
        (&other, with(REDIRECT, Some(VERIFIER))),
        (&app, with("https://app.example/cb/", Some(VERIFIER))),
        (&app, with(REDIRECT, None)),
        (&app, with(REDIRECT, Some(CHALLENGE))),
        (&app, with(REDIRECT, Some(&VERIFIER[1..]))),
        (&app, with(REDIRECT, Some(&long))),
        (&app, PresentedCode { code: &code[1..], ..with(REDIRECT, Some(VERIFIER)) }),
    ] {
        assert_eq!(refused(provider.exchange_code(client, presented).await), "invalid_grant");
    }
    provider.exchange_code(&app, with(REDIRECT, Some(VERIFIER))).await.unwrap();
    let without = CodeContent { code_challenge: None, ..content() };
    let code = provider.issue_code(CodeSource::Session, &without).await.unwrap().unwrap();
    assert_eq!(refused(provider.exchange_code(&app, presented(&code)).await), "invalid_grant", "a downgrade");
    provider.exchange_code(&app, PresentedCode { verifier: None, ..presented(&code) }).await.unwrap();
}

#[tokio::test]
async fn a_repeated_request_of_a_sign_in_gets_the_same_code_until_it_is_used() {
    let provider = open(memory(), "ES256");
    let (binding, ticket, content) = (random::binding_secret(), random::ticket_id(), content());
    let at = |age| CodeSource::Ticket { binding: &binding, ticket: &ticket, jti: "one", now: content.issued_at + age };
    let source = at(CODE_TTL / 2);
    assert_eq!(provider.issue_code(at(CODE_TTL), &content).await.unwrap(), None, "its time is over");
    let code = provider.issue_code(source, &content).await.unwrap().unwrap();
    assert_eq!(provider.issue_code(source, &content).await.unwrap(), Some(code.clone()));
    provider.exchange_code(&client(&provider, "app"), presented(&code)).await.unwrap();
    assert_eq!(provider.issue_code(source, &content).await.unwrap(), None, "a used code came back");
}

#[tokio::test]
async fn a_code_depends_on_the_browser_the_ticket_and_the_receipt() {
    let provider = open(memory(), "ES256");
    let (one, two) = (BindingSecret::from_bytes([1; 32]), BindingSecret::from_bytes([2; 32]));
    let (first, second) = (random::ticket_id(), random::ticket_id());
    let content = content();
    let mut codes = std::collections::BTreeSet::new();
    for (binding, ticket, jti) in [(&one, &first, "a"), (&two, &first, "a"), (&one, &second, "a"), (&one, &first, "b")]
    {
        let source = CodeSource::Ticket { binding, ticket, jti, now: content.issued_at };
        codes.insert(provider.issue_code(source, &content).await.unwrap().unwrap());
    }
    assert_eq!(codes.len(), 4);
}

#[tokio::test]
async fn a_code_redeemed_in_process_is_used() {
    let provider = open(memory(), "ES256");
    let (code, id) = (issued(&provider).await, ClientId("app".to_owned()));
    assert_eq!(provider.redeem_code_in_process(&id, &code, REDIRECT, CHALLENGE).await.unwrap(), None);
    let redeemed = provider.redeem_code_in_process(&id, &code, REDIRECT, VERIFIER).await.unwrap().unwrap();
    assert_eq!(redeemed.nonce, content().nonce);
    assert_eq!(provider.redeem_code_in_process(&id, &code, REDIRECT, VERIFIER).await.unwrap(), None);
    assert_eq!(refused(provider.exchange_code(&client(&provider, "app"), presented(&code)).await), "invalid_grant");
}

#[tokio::test]
async fn a_code_that_a_browser_may_not_use_is_used_up_if_its_client_is_a_site() {
    let provider = open(memory(), "ES256");
    let (app, code, id) = (client(&provider, "app"), issued(&provider).await, ClientId("app".to_owned()));
    for other in ["", &code[1..], CHALLENGE] {
        provider.use_up_code(other, |_| true).await.unwrap();
    }
    provider.use_up_code(&code, |client| *client != id).await.unwrap();
    let tokens = provider.exchange_code(&app, presented(&code)).await.unwrap();
    // The tokens that were issued for a used code stay valid.
    provider.use_up_code(&code, |_| true).await.unwrap();
    assert!(is_alive(&provider, &tokens).await);

    let code = issued(&provider).await;
    provider.use_up_code(&code, |client| *client == id).await.unwrap();
    assert_eq!(provider.redeem_code_in_process(&id, &code, REDIRECT, VERIFIER).await.unwrap(), None);
    assert_eq!(refused(provider.exchange_code(&app, presented(&code)).await), "invalid_grant");
}

#[tokio::test]
async fn tokens_have_the_claims_of_their_specifications() {
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let provider = open(memory(), algorithm);
        let tokens = exchanged(&provider).await;
        let [header, access] = parts(&tokens.access_token);
        assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!(algorithm)));
        assert_eq!(access["aud"], json!(["https://api.example", "https://gate.example/oauth2/userinfo"]));
        let expected =
            [("iss", "https://gate.example"), ("sub", "ada"), ("client_id", "app"), ("scope", "openid email")];
        assert!(expected.iter().all(|(name, value)| access[name] == *value), "{access}");
        assert!(access.get("name").is_none() && access.get("flow").is_none() && access.get("nonce").is_none());
        let [header, id] = parts(&tokens.id_token);
        assert_eq!((&header["typ"], &header["alg"]), (&json!("JWT"), &json!(algorithm)));
        let expected =
            [("aud", json!("app")), ("nonce", json!("n-0S6")), ("auth_time", json!(17)), ("amr", json!(["mca"]))];
        assert!(expected.iter().all(|(name, value)| id[name] == *value), "{id}");
        assert_eq!((&id["sid"], &id["acr"]), (&access["grant_id"], &json!("gold")));
        assert_eq!(id["at_hash"].as_str().unwrap().len(), if algorithm == "EdDSA" { 43 } else { 22 });
        // The scope email, the request's phone number and a claim of no scope. Userinfo alone has the claim that was
        // asked for there.
        let released: Vec<_> = ["name", "email", "groups", "phone_number", "zoneinfo"]
            .into_iter()
            .filter(|name| id.get(name).is_some())
            .collect();
        assert_eq!(released, ["email", "groups", "phone_number"]);
        // No kind of token passes for another.
        let hint = provider.verify_hint(&tokens.id_token).unwrap();
        assert_eq!((hint.subject.0.as_str(), hint.client_id.0.as_str()), ("ada", "app"));
        assert!(provider.verify_hint(&tokens.access_token).is_none());
        assert!(provider.verify_access_token(&tokens.id_token).is_none());
        for token in [&tokens.id_token, &tokens.access_token] {
            assert!(provider.signer.verify(token, "app").is_err());
        }
    }
}

#[test]
fn at_hash_is_that_of_the_specification() {
    // OpenID Connect Core Appendix A.3.
    let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
    assert_eq!(tokens::at_hash(crate::signer::keys::KeyAlgorithm::Rs256, token), "77QmUPtjPfzWtF2AnpK9RQ");
}

#[tokio::test]
async fn a_refreshed_token_has_the_granted_scopes_or_fewer_and_no_nonce() {
    let provider = open(memory(), "ES256");
    let (app, tokens) = (client(&provider, "app"), exchanged(&provider).await);
    let token = tokens.refresh_token.unwrap();
    for (scope, expected) in [("openid profile", "invalid_scope"), ("email", "invalid_scope"), ("", "invalid_scope")] {
        assert_eq!(refused(provider.refresh(&app, &token, Some(scope)).await), expected);
    }
    assert_eq!(refused(provider.refresh(&client(&provider, "other"), &token, None).await), "invalid_grant");
    let narrowed = provider.refresh(&app, &token, Some("openid")).await.unwrap();
    assert_eq!(narrowed.scope, "openid");
    let whole = provider.refresh(&app, &narrowed.refresh_token.unwrap(), None).await.unwrap();
    assert_eq!(whole.scope, "openid email");
    let [_, id] = parts(&whole.id_token);
    assert!(id.get("nonce").is_none() && id["auth_time"] == 17 && id["sub"] == "ada");
    assert_eq!(id["sid"], parts(&tokens.id_token)[1]["sid"]);
}

#[tokio::test]
async fn an_old_refresh_token_ends_its_family() {
    let provider = open(memory(), "ES256");
    let (app, tokens) = (client(&provider, "app"), exchanged(&provider).await);
    let first = tokens.refresh_token.clone().unwrap();
    let second = provider.refresh(&app, &first, None).await.unwrap().refresh_token.unwrap();
    let again = provider.refresh(&app, &first, None).await.unwrap().refresh_token.unwrap();
    assert_eq!(again, second, "a lost answer gives another token");
    let third = provider.refresh(&app, &second, None).await.unwrap().refresh_token.unwrap();
    let forged = format!("{}.3.{}", first.split('.').next().unwrap(), "A".repeat(43));
    assert_eq!(refused(provider.refresh(&app, &forged, None).await), "invalid_grant");
    assert!(is_alive(&provider, &tokens).await, "a forged token has ended it");
    assert_eq!(refused(provider.refresh(&app, &first, None).await), "invalid_grant");
    assert!(!is_alive(&provider, &tokens).await);
    assert_eq!(refused(provider.refresh(&app, &third, None).await), "invalid_grant");
}
