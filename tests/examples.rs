//! `examples/`: every example is started by the command that its page gives, and made to do its work, and to refuse.

mod company;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::coming_from::blocks;
use crate::support::browser::{Chromium, Device, Driver};
use crate::support::gateway::{Browser, Builder, Phone, file};
use crate::support::process::Process;
use crate::support::{Gateway, SOON, eventually, free_port, until, within};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PAGE: &str = include_str!("../examples/README.md");

/// Two clients, so that there is another audience.
const CLIENTS: &str = "[[clients]]\nid = \"web\"\nclaims = [\"name\"]\n[[clients]]\nid = \"pc\"\n";

/// The longest that an example may take from its start until it listens, on a machine that runs several.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the commands that the page gives: what stands by itself in a block or as code.
fn commands() -> Vec<&'static str> {
    let programs = ["node ", "python3 ", "cargo ", "npm "];
    let words = PAGE.split(['`', '\n']).map(str::trim);
    words.filter(|word| programs.iter().any(|program| word.starts_with(program))).collect()
}

/// Returns a command for the shell, with Debian's Python: another one may come first on the path, without its modules.
fn shell(command: &str) -> Command {
    let command =
        command.strip_prefix("python3 ").map_or(command.to_owned(), |rest| format!("/usr/bin/python3 {rest}"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command}")]).current_dir(ROOT).env("PYTHONUNBUFFERED", "1");
    shell
}

/// A gateway as the page says to start it: with a secret that was just made, which the backends of apps share.
struct Stage {
    gateway: Gateway,
    place: tempfile::TempDir,
    _clients: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(|builder| builder).await
    }

    async fn set_with(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let place = tempfile::tempdir().unwrap();
        let (clients, config) = file(CLIENTS);
        let script = &blocks(PAGE, "bash")[0];
        let script = script.strip_suffix("cargo run --release\n").expect("the gateway is started otherwise");
        let script = format!("set -e\ncd {}\n{script}exec \"$@\"", place.path().display());
        let keys = place.path().join("keys");
        new_key(&keys);
        let base = format!("127.0.0.1:{}", free_port());
        let builder = Gateway::builder()
            .own_identity()
            .run_by(&["bash", "-c", &script, "gateway"].map(str::to_owned))
            .arg("--listen", &base)
            .arg("--public-url", &format!("http://{base}"))
            .arg("--keys-dir", keys.to_str().unwrap())
            .arg("--config", config.to_str().unwrap());
        Self { gateway: settings(builder).start().await, place, _clients: clients }
    }

    /// Starts an example for this gateway.
    fn start(&self, example: &str) -> Example {
        let secret = self.place.path().join("secret.txt");
        Example::start(example, &self.gateway.base, &secret)
    }

    /// Makes a ticket as a page of another origin does. Returns it.
    async fn ticket(&self, client: &str) -> Value {
        let made = json!({ "client_id": client, "binding": "bearer" });
        let ticket = Browser::new(&self.gateway).create_with(made).await;
        assert!(ticket["scan_url"].as_str().unwrap().starts_with(&self.gateway.base), "{ticket}");
        ticket
    }

    /// Reads a ticket as the page does that made it.
    async fn read(&self, ticket: &Value) -> Value {
        let url = self.gateway.url(ticket["poll"].as_str().unwrap());
        let secret = ticket["ticket_secret"].as_str().unwrap();
        let answer = reqwest::Client::new().get(url).bearer_auth(secret).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Signs Ada in through an app's backend, and returns the JWT.
    async fn sign_in(&self, phone: &Example, client: &str) -> String {
        let ticket = self.ticket(client).await;
        for step in ["scan", "confirm"] {
            let answer = phone.decide("ada", step, &ticket["scan_url"]).await;
            assert_eq!(answer.status(), StatusCode::OK, "{step}: {}", answer.text().await.unwrap());
        }
        self.read(&ticket).await["token"]["access_token"].as_str().unwrap().to_owned()
    }

    /// Returns how many requests the gateway has answered with 200.
    async fn answered(&self) -> f64 {
        self.gateway.metric("scangate_requests_total{status=\"200\"}").await
    }

    /// Returns the claims of a JWT of this gateway that is good now, and the key that it signs with.
    async fn good(&self) -> (Value, SigningKey) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": self.gateway.public_url, "aud": "web", "sub": "ada", "name": "Ada Lovelace", "exp": now + 600,
            "iat": now, "nbf": now, "flow": "login",
        });
        (claims, self.keys().await.remove(0))
    }

    /// Returns the keys of the gateway, with what it calls them, in the order in which it publishes them.
    async fn keys(&self) -> Vec<SigningKey> {
        let url = self.gateway.url("/.well-known/jwks.json");
        let jwks: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let files = self.place.path().join("keys").read_dir().unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> = files.collect();
        let keys = jwks["keys"].as_array().unwrap().iter().map(|jwk| {
            let id = jwk["kid"].as_str().unwrap();
            let file = files.iter().find(|file| file.to_str().unwrap().contains(id)).unwrap();
            SigningKey { pem: std::fs::read(file).unwrap(), id: id.to_owned() }
        });
        keys.collect()
    }
}

