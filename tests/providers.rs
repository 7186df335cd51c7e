//! Sign-ins at identity providers that nobody here has written: the certified `oidc-provider` and Debian's `glewlwyd`. The
//! gateway is on Redis and behind nginx with TLS.
//!
//! Here without a browser: a person's cookies, redirects and forms.

mod chromium;
mod engines;
mod freshness;
mod native_apps;
mod outages;
mod person;
mod several;
mod way;

use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gateway::{Browser, Builder, file, verify_with};
use crate::support::nginx::Place;
use crate::support::provider::{CLIENT_SECRET, Program, Provider};
use crate::support::{Edge, EventStream, Gateway, Redis};

/// A client that asks for claims that `oidc-provider` has only in userinfo.
const WEB: &str = "[[clients]]\nid = \"web\"\nname = \"Web\"\nclaims = [\"name\", \"email\"]\n";

/// A gateway at which people sign in with providers, behind an edge.
struct Site {
    edge: Edge,
    gateway: Gateway,
    _redis: Redis,
    settings: Builder,
    config: (tempfile::TempDir, PathBuf),
}

impl Site {
    /// Starts one with these tables of the TOML file.
    async fn set(place: Place, tables: &str) -> Self {
        Self::set_with(place, tables, |builder| builder).await
    }

    /// The same with further settings.
    async fn set_with(place: Place, tables: &str, settings: impl FnOnce(Builder) -> Builder) -> Self {
        let redis = Redis::start();
        let config = file(tables);
        let listen = format!("127.0.0.1:{}", crate::support::free_port());
        let builder = place.gateway().own_identity().redis(&redis).arg("--listen", &listen);
        let settings = settings(builder.arg("--config", config.1.to_str().unwrap()));
        let gateway = settings.clone().start().await;
        let edge = Edge::before(&gateway, place);
        Self { edge, gateway, _redis: redis, settings, config }
    }

    /// Starts the gateway again.
    async fn restart(&mut self) {
        self.gateway.process.kill();
        self.gateway = self.settings.clone().start().await;
    }

    /// Starts the gateway again with other tables.
    async fn restart_with(&mut self, tables: &str) {
        std::fs::write(&self.config.1, tables).unwrap();
        self.restart().await;
    }

    /// A browser that asks for a sign-in to this client, and waits.
    async fn desk(&self, client: &str) -> Desk {
        let browser = self.edge.browser();
        let ticket = browser.create_with(json!({ "client_id": client })).await;
        let id = ticket["ticket_id"].as_str().unwrap().to_owned();
        let mut events = browser.events(&id).await;
        events.expect("pending").await;
        Desk { browser, id, client: client.to_owned(), events }
    }

    /// Returns how many sign-ins at providers failed for this reason.
    async fn failed(&self, reason: &str) -> f64 {
        self.gateway.metric(&format!("scangate_provider_sign_ins_failed_total{{reason=\"{reason}\"}}")).await
    }
}

struct Desk {
    browser: Browser,
    id: String,
    client: String,
    events: EventStream,
}

impl Desk {
    /// Waits until the sign-in is confirmed, and returns the claims of its JWT, checked against the published keys.
    async fn signed_in(&mut self) -> Value {
        let mut frame = self.events.next().await.expect("the stream ended");
        while ["opened", "scanned"].contains(&frame.event.as_str()) {
            frame = self.events.next().await.expect("the stream ended");
        }
        assert_eq!(frame.event, "confirmed", "{frame:?}");
        let keys: Value = self.browser.get("/.well-known/jwks.json").await.json().await.unwrap();
        verify_with(&keys, frame.data["token"]["access_token"].as_str().unwrap(), &self.client)
    }

    /// What a phone's page sends along when its person signs in for this ticket.
    fn query(&self) -> String {
        format!("ticket={}", self.id)
    }
}

/// Returns the table of a provider, with further lines.
fn table(id: &str, provider: &Provider, client: &str, further: &str) -> String {
    let secret =
        if client.ends_with("public") { String::new() } else { format!("client_secret = {CLIENT_SECRET:?}\n") };
    let issuer = &provider.issuer;
    format!(
        "[[identity_providers]]\nid = {id:?}\nname = \"{id} of the tests\"\nissuer = {issuer:?}\nclient_id = {client:?}\n\
         scopes = [\"openid\", \"profile\", \"email\"]\n{secret}{further}\n"
    )
}

/// Asserts that a page of the gateway says this, and returns the link with which it goes on.
fn page_says(arrival: &person::Arrival, status: StatusCode, words: &str, back: &str) {
    assert_eq!(arrival.status, status, "{}", arrival.body);
    let body = arrival.body.replace("&#x2f;", "/");
    assert!(body.contains(words), "{words}: {body}");
    assert!(body.contains(&format!("href=\"{back}\"")), "{back}: {body}");
}
