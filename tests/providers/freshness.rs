//! Clients that require a recent or a strong sign-in, and what the JWT says of it.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::person::{Manner, Person};
use super::*;
use crate::support::clock_off_by;

const CLIENTS: &str = r#"
[[clients]]
id = "web"

[[clients]]
id = "recent"
max_auth_age = "1m"

[[clients]]
id = "strong"
acr_values = ["mfa"]

[[clients]]
id = "bank"
max_auth_age = "1m"
acr_values = ["mfa"]
"#;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Scans; returns why that was refused.
async fn refusal(person: &Person, desk: &Desk) -> String {
    let response = person.act(&desk.id, "scan").await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_or_weak_sign_in_is_made_new_at_the_provider_and_the_jwt_says_so() {
    let place = Place::choose();
    let further = ["--consent", "auto", "--auth-claims", "always"];
    let mut provider = Provider::start(Program::OidcProvider, &[&place.url()], &further).await;
    let mut site = Site::set(place, &format!("{CLIENTS}{}", table("acme", &provider, "scangate", ""))).await;
    // Ninety seconds ago, by the clocks of both.
    provider.stop().await;
    provider.start_again_off_by(-90).await;
    site.gateway.process.kill();
    site.gateway = site.settings.clone().run_by(&clock_off_by(-90)).start().await;
    let alice = Person::new("alice", &site.edge);
    let before = now() - 90;
    assert_eq!(alice.sign_in("acme", "to=/share").await.pages, ["login"]);
    let signed_in = alice.session().await.unwrap()["auth_time"].as_u64().unwrap();
    assert!((before..=now() - 90).contains(&signed_in), "{signed_in}");
    provider.stop().await;
    provider.start_again().await;
    site.restart().await;

    // A client that does not mind, and what it is told.
    let mut desk = site.desk("web").await;
    alice.approve(&desk.id).await;
    let claims = desk.signed_in().await;
    assert_eq!(json!([claims["auth_time"], claims["acr"], claims["amr"]]), json!([signed_in, "pwd", ["pwd"]]));

    let mut desk = site.desk("bank").await;
    assert_eq!(refusal(&alice, &desk).await, "sign_in_too_old");
    let before = now();
    // Her session there is too old and too weak. She is asked for the password and the second factor.
    let again = alice.sign_in_as(Manner::SignInStrongly, "acme", &desk.query()).await;
    assert_eq!((again.pages, again.url.path()), (vec!["login"], format!("/s/{}", desk.id).as_str()));
    alice.approve(&desk.id).await;
    let claims = desk.signed_in().await;
    let auth_time = claims["auth_time"].as_u64().unwrap();
    assert!((before..=now()).contains(&auth_time), "{claims}");
    assert_eq!(json!([claims["acr"], claims["amr"]]), json!(["mfa", ["pwd", "otp", "mfa"]]));
    let asked = provider.requests().await;
    let asked = asked.iter().rfind(|request| request["path"] == "/auth").unwrap();
    assert_eq!(json!([asked["params"]["max_age"], asked["params"]["acr_values"]]), json!(["60", "mfa"]), "{asked}");

    // It is good for the next one.
    let mut desk = site.desk("bank").await;
    alice.approve(&desk.id).await;
    assert_eq!(desk.signed_in().await["auth_time"], auth_time);

    // The second factor is left out, then given.
    let bob = Person::new("bob", &site.edge);
    let mut desk = site.desk("bank").await;
    assert_eq!(bob.sign_in("acme", &desk.query()).await.pages, ["login"]);
    assert_eq!(refusal(&bob, &desk).await, "stronger_sign_in_needed");
    let again = bob.sign_in_as(Manner::SignInStrongly, "acme", &format!("{}&prompt=login", desk.query())).await;
    assert_eq!(again.pages, ["login"]);
    bob.approve(&desk.id).await;
    assert_eq!(desk.signed_in().await["acr"], "mfa");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_states_the_time_only_if_asked_is_asked() {
    let place = Place::choose();
    let provider = Provider::start(Program::OidcProvider, &[&place.url()], &["--consent", "auto"]).await;
    let site = Site::set(place, &format!("{CLIENTS}{}", table("acme", &provider, "scangate", ""))).await;
    let alice = Person::new("alice", &site.edge);
    let before = now();
    alice.sign_in("acme", "to=/share").await;
    let signed_in = now();
    assert_eq!(alice.session().await.unwrap()["auth_time"], Value::Null);
    let mut desk = site.desk("recent").await;
    assert_eq!(refusal(&alice, &desk).await, "sign_in_too_old");
    let again = alice.sign_in("acme", &desk.query()).await;
    assert!(again.pages.is_empty(), "her sign-in there is recent: {again:?}");
    alice.approve(&desk.id).await;
    let auth_time = desk.signed_in().await["auth_time"].as_u64().unwrap();
    assert!((before..=signed_in).contains(&auth_time), "{before} {auth_time} {signed_in}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_shows_neither_time_nor_class_satisfies_no_client_that_asks() {
    let place = Place::choose();
    let provider = Provider::start(Program::Glewlwyd, &[&place.url()], &["--consent", "given"]).await;
    let site = Site::set(place, &format!("{CLIENTS}{}", table("acme", &provider, "scangate", ""))).await;
    let alice = Person::new("alice", &site.edge);
    alice.sign_in("acme", "to=/share").await;
    let desk = site.desk("recent").await;
    assert_eq!(refusal(&alice, &desk).await, "sign_in_too_old", "it states an auth_time of zero");
    // It ignores max_age: no password is asked for.
    assert_eq!(alice.sign_in("acme", &desk.query()).await.pages, ["continue"]);
    assert_eq!(refusal(&alice, &desk).await, "sign_in_too_old", "the gateway's own time proves nothing");

    let desk = site.desk("strong").await;
    for _ in 0..2 {
        assert_eq!(refusal(&alice, &desk).await, "stronger_sign_in_needed");
        assert_eq!(alice.sign_in("acme", &desk.query()).await.url.path(), format!("/s/{}", desk.id));
    }
}
