//! The provider behind the project's own nginx.

use reqwest::{Method, StatusCode};

use crate::support::eventually;
use crate::support::gateway::token;
use crate::support::nginx::{Edge, Place};
use crate::support::openid::{App, Screen, Tokens, builder};

/// The longest valid request of an app and its answer pass nginx, and its logs have none of them.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_requests_and_answers_pass_the_edge_and_stay_out_of_its_logs() {
    let (place, notes) = (Place::choose(), App::new("notes"));
    let (_folder, builder) = builder(&[&notes]);
    let gateway = builder.arg("--public-url", &place.url()).start().await;
    let edge = Edge::before(&gateway, place);
    let screen = Screen::through(edge.http().build().unwrap(), &edge.base);
    let state = format!("a{}", "/".repeat(1800));
    let request = notes.request().set("state", &state);
    assert!((5_500..6_144).contains(&request.query().len()), "{}", request.query().len());
    let posted = screen.request(Method::POST, "/oauth2/authorize").header("origin", "https://notes.example");
    let posted =
        posted.header("sec-fetch-site", "cross-site").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(posted.body(request.query()).send().await.unwrap().status(), StatusCode::SEE_OTHER);
    let answer = screen.sign_in(&request.query(), &edge.phone(token("ada"))).await;
    assert_eq!(answer.field("state"), state);
    let tokens = Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
    // An app can read the errors that nginx makes itself.
    let large = screen.request(Method::POST, "/oauth2/token").body("x".repeat(20_000)).send().await.unwrap();
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(large.headers()["content-type"], "application/problem+json");

    // Without the gateway, nginx has an error to log, and knows the query.
    drop(gateway);
    let away = screen.open(&format!("/oauth2/logout?id_token_hint={}", tokens.id), "cross-site").await;
    assert!(away.status().is_server_error(), "{}", away.status());
    let is_logged = async || edge.access_log().iter().any(|line| line.contains("/oauth2/logout")).then_some(());
    eventually("the access log's last line", is_logged).await;
    let logs = edge.access_log().join("\n") + &edge.log();
    let signature = tokens.id.rsplit('.').next().unwrap();
    for secret in [answer.code(), signature, "code_challenge", "id_token_hint", "%2F%2F%2F", "////"] {
        assert!(!logs.contains(secret), "{secret} is in a log of nginx: {logs}");
    }
}
