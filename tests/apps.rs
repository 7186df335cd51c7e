//! Apps and libraries of other projects sign people in at the gateway by OpenID Connect. They run unmodified, with the
//! settings that they have for any provider. Each performs whole sign-ins in Chromium, and the tests read the code from
//! the screen.
//!
//! `docs/apps` explains their settings, and `tests/run` installs them.

mod apache;
mod jupyterhub;
mod node;
mod pages;
mod python;
mod scangate;
mod spa;
mod two;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::browser::{Chromium, Device, Driver};
use crate::support::gateway::{Phone, file, token_with};
use crate::support::process::Process;
use crate::support::{Gateway, free_port, until, within};

/// How long an app may take to start, or to reach a page, on a machine that runs other tests: Python compiles its
/// modules.
const PATIENCE: Duration = Duration::from_secs(90);
/// The secret of every app that has one.
const SECRET: &str = "a-secret-of-the-tests-0123456789abcdef";
/// The claims of the tests' identity provider about Ada's address.
const ADA: &str = "ada@example.com";

/// A gateway that apps use as their provider, and the browser on a desk.
struct Provider {
    gateway: Gateway,
    desk: Chromium,
    _driver: Driver,
    _config: (tempfile::TempDir, PathBuf),
}

impl Provider {
    /// Starts one for these tables of `[[clients]]`. Its address has another host than the apps', because cookies
    /// ignore ports.
    async fn start(clients: &str) -> Self {
        let config = file(clients);
        let address = format!("127.0.0.1:{}", free_port());
        let gateway = Gateway::builder()
            .arg("--listen", &address)
            .arg("--public-url", &format!("http://{address}"))
            .arg("--config", config.1.to_str().unwrap())
            .start()
            .await;
        let driver = Driver::start().await;
        let desk = driver.open(Device::Desk).await;
        Self { gateway, desk, _driver: driver, _config: config }
    }

    /// The provider's address in the settings of apps.
    fn issuer(&self) -> &str {
        &self.gateway.public_url
    }

    /// Opens a page of an app that leads to the code, signs in there, and waits until the browser is back at the app.
    async fn sign_in(&self, page: &str) {
        self.desk.goto(page).await;
        self.confirm_code().await;
        let app = page.split('/').take(3).collect::<Vec<_>>().join("/");
        self.desk_is_at(&app).await;
    }

    /// Scans the code on the desk's screen with Ada's phone, and confirms.
    async fn confirm_code(&self) {
        self.confirm_code_of(|_| ()).await;
    }

    /// The same with a phone whose identity provider states other claims about Ada.
    async fn confirm_code_of(&self, change: impl FnOnce(&mut Value)) {
        self.desk_is_at(&format!("{}/oauth2/authorize?", self.issuer())).await;
        let scanned = self.desk.scan().await;
        let id = scanned.strip_prefix(&format!("{}/s/", self.issuer())).expect(&scanned);
        Phone::with_token(token_with("ada", change), &self.gateway).approve(id).await;
    }

    /// Waits until the desk's browser is at an address with this start. Otherwise fails with the browser's address.
    async fn desk_is_at(&self, beginning: &str) {
        let started = Instant::now();
        loop {
            let address = self.desk.url().await;
            if address.starts_with(beginning) {
                return;
            }
            if started.elapsed() > PATIENCE {
                let shown = self.desk.run("return document.body && document.body.innerText").await;
                let log = self.gateway.process.lines();
                let last = log[log.len().saturating_sub(30)..].join("\n");
                panic!("not at {beginning}, but at {address}: {shown}\n{last}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns the JSON that the desk's browser shows.
    async fn shown(&self) -> Value {
        let text = self.desk.text("body").await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }
}

/// A running app.
struct App {
    process: Process,
}

impl App {
    /// Starts one, and waits until it listens on its port.
    fn start(command: &mut Command, port: u16) -> Self {
        let mut process = Process::start(command);
        until(PATIENCE, "the app's start", || {
            assert!(process.exit_code().is_none(), "it ended:\n{}", process.lines().join("\n"));
            TcpStream::connect(("localhost", port)).ok()
        });
        Self { process }
    }

    /// Returns what it has written.
    fn log(&self) -> String {
        self.process.lines().join("\n")
    }
}

/// Returns the table of a client with a secret.
fn client(id: &str, redirect_uri: &str, further: &str) -> String {
    public_client(id, redirect_uri, &format!("secret = {SECRET:?}\n{further}"))
}

/// Returns the table of a client, with further lines.
fn public_client(id: &str, redirect_uri: &str, further: &str) -> String {
    format!("[[clients]]\nid = {id:?}\nname = \"The App\"\nredirect_uris = [{redirect_uri:?}]\n{further}\n")
}

/// Returns a file or folder of the programs that run the apps.
fn program(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(path);
    assert!(path.exists(), "{} is missing; tests/run installs it", path.display());
    path
}

/// Returns a program of the virtual environment in which `tests/run` installs what is written in Python.
fn python(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python-apps").join("bin").join(name);
    assert!(path.exists(), "{} is missing; tests/run installs it", path.display());
    path
}
