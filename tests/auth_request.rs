//! `examples/auth-request/`: a real nginx in front of an app that has no login, started by the commands of its page; signed in
//! to by a real Chromium, and by whoever would like to get past it.

mod clients;

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::{Value, json};

use crate::coming_from::blocks;
use crate::support::browser::{Chromium, Device, Driver};
use crate::support::gateway::{Browser, Builder, Phone, file, keys, token, token_with};
use crate::support::nginx::Place;
use crate::support::process::Process;
use crate::support::{Edge, Gateway, Redis, SOON, free_port, until, within};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PAGE: &str = include_str!("../examples/auth-request/README.md");
const DOCUMENT: &str = include_str!("../docs/auth-request.md");
const NGINX: &str = include_str!("../examples/auth-request/nginx.conf");
const CLIENTS: &str = include_str!("../examples/auth-request/clients.toml");

/// The site: its nginx, its app, and the gateway that they rely on. Fields go in their order.
struct Site {
    nginx: Process,
    app: Process,
    edge: Option<Edge>,
    gateway: Gateway,
    _redis: Redis,
    folder: tempfile::TempDir,
    keys: tempfile::TempDir,
    key_id: String,
    /// Where browsers come in, such as `http://localhost:20000`.
    base: String,
    /// The gateway's own address.
    login: String,
}

impl Site {
    /// Starts it as it stands in the example: over http, on ports of one host.
    async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    async fn start_with(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let (port, own) = (free_port(), free_port());
        let builder = Gateway::builder().arg("--listen", &format!("127.0.0.1:{own}"));
        let builder = builder.arg("--public-url", &format!("http://localhost:{own}"));
        Self::put_together(settings(builder), None, &format!("http://localhost:{port}"), port).await
    }

    /// The same over https, the app and the gateway on hosts that are two sites to a browser.
    async fn start_apart(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let (port, place) = (free_port(), Place::choose());
        let base = format!("https://127.0.0.1:{port}");
        Self::put_together(settings(place.gateway()), Some(place), &base, port).await
    }

    /// The same over https, on two hosts of one site; the others of its hosts are not the company's alone.
    async fn start_among_siblings() -> Self {
        let (port, place) = (free_port(), Place::named("login.victim.test"));
        Self::put_together(place.gateway(), Some(place), &format!("https://app.victim.test:{port}"), port).await
    }

    async fn put_together(builder: Builder, place: Option<Place>, base: &str, port: u16) -> Self {
        let (redis, folder, keys) = (Redis::start(), tempfile::tempdir().unwrap(), keys());
        let clients = CLIENTS.replace("http://localhost:8000", base) + "[[clients]]\nid = \"pc\"\n";
        let config = folder.path().join("clients.toml");
        std::fs::write(&config, clients).unwrap();
        let builder = builder.redis(&redis).arg("--config", config.to_str().unwrap());
        let gateway = builder.arg("--keys-dir", keys.path().to_str().unwrap()).start().await;
        let edge = place.map(|place| Edge::before(&gateway, place));

        let app_port = free_port();
        let app = Process::start(script(&blocks(PAGE, "bash")[1]).env("PORT", app_port.to_string()));
        until(SOON, "the app's start", || app.lines().iter().any(|line| line.contains("listening")).then_some(()));

        let upstream = gateway.base.strip_prefix("http://").unwrap();
        let mut conf = NGINX.replace("127.0.0.1:5001", &format!("127.0.0.1:{app_port}"));
        conf = conf.replace("127.0.0.1:8080", upstream);
        let mut listen = format!("listen 127.0.0.1:{port};");
        if let Some(edge) = &edge {
            let certificate = edge.certificate_file();
            let key = certificate.with_file_name("key.pem");
            listen = format!(
                "listen 127.0.0.1:{port} ssl http2; ssl_certificate {certificate:?}; ssl_certificate_key {key:?};"
            );
        }
        conf = conf.replace("listen 127.0.0.1:8000;", &listen);
        assert!(!conf.contains(":8000") && !conf.contains(":8080") && !conf.contains(":5001"), "{conf}");
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, conf).unwrap();
        let start = blocks(PAGE, "bash")[2].replace("target/auth-request", folder.path().to_str().unwrap());
        let mut start = start.replace("$PWD/examples/auth-request/nginx.conf", file.to_str().unwrap());
        // Started by root, nginx's workers would be nobody, whom the folder is not for.
        if rustix::process::getuid().is_root() {
            start = start.replace("/usr/sbin/nginx ", "/usr/sbin/nginx -g 'user root root;' ");
        }
        let mut nginx = Process::start(&mut script(&start.replace("/usr/sbin/nginx", "exec /usr/sbin/nginx")));
        until(SOON, "nginx's start", || {
            assert!(nginx.exit_code().is_none(), "nginx ended:\n{}", nginx.lines().join("\n"));
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let login = gateway.public_url.clone();
        let jwks = reqwest::get(gateway.url("/.well-known/jwks.json")).await.unwrap();
        let key_id = jwks.json::<Value>().await.unwrap()["keys"][0]["kid"].as_str().unwrap().to_owned();
        Self { nginx, app, edge, gateway, _redis: redis, folder, keys, key_id, base: base.to_owned(), login }
    }

    /// A browser with cookies of its own that follows nothing.
    fn visitor(&self) -> Visitor<'_> {
        let mut http = reqwest::Client::builder().cookie_store(true).redirect(redirect::Policy::none());
        if let Some(edge) = &self.edge {
            http = http.tls_certs_only([edge.certificate()]);
        }
        Visitor { http: http.build().unwrap(), site: self }
    }

