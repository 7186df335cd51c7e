//! The sign-in page in Firefox and in WebKit, where what Chromium does cannot be taken for granted: a stream that goes silent, and
//! a gateway that dies behind its edge.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Stage;
use crate::support::gateway::{Gateway, Phone};
use crate::support::process::Process;
use crate::support::proxy::Proxy;
use crate::support::{free_port, within};

/// How long a browser may take to start, or to notice what has become of its stream, on a machine that runs several.
const PATIENCE: Duration = Duration::from_secs(120);

/// A page in a browser, of which its program prints what is on show.
struct Watched(Process);

impl Watched {
    fn open(browser: &str, url: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/watch.mjs");
        Self(Process::start(Command::new("node").arg(program).args([browser, url])))
    }

    /// Waits until it shows this state, and what else is asked for, and returns all that it shows.
    async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let shown = async || {
            let lines = self.0.lines();
            let last = lines.iter().rev().find_map(|line| serde_json::from_str::<Value>(line).ok())?;
            is(&last).then_some(last)
        };
        within(PATIENCE, what, shown).await
    }

    async fn waits(&self) -> String {
        let shown = self.until("a stream", |now| now["state"] == "waiting" && now["transport"] == "sse").await;
        shown["ticket"].as_str().unwrap().to_owned()
    }
}

impl Drop for Watched {
    /// Asks first: a program that is killed leaves its browser behind.
    fn drop(&mut self) {
        if self.0.exit_code().is_none() {
            self.0.signal("TERM");
        }
        let asked = Instant::now();
        while self.0.exit_code().is_none() && asked.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn ada(gateway: &Gateway) -> Phone {
    let request = reqwest::Client::new().post(gateway.url("/demo/sign-in")).json(&json!({ "name": "Ada" }));
    let token: Value = request.send().await.unwrap().json().await.unwrap();
    Phone::with_token(token["access_token"].as_str().unwrap().to_owned(), gateway)
}

async fn notices_a_silent_stream(browser: &str) {
    let port = free_port();
    let proxy = Proxy::before(port);
    let gateway = Gateway::builder()
        .own_identity()
        .arg("--listen", &format!("127.0.0.1:{port}"))
        .arg("--public-url", &format!("http://localhost:{}", proxy.port()))
        .arg("--heartbeat", "1s")
        .arg("--ticket-ttl", "10m")
        .start()
        .await;
    let page = Watched::open(browser, &gateway.public_url);
    let id = page.waits().await;
    // What is open stays open and says nothing more; new connections work.
    proxy.swallow();
    proxy.pass();
    ada(&gateway).await.approve(&id).await;
    page.until("the JWT", |now| now["state"] == "confirmed").await;
    assert_eq!(gateway.metric("scangate_tickets_total{outcome=\"created\"}").await, 1.0);
}

async fn outlives_its_gateway(browser: &str) {
    let mut stage = Stage::set_with(|builder| builder.arg("--heartbeat", "1s").arg("--ticket-ttl", "10m")).await;
    let page = Watched::open(browser, &stage.edge.base);
    let id = page.waits().await;
    stage.gateway.process.kill();
    page.until("the word of it", |now| now["state"] == "offline").await;
    stage.gateway = stage.settings.clone().start().await;
    ada(&stage.gateway).await.approve(&id).await;
    page.until("the JWT", |now| now["state"] == "confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_notices_a_stream_that_goes_silent() {
    notices_a_silent_stream("firefox").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webkit_notices_a_stream_that_goes_silent() {
    notices_a_silent_stream("webkit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_outlives_its_gateway_behind_the_edge() {
    outlives_its_gateway("firefox").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webkit_outlives_its_gateway_behind_the_edge() {
    outlives_its_gateway("webkit").await;
}
