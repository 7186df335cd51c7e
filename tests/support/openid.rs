//! OpenID clients for tests: apps with their settings, the requests of an app, and the browser of its person.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::{Value, json};

use super::gateway::{Builder, Phone, file};
use super::{Gateway, crypto};

/// An app, as it is registered at gateways.
#[derive(Clone)]
pub struct App {
    pub id: &'static str,
    /// The first of its redirect URIs.
    pub redirect_uri: String,
    pub secret: Option<String>,
    table: String,
}

impl App {
    /// An app with a secret, at `https://ID.example/cb`.
    pub fn new(id: &'static str) -> Self {
        let secret = format!("the-secret-of-{id}-0123456789abcdef0123");
        Self::with_secret(id, Some(secret.clone())).with(&format!("secret = \"{secret}\""))
    }

    /// An app that cannot keep a secret.
    pub fn public(id: &'static str) -> Self {
        Self::with_secret(id, None).with("token_auth = \"none\"")
    }

    fn with_secret(id: &'static str, secret: Option<String>) -> Self {
        let redirect_uri = format!("https://{id}.example/cb");
        let table = format!("[[clients]]\nid = \"{id}\"\nname = \"The {id}\"\nredirect_uris = [\"{redirect_uri}\"]\n");
        Self { id, redirect_uri, secret, table }
    }

    /// Gives it other redirect URIs.
    pub fn with_redirect_uris(mut self, uris: &[&str]) -> Self {
        let before = format!("redirect_uris = [\"{}\"]", self.redirect_uri);
        self.table = self.table.replace(&before, &format!("redirect_uris = {uris:?}"));
        uris[0].clone_into(&mut self.redirect_uri);
        self
    }

    /// Adds a line to its settings.
    pub fn with(mut self, line: &str) -> Self {
        writeln!(self.table, "{line}").unwrap();
        self
    }

