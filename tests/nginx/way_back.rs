//! The way back from an identity provider through the edge: its code is in no log, and the edge waits as long as the gateway
//! may take.

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use reqwest::StatusCode;

use crate::support::nginx::Place;
use crate::support::{Edge, eventually, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn no_code_of_a_provider_reaches_the_edges_logs() {
    let place = Place::choose();
    // No gateway is there, so nginx logs an error for each request.
    let edge = Edge::start(place, &[&format!("127.0.0.1:{}", free_port())]);
    let browser = edge.browser();
    let page = browser.get("/sign-in/callback?code=a-code-of-the-provider&state=a-state").await;
    assert_eq!(page.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8", "a person reads it");
    assert_eq!(browser.get("/sign-in/acme?ticket=a-ticket").await.status(), StatusCode::BAD_GATEWAY);
    browser.get("/v1/session?query-of-the-api").await;

    let is_logged = async || edge.log().contains("query-of-the-api").then_some(());
    eventually("nginx's error for a request of the API", is_logged).await;
    let is_logged = async || (edge.access_log().len() >= 3).then_some(edge.access_log().join("\n"));
    let access_log = eventually("the access log's lines", is_logged).await;
    assert!(access_log.contains("\"path\":\"/sign-in/callback\",\"status\":\"502\""), "{access_log}");
    for secret in ["a-code-of-the-provider", "a-state", "a-ticket"] {
        assert!(!edge.log().contains(secret) && !access_log.contains(secret), "{secret} is in a log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_waits_while_a_gateway_asks_a_provider() {
    // Above the 15 s that the edge gives an ordinary response.
    const WAIT: Duration = Duration::from_secs(17);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap().to_string();
    let slow = Router::new().route("/sign-in/callback", get(async || tokio::time::sleep(WAIT).await));
    tokio::spawn(async { axum::serve(listener, slow).await });
    let edge = Edge::start(Place::choose(), &[&upstream]);
    let asked = Instant::now();
    let response = edge.browser().get("/sign-in/callback?code=c&state=s").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(asked.elapsed() >= WAIT, "it came after {:?}", asked.elapsed());
}
