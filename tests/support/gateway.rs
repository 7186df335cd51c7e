//! A gateway process, and what people do with it: browsers with a cookie jar, phones with a token.

use std::path::PathBuf;
use std::process::Command;

use jsonwebtoken::{EncodingKey, Header};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::events::EventStream;
use super::process::Process;
use super::{Redis, SOON, crypto};

/// The secret, issuer and audience of the tests' identity provider.
pub const SECRET: &str = "tests-0123456789abcdef0123456789abcdef";
pub const ISSUER: &str = "https://id.example";
pub const AUDIENCE: &str = "scangate";

/// A running gateway.
pub struct Gateway {
    pub process: Process,
    /// Where its public listener is, such as `http://127.0.0.1:40001`.
    pub base: String,
    /// Where its admin listener is.
    pub admin: String,
    /// The origin that it believes to have.
    pub public_url: String,
}

/// How to start one. Free ports, the tests' identity provider, the memory store and high limits if not said otherwise.
#[derive(Clone)]
pub struct Builder {
    args: Vec<String>,
    has_identity: bool,
    has_default_limits: bool,
    /// What comes before the program: words of one that runs another.
    runner: Vec<String>,
}

impl Gateway {
    pub fn builder() -> Builder {
        Builder { args: Vec::new(), has_identity: false, has_default_limits: false, runner: Vec::new() }
    }

    /// Starts one with the memory store.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Starts one on `redis`.
    pub async fn on(redis: &Redis) -> Self {
        Self::builder().redis(redis).start().await
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns the metrics as text.
    pub async fn metrics(&self) -> String {
        reqwest::get(format!("{}/metrics", self.admin)).await.unwrap().text().await.unwrap()
    }

    /// Returns the value of one series, such as `scangate_streams_open`; 0 if it is not there yet.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let line = text.lines().find(|line| line.split(' ').next() == Some(series));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Returns everything that it has logged.
    pub fn log(&self) -> String {
        self.process.lines().join("\n")
    }
}

impl Builder {
    pub fn redis(self, redis: &Redis) -> Self {
        self.arg("--redis-url", &redis.url())
    }

    pub fn arg(mut self, flag: &str, value: &str) -> Self {
        self.args.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// Uses the demo identity, or whatever the flags say, instead of the tests' provider.
    pub fn own_identity(mut self) -> Self {
        self.has_identity = true;
        self
    }

    /// Leaves the limits per caller at the program's own defaults.
    pub fn with_default_limits(mut self) -> Self {
        self.has_default_limits = true;
        self
    }

    /// Has it run by another program, such as `env` with settings, in whose place it then runs.
    pub fn run_by(mut self, words: &[String]) -> Self {
        self.runner = words.to_vec();
        self
    }

    /// Returns the command of `doctor`, `serve` with these settings.
    pub fn command_of(&self, word: &str) -> Command {
        let serve = self.command();
        let mut command = Command::new(serve.get_program());
        command.arg(word).args(serve.get_args());
        for (name, _) in serve.get_envs() {
            command.env_remove(name);
        }
        command
    }

    /// Returns the command without starting it.
    pub fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_scangate");
        let mut command = match &self.runner[..] {
            [] => Command::new(program),
            [runner, words @ ..] => {
                let mut command = Command::new(runner);
                command.args(words).arg(program);
                command
            }
        };
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SCANGATE_")) {
            command.env_remove(name);
        }
        command.args(&self.args);
        let mut default = |flag: &str, value: &str| {
            if !self.args.iter().any(|arg| arg == flag) {
                command.args([flag, value]);
            }
        };
        default("--listen", "127.0.0.1:0");
        default("--admin-listen", "127.0.0.1:0");
        default("--log", "scangate=debug,parked_streams=debug");
        if !self.has_default_limits {
            default("--tickets-per-address", "1000000");
            let limits = [
                "create",
                "connector",
                "draw",
                "scan",
                "confirm",
                "sign-in",
                "invalid-scan",
                "invalid-confirm",
                "authorize",
                "token",
                "invalid-client",
            ];
            for limit in limits {
                default(&format!("--rate-{limit}"), "100000");
            }
        }
        if !self.has_identity {
            default("--identity-secret", SECRET);
            default("--identity-issuer", ISSUER);
            default("--identity-audience", AUDIENCE);
        }
        command
    }

    pub async fn start(self) -> Gateway {
        crypto();
        let process = Process::start(&mut self.command());
        let started = std::time::Instant::now();
        let (mut base, mut admin, mut public_url) = (None, None, None);
        while public_url.is_none() {
            for line in process.lines() {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                let address = line["address"].as_str().map(str::to_owned);
                match (line["message"].as_str(), line["listener"].as_str()) {
                    (Some("listening"), Some("public")) => base = address,
                    (Some("listening"), Some("admin")) => admin = address,
                    (Some("serving"), _) => public_url = line["public_url"].as_str().map(str::to_owned),
                    _ => {}
                }
            }
            assert!(started.elapsed() < SOON * 2, "the gateway did not start:\n{}", process.lines().join("\n"));
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let http = |address: Option<String>| format!("http://{}", address.unwrap());
        Gateway {
            process,
            base: http(base),
            admin: http(admin),
            public_url: public_url.unwrap().trim_end_matches('/').to_owned(),
        }
    }
}

/// A browser: its own cookies, and what it sends along as browsers do.
#[derive(Clone)]
pub struct Browser {
    http: reqwest::Client,
    base: String,
    origin: String,
}

impl Browser {
    pub fn new(gateway: &Gateway) -> Self {
        let http = reqwest::Client::builder().cookie_store(true).build().unwrap();
        Self { http, base: gateway.base.clone(), origin: gateway.public_url.clone() }
    }

