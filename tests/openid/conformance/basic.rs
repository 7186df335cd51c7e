//! The plans *Basic* and *Form Post Basic*.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{PROFILE, Suite, Way, now};
use crate::support::gateway::Phone;
use crate::support::openid::{Answer, App, Tokens, gateway, header, refused, userinfo};

type Mode = Option<&'static str>;

/// Makes two tests of each module: one for each of the two plans.
macro_rules! modules {
    ($($name:ident)*) => {
        mod query {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(None).await })*
        }
        mod form_post {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(Some("form_post")).await })*
        }
    };
}

modules! {
    oidcc_server
    oidcc_response_type_missing
    oidcc_idtoken_signature
    oidcc_idtoken_unsigned
    oidcc_userinfo_get
    oidcc_userinfo_post_header
    oidcc_userinfo_post_body
    oidcc_ensure_request_without_nonce_succeeds_for_code_flow
    oidcc_scope_profile
    oidcc_scope_email
    oidcc_scope_address
    oidcc_scope_phone
    oidcc_scope_all
    oidcc_alternate_happy_flow
    oidcc_display_page
    oidcc_display_popup
    oidcc_prompt_login
    oidcc_prompt_none_not_logged_in
    oidcc_prompt_none_logged_in
    oidcc_max_age_1
    oidcc_max_age_10000
    oidcc_ensure_request_with_unknown_parameter_succeeds
    oidcc_id_token_hint
    oidcc_login_hint
    oidcc_ui_locales
    oidcc_claims_locales
    oidcc_ensure_request_with_acr_values_succeeds
    oidcc_codereuse
    oidcc_codereuse_30seconds
    oidcc_ensure_registered_redirect_uri
    oidcc_ensure_post_request_succeeds
    oidcc_server_client_secret_post
    oidcc_request_uri_unsigned_supported_correctly_or_rejected_as_unsupported
    oidcc_unsigned_request_object_supported_correctly_or_rejected_as_unsupported
    oidcc_claims_essential
    oidcc_ensure_request_object_with_redirect_uri
    oidcc_refresh_token
    oidcc_ensure_request_with_valid_pkce_succeeds
}

async fn oidcc_server(mode: Mode) {
    let suite = Suite::start(mode).await;
    let (request, second) = (suite.request("openid"), suite.request_of(&suite.other, "openid"));
    let answer = suite.authorize(&request).await;
    assert!(answer.code().len() >= 22 && answer.code().bytes().all(|byte| byte.is_ascii_graphic()));
    let (tokens, claims) = suite.tokens(&request, &answer).await;
    let half = &digest(&SHA256, tokens.access.as_bytes()).as_ref()[..16].to_vec();
    assert_eq!(claims["at_hash"], BASE64_URL_SAFE_NO_PAD.encode(half));
    assert_eq!((claims.get("c_hash"), claims.get("name")), (None, None));
    // The second client of the suite, in the same browser: a code of its own, of the same person.
    let next = suite.answered(&second).await;
    assert_ne!(next.code(), answer.code());
    let (_, others) = suite.tokens_of(&suite.other, &second, &next).await;
    assert_eq!(others["sub"], claims["sub"]);
}

async fn oidcc_response_type_missing(mode: Mode) {
    let suite = Suite::start(mode).await;
    let answer = suite.answered(&suite.request("openid").without("response_type")).await;
    assert_eq!(answer.field("error"), "invalid_request");
}