    /// Returns a JWT of `subject` for `client`, as the sign-in page gets it.
    async fn jwt(&self, subject: &str, client: &str) -> String {
        let browser = Browser::new(&self.gateway);
        let ticket = browser.create_with(json!({ "client_id": client })).await;
        let id = ticket["ticket_id"].as_str().unwrap();
        Phone::of(subject, &self.gateway).approve(id).await;
        let read: Value = browser.read(id).await.json().await.unwrap();
        read["token"]["access_token"].as_str().unwrap().to_owned()
    }

    /// Performs the steps of the sign-in page at the gateway, in a browser of its own, for the address to which a site
    /// has redirected it. Returns the address to which the gateway redirects the browser back.
    async fn answer(&self, authorize: &str, phone: &Phone) -> String {
        let query = url::Url::parse(authorize).unwrap().query().unwrap().to_owned();
        let browser = Browser::that_follows_nothing(&self.gateway);
        let ticket = browser.create_with(json!({ "authorization": query })).await;
        let id = ticket["ticket_id"].as_str().unwrap();
        phone.approve(id).await;
        let answer = browser.get(&format!("/oauth2/authorize/done?ticket={id}")).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        location(&answer)
    }

    /// Signs claims with the gateway's own key, after `change` has been at them.
    fn forged(&self, change: impl FnOnce(&mut Value)) -> String {
        let file = self.keys.path().read_dir().unwrap().next().unwrap().unwrap().path();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.login, "aud": "intranet", "sub": "eve", "iat": now, "nbf": now, "exp": now + 600,
            "flow": "login",
        });
        change(&mut claims);
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(&std::fs::read(file).unwrap()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

impl Drop for Site {
    /// Asks first: an nginx that is killed leaves its workers behind.
    fn drop(&mut self) {
        if self.nginx.exit_code().is_none() {
            self.nginx.signal("TERM");
            until(SOON, "nginx's end", || self.nginx.exit_code());
        }
        self.app.kill();
        let _ = &self.folder;
    }
}

/// Returns a command that runs a block of the page from the root of the repository, with the system's Python.
fn script(block: &str) -> Command {
    let mut command = Command::new("bash");
    let block = block.replace("python3 ", "exec /usr/bin/python3 ");
    command.args(["-euo", "pipefail", "-c", &block]).current_dir(ROOT);
    command
}

/// Somebody at a browser, by plain HTTP.
struct Visitor<'a> {
    http: reqwest::Client,
    site: &'a Site,
}

impl Visitor<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.site.base))
    }

    /// Opens a page as browsers do.
    async fn open(&self, path: &str) -> Response {
        let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
        self.request(Method::GET, path).header("accept", accept).send().await.unwrap()
    }

    /// Asks as a script or a program does.
    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// Goes to a page, and returns the address of the gateway to which it is sent.
    async fn begin(&self, path: &str) -> String {
        let answer = self.open(path).await;
        assert_eq!(answer.status(), StatusCode::FOUND, "{path}");
        location(&answer)
    }

    /// Opens the address to which the gateway has sent a browser back.
    async fn come_back(&self, callback: &str) -> Response {
        self.open(callback.strip_prefix(&self.site.base).unwrap()).await
    }

    /// Signs in as `subject`, and comes back to `path`.
    async fn sign_in(&self, subject: &str, path: &str) {
        let callback = self.site.answer(&self.begin(path).await, &Phone::of(subject, &self.site.gateway)).await;
        let answer = self.come_back(&callback).await;
        assert_eq!((answer.status(), location(&answer)), (StatusCode::SEE_OTHER, path.to_owned()));
    }

    /// Posts a JWT as a script of the site does.
    async fn redeem(&self, jwt: &str) -> Response {
        let request = self.request(Method::POST, "/scangate/redeem").header("origin", &self.site.base);
        request.json(&json!({ "access_token": jwt })).send().await.unwrap()
    }

    /// Returns what the app is told of this browser, in small letters.
    async fn told(&self) -> Value {
        let answer = self.get("/headers").await;
        assert_eq!(answer.status(), StatusCode::OK);
        let told: Value = answer.json().await.unwrap();
        told.as_object().unwrap().iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect()
    }
}

fn location(answer: &Response) -> String {
    answer.headers()["location"].to_str().unwrap().to_owned()
}

/// Returns a parameter of an address.
fn parameter(url: &str, name: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned()
}

/// Returns an address with another value of a parameter.
fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    let pairs: Vec<_> = url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    let changed = pairs.iter().map(|(key, old)| (key.as_str(), if key == name { value } else { old }));
    url.query_pairs_mut().clear().extend_pairs(changed);
    url.into()
}

