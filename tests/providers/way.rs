//! The whole way: begin, provider, callback, session, scan, confirm, and the JWT at the desk.

use serde_json::{Value, json};

use super::person::{Manner, Person};
use super::*;
use crate::support::browser::artifacts;

#[tokio::test(flavor = "multi_thread")]
async fn oidc_provider_signs_people_in_with_every_client_authentication() {
    let places = [Place::choose(), Place::choose(), Place::choose()];
    let urls = places.map(Place::url);
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let provider = Provider::start(Program::OidcProvider, &urls, &[]).await;
    // Their ID tokens are signed with RS256, ES256 and EdDSA.
    let clients = [
        ("scangate", "token_endpoint_auth_method = \"client_secret_basic\""),
        ("scangate-post", "token_endpoint_auth_method = \"client_secret_post\""),
        ("scangate-public", ""),
    ];
    for (place, (client, further)) in places.into_iter().zip(clients) {
        let site = Site::set(place, &format!("{WEB}{}", table("acme", &provider, client, further))).await;
        let alice = Person::new("alice", &site.edge);
        let mut desk = site.desk("web").await;
        assert_eq!(alice.act(&desk.id, "open").await.status(), StatusCode::NO_CONTENT);
        desk.events.expect("opened").await;
        let first = alice.sign_in("acme", &desk.query()).await;
        assert_eq!(first.pages, ["login", "consent"], "{client}: {first:?}");
        assert_eq!(first.url.as_str(), site.edge.url(&format!("/s/{}", desk.id)), "{client}: {first:?}");
        let session = alice.session().await.unwrap();
        assert_eq!((&session["name"], &session["provider"]), (&json!("Alice Example"), &json!("acme")), "{client}");
        alice.approve(&desk.id).await;
        let claims = desk.signed_in().await;
        // Name and email are in userinfo only.
        let expected = json!(["4f1c8a52-alice", "Alice Example", "alice@example.test"]);
        assert_eq!(json!([claims["sub"], claims["name"], claims["email"]]), expected, "{client}");
        std::fs::write(artifacts().join(format!("way-{client}.txt")), alice.trail().join("\n")).unwrap();

        // The next scan needs no provider.
        let before = provider.visits().await;
        let mut desk = site.desk("web").await;
        alice.approve(&desk.id).await;
        assert_eq!(desk.signed_in().await["sub"], "4f1c8a52-alice");
        assert_eq!(provider.visits().await, before, "{client}");
    }
    let asked = provider.requests().await;
    let count = |path: &str| asked.iter().filter(|request| request["path"] == path).count();
    assert_eq!((count("/token"), count("/me")), (3, 3), "{asked:#?}");
    let refused = asked.iter().filter(|request| request["status"].as_u64().is_none_or(|status| status >= 400));
    assert_eq!(refused.collect::<Vec<_>>(), Vec::<&Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn glewlwyd_signs_people_in_with_every_client_authentication() {
    let places = [Place::choose(), Place::choose(), Place::choose()];
    let urls = places.map(Place::url);
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let provider = Provider::start(Program::Glewlwyd, &urls, &[]).await;
    let clients = [
        ("scangate", "token_endpoint_auth_method = \"client_secret_basic\""),
        ("scangate", "token_endpoint_auth_method = \"client_secret_post\""),
        ("scangate-public", ""),
    ];
    let mut subjects = Vec::new();
    for (number, (place, (client, further))) in places.into_iter().zip(clients).enumerate() {
        let site = Site::set(place, &format!("{WEB}{}", table("acme", &provider, client, further))).await;
        let alice = Person::new("alice", &site.edge);
        let mut desk = site.desk("web").await;
        assert_eq!(alice.act(&desk.id, "open").await.status(), StatusCode::NO_CONTENT);
        let first = alice.sign_in("acme", &desk.query()).await;
        // Consent is kept for the client, whichever way it authenticates.
        let pages: &[&str] = if number == 1 { &["login", "continue"] } else { &["login", "consent", "continue"] };
        assert_eq!(first.pages, pages, "{client}: {first:?}");
        assert_eq!(first.url.as_str(), site.edge.url(&format!("/s/{}", desk.id)), "{client}: {first:?}");
        alice.approve(&desk.id).await;
        let claims = desk.signed_in().await;
        assert_eq!(
            json!([claims["name"], claims["email"]]),
            json!(["Alice Example", "alice@example.test"]),
            "{client}"
        );
        // It states an auth_time of zero, and never a class.
        assert_eq!((claims.get("auth_time"), claims.get("acr")), (None, None), "{client}: {claims}");
        assert_eq!(claims["amr"], json!(["password"]), "{client}");
        subjects.push(claims["sub"].as_str().unwrap().to_owned());
        std::fs::write(artifacts().join(format!("way-glewlwyd-{number}.txt")), alice.trail().join("\n")).unwrap();
    }
    assert!(!subjects[0].is_empty() && subjects.iter().all(|subject| *subject == subjects[0]), "{subjects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_declines_at_the_provider_gets_a_page_and_can_sign_in_after_it() {
    let place = Place::choose();
    let provider = Provider::start(Program::OidcProvider, &[&place.url()], &[]).await;
    let site = Site::set(place, &format!("{WEB}{}", table("acme", &provider, "scangate", ""))).await;
    let alice = Person::new("alice", &site.edge);
    let mut desk = site.desk("web").await;
    let declined = alice.sign_in_as(Manner::Cancel, "acme", &desk.query()).await;
    page_says(&declined, StatusCode::FORBIDDEN, "Signing in was cancelled", &format!("/s/{}", desk.id));
    assert_eq!(alice.session().await, Err(StatusCode::UNAUTHORIZED));
    assert_eq!(site.failed("denied").await, 1.0);
    assert_eq!(alice.sign_in("acme", &desk.query()).await.pages, ["login", "consent"]);
    alice.approve(&desk.id).await;
    desk.signed_in().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_session_needs_one_redirect_and_no_password() {
    let place = Place::choose();
    let provider = Provider::start(Program::OidcProvider, &[&place.url()], &["--consent", "auto"]).await;
    let tables = format!("{WEB}{}", table("acme", &provider, "scangate", ""));
    let site = Site::set_with(place, &tables, |builder| builder.arg("--session-idle", "5s")).await;
    let alice = Person::new("alice", &site.edge);
    let mut desk = site.desk("web").await;
    assert_eq!(alice.sign_in("acme", &desk.query()).await.pages, ["login"]);
    tokio::time::sleep(std::time::Duration::from_millis(5_100)).await;
    assert_eq!(alice.session().await, Err(StatusCode::UNAUTHORIZED));
    assert_eq!(alice.act(&desk.id, "scan").await.status(), StatusCode::UNAUTHORIZED);
    let again = alice.sign_in("acme", &desk.query()).await;
    assert!(again.pages.is_empty(), "{again:?}");
    alice.approve(&desk.id).await;
    assert_eq!(desk.signed_in().await["sub"], "4f1c8a52-alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session_here_and_where_it_is_set_at_the_provider() {
    let place = Place::choose();
    let provider = Provider::start(Program::OidcProvider, &[&place.url()], &["--consent", "auto"]).await;
    let tables = format!("{WEB}{}", table("acme", &provider, "scangate", "sign_out = \"provider\""));
    let mut site = Site::set(place, &tables).await;
    let alice = Person::new("alice", &site.edge);
    assert_eq!(alice.sign_in("acme", "to=/share").await.pages, ["login"]);
    let end = async || -> Value {
        let request = alice.browser().request(reqwest::Method::POST, "/v1/session/end").json(&json!({}));
        let response = alice.send(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    };
    let ended = end().await;
    assert_eq!(alice.session().await, Err(StatusCode::UNAUTHORIZED));
    let next = ended["continue_at"].as_str().unwrap().parse().unwrap();
    let left = alice.go(alice.visit(next), Manner::SignIn).await;
    assert_eq!((left.pages, left.url.as_str()), (vec!["sign-out"], site.edge.url("/").as_str()));
    assert_eq!(alice.sign_in("acme", "to=/share").await.pages, ["login"], "the provider has forgotten her");

    // Only here: the provider knows her still.
    site.restart_with(&format!("{WEB}{}", table("acme", &provider, "scangate", "sign_out = \"here\""))).await;
    assert_eq!(end().await["continue_at"], Value::Null);
    assert_eq!(alice.session().await, Err(StatusCode::UNAUTHORIZED));
    assert!(alice.sign_in("acme", "to=/share").await.pages.is_empty());
}
