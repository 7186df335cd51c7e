//! The OpenID Provider's codes and refresh tokens on each engine: of many simultaneous uses, one wins.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::future::join_all;
use scangate::clients::table::ClientTable;
use scangate::clients::tables::from_tables;
use scangate::openid_provider::OpenIdProvider;
use scangate::openid_provider::client_auth::{AuthenticatedClient, Credentials};
use scangate::openid_provider::codes::{CodeContent, CodeSource, PresentedCode};
use scangate::openid_provider::exchange::ExchangeError;
use scangate::openid_provider::tokens::Tokens;
use scangate::signer::{MissingKey, Signer};
use scangate::single_sign_on::{SingleSignOn, SingleSignOnLifetimes};
use scangate::ticket::{Authentication, Grant, RequestedClaims, Timestamp};
use serde::Deserialize;

use super::*;

const REDIRECT: &str = "https://app.example/cb";

fn provider(store: &Arc<dyn Store>) -> (OpenIdProvider, AuthenticatedClient) {
    #[derive(Deserialize)]
    struct File {
        clients: Vec<ClientTable>,
    }
    let file = format!(
        "[[clients]]\nid = \"app\"\nredirect_uris = [{REDIRECT:?}]\ntoken_auth = \"none\"\nrefresh_tokens = \"always\"\nsigning_alg = \"ES256\""
    );
    let file: File = toml::from_str(&file).unwrap();
    let clients = from_tables(file.clients, Path::new("/nowhere"), true, |_connector| None).unwrap();
    let signer = Signer::open("https://gate.example", None).unwrap();
    let signer = signer.with_algorithms(&clients.algorithms(), MissingKey::Create).unwrap();
    let lifetimes = SingleSignOnLifetimes { idle: LONG, absolute: LONG };
    let metrics = Arc::new(Metrics::new());
    let sso = SingleSignOn::new(Arc::clone(store), signer.clone(), Arc::clone(&metrics), lifetimes, "");
    let log = Arc::default();
    let provider = OpenIdProvider::new(Arc::clone(store), signer, clients, "https://gate.example", sso, metrics, log);
    let app = provider.authenticate(Credentials { client_id: Some("app"), ..Credentials::default() }).unwrap();
    (provider, app)
}

async fn code(provider: &OpenIdProvider) -> String {
    let grant = Grant {
        subject: Subject("ada".into()),
        claims: Claims::new(),
        authentication: Authentication::default(),
        confirmed_at: Timestamp(0),
    };
    let content = CodeContent {
        client_id: ClientId("app".into()),
        redirect_uri: REDIRECT.into(),
        code_challenge: None,
        nonce: None,
        scopes: vec!["openid".into()],
        is_offline_withheld: false,
        claims: RequestedClaims::default(),
        sid: None,
        grant,
        issued_at: Timestamp(0),
    };
    provider.issue_code(CodeSource::Session, &content).await.unwrap().unwrap()
}

async fn is_alive(provider: &OpenIdProvider, tokens: &Tokens) -> bool {
    let token = provider.verify_access_token(&tokens.access_token).unwrap();
    provider.live_grant(&token.grant_id).await.unwrap().is_some()
}

pub async fn of_two_hundred_uses_of_a_code_one_gets_tokens(engine: Engine) {
    let (provider, app) = provider(&engine.store);
    let code = code(&provider).await;
    let presented = PresentedCode { code: &code, redirect_uri: REDIRECT, verifier: None };
    let results = join_all((0..200).map(|_| provider.exchange_code(&app, presented))).await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 199));
    for result in lost {
        assert!(matches!(result, Err(ExchangeError::Refused(error)) if error.as_str() == "invalid_grant"));
    }
    for tokens in won.into_iter().flatten() {
        assert!(!is_alive(&provider, &tokens).await, "alive after 199 replays");
        assert!(provider.refresh(&app, tokens.refresh_token.as_deref().unwrap(), None).await.is_err());
    }
}

pub async fn two_hundred_uses_of_a_refresh_token_have_one_successor(engine: Engine) {
    let (provider, app) = provider(&engine.store);
    let code = code(&provider).await;
    let presented = PresentedCode { code: &code, redirect_uri: REDIRECT, verifier: None };
    let first = provider.exchange_code(&app, presented).await.unwrap();
    let refresh_token = first.refresh_token.as_deref().unwrap();
    let results = join_all((0..200).map(|_| provider.refresh(&app, refresh_token, None))).await;
    let successors: BTreeSet<_> = results.into_iter().map(|tokens| tokens.unwrap().refresh_token.unwrap()).collect();
    assert_eq!(successors.len(), 1, "{successors:?}");
    assert!(is_alive(&provider, &first).await);
    let next = provider.refresh(&app, successors.first().unwrap(), None).await.unwrap();
    // The first token is two rotations old now: somebody else uses it.
    assert!(provider.refresh(&app, refresh_token, None).await.is_err());
    assert!(!is_alive(&provider, &next).await);
}

pub async fn what_the_store_has_of_a_sign_in_opens_nothing(engine: Engine) {
    let (provider, app) = provider(&engine.store);
    let code = code(&provider).await;
    let presented = PresentedCode { code: &code, redirect_uri: REDIRECT, verifier: None };
    let tokens = provider.exchange_code(&app, presented).await.unwrap();
    let refresh_token = provider.refresh(&app, tokens.refresh_token.as_deref().unwrap(), None).await.unwrap();
    let refresh_token = refresh_token.refresh_token.unwrap();
    let mut secrets = vec![code, tokens.access_token, tokens.id_token];
    secrets.extend(refresh_token.split('.').filter(|part| part.len() > 10).map(str::to_owned));
    for redis in engine.backend.primaries() {
        for key in redis.keys().into_iter().filter(|key| key.contains(&format!("{}{{", engine.prefix))) {
            let stored = format!("{key} {:?}", redis.run::<Vec<String>>(&["HGETALL", &key]));
            assert!(secrets.iter().all(|secret| !stored.contains(secret)), "{stored}");
        }
    }
}