    /// Returns a valid authorization request of this app, with a state, a nonce and a challenge of its own.
    pub fn request(&self) -> Request {
        let verifier = random();
        let pairs = [
            ("client_id", self.id.to_owned()),
            ("redirect_uri", self.redirect_uri.clone()),
            ("response_type", "code".to_owned()),
            ("scope", "openid profile email".to_owned()),
            ("state", random()),
            ("nonce", random()),
            ("code_challenge", challenge(&verifier)),
            ("code_challenge_method", "S256".to_owned()),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Request { pairs, verifier: Some(verifier) }
    }

    /// Posts a form to an endpoint, authenticated as the app is registered: by Basic, or by its id in the form.
    pub async fn post(&self, gateway: &Gateway, path: &str, form: &[(&str, &str)]) -> Response {
        let mut form = form.to_vec();
        let mut request = http().build().unwrap().post(gateway.url(path));
        match &self.secret {
            Some(secret) => request = request.basic_auth(self.id, Some(secret)),
            None => form.push(("client_id", self.id)),
        }
        request.form(&form).send().await.unwrap()
    }

    /// Exchanges the code that answers `request`.
    pub async fn exchange(&self, gateway: &Gateway, code: &str, request: &Request) -> Response {
        let redirect_uri = request.value("redirect_uri");
        let mut form = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", &redirect_uri)];
        form.extend(request.verifier.as_deref().map(|verifier| ("code_verifier", verifier)));
        self.post(gateway, "/oauth2/token", &form).await
    }

    pub async fn refresh(&self, gateway: &Gateway, token: &str) -> Response {
        self.post(gateway, "/oauth2/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// Returns the answer of introspection about a token.
    pub async fn introspect(&self, gateway: &Gateway, token: &str) -> Value {
        self.post(gateway, "/oauth2/introspect", &[("token", token)]).await.json().await.unwrap()
    }

    /// Signs `person` in, in a browser of their own.
    pub async fn sign_in(&self, gateway: &Gateway, person: &str) -> Tokens {
        let request = self.request();
        let answer = Screen::new(gateway).sign_in(&request.query(), &Phone::of(person, gateway)).await;
        Tokens::of(self.exchange(gateway, answer.code(), &request).await).await
    }
}

/// Returns how to start a gateway at which these apps are registered, with keys of all algorithms: RSA keys take long to make.
pub fn builder(apps: &[&App]) -> (tempfile::TempDir, Builder) {
    let (folder, builder) = bare(apps);
    (folder, builder.arg("--keys-dir", keys().to_str().unwrap()))
}

/// Returns the same without keys, as the demo needs it.
pub fn bare(apps: &[&App]) -> (tempfile::TempDir, Builder) {
    let tables: Vec<_> = apps.iter().map(|app| app.table.as_str()).collect();
    let (folder, path) = file(&tables.join("\n"));
    (folder, Gateway::builder().arg("--config", path.to_str().unwrap()))
}

/// Returns a folder with a key of each algorithm, the same for all tests.
fn keys() -> PathBuf {
    static KEYS: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        for algorithm in ["rs256", "eddsa", "es256"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_scangate"));
            command.args(["keys", "new", "--algorithm", algorithm, "--dir"]).arg(folder.path());
            assert!(command.output().unwrap().status.success());
        }
        folder
    };
    KEYS.get_or_init(make).path().to_owned()
}

/// Starts a gateway at which these apps are registered.
pub async fn gateway(apps: &[&App]) -> Gateway {
    let (_folder, builder) = builder(apps);
    builder.start().await
}

/// An authorization request, and what the app keeps of it.
#[derive(Clone)]
pub struct Request {
    pairs: Vec<(String, String)>,
    pub verifier: Option<String>,
}

impl Request {
    /// Replaces a parameter, or adds it.
    pub fn set(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    /// Adds a parameter, whether it is there or not.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.pairs.retain(|(there, _)| there != name);
        self
    }

    /// Takes the challenge away, as an app without PKCE does. It then has no verifier to send.
    pub fn without_pkce(mut self) -> Self {
        self.verifier = None;
        self.without("code_challenge").without("code_challenge_method")
    }

    /// Returns the value of a parameter; empty if it is not there.
    pub fn value(&self, name: &str) -> String {
        self.pairs.iter().find(|(there, _)| there == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// Returns the query.
    pub fn query(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.pairs).finish()
    }
}

/// The browser at the desk. It has cookies, follows no redirect, and sends the headers that browsers send.
#[derive(Clone)]
pub struct Screen {
    http: reqwest::Client,
    base: String,
    origin: String,
}

impl Screen {
    pub fn new(gateway: &Gateway) -> Self {
        let http = http().cookie_store(true).redirect(redirect::Policy::none()).build().unwrap();
        Self { http, base: gateway.base.clone(), origin: gateway.public_url.clone() }
    }

    /// A browser that goes by `http` to `base`, which is also the origin of the gateway's pages.
    pub fn through(http: reqwest::Client, base: &str) -> Self {
        Self { http, base: base.to_owned(), origin: base.to_owned() }
    }

    /// The same browser, talking to another gateway process.
    pub fn at(&self, gateway: &Gateway) -> Self {
        Self { base: gateway.base.clone(), ..self.clone() }
    }

    /// Opens an address, led there by a page of `site`, as `Sec-Fetch-Site` says it: `cross-site`, `same-origin`, `none`.
    pub async fn open(&self, path: &str, site: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.base)).header("sec-fetch-site", site);
        let request = request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document");
        request.header("accept", "text/html").send().await.unwrap()
    }

    /// Opens the sign-in page, led there by an app.
    pub async fn arrive(&self, query: &str) -> Response {
        self.open(&format!("/oauth2/authorize?{query}"), "cross-site").await
    }

    /// Returns a request of this browser without headers about its origin.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Reads as a script of the gateway's own page does.
    pub async fn read(&self, path: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.base)).header("sec-fetch-site", "same-origin");
        request.send().await.unwrap()
    }

    /// Posts JSON as a script of the gateway's own page does.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        let request = self.http.post(format!("{}{path}", self.base)).header("sec-fetch-site", "same-origin");
        request.header("origin", &self.origin).json(body).send().await.unwrap()
    }

    /// Returns a ticket of an authorization request, as the page's script creates it.
    pub async fn ticket(&self, query: &str) -> String {
        let response = self.post("/v1/tickets", &json!({"authorization": query})).await;
        let (status, ticket) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, StatusCode::CREATED, "{ticket}");
        serde_json::from_str::<Value>(&ticket).unwrap()["ticket_id"].as_str().unwrap().to_owned()
    }

    /// Goes on to where the page leads once its ticket is confirmed.
    pub async fn done(&self, ticket: &str) -> Response {
        self.open(&format!("/oauth2/authorize/done?ticket={ticket}"), "same-origin").await
    }

    /// Performs a whole sign-in that `phone` confirms.
    pub async fn sign_in(&self, query: &str, phone: &Phone) -> Answer {
        let page = self.arrive(query).await;
        let (status, text) = (page.status(), page.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{text}");
        let ticket = self.ticket(query).await;
        phone.approve(&ticket).await;
        Answer::of(self.done(&ticket).await).await
    }
}

