//! The HTTP contract to the letter: the API description holds for the live answers, and every error is a problem.

mod description;
mod openid;
mod problems;
mod requests;

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::{Browser, Phone, file};
use crate::support::picture::{Picture, plain};

/// The live API description, against which answers are held.
struct Description {
    document: Value,
    /// What was held against it, by path and method.
    covered: BTreeMap<String, BTreeSet<u16>>,
}

impl Description {
    async fn of(gateway: &Gateway) -> Self {
        let document: Value = reqwest::get(gateway.url("/v1/openapi.json")).await.unwrap().json().await.unwrap();
        assert_eq!(document["openapi"].as_str().unwrap().split('.').take(2).collect::<Vec<_>>(), ["3", "1"]);
        Self { document, covered: BTreeMap::new() }
    }

    /// Asserts that `response` is one that the description announces for `path` and `method`, and returns its JSON.
    async fn hold(&mut self, path: &str, method: &str, response: Response) -> Value {
        let status = response.status().as_u16();
        let place = format!("{method} {path} {status}");
        let operation = &self.document["paths"][path][method];
        assert!(operation.is_object(), "{place}: there is no such operation");
        let announced = &operation["responses"][status.to_string()];
        assert!(announced.is_object(), "{place} is not announced: {}", response.text().await.unwrap());
        self.covered.entry(format!("{method} {path}")).or_default().insert(status);

        let content_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        let Some(content) = announced["content"].as_object() else {
            assert_eq!(content_type, None, "{place} has a body that is not announced");
            return Value::Null;
        };
        let content_type = content_type.unwrap_or_else(|| panic!("{place} has no body"));
        let schema =
            &content.get(&content_type).unwrap_or_else(|| panic!("{place}: {content_type} is not announced"))["schema"];
        if !content_type.ends_with("json") {
            return Value::Null;
        }
        let answer: Value = response.json().await.unwrap();
        let schema = self.resolved(schema);
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<String> =
            validator.iter_errors(&answer).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{place}: {faults:#?}\n{answer:#}");
        assert_all_announced(&place, &schema, &schema, &answer);
        answer
    }

    /// Returns a schema that stands for itself, with the components that it refers to.
    fn resolved(&self, schema: &Value) -> Value {
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        schema
    }
}

/// Asserts that an object has no field that its schema does not name: the schemas allow more, the answers must not.
fn assert_all_announced(place: &str, root: &Value, schema: &Value, answer: &Value) {
    let Some(object) = answer.as_object() else { return };
    let mut names = BTreeSet::new();
    collect_names(root, schema, &mut names);
    if names.is_empty() {
        return;
    }
    for name in object.keys() {
        assert!(names.contains(name), "{place}: the field {name} is not announced");
    }
}

fn collect_names(root: &Value, schema: &Value, names: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        collect_names(root, target, names);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect_names(root, part, names);
    }
    names.extend(schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys().cloned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn live_answers_are_as_the_description_says() {
    let (_directory, config) =
        file("[[clients]]\nid = \"web\"\nclaims = [\"name\"]\nflows = [\"login\", \"share\"]\nmatch = \"choose\"\n");
    let gateway =
        Gateway::builder().arg("--config", config.to_str().unwrap()).arg("--rate-invalid-scan", "3").start().await;
    let mut description = Description::of(&gateway).await;
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let mallory = Phone::of("mallory", &gateway);

    let tickets = "/v1/tickets";
    let create = |path: &str, body: Value| browser.request(Method::POST, path).json(&body).send();
    let full = json!({"client_id": "web", "flow": "login", "binding": "bearer"});
    for (path, body) in [
        ("/v1/tickets?qr=svg", json!({})),
        ("/v1/tickets?qr=png", full),
        ("/v1/tickets", json!({"unknown": 1})),
        ("/v1/tickets", json!({"client_id": "nobody"})),
        ("/v1/tickets", json!({"flow": "share"})),
    ] {
        description.hold(tickets, "post", create(path, body).await.unwrap()).await;
    }
    let large = create(tickets, json!({"client_id": "x".repeat(20_000)})).await.unwrap();
    description.hold(tickets, "post", large).await;
    let form = browser.request(Method::POST, tickets).form(&[("a", "b")]).send().await.unwrap();
    description.hold(tickets, "post", form).await;

    let (one, events, scan) = ("/v1/tickets/{id}", "/v1/tickets/{id}/events", "/v1/tickets/{id}/scan");
    let (confirm, cancel) = ("/v1/tickets/{id}/confirm", "/v1/tickets/{id}/cancel");
    let id = browser.create().await;
    description.hold(one, "get", browser.read(&id).await).await;
    description.hold(one, "get", browser.get(&format!("/v1/tickets/{id}?wait=61")).await).await;
    description.hold(one, "get", browser.get(&format!("/v1/tickets/{id}?unknown=1")).await).await;
    description.hold(one, "get", Phone::with_token("x".into(), &gateway).read(&id).await).await;
    description.hold(one, "get", mallory.read(&id).await).await;
    description.hold(events, "get", browser.get(&format!("/v1/tickets/{id}/events")).await).await;
    description.hold(events, "get", browser.get("/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA/events").await).await;
    description.hold(confirm, "post", ada.act(&id, "confirm").await).await;
    let open = |id: &str| browser.request(Method::POST, &format!("/v1/tickets/{id}/open")).send();
    for id in [id.as_str(), "x"] {
        description.hold("/v1/tickets/{id}/open", "post", open(id).await.unwrap()).await;
    }
    description.hold(scan, "post", ada.act(&id, "scan").await).await;
    description.hold(scan, "post", mallory.act(&id, "scan").await).await;
    description.hold(scan, "post", ada.act_with(&id, "scan", json!({"sub": "x"})).await).await;
    description.hold(one, "get", ada.read(&id).await).await;
    description.hold(confirm, "post", mallory.act(&id, "confirm").await).await;
    description.hold(confirm, "post", ada.act_with(&id, "confirm", json!({"match": "x"})).await).await;
    let number = description.hold(one, "get", browser.read(&id).await).await["number"].clone();
    description.hold(confirm, "post", ada.act_with(&id, "confirm", json!({"match": number})).await).await;
    description.hold(cancel, "post", ada.act(&id, "cancel").await).await;
    let token = description.hold(one, "get", browser.read(&id).await).await;
    let jwt = token["token"]["access_token"].as_str().unwrap();
    hold_sessions(&mut description, &browser, jwt).await;
    hold_signed_in_person(&mut description).await;
    openid::hold_openid(&mut description).await;
    description.hold(events, "get", browser.events_after(&id, "99").await).await;
    let delete = |id: &str| browser.request(Method::DELETE, &format!("/v1/tickets/{id}")).send();
    description.hold(one, "delete", delete(&id).await.unwrap()).await;
    let other = browser.create().await;
    description.hold(one, "delete", delete(&other).await.unwrap()).await;
    description.hold(one, "delete", delete("AAAAAAAAAAAAAAAAAAAAAA").await.unwrap()).await;
    let third = browser.create().await;
    ada.act(&third, "scan").await;
    description.hold(cancel, "post", mallory.act(&third, "cancel").await).await;
    description.hold(cancel, "post", ada.act(&third, "cancel").await).await;

    let shared = Browser::new(&gateway);
    let share = async |body: Value| {
        let request = shared.request(Method::POST, tickets).bearer_auth(&ada.token);
        request.json(&body).send().await.unwrap()
    };
    description.hold(tickets, "post", share(json!({"flow": "share", "release": ["internal"]})).await).await;
    let ticket = description.hold(tickets, "post", share(json!({"flow": "share"})).await).await;
    let id = ticket["ticket_id"].as_str().unwrap();
    description.hold(scan, "post", ada.act(id, "scan").await).await;
    let scan_it = |body: Value| shared.request(Method::POST, &format!("/v1/tickets/{id}/scan")).json(&body).send();
    description.hold(scan, "post", scan_it(json!({"client_id": "nobody"})).await.unwrap()).await;
    let view = description.hold(scan, "post", scan_it(json!({"binding": "bearer"})).await.unwrap()).await;
    assert!(view["ticket"]["number"].is_string() && view["ticket_secret"].is_string());
    description.hold(scan, "post", scan_it(json!({})).await.unwrap()).await;
    let seen = description.hold(one, "get", ada.read(id).await).await;
    assert!(seen["scanned_by"]["from"]["ip"].is_string() && seen["choices"].is_array());
    for body in [json!({}), json!({"scanner": "x"}), json!({"scanner": seen["scanned_by"]["id"], "match": "1"})] {
        description.hold(confirm, "post", ada.act_with(id, "confirm", body).await).await;
    }
    let wrong = if view["ticket"]["number"] == "42" { "43" } else { "42" };
    let body = json!({"scanner": seen["scanned_by"]["id"], "match": wrong});
    assert_eq!(description.hold(confirm, "post", ada.act_with(id, "confirm", body).await).await["code"], "mismatch");

    for picture in ["svg", "png"] {
        let path = format!("/v1/tickets/{{id}}/qr.{picture}");
        for query in ["", "?size=200", "?size=1", "?logo=web", "?logo=nobody"] {
            let response = browser.get(&format!("/v1/tickets/{id}/qr.{picture}{query}")).await;
            description.hold(&path, "get", response).await;
        }
        description.hold(&path, "get", browser.get(&format!("/v1/tickets/x/qr.{picture}")).await).await;
    }
    description.hold("/.well-known/jwks.json", "get", browser.get("/.well-known/jwks.json").await).await;
    for _ in 0..5 {
        description.hold(scan, "post", ada.act("AAAAAAAAAAAAAAAAAAAAAA", "scan").await).await;
    }

    // Every operation was called, with its success and at least one refusal where there is one.
    let paths = description.document["paths"].as_object().unwrap();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let covered = description.covered.get(&format!("{method} {path}")).cloned().unwrap_or_default();
            let announced: Vec<u16> =
                operation["responses"].as_object().unwrap().keys().map(|s| s.parse().unwrap()).collect();
            for status in announced.iter().filter(|status| **status < 300) {
                assert!(covered.contains(status), "{method} {path} {status} was never seen");
            }
            let has_refusals = announced.iter().any(|status| *status >= 400);
            assert!(!has_refusals || covered.iter().any(|status| *status >= 400), "{method} {path} was never refused");
        }
    }
}

