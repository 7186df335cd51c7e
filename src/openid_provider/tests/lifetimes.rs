//! The ends of a sign-in's codes and tokens besides their own expiry: its session, its last moment, the client's
//! settings.

use super::*;
use crate::openid_provider::grants::{LiveGrant, ttl_of};
use crate::openid_provider::record::{self, SLACK};
use crate::single_sign_on::{BrowserSecret, SignedIn};
use crate::store::Put;
use crate::ticket::{MatchPolicy, Timestamp};

const MINUTES: Duration = Duration::from_secs(300);

/// Starts a session of Ada's browser that ends after `rest`.
async fn session(provider: &OpenIdProvider, rest: Duration) -> BrowserSecret {
    let secret = BrowserSecret::of(&random::binding_secret(), &random::ticket_id(), "one");
    let at = Timestamp(now().0 - u64::try_from(DAY.saturating_sub(rest).as_millis()).unwrap());
    let signed_in = SignedIn { grant: &content().grant, offered: Vec::new(), matching: MatchPolicy::None, at };
    assert!(provider.single_sign_on.start(&secret, &signed_in, None).await.unwrap());
    secret
}

/// The content of a code of this session.
fn content_of(session: &BrowserSecret, scopes: &[&str]) -> CodeContent {
    let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
    CodeContent { sid: Some(session.sid()), scopes, ..content() }
}

async fn grant(provider: &OpenIdProvider, tokens: &Tokens) -> LiveGrant {
    let id = provider.verify_access_token(&tokens.access_token).unwrap().grant_id;
    provider.live_grant(&id).await.unwrap().unwrap()
}

async fn introspected(provider: &OpenIdProvider, token: &str) -> Value {
    serde_json::to_value(provider.introspect(&client(provider, "app"), token).await.unwrap()).unwrap()
}

#[tokio::test]
async fn what_ends_with_a_session_is_kept_no_longer_than_the_session() {
    let provider = open_with(memory(), "ES256", "scopes = [\"openid\", \"email\", \"offline_access\"]");
    let (app, session) = (client(&provider, "app"), session(&provider, MINUTES).await);
    for (scopes, ends_with_it) in [(["openid", "email"], true), (["openid", "offline_access"], false)] {
        let tokens = exchanged_for(&provider, &content_of(&session, &scopes)).await;
        let refreshed = provider.refresh(&app, tokens.refresh_token.as_ref().unwrap(), None).await.unwrap();
        for tokens in [&tokens, &refreshed] {
            let grant = grant(&provider, tokens).await;
            assert_eq!(grant.until.since(now()) <= MINUTES, ends_with_it, "{scopes:?}");
            assert_eq!(ttl_of(&grant, Some(app.openid())) <= MINUTES + SLACK, ends_with_it, "{scopes:?}");
            assert_eq!(tokens.expires_in <= MINUTES, ends_with_it, "{scopes:?}");
        }
    }
}

#[tokio::test]
async fn a_code_from_before_a_sign_out_is_exchanged_for_nothing() {
    let store = memory();
    let provider = open_with(Arc::clone(&store), "ES256", "scopes = [\"openid\", \"offline_access\"]");
    let (app, session) = (client(&provider, "app"), session(&provider, MINUTES).await);
    for scopes in [&["openid"][..], &["openid", "offline_access"]] {
        exchanged_for(&provider, &content_of(&session, scopes)).await;
    }
    let mut codes = Vec::new();
    for scopes in [&["openid"][..], &["openid", "offline_access"]] {
        let content = content_of(&session, scopes);
        codes.push(provider.issue_code(CodeSource::Session, &content).await.unwrap().unwrap());
    }
    provider.single_sign_on.end(&session).await.unwrap();
    for code in &codes {
        let name = format!("code:{}", record::hash(code.as_bytes()));
        let before = store.value(&name).await.unwrap();
        assert_eq!(refused(provider.exchange_code(&app, presented(code)).await), "invalid_grant");
        let in_process = provider.redeem_code_in_process(&app.client().id, code, REDIRECT, VERIFIER).await;
        assert_eq!(in_process.unwrap(), None);
        assert!(before.is_some() && store.value(&name).await.unwrap() == before, "the code is used");
    }
}

#[tokio::test]
async fn the_tokens_of_a_sign_in_that_is_over_are_inactive() {
    let store = memory();
    let provider = open(Arc::clone(&store), "ES256");
    let (app, tokens) = (client(&provider, "app"), exchanged(&provider).await);
    let id = provider.verify_access_token(&tokens.access_token).unwrap().grant_id;
    let refresh_token = tokens.refresh_token.unwrap();
    for token in [&tokens.access_token, &refresh_token] {
        assert_eq!(introspected(&provider, token).await["active"], true);
    }
    // The store keeps the record a little longer, because clocks differ.
    let mut record: Value = serde_json::from_str(&store.value(&id.store_name()).await.unwrap().unwrap()).unwrap();
    record["until"] = json!(now().0 - 1);
    store.put_value(&id.store_name(), &record.to_string(), SLACK, Put::Always).await.unwrap();
    for token in [&tokens.access_token, &refresh_token] {
        assert_eq!(introspected(&provider, token).await, json!({"active": false}));
    }
    assert_eq!(refused(provider.refresh(&app, &refresh_token, None).await), "invalid_grant");
}

#[tokio::test]
async fn a_scope_that_the_client_may_not_have_any_more_goes_with_the_next_refresh() {
    let store = memory();
    let before = open(Arc::clone(&store), "ES256");
    let granted = exchanged(&before).await;
    assert_eq!(
        (granted.scope.as_str(), &parts(&granted.id_token)[1]["email"]),
        ("openid email", &json!("ada@example.com"))
    );
    let after = open_with(store, "ES256", "scopes = [\"openid\", \"profile\"]");
    let app = client(&after, "app");
    let mut token = granted.refresh_token.unwrap();
    // An app that repeats what it got at first is no fault; a scope that it did not get is.
    for scope in [None, Some("openid email")] {
        assert_eq!(introspected(&after, &token).await["scope"], "openid");
        let refreshed = after.refresh(&app, &token, scope).await.unwrap();
        let [_, access] = parts(&refreshed.access_token);
        assert_eq!((refreshed.scope.as_str(), &access["scope"]), ("openid", &json!("openid")));
        assert!(parts(&refreshed.id_token)[1].get("email").is_none(), "the claim of a scope that is gone");
        token = refreshed.refresh_token.unwrap();
    }
    assert_eq!(refused(after.refresh(&app, &token, Some("openid profile")).await), "invalid_scope");
}

#[tokio::test]
async fn without_the_scope_offline_access_a_sign_in_ends_with_its_session_again() {
    let store = memory();
    let with = "scopes = [\"openid\", \"offline_access\"]";
    let before = open_with(Arc::clone(&store), "ES256", with);
    let session = session(&before, MINUTES).await;
    let kept = exchanged_for(&before, &content_of(&session, &["openid", "offline_access"])).await;
    before.single_sign_on.end(&session).await.unwrap();
    assert!(is_alive(&before, &kept).await);
    let after = open_with(store, "ES256", "scopes = [\"openid\"]");
    let token = kept.refresh_token.unwrap();
    assert_eq!(refused(after.refresh(&client(&after, "app"), &token, None).await), "invalid_grant");
}