/// Returns the value of a cookie that an answer sets.
pub fn cookie(answer: &Response, name: &str) -> Option<String> {
    let mut set = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let start = format!("{name}=");
    set.find_map(|line| Some(line.strip_prefix(&start)?.split(';').next().unwrap().to_owned()))
}

/// An answer to an authorization request on its way to the app.
#[derive(Debug)]
pub struct Answer {
    /// Its address, without the fields in a query.
    pub to: String,
    pub fields: BTreeMap<String, String>,
    /// Whether a form posts it.
    pub is_form: bool,
}

impl Answer {
    /// Reads an answer; fails if the browser gets an error page.
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        if let Some(location) = headers.get("location") {
            assert_eq!(status, StatusCode::SEE_OTHER, "{location:?}");
            let location =
                url::Url::parse(location.to_str().unwrap()).expect("no answer, but a way inside the gateway");
            let fields = location.query_pairs().into_owned().collect();
            let to = location.as_str().split('?').next().unwrap().to_owned();
            return Self { to, fields, is_form: false };
        }
        assert_eq!(status, StatusCode::OK, "{text}");
        let form = regex::Regex::new(r#"<form [^>]*action="([^"]*)""#).unwrap();
        let field = regex::Regex::new(r#"<input type="hidden" name="([^"]*)" value="([^"]*)""#).unwrap();
        let to = unescaped(&form.captures(&text).unwrap_or_else(|| panic!("no form: {text}"))[1]);
        let fields = field.captures_iter(&text).map(|found| (unescaped(&found[1]), unescaped(&found[2]))).collect();
        Self { to, fields, is_form: true }
    }

    /// Returns a field; empty if it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map(String::as_str).unwrap_or_default()
    }

    pub fn code(&self) -> &str {
        assert!(self.fields.contains_key("code"), "{self:?}");
        self.field("code")
    }
}

/// Returns the address to which a page continues without a click; fails if there is none.
pub async fn leads_on_to(page: Response) -> String {
    assert_eq!((page.status(), page.headers().get("location")), (StatusCode::OK, None));
    let text = page.text().await.unwrap();
    let refresh = regex::Regex::new(r#"<meta http-equiv="refresh" content="0; url=([^"]*)">"#).unwrap();
    unescaped(&refresh.captures(&text).unwrap_or_else(|| panic!("{text}"))[1])
}

/// Returns the text of an attribute's value in HTML, decoded.
fn unescaped(html: &str) -> String {
    let entity = regex::Regex::new("&(?:#x([0-9a-fA-F]+)|#([0-9]+)|(quot|apos|lt|gt|amp));").unwrap();
    let text = |found: &regex::Captures| {
        let number = |group: usize, radix| found.get(group).map(|digits| u32::from_str_radix(digits.as_str(), radix));
        let character = match number(1, 16).or_else(|| number(2, 10)) {
            Some(number) => char::from_u32(number.unwrap()).unwrap(),
            None => match &found[3] {
                "quot" => '"',
                "apos" => '\'',
                "lt" => '<',
                "gt" => '>',
                _ => '&',
            },
        };
        character.to_string()
    };
    entity.replace_all(html, text).into_owned()
}

/// The tokens that the token endpoint issues.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub access: String,
    pub id: String,
    pub refresh: Option<String>,
    pub whole: Value,
}