/// Makes a key in a folder, which signs from then on.
fn new_key(folder: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scangate"));
    let output = command.args(["keys", "new", "--dir"]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

struct SigningKey {
    pem: Vec<u8>,
    id: String,
}

impl SigningKey {
    fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.id, claims)
    }

    /// Signs and says that another key did.
    fn sign_as(&self, id: &str, claims: &Value) -> String {
        let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_pem(&self.pem).unwrap()).unwrap()
    }
}

/// A running example that listens.
struct Example {
    _process: Process,
    base: String,
}

impl Example {
    /// Starts one by its command, for the gateway at `gateway`.
    fn start(example: &str, gateway: &str, secret: &Path) -> Self {
        let command = commands().into_iter().find(|command| command.ends_with(example));
        let mut command = shell(command.unwrap_or_else(|| panic!("no command for {example}")));
        command.env("GATEWAY_URL", gateway).env("SCANGATE_IDENTITY_SECRET_FILE", secret).env("PORT", "0");
        let mut process = Process::start(&mut command);
        let base = until(PATIENCE, &format!("{example}'s start"), || {
            let lines = process.lines();
            let address = lines.iter().find_map(|line| line.strip_prefix("listening on "));
            assert!(
                address.is_some() || process.exit_code().is_none(),
                "{example} ended (does it lack what tests/run installs?):\n{}",
                lines.join("\n")
            );
            address.map(str::to_owned)
        });
        Self { _process: process, base }
    }

    /// Asks a backend that verifies who a JWT's owner is.
    async fn me(&self, authorization: Option<&str>) -> Response {
        let request = reqwest::Client::new().get(format!("{}/me", self.base));
        let request = authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
        request.send().await.unwrap()
    }

    /// Does the same with a token.
    async fn me_with(&self, token: &str) -> Response {
        self.me(Some(&format!("Bearer {token}"))).await
    }

    /// Has an app's backend do a step for a person, with this code.
    async fn decide(&self, person: &str, step: &str, code: &Value) -> Response {
        self.post(&format!("/sign-in/{step}"), Some(person), json!({ "code": code }).to_string()).await
    }

    async fn post(&self, path: &str, person: Option<&str>, body: String) -> Response {
        let request = reqwest::Client::new().post(format!("{}{path}", self.base)).body(body);
        let request = request.header("content-type", "application/json");
        let request = person.into_iter().fold(request, |request, person| request.header("x-demo-user", person));
        request.send().await.unwrap()
    }
}

macro_rules! in_every_language {
    ($($name:ident)*) => {
        mod node {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                super::$name("examples/node/verify.mjs", "examples/node/phone.mjs").await;
            })*
        }
        mod python {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                super::$name("examples/python/verify.py", "examples/python/phone.py").await;
            })*
        }
    };
}

in_every_language! {
    the_sign_in_of_the_page_ends_with_the_person
    a_backend_refuses_all_but_the_gateways_own_jwts
    keys_are_fetched_again_for_a_new_one_and_not_for_every_stranger
    what_the_gateway_does_not_answer_is_503
    a_phone_opens_no_foreign_code
    a_phone_serves_nobody_who_is_not_signed_in
    problems_of_the_gateway_reach_the_phone
    a_phone_may_decline
    the_number_is_passed_on
    the_gateway_counts_phones_and_not_their_backend
    the_phones_token_is_for_the_gateway_and_for_a_minute
}