/// Holds what sites' edges and pages are answered, of whom `jwt` is good for the default client.
async fn hold_sessions(description: &mut Description, browser: &Browser, jwt: &str) {
    let (verify, sign_in, redeem, sign_out) = ("/v1/verify", "/v1/sign-in", "/v1/redeem", "/v1/sign-out");
    let get = |path: &str| browser.request(Method::GET, path);
    let post = |path: &str| browser.request(Method::POST, path);
    let requests = [
        (verify, "get", get("/v1/verify?claims=name").bearer_auth(jwt)),
        (verify, "get", get("/v1/verify").bearer_auth("x")),
        (verify, "get", get("/v1/verify?claims=%20")),
        (sign_in, "get", get(sign_in)),
        (sign_in, "get", get("/v1/sign-in?client_id=nobody")),
        (redeem, "post", post(redeem).bearer_auth(jwt)),
        (redeem, "post", post(redeem).json(&json!({ "access_token": jwt }))),
        (redeem, "post", post(redeem).bearer_auth(jwt).json(&json!({ "access_token": jwt }))),
        (redeem, "post", post(redeem).json(&json!({ "jwt": jwt }))),
        (redeem, "post", post(redeem)),
        (redeem, "post", post(redeem).form(&[("access_token", jwt)])),
        (redeem, "post", post(redeem).header("content-type", "text/plain").body("x")),
        (redeem, "post", post(redeem).json(&json!({ "access_token": "x".repeat(20_000) }))),
        (sign_out, "post", post(sign_out)),
        (sign_out, "post", post("/v1/sign-out?client_id=nobody")),
        (sign_out, "post", post(sign_out).header("content-type", "text/plain").body("x")),
    ];
    for (path, method, request) in requests {
        description.hold(path, method, request.send().await.unwrap()).await;
    }
    // Redirects, which say nothing but where to.
    let still =
        reqwest::Client::builder().cookie_store(true).redirect(reqwest::redirect::Policy::none()).build().unwrap();
    hold_site(description, &still).await;
    let form = post(sign_out).form(&[("return_to", "/bye")]).build().unwrap();
    description.hold(sign_out, "post", still.execute(form).await.unwrap()).await;
}