impl Tokens {
    /// Reads an answer of the token endpoint; fails if it is an error.
    pub async fn of(response: Response) -> Self {
        let (status, whole) = (response.status(), response.json::<Value>().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{whole}");
        let text = |name: &str| whole[name].as_str().map(str::to_owned);
        let (access, id) = (text("access_token").unwrap(), text("id_token").unwrap());
        Self { access, id, refresh: text("refresh_token"), whole }
    }
}

/// Returns the status and the name of an error of the token endpoint or its siblings.
pub async fn refused(response: Response) -> (u16, String) {
    let (status, body) = (response.status().as_u16(), response.text().await.unwrap());
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    (status, body["error"].as_str().unwrap_or_default().to_owned())
}

/// Asks userinfo with a token.
pub async fn userinfo(gateway: &Gateway, token: &str) -> Response {
    http().build().unwrap().get(gateway.url("/oauth2/userinfo")).bearer_auth(token).send().await.unwrap()
}

/// Uses each endpoint of a discovery document for its purpose. `app` has a secret.
pub async fn use_endpoints(gateway: &Gateway, app: &App, document: &Value) {
    let path = |name: &str| {
        let url = document[name].as_str().unwrap_or_else(|| panic!("no {name}"));
        let path = url.strip_prefix(&gateway.public_url).unwrap_or_else(|| panic!("{name} is elsewhere: {url}"));
        path.to_owned()
    };
    let open = async |path: &str| http().build().unwrap().get(gateway.url(path)).send().await.unwrap();
    let request = app.request();
    let page = open(&format!("{}?{}", path("authorization_endpoint"), request.query())).await;
    assert_eq!(
        (page.status(), &page.headers()["content-type"]),
        (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(page.text().await.unwrap().contains(&format!("The {}", app.id)), "no sign-in page of this app");

    let answer = Screen::new(gateway).sign_in(&request.query(), &Phone::of("ada", gateway)).await;
    let verifier = request.verifier.as_deref().unwrap();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", answer.code()),
        ("redirect_uri", &app.redirect_uri),
        ("code_verifier", verifier),
    ];
    let tokens = Tokens::of(app.post(gateway, &path("token_endpoint"), &form).await).await;
    let jwks: Value = open(&path("jwks_uri")).await.json().await.unwrap();
    let kid = &header(&tokens.id)["kid"];
    assert!(jwks["keys"].as_array().unwrap().iter().any(|key| key["kid"] == *kid), "{jwks}");

    let token = [("token", tokens.access.as_str())];
    let introspect = async || app.post(gateway, &path("introspection_endpoint"), &token).await.json::<Value>().await;
    let userinfo = || http().build().unwrap().get(gateway.url(&path("userinfo_endpoint"))).bearer_auth(&tokens.access);
    let told: Value = userinfo().send().await.unwrap().json().await.unwrap();
    assert_eq!((&told["sub"], &introspect().await.unwrap()["active"]), (&json!("ada"), &json!(true)));
    assert_eq!(app.post(gateway, &path("revocation_endpoint"), &token).await.status(), StatusCode::OK);
    assert_eq!(introspect().await.unwrap(), json!({ "active": false }));
    assert_eq!(userinfo().send().await.unwrap().status(), StatusCode::UNAUTHORIZED);

    let page = open(&path("end_session_endpoint")).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.unwrap().contains("class=\"page-sign-out\""), "no page of a sign-out");
}

/// Returns how to make an HTTP client that trusts no certificate: reading those of the system takes longer than many a test.
pub fn http() -> reqwest::ClientBuilder {
    crypto();
    reqwest::Client::builder().tls_certs_only([])
}

/// Returns the claims of a JWT, which nobody has checked.
pub fn claims(token: &str) -> Value {
    part(token, 1)
}

/// Returns the header of a JWT.
pub fn header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).unwrap_or_else(|| panic!("no JWT: {token}"));
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Returns the PKCE challenge of a verifier by S256.
pub fn challenge(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// Returns 43 random characters.
pub fn random() -> String {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
