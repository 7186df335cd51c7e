//! Providers that are down, fail in the middle, or sign with other keys.

use std::time::Duration;

use reqwest::StatusCode;

use super::person::{Arrival, Manner, Person};
use super::*;
use crate::support::within;

/// Signs in as soon as the gateway has what it needs of the provider, trying again as a person does.
async fn signs_in_at_last(person: &Person, desk: &Desk) -> Arrival {
    let signs_in = async || {
        let arrived = person.sign_in("acme", &desk.query()).await;
        if arrived.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        (arrived.status == StatusCode::OK).then_some(arrived)
    };
    within(Duration::from_secs(30), "the provider's return", signs_in).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_stops_nobody_who_is_signed_in() {
    let place = Place::choose();
    let mut provider = Provider::start(Program::OidcProvider, &[&place.url()], &["--consent", "auto"]).await;
    provider.stop().await;
    // Before: the gateway starts, and says what is missing.
    let mut site = Site::set(place, &format!("{WEB}{}", table("acme", &provider, "scangate", ""))).await;
    let (alice, bob) = (Person::new("alice", &site.edge), Person::new("bob", &site.edge));
    let mut desk = site.desk("web").await;
    let refused = alice.sign_in("acme", &desk.query()).await;
    page_says(&refused, StatusCode::SERVICE_UNAVAILABLE, "", &format!("/s/{}", desk.id));
    assert!(site.gateway.log().contains("could not fetch the discovery document of an identity provider"));

    provider.start_again().await;
    let arrived = signs_in_at_last(&alice, &desk).await;
    assert_eq!(arrived.pages, ["login"]);
    alice.approve(&desk.id).await;
    desk.signed_in().await;

    // During: the person is there when it goes down.
    let desk = site.desk("web").await;
    let answer = bob.answer("acme", &desk.query()).await;
    provider.stop().await;
    let refused = bob.go(bob.visit(answer), Manner::SignIn).await;
    page_says(&refused, StatusCode::SERVICE_UNAVAILABLE, "", &format!("/s/{}", desk.id));
    assert_eq!(bob.session().await, Err(StatusCode::UNAUTHORIZED));

    // Who is signed in goes on, and a gateway that starts meanwhile knows them.
    site.restart().await;
    let mut other = site.desk("web").await;
    alice.approve(&other.id).await;
    other.signed_in().await;

    // After: the code on the desk is still good, and the provider knows bob.
    provider.start_again().await;
    let arrived = signs_in_at_last(&bob, &desk).await;
    assert!(arrived.pages.is_empty(), "{arrived:?}");
    bob.approve(&desk.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_endpoint_of_the_provider_gives_a_page_and_costs_no_ticket() {
    let place = Place::choose();
    let provider = Provider::start(Program::OidcProvider, &[&place.url()], &["--consent", "auto"]).await;
    let site = Site::set(place, &format!("{WEB}{}", table("acme", &provider, "scangate", ""))).await;
    let alice = Person::new("alice", &site.edge);
    let mut desk = site.desk("web").await;
    for (path, reason) in [("/token", "token_unavailable"), ("/me", "userinfo")] {
        provider.fail(path, 503).await;
        let refused = alice.sign_in("acme", &desk.query()).await;
        page_says(&refused, StatusCode::SERVICE_UNAVAILABLE, "", &format!("/s/{}", desk.id));
        assert_eq!((site.failed(reason).await, alice.session().await), (1.0, Err(StatusCode::UNAUTHORIZED)), "{path}");
        provider.fail(path, 0).await;
    }
    assert!(alice.sign_in("acme", &desk.query()).await.pages.is_empty());
    alice.approve(&desk.id).await;
    desk.signed_in().await;
}

/// A provider begins to sign with a new key, and stops publishing the old one.
async fn keys_may_change(program: Program, consent: &str, rotations: &[bool], keys_max_age: &str) {
    let place = Place::choose();
    let provider = Provider::start(program, &[&place.url()], &["--consent", consent]).await;
    let tables = format!("{WEB}{}", table("acme", &provider, "scangate", ""));
    let site = Site::set_with(place, &tables, |builder| builder.arg("--identity-keys-max-age", keys_max_age)).await;
    let early = Person::new("alice", &site.edge);
    let is_signed_in = async || {
        early.sign_in("acme", "to=/share").await;
        early.session().await.ok()
    };
    within(Duration::from_secs(30), "a sign-in with the old key", is_signed_in).await;
    for drops_old in rotations {
        provider.rotate(*drops_old).await;
        let bob = Person::new("bob", &site.edge);
        let mut desk = site.desk("web").await;
        // The keys are fetched at most every ten seconds.
        signs_in_at_last(&bob, &desk).await;
        bob.approve(&desk.id).await;
        desk.signed_in().await;
        let mut desk = site.desk("web").await;
        early.approve(&desk.id).await;
        desk.signed_in().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_oidc_provider_may_change() {
    keys_may_change(Program::OidcProvider, "auto", &[false], "24h").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_glewlwyd_may_change() {
    keys_may_change(Program::Glewlwyd, "given", &[false, true], "2s").await;
}