/// Returns the code of a problem, or of a page that tells a person of it.
async fn code(answer: Response) -> (u16, String) {
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    let code = match serde_json::from_str::<Value>(&text) {
        Ok(body) => body["code"].as_str().unwrap().to_owned(),
        Err(_page) => text.split("<code>").nth(1).unwrap().split('<').next().unwrap().to_owned(),
    };
    (status, code)
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn every_command_of_the_page_is_run() {
    let page = blocks(PAGE, "bash");
    assert_eq!(page.len(), 4);
    assert_eq!(page[0], "cargo run --release -- --config examples/auth-request/clients.toml\n");
    assert!(page[1].starts_with("python3 examples/") && page[2].contains("/usr/sbin/nginx -e stderr"));
    assert_eq!(PAGE.matches("\n```").count(), 8, "there is a block that no test runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_it_says() {
    let site = Site::start().await;
    let shown = blocks(PAGE, "bash")[3].replace("http://localhost:8000", &site.base);
    let output = tokio::task::spawn_blocking(move || script(&shown).output().unwrap()).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "401\nnobody\n401\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_comes_back_to_the_page_that_was_asked_for_and_the_app_is_told_who_it_is() {
    let site = Site::start().await;
    let visitor = site.visitor();
    let path = "/reports?month=11&q=%E5%B0%8F+x%26y&next=//evil.example";
    let answer = visitor.open(path).await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("scangate-begun=") && cookie.ends_with("; HttpOnly; SameSite=Lax"), "{cookie}");
    let authorize = location(&answer);
    let url = url::Url::parse(&authorize).unwrap();
    assert_eq!((url.origin().ascii_serialization(), url.path()), (site.login.clone(), "/oauth2/authorize"));
    let query: Vec<_> = url.query_pairs().into_owned().collect();
    let names: Vec<_> = query.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "client_id",
        "response_type",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
    ];
    assert_eq!(names, expected);
    assert_eq!((query[0].1.as_str(), query[3].1.as_str()), ("intranet", "openid profile email"));
    assert_eq!(query[2].1, format!("{}/scangate/callback", site.base));
    assert!(query[4].1.ends_with(&format!(".intranet:{path}")) && query[4].1.len() <= 2048, "{}", query[4].1);

    let callback = site.answer(&authorize, &Phone::of("ada", &site.gateway)).await;
    let answer = visitor.come_back(&callback).await;
    assert_eq!((answer.status(), location(&answer)), (StatusCode::SEE_OTHER, path.to_owned()));
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    let (kept, attributes) = cookie.split_once("; ").unwrap();
    let jwt = kept.strip_prefix("scangate-session=").unwrap();
    assert_eq!(jsonwebtoken::decode_header(jwt).unwrap().alg, Algorithm::ES256);
    assert_eq!(attributes, "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
    // Reloaded, it neither signs in again nor out.
    let again = visitor.come_back(&callback).await;
    assert!(!again.headers().contains_key("set-cookie"));
    assert_eq!(code(again).await, refused(409, "sign_in_used"));

    let told = visitor.told().await;
    assert_eq!((&told["x-auth-subject"], &told["x-auth-name"]), (&json!("ada"), &json!("Ada")));
    assert!(visitor.open(path).await.text().await.unwrap().contains("Hello, <b id=who>Ada</b>"));

    // Out again: to a path of this site, or the root.
    let out = visitor.request(Method::POST, "/scangate/sign-out").header("origin", &site.base);
    let answer = out.form(&[("return_to", "/public/bye")]).send().await.unwrap();
    assert_eq!((answer.status(), location(&answer)), (StatusCode::SEE_OTHER, "/public/bye".to_owned()));
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert_eq!(cookie, "scangate-session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    assert_eq!(visitor.open("/").await.status(), StatusCode::FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_past_with_a_jwt_that_is_not_good() {
    let site = Site::start().await;
    let good = site.jwt("ada", "intranet").await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let parts: Vec<&str> = good.split('.').collect();
    let base64 = |text: &str| {
        use base64::Engine as _;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text)
    };
    let kid = jsonwebtoken::decode_header(&good).unwrap().kid;
    let jwks = reqwest::get(site.gateway.url("/.well-known/jwks.json")).await.unwrap().bytes().await.unwrap();
    let confused = Header { kid, ..Header::new(Algorithm::HS256) };
    let claims = json!({ "iss": site.login, "aud": "intranet", "sub": "eve", "nbf": now, "exp": now + 600 });
    let bad = [
        ("garbage", "garbage".to_owned()),
        ("another client's", site.jwt("ada", "pc").await),
        ("expired", site.forged(|claims| claims["exp"] = json!(now - 1))),
        ("not yet valid", site.forged(|claims| claims["nbf"] = json!(now + 300))),
        ("of another issuer", site.forged(|claims| claims["iss"] = json!("https://evil.example"))),
        ("without an end", site.forged(|claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
        ("tampered", format!("{}.{}.{}", parts[0], base64(&claims.to_string()), parts[2])),
        ("unsigned", format!("{}.{}.", parts[0], parts[1])),
        ("of no algorithm", format!("{}.{}.", base64(r#"{"alg":"none"}"#), parts[1])),
        (
            "signed with the public key",
            jsonwebtoken::encode(&confused, &claims, &EncodingKey::from_secret(&jwks)).unwrap(),
        ),
        ("the phone's own token", token("ada")),
    ];
    let visitor = site.visitor();
    let cookie = |jwt: &str| format!("theme=dark; scangate-session={jwt}");
    // The tests' own are as good as the gateway's unless something is wrong with them.
    for good in [&good, &site.forged(|_| ())] {
        let answer = visitor.request(Method::GET, "/headers").bearer_auth(good).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let answer = visitor.request(Method::GET, "/headers").header("cookie", cookie(good)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    for (what, jwt) in &bad {
        let by_bearer = visitor.request(Method::GET, "/headers").bearer_auth(jwt);
        let by_cookie = visitor.request(Method::GET, "/headers").header("cookie", cookie(jwt));
        let by_both = visitor.request(Method::GET, "/headers").bearer_auth(jwt).header("cookie", cookie(&good));
        for request in [by_bearer, by_cookie, by_both] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{what}");
            assert!(!answer.text().await.unwrap().contains("X-Auth"), "{what}");
        }
        let answer = visitor.redeem(jwt).await;
        assert!(!answer.headers().contains_key("set-cookie"), "{what}");
        assert_eq!(code(answer).await, refused(401, "invalid_session"), "{what}");
    }
    for scheme in ["Bearer", "Bearer "] {
        let request = visitor.request(Method::GET, "/headers").header("authorization", scheme);
        let answer = request.header("cookie", cookie(&good)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{scheme}");
    }
    // Another scheme is for somebody else, such as what asks for a password before a staging site.
    for (cookie, status) in [(cookie(&good), StatusCode::OK), (cookie("garbage"), StatusCode::UNAUTHORIZED)] {
        let request = visitor.request(Method::GET, "/headers").basic_auth("ada", Some("x"));
        assert_eq!(request.header("cookie", cookie).send().await.unwrap().status(), status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_app_of_the_host_writes_signs_nobody_out() {
    let site = Site::start().await;
    let (visitor, jwt) = (site.visitor(), site.jwt("ada", "intranet").await);
    let neighbours = ["city=Zürich".as_bytes(), b"city=Z\xfcrich", "名=小明; =; x".as_bytes(), b"\xff=\x80"];
    for neighbour in neighbours {
        for order in [true, false] {
            let session = format!("scangate-session={jwt}").into_bytes();
            let line =
                if order { [neighbour, &session].join(&b"; "[..]) } else { [&session, neighbour].join(&b"; "[..]) };
            let cookie = reqwest::header::HeaderValue::from_bytes(&line).unwrap();
            let request = visitor.request(Method::GET, "/headers").header("cookie", cookie);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "{line:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_says_of_itself_does_not_reach_the_app() {
    let site = Site::start().await;
    let visitor = site.visitor();
    let forged = |request: RequestBuilder| {
        let request = request.header("X-Auth-Subject", "root").header("x-auth-name", "Root");
        request.header("X_Auth_Subject", "root").header("connection", "X-Auth-Subject, X-Auth-Name")
    };
    let answer = forged(visitor.request(Method::GET, "/headers")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let public = forged(visitor.request(Method::GET, "/public/")).send().await.unwrap().text().await.unwrap();
    assert!(public.contains("Hello, <b id=who>nobody</b>"), "{public}");

    visitor.sign_in("ada", "/").await;
    let told = forged(visitor.request(Method::GET, "/headers")).send().await.unwrap();
    let told = told.text().await.unwrap();
    assert!(told.contains(r#""X-Auth-Subject": "ada""#) && !told.to_lowercase().contains("root"), "{told}");
    // What nginx asks is not for browsers.
    for path in ["/scangate/verify", "/scangate/sign-in"] {
        assert_eq!(visitor.open(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    // A client that a browser names is not taken for the site's.
    let request =
        visitor.request(Method::POST, "/scangate/redeem?client_id=pc").bearer_auth(site.jwt("eve", "pc").await);
    let answer = request.send().await.unwrap();
    assert!(!answer.headers().contains_key("set-cookie"));
    assert_eq!(code(answer).await, refused(400, "unknown_client"));
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_told_401_and_people_are_sent_to_sign_in() {
    let site = Site::start().await;
    let visitor = site.visitor();
    let ask = async |method: Method, headers: &[(&str, &str)]| {
        let request = headers
            .iter()
            .fold(visitor.request(method, "/data"), |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    };
    let html = ("accept", "text/html,*/*;q=0.8");
    let scripts: [&[(&str, &str)]; 6] = [
        &[],
        &[("accept", "application/json")],
        &[html, ("x-requested-with", "XMLHttpRequest")],
        &[html, ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
        &[html, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
        &[html, ("authorization", "Bearer garbage")],
    ];
    for headers in scripts {
        let answer = ask(Method::GET, headers).await;
        let asks: Vec<_> = answer.headers().get_all("www-authenticate").iter().collect();
        assert_eq!(asks, ["Bearer"], "{headers:?}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(!answer.headers().contains_key("set-cookie"));
        assert_eq!(code(answer).await, refused(401, "no_session"), "{headers:?}");
    }
    // A body is left unread, and the answer is the same.
    let post = visitor.request(Method::POST, "/data").body("x".repeat(100_000)).send().await.unwrap();
    assert_eq!(post.status(), StatusCode::UNAUTHORIZED);
    let people: [&[(&str, &str)]; 4] = [
        &[html],
        &[html, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
        &[html, ("authorization", "Basic YWRhOng=")],
        &[html, ("authorization", "Negotiate YII="), ("sec-fetch-dest", "document")],
    ];
    for headers in people {
        assert_eq!(ask(Method::GET, headers).await.status(), StatusCode::FOUND, "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_signed_in_to_the_account_of_a_stranger() {
    let site = Site::start().await;
    let (stranger, visitor) = (site.visitor(), site.visitor());
    let (ada, eve) = (Phone::of("ada", &site.gateway), Phone::of("eve", &site.gateway));
    let none_is_set = async |callback: &str, expected: (u16, String), what: &str| {
        let answer = visitor.come_back(callback).await;
        assert!(!answer.headers().contains_key("set-cookie"), "{what}");
        assert_eq!(code(answer).await, expected, "{what}");
    };
    let not_begun = || refused(403, "sign_in_not_begun");
    // Eve has a sign-in of her own, and makes another browser open its answer.
    let (eves, other) = (site.answer(&stranger.begin("/").await, &eve).await, stranger.begin("/").await);
    none_is_set(&eves, not_begun(), "a browser without a sign-in").await;
    let begun = visitor.begin("/reports").await;
    none_is_set(&site.answer(&other, &eve).await, not_begun(), "a browser with one of its own").await;
    let (own, spoiled) = (site.answer(&begun, &ada).await, site.answer(&begun, &ada).await);
    let state = parameter(&own, "state");
    for wrong in ["", "/", ".", "./", "null./", &state[1..], &state.replace("intranet", "pc"), &format!("{state}x")] {
        none_is_set(&with_parameter(&spoiled, "state", wrong), not_begun(), wrong).await;
    }
    // The browser's own state with Eve's code: the code belongs to another challenge.
    let code_of_eve = parameter(&site.answer(&other, &eve).await, "code");
    none_is_set(&with_parameter(&own, "code", &code_of_eve), refused(400, "sign_in_expired"), "Eve's code").await;
    // A code for the visitor's challenge, for which Eve has changed the nonce.
    let other_nonce = site.answer(&with_parameter(&begun, "nonce", "eves"), &eve).await;
    none_is_set(&other_nonce, refused(400, "sign_in_mixed_up"), "another nonce").await;
    for wrong in ["", "https://evil.example"] {
        none_is_set(&with_parameter(&spoiled, "iss", wrong), refused(400, "sign_in_mixed_up"), wrong).await;
    }
    none_is_set(&format!("{own}&state={state}"), refused(400, "invalid_request"), "a state twice").await;
    // Each refused answer has used up its own code, and no other.
    none_is_set(&spoiled, refused(400, "sign_in_expired"), "a code that came with another state").await;
    let answer = visitor.come_back(&own).await;
    assert_eq!((answer.status(), location(&answer)), (StatusCode::SEE_OTHER, "/reports".to_owned()));
    assert_eq!(visitor.told().await["x-auth-subject"], "ada");
    none_is_set(&own, refused(409, "sign_in_used"), "again").await;
    // Another code for the same state: a state is valid once.
    none_is_set(&site.answer(&begun, &eve).await, refused(409, "sign_in_used"), "a second code").await;
    assert_eq!(visitor.told().await["x-auth-subject"], "ada");

    // The page of a refusal links to the requested page, and to no other site.
    let page = visitor.come_back(&with_parameter(&own, "state", "a.b.0.c:/a?b=<i>&\"c")).await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let page = page.text().await.unwrap();
    assert!(page.contains("<h1>This sign\u{2011}in didn’t start in this browser</h1>"), "{page}");
    assert!(page.contains("href=\"&#x2f;a?b=&lt;i&gt;&amp;&quot;c\">"), "{page}");
    assert_eq!(
        visitor.request(Method::HEAD, "/scangate/callback").send().await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    let out = visitor.request(Method::POST, "/scangate/sign-out").header("origin", &site.base);
    assert_eq!(out.send().await.unwrap().status(), StatusCode::NO_CONTENT);

    let jwt = site.jwt("eve", "intranet").await;
    // By script, the page has to be the site's own or the gateway's.
    let redeem = |origin: Option<&str>, site_said: &str| {
        let request = visitor.request(Method::POST, "/scangate/redeem").header("sec-fetch-site", site_said.to_owned());
        let request = origin.iter().fold(request, |request, origin| request.header("origin", *origin));
        request.json(&json!({ "access_token": jwt })).send()
    };
    let foreign = [(Some("https://evil.example"), "cross-site"), (Some("null"), "cross-site"), (None, "same-site")];
    for (origin, said) in foreign {
        let answer = redeem(origin, said).await.unwrap();
        assert_eq!(code(answer).await, refused(403, "origin_not_allowed"), "{origin:?}");
    }
    assert_eq!(visitor.get("/headers").await.status(), StatusCode::UNAUTHORIZED);
    let text = visitor.request(Method::POST, "/scangate/redeem").header("content-type", "text/plain");
    assert_eq!(code(text.body("{}").send().await.unwrap()).await, refused(415, "unsupported_media_type"));

    let answer = redeem(Some(&site.base), "same-origin").await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(visitor.told().await["x-auth-subject"], "eve", "a script of the site may");
    // Nor is anybody signed out by one.
    for (origin, said) in [("https://evil.example", "cross-site"), ("null", "cross-site"), ("null", "same-site")] {
        let out = visitor.request(Method::POST, "/scangate/sign-out").header("sec-fetch-site", said);
        let answer = out.header("origin", origin).form(&[("a", "b")]).send().await.unwrap();
        assert_eq!(code(answer).await, refused(403, "origin_not_allowed"), "{origin} {said}");
    }
    assert_eq!(visitor.get("/scangate/sign-out").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let out = visitor.request(Method::POST, "/scangate/sign-out").header("sec-fetch-site", "same-origin");
    assert_eq!(out.header("origin", "null").send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(visitor.get("/headers").await.status(), StatusCode::UNAUTHORIZED);
}

/// Eve begins a sign-in, sends Ada the link, and reads the site's log when Ada has confirmed and come back.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_the_code_of_a_refused_answer_gets_nothing_for_it() {
    let site = Site::start().await;
    let (eve, ada, phone) = (site.visitor(), site.visitor(), Phone::of("ada", &site.gateway));
    let state_of_ada = parameter(&ada.begin("/").await, "state");
    ada.sign_in("ada", "/").await;
    // Eve chooses the state in the link: her own, none, or one that fits Ada's cookie.
    for state_in_link in [None, Some(""), Some("x"), Some(&*state_of_ada)] {
        let begun = eve.begin("/").await;
        let state = parameter(&begun, "state");
        let link = state_in_link.map_or(begun.clone(), |state| with_parameter(&begun, "state", state));
        let callback = site.answer(&link, &phone).await;
        let opened = ada.come_back(&callback).await;
        assert!(opened.status().is_client_error() && !opened.headers().contains_key("set-cookie"));
        let code_of_ada = parameter(&callback, "code");
        let replayed = url::Url::parse_with_params(
            &format!("{}/scangate/callback", site.base),
            [("code", &*code_of_ada), ("state", &*state), ("iss", &*site.login)],
        );
        let replayed = eve.come_back(replayed.unwrap().as_str()).await;
        assert!(!replayed.headers().contains_key("set-cookie"), "Eve is signed in as Ada: {state_in_link:?}");
        assert_eq!(code(replayed).await, refused(400, "sign_in_expired"), "{state_in_link:?}");
    }
    assert_eq!(site.gateway.log().matches("authorization code used up by a refused answer").count(), 4);
}

/// No log of nginx has the query of the callback, whether it succeeds, is refused, or the gateway is down.
#[tokio::test(flavor = "multi_thread")]
async fn no_code_is_in_a_log() {
    let mut site = Site::start().await;
    let (visitor, phone) = (site.visitor(), Phone::of("ada", &site.gateway));
    let good = site.answer(&visitor.begin("/reports?month=11").await, &phone).await;
    let foreign = site.answer(&site.visitor().begin("/").await, &phone).await;
    let late = site.answer(&visitor.begin("/").await, &phone).await;
    assert_eq!(visitor.come_back(&good).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(visitor.come_back(&foreign).await.status(), StatusCode::FORBIDDEN);
    // nginx refuses it before it looks for a location.
    let address = site.base.strip_prefix("http://").unwrap();
    let path = late.strip_prefix(&site.base).unwrap();
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    site.gateway.process.kill();
    let visitor = site.visitor();
    assert_eq!(visitor.come_back(&late).await.status(), StatusCode::BAD_GATEWAY);
    // The error log is on: another location writes to it.
    assert_eq!(visitor.get("/").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let access = || std::fs::read_to_string(site.folder.path().join("access.log")).unwrap_or_default();
    let errors = || site.nginx.lines().join("\n");
    let is_written = || (access().lines().count() == 8 && errors().contains("[error]")).then_some(());
    until(SOON, "nginx's logs", is_written);
    let logs = access() + &errors();
    assert_eq!(access().matches("\"GET /scangate/callback HTTP/1.1\"").count(), 4, "{logs}");
    for part in ["code=", "state=", "month=11"] {
        assert!(!logs.contains(part), "{part} is in a log of nginx: {logs}");
    }
    let logs = logs + &site.gateway.log();
    for callback in [&good, &foreign, &late] {
        assert!(!logs.contains(&parameter(callback, "code")), "a code is in a log: {logs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_another_site() {
    let site = Site::start().await;
    let visitor = site.visitor();
    let (begun, phone) = (visitor.begin("/").await, Phone::of("ada", &site.gateway));
    let (own, spoiled) = (site.answer(&begun, &phone).await, site.answer(&begun, &phone).await);
    let state = parameter(&own, "state");
    let before = state.strip_suffix('/').unwrap();
    for path in [
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "https://evil.example/",
        "evil",
        "/a\r\nX: y",
        "/.//evil",
    ] {
        let answer = visitor.come_back(&with_parameter(&spoiled, "state", &format!("{before}{path}"))).await;
        let (status, page) = (answer.status(), answer.text().await.unwrap());
        assert!(status == StatusCode::FORBIDDEN && page.contains("href=\"&#x2f;\">"), "{path:?}: {page}");
        let out = visitor.request(Method::POST, "/scangate/sign-out").header("origin", &site.base);
        let answer = out.form(&[("return_to", path)]).send().await.unwrap();
        assert_eq!(location(&answer), "/", "{path:?}");
    }
    // The same for the redirect to the sign-in, and for a path that is too long.
    let path_of = async |path: &str| {
        let state = parameter(&visitor.begin(path).await, "state");
        state.split_once(':').unwrap().1.to_owned()
    };
    for path in ["//evil.example/x", &format!("/{}", "x".repeat(1900))] {
        assert_eq!(path_of(path).await, "/", "{path}");
    }
    let longest = format!("/{}", "x".repeat(1897));
    visitor.sign_in("ada", &longest).await;
    // A second tab does not invalidate the first.
    let answer = visitor.come_back(&own).await;
    assert_eq!((answer.status(), location(&answer)), (StatusCode::SEE_OTHER, "/".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_no_cookie_can_hold_is_refused_and_nothing_is_let_in_without_the_gateway() {
    let mut site = Site::start().await;
    let visitor = site.visitor();
    let long = Phone::with_token(token_with("ada", |claims| claims["email"] = json!("x".repeat(3000))), &site.gateway);
    let callback = site.answer(&visitor.begin("/").await, &long).await;
    assert_eq!(code(visitor.come_back(&callback).await).await, refused(400, "invalid_request"));
    let long = site.forged(|claims| claims["name"] = json!("x".repeat(3000)));
    assert_eq!(code(visitor.redeem(&long).await).await, refused(400, "invalid_request"));
    visitor.redeem(&site.forged(|claims| claims["name"] = json!("Åsa\r\n%"))).await;
    let told = visitor.told().await;
    assert_eq!(told["x-auth-name"], "%C3%85sa%0D%0A%25");
    assert!(visitor.open("/").await.text().await.unwrap().contains("Åsa\r\n%"));
    site.gateway.process.kill();
    assert_eq!(site.visitor().get("/").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test(flavor = "multi_thread")]
async fn verifying_asks_no_store_and_counts_nothing_against_an_address() {
    let (_directory, config) = file(
        "[[clients]]\nid = \"web\"\nclaims = [\"name\"]\ntoken_auth = \"none\"\nsigning_alg = \"ES256\"\n\
         redirect_uris = [\"http://localhost:1/back\"]\n",
    );
    let (mut redis, keys) = (Redis::start(), keys());
    let limits = ["create", "connector", "scan", "confirm", "invalid-scan", "invalid-confirm"];
    let builder = Gateway::builder().redis(&redis).arg("--config", config.to_str().unwrap());
    let builder = builder.arg("--keys-dir", keys.path().to_str().unwrap());
    let builder = limits.iter().fold(builder, |builder, limit| builder.arg(&format!("--rate-{limit}"), "2"));
    let gateway = builder.start().await;
    let browser = Browser::that_follows_nothing(&gateway);
    let id = browser.create().await;
    Phone::of("ada", &gateway).approve(&id).await;
    let read: Value = browser.read(&id).await.json().await.unwrap();
    let jwt = read["token"]["access_token"].as_str().unwrap();
    redis.kill();
    for _ in 0..50 {
        let request = browser.request(Method::GET, "/v1/verify?claims=name,email").bearer_auth(jwt);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(
            (&answer.headers()["x-auth-subject"], &answer.headers()["x-auth-name"]),
            (&"ada".parse().unwrap(), &"Ada".parse().unwrap())
        );
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(!answer.headers().contains_key("x-auth-email"), "the client has no such claim released");
        assert_eq!(code(browser.get("/v1/verify").await).await, refused(401, "no_session"));
        let request = browser.request(Method::GET, "/v1/sign-in").header("accept", "text/html");
        assert_eq!(request.send().await.unwrap().status(), StatusCode::FOUND);
    }
    assert_eq!(code(browser.get("/v1/verify?client_id=nobody").await).await, refused(400, "unknown_client"));
    assert_eq!(code(browser.get("/v1/verify?claims=a%20b").await).await, refused(400, "invalid_request"));
    assert!(!gateway.log().contains(jwt), "it stands in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_link_to_the_sign_in_page_ends_with_a_way_on() {
    let site = Site::start().await;
    let driver = Driver::start().await;
    let screen = driver.open(Device::Desk).await;
    let old = site.answer(&site.visitor().begin("/reports").await, &Phone::of("ada", &site.gateway)).await;
    screen.goto(&old).await;
    assert_eq!(screen.text("h1").await, "This sign\u{2011}in didn’t start in this browser");
    screen.keep_screen("auth-request-old-link").await;
    screen.click("a").await;
    screen.until("waiting").await;
    Phone::of("ada", &site.gateway).approve(screen.scan().await.rsplit('/').next().unwrap()).await;
    at(&screen, &format!("{}/reports", site.base)).await;
    assert_eq!(screen.text("#who").await, "Ada");
    screen.end_after_refusals().await;
}

/// Signs in to a protected page, is greeted there, finds nothing in the reach of scripts, and signs out.
async fn in_and_out(site: &Site, driver: &Driver, name: &str) {
    let screen = driver.open(Device::Desk).await;
    let wanted = format!("{}/reports?month=11&x=a%26b", site.base);
    screen.goto(&wanted).await;
    screen.until("waiting").await;
    assert!(screen.url().await.starts_with(&format!("{}/oauth2/authorize?", site.login)));
    assert_eq!(screen.text("#heading").await, "Sign in to The Intranet");
    let scanned = screen.scan().await;
    let id = scanned.rsplit('/').next().unwrap();
    let phone = Phone::of("ada", &site.gateway);
    phone.approve(id).await;
    at(&screen, &wanted).await;
    assert_eq!(screen.text("#who").await, "Ada");
    assert_eq!(screen.text("#path").await, "/reports?month=11&x=a%26b");
    screen.keep_screen(name).await;
    let kept = screen.run("return [document.cookie, localStorage.length, sessionStorage.length]").await;
    assert_eq!(kept, json!(["", 0, 0]), "the token is out of reach");
    screen.reload().await;
    assert_eq!(screen.text("#who").await, "Ada");
    // A script of the page is let in as well, by the cookie.
    let status = screen.run("return fetch('/headers').then(answer => answer.status)").await;
    assert_eq!(status, json!(200));

    screen.click("#out").await;
    screen.until("waiting").await;
    assert!(screen.url().await.starts_with(&format!("{}/oauth2/authorize?", site.login)), "the root is protected, too");
    screen.goto(&wanted).await;
    screen.until("waiting").await;

    // As the document has a page of the site do it by script.
    let document: Vec<_> = DOCUMENT.split('`').filter(|code| code.starts_with("fetch('/scangate/")).collect();
    let [redeem, sign_out] = document[..] else { panic!("{document:?}") };
    screen.goto(&format!("{}/public/", site.base)).await;
    let jwt = site.jwt("ada", "intranet").await;
    let status = format!("var token = {{ access_token: '{jwt}' }}; return {redeem}.then(answer => answer.status)");
    assert_eq!(screen.run(&status).await, json!(204));
    screen.goto(&wanted).await;
    assert_eq!(screen.text("#who").await, "Ada");
    assert_eq!(screen.run(&format!("return {sign_out}.then(answer => answer.status)")).await, json!(204));
    screen.goto(&wanted).await;
    screen.until("waiting").await;
    // The browser asks for an icon, too, and is told 401 for that where nobody is signed in.
    screen.end_after_refusals().await;
}

async fn at(screen: &Chromium, url: &str) {
    within(SOON * 2, &format!("the page {url}"), async || (screen.url().await == url).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_to_the_example_and_out_again() {
    let site = Site::start().await;
    in_and_out(&site, &Driver::start().await, "auth-request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_signs_in_where_app_and_gateway_are_of_different_sites() {
    let site = Site::start_apart(|builder| builder).await;
    let answer = site.visitor().open("/").await;
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-scangate-begun=") && cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
    in_and_out(&site, &Driver::start().await, "auth-request-https").await;
}

/// Browsers refuse `__Host-…` from other hosts of the site, and take what only reads like it to somebody who decodes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_host_replaces_no_session_and_plants_neither_a_sign_in_nor_a_binding() {
    let site = Site::start_among_siblings().await;
    let driver = Driver::start().await;
    let screen = driver.open_with(Device::Desk, &["--host-resolver-rules=MAP *.victim.test 127.0.0.1"]).await;
    let phone = Phone::of("ada", &site.gateway);
    let eves = site.jwt("eve", "intranet").await;
    let sibling = format!("{}/public/", site.base.replace("//app.", "//sibling."));
    // Sets a cookie for the whole site from the page that is open; returns how many more the page has then.
    let plant = async |name: &str, value: &str| {
        let script = format!(
            "var count = () => document.cookie.split('; ').filter(Boolean).length, before = count();
             document.cookie = {:?} + '; Domain=victim.test; Path=/; Secure; SameSite=None';
             return count() - before",
            format!("{name}={value}")
        );
        screen.run(&script).await
    };
    let names = ["%5F%5FHost-", "%5f_Host-", "_%5FHost-", "__%48ost-", "__Host%2D"];

    // A session of Ada's, which Eve would like to be hers.
    screen.goto(&format!("{}/reports", site.base)).await;
    screen.until("waiting").await;
    phone.approve(screen.scan().await.rsplit('/').next().unwrap()).await;
    at(&screen, &format!("{}/reports", site.base)).await;
    assert_eq!(screen.text("#who").await, "Ada");
    screen.goto(&sibling).await;
    assert_eq!(plant("__Host-scangate-session", &eves).await, json!(0), "the browser refuses the name itself");
    for name in names {
        assert_eq!(plant(&format!("{name}scangate-session"), &eves).await, json!(1), "{name}");
    }
    screen.goto(&format!("{}/reports", site.base)).await;
    assert_eq!(screen.text("#who").await, "Ada");
    screen.click("#out").await;
    screen.until("waiting").await;

    // A sign-in that Eve has begun, and finished up to the last step.
    let eve = Caller::of(&site);
    let (secret, authorize) = eve.begin().await;
    let callback = site.answer(&authorize, &Phone::of("eve", &site.gateway)).await;
    screen.goto(&sibling).await;
    for name in names {
        assert_eq!(plant(&format!("{name}scangate-begun"), &secret).await, json!(1), "{name}");
    }
    screen.run(&format!("location.href = {callback:?}")).await;
    at(&screen, &callback).await;
    assert_eq!(screen.text("h1").await, "This sign\u{2011}in didn’t start in this browser");
    screen.goto(&format!("{}/reports", site.base)).await;
    screen.until("waiting").await;

    // A binding that Eve has, too: with it she would be handed the JWT of whoever signs in.
    let secret = eve.binding().await;
    screen.goto(&sibling).await;
    for name in names {
        assert_eq!(plant(&format!("{name}scangate"), &secret).await, json!(1), "{name}");
    }
    screen.goto(&format!("{}/?client_id=pc", site.login)).await;
    screen.until("waiting").await;
    let id = screen.scan().await.rsplit('/').next().unwrap().to_owned();
    assert_eq!(eve.read(&id, &secret).await, StatusCode::NOT_FOUND);
    phone.approve(&id).await;
    screen.until("confirmed").await;
    assert_eq!(eve.read(&id, &secret).await, StatusCode::NOT_FOUND);
    screen.end_after_refusals().await;
}

/// Somebody with tools of their own, straight at the gateway.
struct Caller<'a> {
    site: &'a Site,
    http: reqwest::Client,
}

impl<'a> Caller<'a> {
    fn of(site: &'a Site) -> Self {
        Self { site, http: reqwest::Client::builder().redirect(redirect::Policy::none()).build().unwrap() }
    }

    /// Begins a sign-in; returns the value of the cookie, and the address of the redirect.
    async fn begin(&self) -> (String, String) {
        let request = self.http.get(self.site.gateway.url("/v1/sign-in?client_id=intranet"));
        let answer = request.header("accept", "text/html").send().await.unwrap();
        (cookie_value(&answer), location(&answer))
    }

    /// Makes a ticket; returns the binding.
    async fn binding(&self) -> String {
        let answer = self.http.post(self.site.gateway.url("/v1/tickets")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        cookie_value(&answer)
    }

    async fn read(&self, id: &str, secret: &str) -> StatusCode {
        let request = self.http.get(self.site.gateway.url(&format!("/v1/tickets/{id}")));
        request.header("cookie", format!("__Host-scangate={secret}")).send().await.unwrap().status()
    }
}

fn cookie_value(answer: &Response) -> String {
    answer.headers()["set-cookie"].to_str().unwrap().split(['=', ';']).nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_that_can_be_told_gets_through() {
    let site = Site::start().await;
    let (subject, name) = ("😀".repeat(255), "å".repeat(170));
    let jwt = site.forged(|claims| (claims["sub"], claims["name"]) = (json!(subject), json!(name)));
    let visitor = site.visitor();
    let told: Value =
        visitor.request(Method::GET, "/headers").bearer_auth(jwt).send().await.unwrap().json().await.unwrap();
    assert_eq!(told["X-Auth-Subject"].as_str().unwrap(), "%F0%9F%98%80".repeat(255));
    assert_eq!(told["X-Auth-Name"].as_str().unwrap(), "%C3%A5".repeat(170));
}

/// The document quotes the file, and its client is one that a gateway starts with.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_explains_what_stands_in_the_file() {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let conf = plain(NGINX);
    let table = DOCUMENT.split("## nginx, line by line").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| lines"));
    let quoted = rows.flat_map(|row| row[2..].split(" | ").next().unwrap().split('`').skip(1).step_by(2));
    let quoted: Vec<_> = quoted.map(|quote| plain(&quote.replace('…', ""))).collect();
    assert!(quoted.len() > 12, "{quoted:?}");
    for quote in quoted {
        assert!(conf.contains(&quote), "{quote} is not in the file");
    }
    let (_directory, config) = file(&blocks(DOCUMENT, "toml")[0]);
    Gateway::builder().arg("--config", config.to_str().unwrap()).start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_jwt() {
    let site = Site::start().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let short = site.forged(|claims| claims["exp"] = json!(now + 12));
    let visitor = site.visitor();
    visitor.redeem(&short).await;
    assert_eq!(visitor.get("/headers").await.status(), StatusCode::OK);
    // Sent by what does not take the cookie away by itself.
    let kept = site.visitor();
    let over = async || {
        let request = kept.request(Method::GET, "/headers").header("cookie", format!("scangate-session={short}"));
        (request.send().await.unwrap().status() == StatusCode::UNAUTHORIZED).then_some(())
    };
    within(SOON * 3, "the session's end", over).await;
    assert_eq!(visitor.open("/").await.status(), StatusCode::FOUND);
}
