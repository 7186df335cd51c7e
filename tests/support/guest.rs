//! A browser whose requests are written by hand: its cookie is known, so that it can wait on any connection.

use std::sync::Arc;

use futures_util::StreamExt as _;
use serde_json::Value;

use super::wire::PATIENCE;
use super::{Gateway, Wire};

/// How many streams are opened at the same time.
const AT_ONCE: usize = 32;

/// One browser, with one cookie for all its tickets.
#[derive(Clone)]
pub struct Guest {
    http: reqwest::Client,
    base: String,
    origin: String,
    cookie: Arc<str>,
}

/// A stream on a connection of its own.
pub struct Waiting {
    pub id: String,
    pub wire: Wire,
}

impl Guest {
    /// Gets a cookie from `gateway`. Leaves no connection open.
    pub async fn of(gateway: &Gateway) -> Self {
        // The test process holds one end of each connection.
        super::raise_open_files();
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap();
        let mut guest =
            Self { http, base: gateway.base.clone(), origin: gateway.public_url.clone(), cookie: Arc::default() };
        let response = guest.post().send().await.unwrap();
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        guest.cookie = cookie.split(';').next().unwrap().into();
        guest
    }

    fn post(&self) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}/v1/tickets", self.base)).json(&serde_json::json!({}));
        request.header("sec-fetch-site", "same-origin").header("origin", &self.origin)
    }

    /// Makes a ticket and returns its id.
    pub async fn create(&self) -> String {
        let response = self.post().header("cookie", &*self.cookie).send().await.unwrap();
        assert_eq!(response.status(), 201);
        assert!(!response.headers().contains_key("set-cookie"), "the cookie was not known");
        let ticket: Value = response.json().await.unwrap();
        ticket["ticket_id"].as_str().unwrap().to_owned()
    }

    /// Returns the request for a path; `fields` are whole header lines.
    pub fn ask(&self, path: &str, version: &str, fields: &str) -> String {
        let host = self.origin.split("//").nth(1).unwrap();
        format!("GET {path} {version}\r\nHost: {host}\r\nCookie: {}\r\n{fields}\r\n", self.cookie)
    }

    /// Returns the request for a ticket's stream.
    pub fn ask_events(&self, id: &str) -> String {
        self.ask(&format!("/v1/tickets/{id}/events"), "HTTP/1.1", "")
    }

    /// Returns what `curl` needs to send the cookie.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Makes a ticket and opens its stream at `gateway`.
    pub async fn wait_at(&self, gateway: &Gateway) -> Waiting {
        self.wait_on(Wire::tcp(&gateway.base).await).await
    }

    /// Makes a ticket and opens its stream on `wire`.
    pub async fn wait_on(&self, mut wire: Wire) -> Waiting {
        let id = self.create().await;
        wire.send(&self.ask_events(&id)).await;
        // To the end of the event: a client that closes with something unread resets.
        wire.until("event: pending\n").await;
        wire.until("}\n\n\r\n").await;
        Waiting { id, wire }
    }

    /// Makes as many tickets and opens their streams at `gateway`.
    pub async fn wait_often_at(&self, gateway: &Gateway, count: usize) -> Vec<Waiting> {
        let all = (0..count).map(|_| self.wait_at(gateway));
        futures_util::stream::iter(all).buffer_unordered(AT_ONCE).collect().await
    }
}
