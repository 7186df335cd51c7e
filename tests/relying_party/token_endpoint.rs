//! Token and userinfo endpoints that answer otherwise than they should.

use serde_json::json;

use super::*;
use crate::support::hostile::{Authentication, CLIENT_ID, CLIENT_SECRET, Endpoint, Instead};

const FAILED: &str = "sign_in_failed";
const UNREACHABLE: &str = "provider_unavailable";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_answers_wrongly_signs_nobody_in() {
    let site = Site::start().await;
    let elsewhere = Provider::start();
    let redirect = Instead::Redirects(format!("{}/token", elsewhere.issuer));
    for (instead, expected) in [
        (Instead::Page, failure(502, FAILED, "token_malformed")),
        (Instead::Status(200, "[]"), failure(502, FAILED, "token_malformed")),
        (Instead::Status(200, ""), failure(502, FAILED, "token_malformed")),
        (Instead::Status(200, "{\"error\": \"invalid_grant\"}"), failure(502, FAILED, "token_malformed")),
        (Instead::Status(400, "{\"error\": \"invalid_grant\"}"), failure(502, FAILED, "code_refused")),
        (Instead::Status(401, "{\"error\": \"invalid_client\"}"), failure(502, FAILED, "code_refused")),
        (Instead::Status(429, ""), failure(503, UNREACHABLE, "token_unavailable")),
        (Instead::Status(500, "<b>oops</b>"), failure(503, UNREACHABLE, "token_unavailable")),
        (Instead::Status(204, ""), failure(503, UNREACHABLE, "token_unavailable")),
        (redirect, failure(503, UNREACHABLE, "token_unavailable")),
        (Instead::Endless, failure(502, FAILED, "token_malformed")),
    ] {
        site.fails(&format!("{instead:?}"), Lie::replacing(Endpoint::Token, instead), expected).await;
    }
    assert_eq!(elsewhere.count("POST /token"), 0, "a redirect was followed");
    assert!(site.provider.taken() < 8 * 1024 * 1024, "{} bytes were read", site.provider.taken());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_missing_or_of_another_kind_sign_nobody_in() {
    let site = Site::start().await;
    for (name, value) in [
        ("id_token", Value::Null),
        ("id_token", json!("")),
        ("access_token", Value::Null),
        ("token_type", json!("DPoP")),
        ("token_type", Value::Null),
    ] {
        let lie = Lie::at(Endpoint::Token, {
            let value = value.clone();
            move |answer| answer[name] = value.clone()
        });
        site.fails(&format!("{name} = {value}"), lie, failure(502, FAILED, "token_malformed")).await;
    }
    for token in ["not.a.token", "a.b", "..", &"x".repeat(20_000)] {
        let (name, token) = (token.chars().take(20).collect::<String>(), token.to_owned());
        let lie = Lie::at(Endpoint::Token, move |answer| answer["id_token"] = json!(token));
        site.fails(&name, lie, failure(502, FAILED, "id_token")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_that_is_wrong_signs_nobody_in() {
    let site = Site::start().await;
    let elsewhere = Provider::start();
    let redirect = Instead::Redirects(format!("{}/userinfo", elsewhere.issuer));
    for (instead, expected) in [
        (Instead::Page, failure(502, FAILED, "userinfo")),
        (Instead::Status(200, "\"eyJhbGciOiJub25lIn0.e30.\""), failure(502, FAILED, "userinfo")),
        (Instead::Status(401, "{}"), failure(502, FAILED, "userinfo")),
        (Instead::Status(503, "{}"), failure(503, UNREACHABLE, "userinfo")),
        (redirect, failure(502, FAILED, "userinfo")),
        (Instead::Endless, failure(502, FAILED, "userinfo")),
        (Instead::Status(200, "{}"), failure(502, FAILED, "other_subject")),
    ] {
        site.fails(&format!("{instead:?}"), Lie::replacing(Endpoint::Userinfo, instead), expected).await;
    }
    for subject in [json!("mallory"), json!("Ada"), json!(["ada"]), Value::Null] {
        let lie = Lie::at(Endpoint::Userinfo, {
            let subject = subject.clone();
            move |answer| answer["sub"] = subject.clone()
        });
        site.fails(&format!("{subject}"), lie, failure(502, FAILED, "other_subject")).await;
    }
    assert_eq!(elsewhere.count("GET /userinfo"), 0, "a redirect was followed, with the access token");
    assert!(site.provider.taken() < 8 * 1024 * 1024, "{} bytes were read", site.provider.taken());
}

/// Claims that userinfo makes up do not replace signed ones, and what is not wanted is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn userinfo_adds_only_what_was_missing() {
    let site = Site::start().await;
    site.provider.lie(Lie::at(Endpoint::Userinfo, |answer| {
        answer["name"] = json!("Mallory");
        answer["aud"] = json!("another app");
        answer["auth_time"] = json!(4_000_000_000_u64);
        answer["admin"] = json!(true);
    }));
    let (id, phone) = (site.desk.create().await, site.phone());
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    phone.approves(&id).await;
    let claims = site.claims(&id).await;
    assert_eq!((&claims["name"], &claims["aud"], claims.get("admin")), (&json!("Ada Lovelace"), &json!("web"), None));
    assert!(claims["auth_time"].as_u64().unwrap() < 4_000_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_authenticates_as_the_settings_or_the_provider_say() {
    let secret = format!("client_secret = {CLIENT_SECRET:?}");
    for (authentication, settings, methods) in [
        (Authentication::Basic, secret.clone(), Value::Null),
        (Authentication::Basic, secret.clone(), json!(["client_secret_post", "client_secret_basic"])),
        (Authentication::Post, secret.clone(), json!(["client_secret_post", "private_key_jwt"])),
        (Authentication::Post, format!("{secret}\ntoken_endpoint_auth_method = \"client_secret_post\""), Value::Null),
        (Authentication::Public, String::new(), Value::Null),
    ] {
        let shown = format!("{authentication:?} {methods}");
        let provider = Provider::lying(Lie::at(Endpoint::Discovery, move |document| {
            document["token_endpoint_auth_methods_supported"] = methods.clone();
        }));
        provider.require(authentication);
        let issuer = &provider.issuer;
        let table =
            format!("[[identity_providers]]\nid = \"a\"\nissuer = {issuer:?}\nclient_id = {CLIENT_ID:?}\n{settings}\n");
        // The client is `web`, although there is a file.
        let (_directory, config) = file(&table);
        let gateway = Gateway::builder().own_identity().arg("--config", config.to_str().unwrap()).start().await;
        let (desk, phone) = (Browser::new(&gateway), PhoneBrowser::new(&gateway));
        let id = desk.create().await;
        phone.signs_in(&format!("/sign-in/a?ticket={id}"), &format!("/s/{id}")).await;
        phone.approves(&id).await;
        assert_eq!(claims(&gateway, &desk, &id).await["sub"], "ada", "{shown}");
    }
}

/// The provider is asked for no refresh token; one that comes is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_provider_is_not_kept() {
    let redis = crate::support::Redis::start();
    let site = Site::with(|builder| builder.redis(&redis)).await;
    let (id, phone) = (site.desk.create().await, site.phone());
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    assert!(!site.provider.authorization()["scope"].contains("offline_access"));
    for key in redis.keys() {
        let values: Vec<String> = redis.try_run(&["HVALS", &key]).unwrap_or_default();
        for token in site.provider.secrets() {
            assert!(!values.iter().any(|value| value.contains(&token)), "{key} holds {token}");
        }
    }
}
