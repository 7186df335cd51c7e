//! ID tokens that are wrong in one thing.

use serde_json::json;

use super::*;
use crate::support::hostile::Signature;

const REFUSED: Failure = failure(502, "sign_in_failed", "id_token");

fn set(name: &'static str, value: Value) -> Lie {
    Lie::claims(move |claims| claims[name] = value.clone())
}

fn without(name: &'static str) -> Lie {
    Lie::claims(move |claims| drop(claims.as_object_mut().unwrap().remove(name)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_with_a_wrong_claim_signs_nobody_in() {
    let site = Site::start().await;
    for (name, value) in [
        ("iss", json!("https://other.example")),
        ("aud", json!("another app")),
        ("aud", json!(["gate way", "another app"])),
        ("azp", json!("another app")),
        ("exp", json!(1_700_000_000)),
        ("iat", json!(4_000_000_000_u64)),
        ("nonce", json!("A".repeat(43))),
        ("at_hash", json!("A".repeat(22))),
        ("cnf", json!({"jkt": "x"})),
        ("events", json!({})),
    ] {
        site.fails(&format!("{name} = {value}"), set(name, value), REFUSED).await;
    }
    for name in ["iss", "aud", "exp", "iat", "nonce", "sub"] {
        site.fails(&format!("without {name}"), without(name), REFUSED).await;
    }
    assert_eq!(site.provider.count("GET /userinfo"), 16, "userinfo is fetched for verified tokens alone");
    // Userinfo is about somebody whom the token does not name.
    for subject in [json!(""), json!("a".repeat(256)), json!(7)] {
        site.fails("sub", set("sub", subject), failure(502, "sign_in_failed", "other_subject")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_that_another_key_or_algorithm_has_signed_signs_nobody_in() {
    let site = Site::start().await;
    for signature in [Signature::OtherKey, Signature::Unlisted, Signature::SharedSecret, Signature::Missing] {
        site.fails(&format!("{signature:?}"), Lie::signed(signature), REFUSED).await;
    }
    for (name, value) in [
        ("typ", json!("at+jwt")),
        ("typ", json!("logout+jwt")),
        ("crit", json!(["x"])),
        ("alg", json!("ES384")),
        ("alg", json!("RS256")),
        ("kid", json!("unlisted")),
    ] {
        let lie = Lie::header({
            let value = value.clone();
            move |header| header[name] = value.clone()
        });
        site.fails(&format!("{name}: {value}"), lie, REFUSED).await;
    }
}

/// What another app has been given is no answer here, and is no use at the door of native apps either.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_for_another_app_is_no_token_here() {
    let site = Site::start().await;
    let id = site.desk.create().await;
    let token = site.provider.id_token(|claims| claims["aud"] = json!("another app"));
    let phone = crate::support::gateway::Phone::with_token(token, &site.gateway);
    assert_eq!(phone.act(&id, "scan").await.status(), StatusCode::UNAUTHORIZED);
    // A program's own token, of this app.
    for (name, value) in [("sub", "gate way"), ("gty", "client-credentials"), ("idtyp", "app")] {
        let token = site.provider.id_token(move |claims| {
            claims["client_id"] = json!("gate way");
            claims[name] = json!(value);
        });
        let phone = crate::support::gateway::Phone::with_token(token, &site.gateway);
        assert_eq!(phone.act(&id, "scan").await.status(), StatusCode::UNAUTHORIZED, "{name}");
    }
    // The same person's token of a native app, beside the browser.
    let token = site.provider.id_token(|_| ());
    crate::support::gateway::Phone::with_token(token, &site.gateway).approve(&id).await;
    assert_eq!(site.claims(&id).await["sub"], "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_of_a_connector_signs_nobody_in_at_a_provider() {
    let (provider, api) = (Provider::start(), crate::support::wechat::Api::start().await);
    let (_directory, config) = file(&api.table(""));
    let gateway = provider.gateway().arg("--config", config.to_str().unwrap()).start().await;
    let (desk, phone) = (Browser::new(&gateway), PhoneBrowser::new(&gateway));
    let id = desk.create_with(json!({"client_id": "web"})).await["ticket_id"].as_str().unwrap().to_owned();
    provider.sign_in_as(&format!("wechat:{}:openid", crate::support::wechat::APP_ID));
    for language in LANGUAGES {
        let told = Told::of(phone.clone().reading(language).sign_in(&begin_path(&id)).await).await;
        told.is(language, 502, "sign_in_failed", &format!("/s/{id}"));
    }
    assert_eq!(phone.session().await, None);
    provider.sign_in_as("ada");
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    phone.approves(&id).await;
}