async fn the_sign_in_of_the_page_ends_with_the_person(verify: &str, phone: &str) {
    let stage = Stage::set().await;
    let (backend, phone) = (stage.start(verify), stage.start(phone));
    let mut command = Command::new("bash");
    command.args(["-c", &blocks(PAGE, "bash")[1]]).env("GATEWAY_URL", &stage.gateway.base);
    command.env("PHONE_URL", &phone.base).env("BACKEND_URL", &backend.base);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said[0]["requester"]["ip"], "127.0.0.1");
    assert_eq!(said[1]["state"], "confirmed");
    assert_eq!(said[2], json!({ "sub": "ada", "name": "Ada Lovelace" }));
    assert_eq!(said.len(), 3);
}

async fn a_backend_refuses_all_but_the_gateways_own_jwts(verify: &str, phone: &str) {
    let stage = Stage::set().await;
    let (backend, phone) = (stage.start(verify), stage.start(phone));
    let (jwt, for_another) = (stage.sign_in(&phone, "web").await, stage.sign_in(&phone, "pc").await);
    let (claims, key) = stage.good().await;
    // The tests' own are as good as the gateway's, unless something is wrong with them.
    for good in [&jwt, &key.sign(&claims)] {
        let answer = backend.me_with(good).await;
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body, json!({ "sub": "ada", "name": "Ada Lovelace" }));
    }

    let with = |changes: Value| {
        let mut claims = claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name).unwrap();
        key.sign(&claims)
    };
    let other_keys = tempfile::tempdir().unwrap();
    new_key(other_keys.path());
    let pem = std::fs::read(other_keys.path().read_dir().unwrap().next().unwrap().unwrap().path()).unwrap();
    let other = SigningKey { pem, id: "another".to_owned() };
    let base64 = |text: &str| {
        use base64::Engine as _;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text)
    };
    let header = |alg: &str| base64(&json!({ "alg": alg, "typ": "JWT", "kid": key.id }).to_string());
    let parts: Vec<&str> = jwt.split('.').collect();
    let jwks = reqwest::get(stage.gateway.url("/.well-known/jwks.json")).await.unwrap().text().await.unwrap();
    let confused = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
    let now = claims["iat"].as_u64().unwrap();
    let bad = [
        ("garbage", "garbage".to_owned()),
        ("three parts of garbage", "a.b.c".to_owned()),
        ("another audience", for_another),
        ("signed by another key of the same name", other.sign_as(&key.id, &claims)),
        ("signed by an unknown key", other.sign(&claims)),
        ("no algorithm", format!("{}.{}.", header("none"), parts[1])),
        ("no algorithm, with a signature", format!("{}.{}.{}", header("none"), parts[1], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("another algorithm", format!("{}.{}.{}", header("RS256"), parts[1], parts[2])),
        (
            "the public key as a secret",
            jsonwebtoken::encode(&confused, &claims, &EncodingKey::from_secret(jwks.as_bytes())).unwrap(),
        ),
        ("other claims", format!("{}.{}.{}", parts[0], base64(&with(json!({"sub": "grace"})).to_string()), parts[2])),
        ("expired", key.sign(&with(json!({ "exp": now - 60 })))),
        ("not yet valid", key.sign(&with(json!({ "nbf": now + 300 })))),
        ("another issuer", key.sign(&with(json!({ "iss": "https://login.example.com" })))),
        ("no exp", without("exp")),
        ("no aud", without("aud")),
        ("no iss", without("iss")),
        ("no sub", without("sub")),
        ("of a share", key.sign(&with(json!({ "flow": "share" })))),
        ("no flow", without("flow")),
    ];
    for (what, token) in bad {
        let answer = backend.me_with(&token).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{what}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer error=\"invalid_token\"", "{what}");
    }
    for authorization in [None, Some(format!("Basic {jwt}")), Some(jwt.clone())] {
        let answer = backend.me(authorization.as_deref()).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{authorization:?}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer", "{authorization:?}");
    }
    assert_eq!(backend.me_with(&jwt).await.status(), StatusCode::OK, "it is good all the same");
}