/// Checks the answers to a sign-in at a site: its start, the callback with its code, and other requests to the
/// callback.
async fn hold_site(description: &mut Description, still: &reqwest::Client) {
    let (_directory, config) = file(
        "[[clients]]\nid = \"web\"\ntoken_auth = \"none\"\nredirect_uris = [\"https://site.example/scangate/callback\"]\n",
    );
    let gateway = Gateway::builder().arg("--config", config.to_str().unwrap()).start().await;
    let (sign_in, callback) = ("/v1/sign-in", "/v1/callback");
    let request = still.get(gateway.url(sign_in)).header("accept", "text/html").header("x-original-uri", "/x");
    let begun = request.send().await.unwrap();
    let query = url::Url::parse(begun.headers()["location"].to_str().unwrap()).unwrap().query().unwrap().to_owned();
    description.hold(sign_in, "get", begun).await;
    let browser = Browser::that_follows_nothing(&gateway);
    let ticket = browser.create_with(json!({ "authorization": query })).await;
    let id = ticket["ticket_id"].as_str().unwrap();
    Phone::of("ada", &gateway).approve(id).await;
    let done = browser.get(&format!("/oauth2/authorize/done?ticket={id}")).await;
    let answer = url::Url::parse(done.headers()["location"].to_str().unwrap()).unwrap().query().unwrap().to_owned();
    let declined = answer.replace("code=", "error=access_denied&x=");
    let failed = answer.replace("code=", "error=temporarily_unavailable&x=");
    let twice = format!("{answer}&iss=x");
    let (mixed, unknown) = (answer.replace("iss=", "x="), answer.replace("code=", "code=x"));
    for query in ["", &twice, &mixed, &unknown, &declined, &failed, &answer, &answer] {
        let request = still.get(gateway.url(&format!("{callback}?{query}"))).send();
        description.hold(callback, "get", request.await.unwrap()).await;
    }
}