async fn oidcc_idtoken_signature(mode: Mode) {
    let suite = Suite::start(mode).await;
    let request = suite.request("openid");
    let (tokens, _) = suite.tokens(&request, &suite.authorize(&request).await).await;
    let jwks = reqwest::get(suite.gateway.url("/.well-known/jwks.json")).await.unwrap().json::<Value>().await.unwrap();
    let own = header(&tokens.id);
    let keys = jwks["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == own["kid"]).expect("the key is published");
    assert_eq!((&key["alg"], &key["use"], &key["kty"]), (&own["alg"], &json!("sig"), &json!("RSA")));
    // No key is published with its private half.
    assert!(keys.iter().all(|key| ["d", "p", "q", "k"].iter().all(|member| key.get(member).is_none())), "{keys:?}");
}

async fn oidcc_idtoken_unsigned(mode: Mode) {
    let suite = Suite::start(mode).await;
    let discovery = reqwest::get(suite.gateway.url("/.well-known/openid-configuration")).await.unwrap();
    let algorithms = discovery.json::<Value>().await.unwrap()["id_token_signing_alg_values_supported"].clone();
    assert!(!algorithms.as_array().unwrap().contains(&json!("none")), "{algorithms}");
}

async fn userinfo_by(mode: Mode, way: Way) {
    let suite = Suite::start(mode).await;
    let request = suite.request("openid");
    let (tokens, claims) = suite.tokens(&request, &suite.authorize(&request).await).await;
    assert_eq!(suite.userinfo(&tokens, way).await, json!({"sub": claims["sub"]}));
}

async fn oidcc_userinfo_get(mode: Mode) {
    userinfo_by(mode, Way::Get).await;
}

async fn oidcc_userinfo_post_header(mode: Mode) {
    userinfo_by(mode, Way::PostHeader).await;
}

async fn oidcc_userinfo_post_body(mode: Mode) {
    userinfo_by(mode, Way::PostBody).await;
}

async fn oidcc_ensure_request_without_nonce_succeeds_for_code_flow(mode: Mode) {
    let suite = Suite::start(mode).await;
    let request = suite.request("openid").without("nonce");
    suite.tokens(&request, &suite.authorize(&request).await).await;
}

/// Signs in with a scope: userinfo and the ID token have these claims, and none of the others.
async fn scope(mode: Mode, scope: &str, expected: &[&str]) {
    let suite = Suite::start(mode).await;
    let (id, told) = suite.claims(scope).await;
    let all = PROFILE.iter().chain(&["email", "email_verified", "address", "phone_number", "phone_number_verified"]);
    for name in all {
        for claims in [&id, &told] {
            assert_eq!(claims.get(name).is_some(), expected.contains(name), "{name}: {claims}");
        }
    }
}

async fn oidcc_scope_profile(mode: Mode) {
    scope(mode, "openid profile", &PROFILE).await;
}

async fn oidcc_scope_email(mode: Mode) {
    scope(mode, "openid email", &["email", "email_verified"]).await;
}

async fn oidcc_scope_address(mode: Mode) {
    scope(mode, "openid address", &["address"]).await;
}

async fn oidcc_scope_phone(mode: Mode) {
    scope(mode, "openid phone", &["phone_number", "phone_number_verified"]).await;
}

async fn oidcc_scope_all(mode: Mode) {
    let all = [&PROFILE[..], &["email", "email_verified", "address", "phone_number", "phone_number_verified"]].concat();
    scope(mode, "openid address email phone profile", &all).await;
}

async fn oidcc_alternate_happy_flow(mode: Mode) {
    let suite = Suite::start(mode).await;
    let request = suite.request("email openid");
    let mut pairs: Vec<_> = request.query().split('&').map(str::to_owned).collect();
    pairs.reverse();
    let answer = suite.screen.sign_in(&pairs.join("&"), &suite.phone_of(now())).await;
    let answer = suite.checked(&request, answer);
    let (tokens, _) = suite.tokens(&request, &answer).await;
    assert_eq!(suite.userinfo(&tokens, Way::Get).await["email"], "ada@example.com");
}

/// Signs in with one parameter more, which changes nothing.
async fn with(mode: Mode, name: &str, value: &str) {
    let suite = Suite::start(mode).await;
    let request = suite.request("openid").set(name, value);
    suite.tokens(&request, &suite.authorize(&request).await).await;
}

async fn oidcc_display_page(mode: Mode) {
    with(mode, "display", "page").await;
}

async fn oidcc_display_popup(mode: Mode) {
    with(mode, "display", "popup").await;
}

async fn oidcc_login_hint(mode: Mode) {
    with(mode, "login_hint", "ada@example.com").await;
}

async fn oidcc_claims_locales(mode: Mode) {
    with(mode, "claims_locales", "se").await;
}

async fn oidcc_ensure_request_with_acr_values_succeeds(mode: Mode) {
    with(mode, "acr_values", "1 2").await;
}

async fn oidcc_ensure_request_with_unknown_parameter_succeeds(mode: Mode) {
    with(mode, "extra", "foobar").await;
}

async fn oidcc_ui_locales(mode: Mode) {
    with(mode, "ui_locales", "se").await;
    let suite = Suite::start(mode).await;
    for (locales, language) in [("zh", "zh"), ("fr zh-CN en", "zh"), ("en zh", "en")] {
        let page = suite.screen.arrive(&suite.request("openid").set("ui_locales", locales).query()).await;
        assert!(page.text().await.unwrap().contains(&format!("<html lang=\"{language}")), "{locales}");
    }
}

/// A new scan and confirmation. The module expects a later `auth_time` too. The identity provider states it: it is
/// later only if the person signed in there again, which `prompt=login` does not ask for.
async fn oidcc_prompt_login(mode: Mode) {
    let suite = Suite::start(mode).await;
    let (request, began) = (suite.request("openid"), now() - 100);
    let first = suite.authorize_as(&request, &suite.phone_of(began)).await;
    let (_, first) = suite.tokens(&request, &first).await;
    // The browser has a session by now, which would answer without a scan.
    suite.answered(&request).await.code();
    let request = suite.request("openid").set("prompt", "login");
    for auth_time in [began, now()] {
        let again = suite.authorize_as(&request, &suite.phone_of(auth_time)).await;
        let (_, again) = suite.tokens(&request, &again).await;
        assert_eq!((&again["sub"], &again["auth_time"]), (&first["sub"], &json!(auth_time)));
        assert_ne!(again["sid"], first["sid"]);
    }
}

async fn oidcc_prompt_none_not_logged_in(mode: Mode) {
    let suite = Suite::start(mode).await;
    let answer = suite.answered(&suite.request("openid").set("prompt", "none")).await;
    assert_eq!((answer.field("error"), answer.field("code")), ("login_required", ""));
}

async fn again_without_a_page(mode: Mode, change: impl Fn(&Tokens) -> (&'static str, String)) {
    let suite = Suite::start(mode).await;
    let request = suite.request("openid");
    let (tokens, first) = suite.tokens(&request, &suite.authorize(&request).await).await;
    let (name, value) = change(&tokens);
    let request = suite.request("openid").set("prompt", "none").set(name, &value);
    let (_, second) = suite.tokens(&request, &suite.answered(&request).await).await;
    assert_eq!((&first["sub"], &first["auth_time"]), (&second["sub"], &second["auth_time"]));
    assert_eq!(first["sid"], second["sid"]);
}

async fn oidcc_prompt_none_logged_in(mode: Mode) {
    again_without_a_page(mode, |_| ("prompt", "none".to_owned())).await;
}

async fn oidcc_max_age_10000(mode: Mode) {
    again_without_a_page(mode, |_| ("max_age", "10000".to_owned())).await;
}

async fn oidcc_id_token_hint(mode: Mode) {
    again_without_a_page(mode, |tokens| ("id_token_hint", tokens.id.clone())).await;
}

/// The old sign-in is too old for `max_age`; the person signs in to the identity provider again.
async fn oidcc_max_age_1(mode: Mode) {
    let suite = Suite::start(mode).await;
    let request = suite.request("openid");
    let old = suite.phone_of(now() - 100);
    let (_, first) = suite.tokens(&request, &suite.authorize_as(&request, &old).await).await;
    let request = suite.request("openid").set("max_age", "1");
    let page = suite.screen.arrive(&request.query()).await;
    assert_eq!(page.status(), StatusCode::OK, "the session of the browser is too old");
    let ticket = suite.screen.ticket(&request.query()).await;
    assert_eq!(old.act(&ticket, "scan").await.json::<Value>().await.unwrap()["code"], "sign_in_too_old");
    suite.phone_of(now()).approve(&ticket).await;
    let answer = suite.checked(&request, Answer::of(suite.screen.done(&ticket).await).await);
    let (_, second) = suite.tokens(&request, &answer).await;
    let (first, second) = (first["auth_time"].as_u64().unwrap(), second["auth_time"].as_u64().unwrap());
    assert!(second > first && second.abs_diff(now()) < 60);
}

async fn reuse_after(mode: Mode, wait: Duration) {
    let suite = Suite::start(mode).await;
    let request = suite.request("openid");
    let answer = suite.authorize(&request).await;
    let (tokens, _) = suite.tokens(&request, &answer).await;
    // The module waits for this time too: if the gateway forgot a code by then, it would not know that it was used.
    tokio::time::sleep(wait).await;
    let again = suite.app.exchange(&suite.gateway, answer.code(), &request).await;
    assert_eq!(refused(again).await, (400, "invalid_grant".to_owned()));
    assert_eq!(userinfo(&suite.gateway, &tokens.access).await.status(), StatusCode::UNAUTHORIZED);
}

async fn oidcc_codereuse(mode: Mode) {
    reuse_after(mode, Duration::ZERO).await;
}

async fn oidcc_codereuse_30seconds(mode: Mode) {
    reuse_after(mode, Duration::from_secs(30)).await;
}

async fn oidcc_ensure_registered_redirect_uri(mode: Mode) {
    let suite = Suite::start(mode).await;
    let request = suite.request("openid").set("redirect_uri", "https://suite.example/cb/other");
    let page = suite.screen.arrive(&request.query()).await;
    assert_eq!((page.status(), page.headers().get("location")), (StatusCode::BAD_REQUEST, None));
}

async fn oidcc_ensure_post_request_succeeds(mode: Mode) {
    let suite = Suite::start(mode).await;
    let request = suite.request("openid");
    let posted = suite.screen.request(Method::POST, "/oauth2/authorize").header("origin", "https://suite.example");
    let posted =
        posted.header("sec-fetch-site", "cross-site").header("content-type", "application/x-www-form-urlencoded");
    let posted = posted.body(request.query()).send().await.unwrap();
    assert_eq!(posted.status(), StatusCode::SEE_OTHER);
    let location = posted.headers()["location"].to_str().unwrap();
    let (_, query) = location.split_once("/oauth2/authorize?").expect("a way to the page");
    let answer = suite.checked(&request, suite.screen.sign_in(query, &suite.phone_of(now())).await);
    suite.tokens(&request, &answer).await;
}

async fn oidcc_server_client_secret_post(mode: Mode) {
    let suite = Suite::start(mode).await;
    let request = suite.request("openid");
    let answer = suite.authorize(&request).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", answer.code()),
        ("redirect_uri", &suite.app.redirect_uri),
        ("client_id", suite.app.id),
        ("client_secret", suite.app.secret.as_deref().unwrap()),
    ];
    let url = suite.gateway.url("/oauth2/token");
    Tokens::of(reqwest::Client::new().post(url).form(&form).send().await.unwrap()).await;
}

async fn rejected(mode: Mode, name: &str, value: &str, error: &str) {
    let suite = Suite::start(mode).await;
    let answer = suite.answered(&suite.request("openid").set(name, value)).await;
    assert_eq!((answer.field("error"), answer.field("code")), (error, ""));
}

async fn oidcc_request_uri_unsigned_supported_correctly_or_rejected_as_unsupported(mode: Mode) {
    rejected(mode, "request_uri", "https://suite.example/requests/1", "request_uri_not_supported").await;
}

async fn oidcc_unsigned_request_object_supported_correctly_or_rejected_as_unsupported(mode: Mode) {
    let object = format!("eyJhbGciOiJub25lIn0.{}.", BASE64_URL_SAFE_NO_PAD.encode("{\"scope\":\"openid\"}"));
    rejected(mode, "request", &object, "request_not_supported").await;
}

async fn oidcc_ensure_request_object_with_redirect_uri(mode: Mode) {
    let inner = "{\"redirect_uri\":\"https://suite.example/cb/other\"}";
    let object = format!("eyJhbGciOiJub25lIn0.{}.", BASE64_URL_SAFE_NO_PAD.encode(inner));
    rejected(mode, "request", &object, "request_not_supported").await;
}

async fn oidcc_claims_essential(mode: Mode) {
    let suite = Suite::start(mode).await;
    let claims = json!({"userinfo": {"name": {"essential": true}}}).to_string();
    let request = suite.request("openid").set("claims", &claims);
    let (tokens, id) = suite.tokens(&request, &suite.authorize(&request).await).await;
    assert_eq!(suite.userinfo(&tokens, Way::Get).await["name"], "Ada's name");
    assert_eq!(id.get("name"), None, "it was asked for at userinfo");
}

async fn oidcc_refresh_token(mode: Mode) {
    let suite = Suite::start(mode).await;
    // `prompt=consent` comes with it (Core §11).
    let request = suite.request("openid offline_access").set("prompt", "consent");
    let (tokens, first) = suite.tokens(&request, &suite.authorize(&request).await).await;
    let refresh = tokens.refresh.unwrap();
    assert!(refresh.bytes().all(|byte| byte.is_ascii_graphic()));
    let again = suite.other.refresh(&suite.gateway, &refresh).await;
    assert_eq!(refused(again).await, (400, "invalid_grant".to_owned()), "the second client's");
    let next = Tokens::of(suite.app.refresh(&suite.gateway, &refresh).await).await;
    let second = crate::support::gateway::verified_claims(&suite.gateway, &next.id, suite.app.id).await;
    for name in ["iss", "sub", "aud", "auth_time", "sid"] {
        assert_eq!(first[name], second[name], "{name}");
    }
    assert!(second["iat"].as_u64() >= first["iat"].as_u64() && second["jti"] != first["jti"]);
    assert_ne!(next.access, tokens.access);
    assert_eq!(suite.userinfo(&next, Way::Get).await["sub"], first["sub"]);
}

async fn oidcc_ensure_request_with_valid_pkce_succeeds(mode: Mode) {
    let app = App::new("suite");
    let gateway = gateway(&[&app]).await;
    let request = app.request();
    let request = mode.into_iter().fold(request, |request, mode| request.set("response_mode", mode));
    let answer =
        crate::support::openid::Screen::new(&gateway).sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    Tokens::of(app.exchange(&gateway, answer.code(), &request).await).await;
}