async fn keys_are_fetched_again_for_a_new_one_and_not_for_every_stranger(verify: &str, _: &str) {
    let stage = Stage::set().await;
    let backend = stage.start(verify);
    let (claims, key) = stage.good().await;
    let (started, before) = (Instant::now(), stage.answered().await);
    for _ in 0..5 {
        assert_eq!(backend.me_with(&key.sign(&claims)).await.status(), StatusCode::OK);
    }
    assert_eq!(stage.answered().await - before, 1.0, "the keys are fetched once");
    let times_ten_seconds = || (started.elapsed().as_secs() / 10) as f64;
    for number in 0..30 {
        let stranger = key.sign_as(&format!("stranger-{number}"), &claims);
        assert_eq!(backend.me_with(&stranger).await.status(), StatusCode::UNAUTHORIZED);
    }
    let fetched = stage.answered().await - before;
    assert!(fetched <= 1.0 + times_ten_seconds(), "{fetched} times in {:?}", started.elapsed());

    let keys = stage.place.path().join("keys");
    new_key(&keys);
    let new = within(SOON * 2, "the new key's publication", async || {
        stage.keys().await.into_iter().find(|other| other.id != key.id)
    });
    let new = new.await;
    let token = new.sign(&claims);
    within(Duration::from_secs(25), "a JWT of the new key to be good", async || {
        (backend.me_with(&token).await.status() == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(backend.me_with(&key.sign(&claims)).await.status(), StatusCode::OK, "the old key is still published");
}

async fn what_the_gateway_does_not_answer_is_503(verify: &str, phone: &str) {
    let stage = Stage::set().await;
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let secret = stage.place.path().join("secret.txt");
    let (claims, key) = stage.good().await;
    let backend = Example::start(verify, &nowhere, &secret);
    let answer = backend.me_with(&key.sign(&claims)).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let phone = Example::start(phone, &nowhere, &secret);
    let code = json!(format!("{nowhere}/s/AAAAAAAAAAAAAAAAAAAAAA"));
    assert_eq!(phone.decide("ada", "scan", &code).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

async fn a_phone_opens_no_foreign_code(_: &str, phone: &str) {
    let stage = Stage::set().await;
    let phone = stage.start(phone);
    let ticket = stage.ticket("web").await;
    let (code, id) = (ticket["scan_url"].as_str().unwrap(), ticket["ticket_id"].as_str().unwrap());
    let base = &stage.gateway.base;
    let before = stage.answered().await;
    let foreign = [
        json!(format!("https://evil.example/s/{id}")),
        json!(format!("{base}.evil.example/s/{id}")),
        json!(format!("{base}@evil.example/s/{id}")),
        json!(format!("https://evil.example/?{code}")),
        json!(base.replace("http://", "https://") + "/s/" + id),
        json!(base.replace("127.0.0.1", "127x0x0x1") + "/s/" + id),
        json!(format!("{base}/x/{id}")),
        json!(format!("{base}/s/{id}/../../evil")),
        json!(format!("{base}/s/{id}?x")),
        json!(format!("{code}\n")),
        json!(format!("{base}/s/../../demo/sign-in")),
        json!(&code[..code.len() - 1]),
        json!(id),
        json!([code]),
        json!(5),
        json!(null),
    ];
    let bodies = foreign.iter().map(|code| json!({ "code": code }).to_string());
    for body in bodies.chain([json!({}), json!([code]), json!(code), json!(null)].map(|body| body.to_string())) {
        for step in ["scan", "confirm", "decline"] {
            let answer = phone.post(&format!("/sign-in/{step}"), Some("ada"), body.clone()).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{step}: {body}");
        }
    }
    for body in ["", "no JSON", "{"] {
        let answer = phone.post("/sign-in/scan", Some("ada"), body.to_owned()).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
    }
    let long =
        phone.post("/sign-in/scan", Some("ada"), json!({ "code": code, "x": "x".repeat(5000) }).to_string()).await;
    assert!(long.status().is_client_error());
    assert_eq!(stage.read(&ticket).await["revision"], 1, "nothing was scanned");
    assert_eq!(stage.answered().await - before, 1.0, "the gateway was asked");
    assert_eq!(phone.decide("ada", "scan", &json!(code)).await.status(), StatusCode::OK);
}

async fn a_phone_serves_nobody_who_is_not_signed_in(_: &str, phone: &str) {
    let stage = Stage::set().await;
    let phone = stage.start(phone);
    let ticket = stage.ticket("web").await;
    let body = json!({ "code": ticket["scan_url"] }).to_string();
    for person in [None, Some(""), Some("mallory"), Some("toString"), Some("__proto__")] {
        let answer = phone.post("/sign-in/scan", person, body.clone()).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{person:?}");
    }
    let elsewhere = phone.post("/sign-in/elsewhere", Some("ada"), body).await;
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
    assert_eq!(stage.read(&ticket).await["state"], "pending");
}

async fn problems_of_the_gateway_reach_the_phone(_: &str, phone: &str) {
    let stage = Stage::set_with(|builder| builder.arg("--rate-scan", "2")).await;
    let phone = stage.start(phone);
    let ticket = stage.ticket("web").await;
    assert_eq!(phone.decide("ada", "scan", &ticket["scan_url"]).await.status(), StatusCode::OK);
    let second = phone.decide("grace", "scan", &ticket["scan_url"]).await;
    assert_eq!(second.status(), StatusCode::CONFLICT);
    assert_eq!(second.headers()["content-type"], "application/problem+json");
    assert_eq!(second.json::<Value>().await.unwrap()["code"], "already_scanned");
    let refused = phone.decide("grace", "confirm", &ticket["scan_url"]).await;
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "not_permitted", "each person has a token of their own");
    let third = phone.decide("ada", "scan", &ticket["scan_url"]).await;
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait = third.headers()["retry-after"].to_str().unwrap().to_owned();
    let body: Value = third.json().await.unwrap();
    assert_eq!((&body["code"], body["retry_after"].to_string()), (&json!("rate_limited"), wait));
}

async fn a_phone_may_decline(_: &str, phone: &str) {
    let stage = Stage::set().await;
    let phone = stage.start(phone);
    let ticket = stage.ticket("web").await;
    for step in ["scan", "decline"] {
        assert_eq!(phone.decide("ada", step, &ticket["scan_url"]).await.status(), StatusCode::OK, "{step}");
    }
    let seen = stage.read(&ticket).await;
    assert_eq!((&seen["state"], &seen["reason"]), (&json!("cancelled"), &json!("declined")));
}

async fn the_number_is_passed_on(_: &str, phone: &str) {
    let stage = Stage::set().await;
    let phone = stage.start(phone);
    let code = &stage.ticket("web").await["scan_url"];
    assert_eq!(phone.decide("ada", "scan", code).await.status(), StatusCode::OK);
    // This client asks for none, which the gateway can only say if it was given one.
    let numbered = json!({ "code": code, "match": "42" }).to_string();
    let refused = phone.post("/sign-in/confirm", Some("ada"), numbered).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "invalid_request");
    assert_eq!(phone.decide("ada", "confirm", code).await.status(), StatusCode::OK);
}

async fn the_gateway_counts_phones_and_not_their_backend(_: &str, phone: &str) {
    // A backend is believed, as a trusted proxy; the addresses of phones are not among those.
    let limited = |builder: Builder| builder.arg("--rate-scan", "1").arg("--trusted-proxies", "127.0.0.1");
    let stage = Stage::set_with(limited).await;
    let phone = stage.start(phone);
    for (address, expected) in [("127.0.0.2", 200), ("127.0.0.2", 429), ("127.0.0.3", 200)] {
        let from = reqwest::Client::builder().local_address(Some(address.parse().unwrap())).build().unwrap();
        let body = json!({ "code": stage.ticket("web").await["scan_url"] });
        let request = from.post(format!("{}/sign-in/scan", phone.base)).header("x-demo-user", "ada").json(&body);
        assert_eq!(request.send().await.unwrap().status().as_u16(), expected, "{address}");
    }
}

async fn the_phones_token_is_for_the_gateway_and_for_a_minute(_: &str, phone: &str) {
    let stage = Stage::set().await;
    let secret = stage.place.path().join("secret.txt");
    // In the gateway's place stands something that answers with the token that it is sent.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let echo = axum::Router::new().fallback(async |headers: http::HeaderMap| {
        axum::Json(json!({ "sent": headers["authorization"].to_str().unwrap() }))
    });
    let echo = tokio::spawn(async { axum::serve(listener, echo).await });
    let phone = Example::start(phone, &base, &secret);
    let code = json!(format!("{base}/s/AAAAAAAAAAAAAAAAAAAAAA"));
    let sent: Value = phone.decide("grace", "scan", &code).await.json().await.unwrap();
    echo.abort();
    let token = sent["sent"].as_str().unwrap().strip_prefix("Bearer ").unwrap();
    let secret = std::fs::read_to_string(secret).unwrap();
    let key = jsonwebtoken::DecodingKey::from_secret(secret.trim_end().as_bytes());
    let mut validation = jsonwebtoken::Validation::new(Algorithm::HS256);
    validation.set_audience(&["scangate"]);
    validation.set_issuer(&["https://id.example.com"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims: Value = jsonwebtoken::decode(token, &key, &validation).unwrap().claims;
    assert_eq!((&claims["sub"], &claims["name"]), (&json!("grace"), &json!("Grace Hopper")));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let left = claims["exp"].as_u64().unwrap().saturating_sub(now);
    assert!((30..=61).contains(&left), "{left} s");
}

/// A name that is more than ASCII, that would be markup, and that makes its JWT one of base64url's own characters.
const NAME: &str = "Åsa <b>???>>>";

/// The example page, on an origin of its own, as its own command serves it, and a gateway that has another one.
struct Site {
    driver: Driver,
    gateway: Gateway,
    _server: Process,
    port: u16,
}

impl Site {
    /// Starts it; a code may be scanned for `ticket_ttl`.
    async fn start(ticket_ttl: &str) -> Self {
        let with = commands().into_iter().find(|command| command.starts_with("cargo run --release -- ")).unwrap();
        let (_, flags) = with.split_once(" -- ").unwrap();
        let [flag, value] = flags.split(' ').collect::<Vec<_>>()[..] else { panic!("{flags}") };
        let value = Path::new(ROOT).join(value);
        let gateway = Gateway::builder().own_identity().arg(flag, value.to_str().unwrap());
        let gateway = gateway.arg("--ticket-ttl", ticket_ttl).start().await;
        assert_eq!(gateway.public_url, "http://localhost:8080");
        let serve = commands().into_iter().find(|command| command.contains("--directory examples/browser")).unwrap();
        let port = free_port();
        let serve = serve.replace(" 5000 ", &format!(" {port} "));
        let server = Process::start(&mut shell(&serve));
        eventually("the page", async || reqwest::get(format!("http://127.0.0.1:{port}/")).await.ok()).await;
        Self { driver: Driver::start().await, gateway, _server: server, port }
    }

    /// Opens the page under this address, with the ports as they are in the example.
    async fn open(&self, url: &str) -> Chromium {
        let gateway = self.gateway.base.strip_prefix("http://").unwrap();
        let rules = format!(
            "--host-resolver-rules=MAP localhost:8080 {gateway}, MAP localhost:5000 127.0.0.1:{port}, \
             MAP localhost:5001 127.0.0.1:{port}",
            port = self.port
        );
        let page = self.driver.open_with(Device::Desk, &[&rules]).await;
        page.goto(url).await;
        page
    }

    /// Returns a phone of the demo, and the id of the ticket that it sees on the screen.
    async fn scan(&self, page: &Chromium) -> (Phone, String) {
        page.until("pending").await;
        let id = page.scan().await.strip_prefix("http://localhost:8080/s/").unwrap().to_owned();
        let made_up = json!({ "name": NAME });
        let request = reqwest::Client::new().post(self.gateway.url("/demo/sign-in")).json(&made_up);
        let token: Value = request.send().await.unwrap().json().await.unwrap();
        (Phone::with_token(token["access_token"].as_str().unwrap().to_owned(), &self.gateway), id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_signs_in() {
    let site = Site::start("2m").await;
    let page = site.open("http://localhost:5000/").await;
    let (phone, id) = site.scan(&page).await;
    page.keep_screen("example").await;
    phone.act(&id, "scan").await;
    page.until("scanned").await;
    assert_eq!(page.text("#say").await, format!("Waiting for {NAME} to confirm."));
    assert!(!page.sees("#code").await);
    phone.act(&id, "confirm").await;
    page.until("confirmed").await;
    assert_eq!(page.text("#say").await, format!("Signed in as {NAME}."));
    assert!(!page.sees("#again").await);
    let kept = page.run("return [document.cookie, localStorage.length, sessionStorage.length, location.href]").await;
    assert_eq!(kept, json!(["", 0, 0, "http://localhost:5000/"]), "secrets stay in memory");
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_a_decline_and_the_end_of_the_time_and_begins_again() {
    let site = Site::start("15s").await;
    let page = site.open("http://localhost:5000/").await;
    let (phone, id) = site.scan(&page).await;
    phone.act(&id, "scan").await;
    phone.act(&id, "cancel").await;
    page.until("cancelled").await;
    assert_eq!(page.text("#say").await, "The sign-in was declined.");
    page.click("#again").await;
    let (_, second) = site.scan(&page).await;
    assert_ne!(second, id);
    page.until_within(Duration::from_secs(30), "expired").await;
    assert!(page.sees("#again").await && !page.sees("#code").await);
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_gets_no_ticket_on_an_origin_that_is_not_registered() {
    let site = Site::start("2m").await;
    let page = site.open("http://localhost:5001/").await;
    page.until("failed").await;
    assert!(!page.sees("#code").await);
    assert_eq!(site.gateway.metric("scangate_tickets_total{outcome=\"created\"}").await, 0.0);
}

/// The files that are examples: all but what only goes with them.
fn examples() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["browser", "drop-in", "node", "python"] {
        for entry in Path::new(ROOT).join("examples").join(folder).read_dir().unwrap() {
            let path = entry.unwrap().path();
            let extension = path.extension().unwrap_or_default().to_str().unwrap();
            if ["html", "mjs", "js", "py", "toml"].contains(&extension) {
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 6, "{found:?}");
    found
}

#[test]
fn every_example_is_shorter_than_60_lines_and_says_how_it_is_run() {
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() < 60, "{} has {} lines", path.display(), text.lines().count());
        let head: Vec<_> = text.lines().take(8).collect();
        let extension = path.extension().unwrap().to_str().unwrap();
        if extension != "toml" {
            let name = path.strip_prefix(ROOT).unwrap().to_str().unwrap();
            let folder = name.strip_suffix("/index.html").unwrap_or(name);
            let runs = commands().into_iter().filter(|command| command.contains(folder));
            let said = runs.inspect(|run| assert!(head.iter().any(|line| line.contains(run)), "{name} lacks: {run}"));
            assert!(said.count() > 0, "{name} is in no command of the page");
        }
    }
}

#[test]
fn every_command_of_the_page_is_run() {
    let run = [
        "npm ci --prefix examples/node",
        "cargo run --release",
        "node examples/node/verify.mjs",
        "python3 examples/python/verify.py",
        "node examples/node/phone.mjs",
        "python3 examples/python/phone.py",
        "cargo run --release -- --config examples/browser/clients.toml",
        "python3 -m http.server 5000 --bind 127.0.0.1 --directory examples/drop-in",
        "python3 -m http.server 5000 --bind 127.0.0.1 --directory examples/browser",
    ];
    assert_eq!(commands(), run);
    assert_eq!(blocks(PAGE, "bash").len(), 5);
    assert_eq!(PAGE.matches("\n```").count(), 10, "there is a block that no test runs");
    assert!(include_str!("run").contains("npm ci --prefix examples/node"), "tests/run has to install it");
}

#[test]
fn the_lock_file_names_no_registry() {
    let lock = include_str!("../examples/node/package-lock.json");
    assert!(lock.contains("\"integrity\"") && !lock.contains("\"resolved\""));
}