/// Holds the answers about the person who is signed in in a browser. The demo signs one in.
async fn hold_signed_in_person(description: &mut Description) {
    let demo = Gateway::builder().own_identity().start().await;
    let browser = Browser::new(&demo);
    let (session, end) = ("/v1/session", "/v1/session/end");
    description.hold(session, "get", browser.get(session).await).await;
    let sign_in = browser.request(Method::POST, "/demo/sign-in").json(&json!({ "name": "Ada" }));
    assert_eq!(sign_in.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(description.hold(session, "get", browser.get(session).await).await["name"], "Ada");
    for body in [json!({ "all": true }), json!({})] {
        description.hold(end, "post", browser.request(Method::POST, end).json(&body).send().await.unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_store_answers_as_the_description_says() {
    let mut redis = crate::support::Redis::start();
    let gateway = Gateway::builder().redis(&redis).arg("--redis-timeout", "200ms").start().await;
    let mut description = Description::of(&gateway).await;
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let id = browser.create().await;
    redis.kill();
    let create = browser.request(Method::POST, "/v1/tickets").json(&json!({})).send().await.unwrap();
    assert!(create.headers().contains_key("retry-after"));
    assert_eq!(description.hold("/v1/tickets", "post", create).await["code"], "unavailable");
    for action in ["scan", "confirm", "cancel"] {
        let refused = ada.act(&id, action).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        description.hold(&format!("/v1/tickets/{{id}}/{action}"), "post", refused).await;
    }
    let read = browser.read(&id).await;
    assert_eq!(read.status(), StatusCode::SERVICE_UNAVAILABLE);
    description.hold("/v1/tickets/{id}", "get", read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_problem() {
    let gateway = Gateway::start().await;
    let browser = Browser::new(&gateway);
    let post = |path: &str, content_type: &str, body: &str| {
        let request = browser.request(Method::POST, path).header("content-type", content_type).body(body.to_owned());
        request.send()
    };
    let cases = [
        (browser.get("/nowhere").await, 404, "not_found"),
        (browser.get("/v1/nowhere").await, 404, "not_found"),
        (browser.get("/static/nowhere.js").await, 404, "not_found"),
        (browser.get("/v1/tickets/short").await, 404, "ticket_not_found"),
        (browser.get("/v1/tickets/%FF%FE").await, 404, "ticket_not_found"),
        (browser.get("/v1/tickets").await, 405, "method_not_allowed"),
        (browser.request(Method::PUT, "/").send().await.unwrap(), 405, "method_not_allowed"),
        (browser.request(Method::DELETE, "/healthz").send().await.unwrap(), 404, "not_found"),
        (post("/v1/tickets", "application/json", "{").await.unwrap(), 400, "malformed_json"),
        (post("/v1/tickets", "application/json", "[]").await.unwrap(), 400, "malformed_json"),
        (post("/v1/tickets", "application/json", "[null,\"login\"]").await.unwrap(), 400, "malformed_json"),
        (browser.get("/static/%FF").await, 404, "not_found"),
        (browser.get("/v1/clients/%FF/logo.png").await, 404, "not_found"),
        (browser.request(Method::HEAD, "/v1/tickets/x").send().await.unwrap(), 405, ""),
        (post("/v1/tickets", "application/json", "{\"flow\":\"x\"}").await.unwrap(), 400, "malformed_json"),
        (post("/v1/tickets", "application/json", "{}{}").await.unwrap(), 400, "malformed_json"),
        (post("/v1/tickets", "application/json", "\u{0}").await.unwrap(), 400, "malformed_json"),
        (post("/v1/tickets", "text/plain", "{}").await.unwrap(), 415, "unsupported_media_type"),
        (post("/v1/tickets?qr=gif", "application/json", "{}").await.unwrap(), 400, "invalid_request"),
    ];
    for (response, status, code) in cases {
        let url = response.url().clone();
        assert_eq!(response.status().as_u16(), status, "{url}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{url}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers().contains_key("allow"), status == 405, "{url}");
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        if code.is_empty() {
            continue;
        }
        let body: Value = response.json().await.unwrap();
        assert_eq!(
            (&body["code"], &body["status"], &body["request_id"]),
            (&json!(code), &json!(status), &json!(id)),
            "{url}"
        );
        assert_eq!(body["type"], format!("urn:scangate:problem:{code}"));
        assert!(!body["detail"].as_str().unwrap().is_empty() && !body["title"].as_str().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let gateway = Gateway::start().await;
    let mut socket = tokio::net::TcpStream::connect(gateway.base.strip_prefix("http://").unwrap()).await.unwrap();
    let head = "POST /v1/tickets HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(std::time::Duration::from_secs(20), socket.read(&mut answer)).await;
    let read = read.expect("the gateway waits for ever").unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_taken_from_a_trusted_proxy_alone() {
    let id_for = async |gateway: &Gateway, given: &str| {
        let request = reqwest::Client::new().get(gateway.url("/")).header("x-request-id", given);
        request.send().await.unwrap().headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    let trusting = Gateway::start().await;
    assert_eq!(id_for(&trusting, "abc-123").await, "abc-123");
    assert_ne!(id_for(&trusting, "a b\"c").await, "a b\"c");
    let distrusting = Gateway::builder().arg("--trusted-proxies", "10.0.0.0/8").start().await;
    assert_ne!(id_for(&distrusting, "abc-123").await, "abc-123");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_their_files_are_part_of_the_binary() {
    let gateway = Gateway::start().await;
    let pages = ["/", "/s/AAAAAAAAAAAAAAAAAAAAAA", "/share", "/share/AAAAAAAAAAAAAAAAAAAAAA"];
    let mut all: Vec<_> = pages.map(|path| (path.to_owned(), "text/html; charset=utf-8")).into();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/static")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let content_type = match name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => continue,
        };
        all.push((format!("/static/{name}"), content_type));
    }
    assert!(all.len() > 12, "{all:?}");
    for (path, content_type) in all {
        let response = reqwest::get(gateway.url(&path)).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &content_type.parse().unwrap())
        );
        if path.starts_with("/static") {
            let etag = response.headers()["etag"].clone();
            let again =
                reqwest::Client::new().get(gateway.url(&path)).header("if-none-match", etag).send().await.unwrap();
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_too_and_its_peers_are_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gate.sock");
    // What a crash leaves behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = format!("127.0.0.1:0,unix:{}", path.display());
    let gateway = Gateway::builder().arg("--listen", &listen).arg("--trusted-proxies", "10.0.0.0/8").start().await;
    let curl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("curl");
        command.args(["-sS", "--unix-socket", path.to_str().unwrap()]).args(arguments);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let ticket = curl(&[
        "-H",
        "content-type: application/json",
        "-H",
        "x-forwarded-for: 203.0.113.7",
        "-d",
        "{}",
        "http://x/v1/tickets",
    ]);
    let ticket: Value = serde_json::from_str(&ticket).unwrap();
    let token = crate::support::gateway::token("ada");
    let url = format!("http://x/v1/tickets/{}/scan", ticket["ticket_id"].as_str().unwrap());
    let scan: Value =
        serde_json::from_str(&curl(&["-X", "POST", "-H", &format!("authorization: Bearer {token}"), &url])).unwrap();
    assert_eq!(scan["requester"]["ip"], "203.0.113.7");
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_logo_is_served_and_laid_over_its_codes() {
    let (directory, config) = file("[[clients]]\nid = \"web\"\nlogo = \"logo.png\"\n");
    let logo = directory.path().join("logo.png");
    std::fs::write(&logo, plain(60, 60, [200, 30, 30])).unwrap();
    let gateway = Gateway::builder().arg("--config", config.to_str().unwrap()).start().await;
    let browser = Browser::new(&gateway);
    let ticket = browser.create_with(json!({})).await;
    let served = browser.get(ticket["client"]["logo"].as_str().unwrap()).await;
    assert_eq!(served.headers()["content-type"], "image/png");
    assert_eq!(served.bytes().await.unwrap(), std::fs::read(&logo).unwrap());

    let path = format!("/v1/tickets/{}/qr.png?size=480&logo=web", ticket["ticket_id"].as_str().unwrap());
    let code = browser.get(&path).await.bytes().await.unwrap();
    let picture = Picture::of(&code);
    assert_eq!(picture.pixel(240, 240), [200, 30, 30], "the logo is not in the middle");
    assert_eq!(picture.code().as_deref(), ticket["scan_url"].as_str());
    // What takes time is the number of bytes that are made.
    assert_eq!((picture.bits, picture.width, picture.height), (8, 480, 480));
    let plain = Picture::of(&browser.get(&path.replace("&logo=web", "")).await.bytes().await.unwrap());
    assert_eq!(plain.bits, 1);
    assert_eq!(plain.code(), picture.code());
}