    /// A browser that follows no redirect.
    pub fn that_follows_nothing(gateway: &Gateway) -> Self {
        let http = reqwest::Client::builder().cookie_store(true).redirect(reqwest::redirect::Policy::none());
        Self { http: http.build().unwrap(), ..Self::new(gateway) }
    }

    /// A browser that goes by `http` to `base`, which is also the origin of its pages.
    pub fn through(http: reqwest::Client, base: &str) -> Self {
        Self { http, base: base.to_owned(), origin: base.to_owned() }
    }

    /// The same browser, talking to another gateway process.
    pub fn at(&self, gateway: &Gateway) -> Self {
        Self { base: gateway.base.clone(), ..self.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method.clone(), format!("{}{path}", self.base));
        let request = request.header("sec-fetch-site", "same-origin");
        if method == Method::GET { request } else { request.header("origin", &self.origin) }
    }

    /// Sends a request that was made by hand, with this browser's cookies.
    pub async fn send(&self, request: reqwest::Request) -> Response {
        self.http.execute(request).await.unwrap()
    }

    /// Makes a ticket with `body`; fails if that is refused.
    pub async fn create_with(&self, body: Value) -> Value {
        let response = self.request(Method::POST, "/v1/tickets").json(&body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        response.json().await.unwrap()
    }

    /// Makes a ticket and returns its id.
    pub async fn create(&self) -> String {
        self.create_with(json!({})).await["ticket_id"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub async fn read(&self, id: &str) -> Response {
        self.get(&format!("/v1/tickets/{id}")).await
    }

    /// Opens the ticket's stream.
    pub async fn events(&self, id: &str) -> EventStream {
        EventStream::new(self.get(&format!("/v1/tickets/{id}/events")).await)
    }

    /// Opens the ticket's stream as a browser that has seen `last` before.
    pub async fn events_after(&self, id: &str, last: &str) -> Response {
        let request = self.request(Method::GET, &format!("/v1/tickets/{id}/events"));
        request.header("last-event-id", last).send().await.unwrap()
    }
}

/// A phone with a signed-in person, calling as a native app does.
#[derive(Clone)]
pub struct Phone {
    http: reqwest::Client,
    base: String,
    pub token: String,
}

impl Phone {
    /// A phone of `subject`, whose token the tests' identity provider has issued.
    pub fn of(subject: &str, gateway: &Gateway) -> Self {
        Self::with_token(token(subject), gateway)
    }

    pub fn with_token(token: String, gateway: &Gateway) -> Self {
        Self { http: reqwest::Client::new(), base: gateway.base.clone(), token }
    }

    /// A phone that goes by `http` to `base`.
    pub fn through(http: reqwest::Client, base: &str, token: String) -> Self {
        Self { http, base: base.to_owned(), token }
    }

    /// Does `action` (`scan`, `confirm`, `cancel`) with an empty object.
    pub async fn act(&self, id: &str, action: &str) -> Response {
        self.act_with(id, action, json!({})).await
    }

    pub async fn act_with(&self, id: &str, action: &str, body: Value) -> Response {
        let request = self.http.post(format!("{}/v1/tickets/{id}/{action}", self.base));
        request.bearer_auth(&self.token).json(&body).send().await.unwrap()
    }

    pub async fn read(&self, id: &str) -> Response {
        let request = self.http.get(format!("{}/v1/tickets/{id}", self.base));
        request.bearer_auth(&self.token).send().await.unwrap()
    }

    /// Scans and confirms; fails if either is refused.
    pub async fn approve(&self, id: &str) {
        for action in ["scan", "confirm"] {
            let response = self.act(id, action).await;
            assert_eq!(response.status(), StatusCode::OK, "{action}: {}", response.text().await.unwrap());
        }
    }
}

/// Makes keys for several gateways to sign with: a folder for `--keys-dir`.
pub fn keys() -> tempfile::TempDir {
    let keys = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scangate"));
    assert!(command.args(["keys", "new", "--dir"]).arg(keys.path()).output().unwrap().status.success());
    keys
}

/// Returns a good token of `subject`.
pub fn token(subject: &str) -> String {
    token_until(subject, 4_000_000_000)
}

/// Returns a token of `subject` that is good until `exp`, in seconds since 1970.
pub fn token_until(subject: &str, exp: u64) -> String {
    token_with(subject, |claims| claims["exp"] = json!(exp))
}

/// Returns a token of `subject` whose claims `change` has been at.
pub fn token_with(subject: &str, change: impl FnOnce(&mut Value)) -> String {
    crypto();
    let name = format!("{}{}", subject[..1].to_uppercase(), &subject[1..]);
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": 4_000_000_000_u64,
        "name": name, "email": format!("{subject}@example.com"), "internal": "not for others",
    });
    change(&mut claims);
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// Returns the claims of a JWT after checking it against the keys that `gateway` publishes.
pub async fn verified_claims(gateway: &Gateway, token: &str, audience: &str) -> Value {
    let jwks = reqwest::get(gateway.url("/.well-known/jwks.json")).await.unwrap();
    verify_with(&jwks.json::<Value>().await.unwrap(), token, audience)
}

/// Returns the claims of a JWT after checking it against a JWK Set.
pub fn verify_with(jwks: &Value, token: &str, audience: &str) -> Value {
    crypto();
    let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_value(jwks.clone()).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let jwk = jwks.find(header.kid.as_deref().unwrap()).expect("the signing key is not published");
    let mut validation = jsonwebtoken::Validation::new(header.alg);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
    jsonwebtoken::decode(token, &key, &validation).unwrap().claims
}

/// Writes `text` to a file that goes with the returned handle.
pub fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}
