//! An identity provider (OpenID Connect) that speaks the protocol and checks what it is sent. A test can have it lie in one thing.

mod lie;
mod phone;

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use rand::distr::{Alphanumeric, SampleString as _};
use scangate::signer::keys::{KeyAlgorithm, SigningKeys, generate};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

pub use lie::{Authentication, Endpoint, Instead, Lie, Signature};
pub use phone::{PhoneBrowser, Told, location};

use super::Gateway;
use super::gateway::Builder;

/// The gateway's id and secret at the provider, with characters that the requests must encode.
pub const CLIENT_ID: &str = "gate way";
pub const CLIENT_SECRET: &str = "client:secret/7f3c+K%9d== of the gateway";

/// A running provider.
pub struct Provider {
    pub issuer: String,
    shared: Arc<Shared>,
    /// `None` while it is down.
    runtime: Option<Runtime>,
}

struct Shared {
    issuer: String,
    port: u16,
    /// Published and listed in the discovery document.
    key: Key,
    /// Published, of an algorithm that the discovery document does not list.
    unlisted_key: Key,
    unpublished_key: Key,
    state: Mutex<State>,
    /// How many bytes of endless answers were taken.
    taken: AtomicUsize,
}

#[derive(Default)]
struct State {
    lie: Lie,
    authentication: Authentication,
    /// Who signs in next.
    subject: String,
    codes: HashMap<String, HashMap<String, String>>,
    /// The calls, as `GET /path`.
    calls: Vec<String>,
    /// The authorization requests.
    authorizations: Vec<HashMap<String, String>>,
    /// Everything that nobody but the gateway and the provider may learn.
    secrets: Vec<String>,
    /// What an honest provider would complain about.
    wrong: Vec<String>,
}

struct Key {
    algorithm: Algorithm,
    secret: EncodingKey,
    jwk: Value,
}

impl Key {
    fn new(kind: KeyAlgorithm, algorithm: Algorithm, kid: &str) -> Self {
        super::crypto();
        let pem = generate(kind).unwrap();
        let set: Value = serde_json::from_str(&SigningKeys::single(&pem).unwrap().published()).unwrap();
        let secret = match kind {
            KeyAlgorithm::Eddsa => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        let mut jwk = set["keys"][0].clone();
        jwk["kid"] = json!(kid);
        Self { algorithm, secret: secret.unwrap(), jwk }
    }
}

impl Provider {
    pub fn start() -> Self {
        Self::lying(Lie::default())
    }

    /// Starts one that lies from the first request on.
    pub fn lying(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let issuer = format!("http://127.0.0.1:{port}/realm");
        let shared = Arc::new(Shared {
            issuer: issuer.clone(),
            port,
            key: Key::new(KeyAlgorithm::Es256, Algorithm::ES256, "the-key"),
            unlisted_key: Key::new(KeyAlgorithm::Eddsa, Algorithm::EdDSA, "unlisted"),
            unpublished_key: Key::new(KeyAlgorithm::Es256, Algorithm::ES256, "the-key"),
            state: Mutex::new(State { lie, subject: "ada".to_owned(), ..State::default() }),
            taken: AtomicUsize::new(0),
        });
        Self { issuer, runtime: Some(serve(&shared, listener)), shared }
    }

    /// Closes its port and all connections.
    pub fn stop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
        let port = self.shared.port;
        super::until(super::SOON, "the provider's end", || {
            TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
        });
    }

    /// Starts it again, with the same keys, at the same port.
    pub fn restart(&mut self) {
        let port = self.shared.port;
        let listener = super::until(super::SOON, "its port", || TcpListener::bind(("127.0.0.1", port)).ok());
        self.runtime = Some(serve(&self.shared, listener));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    pub fn lie(&self, lie: Lie) {
        self.state().lie = lie;
    }

    pub fn be_honest(&self) {
        self.lie(Lie::default());
    }

    /// Decides who signs in from now on.
    pub fn sign_in_as(&self, subject: &str) {
        subject.clone_into(&mut self.state().subject);
    }

    /// Accepts only clients that authenticate like this.
    pub fn require(&self, authentication: Authentication) {
        self.state().authentication = authentication;
    }

    /// Returns how many calls there were of this method and path, such as `POST /token`.
    pub fn count(&self, call: &str) -> usize {
        self.state().calls.iter().filter(|each| *each == call).count()
    }

    /// Returns the parameters of the last authorization request.
    pub fn authorization(&self) -> HashMap<String, String> {
        self.state().authorizations.last().unwrap().clone()
    }

    /// Returns every code, verifier, nonce, state and token there was.
    pub fn secrets(&self) -> Vec<String> {
        self.state().secrets.clone()
    }

    /// Returns how many bytes of endless answers were taken.
    pub fn taken(&self) -> usize {
        self.shared.taken.load(Relaxed)
    }

    /// Returns a signed ID token, as the provider gives one to any app: for native apps, and to be replayed.
    pub fn id_token(&self, change: impl Fn(&mut Value) + Send + Sync + 'static) -> String {
        let subject = self.state().subject.clone();
        self.shared.id_token(&Lie::claims(change), &subject, "", "")
    }

    /// Returns a gateway at which people sign in with this provider.
    pub fn gateway(&self) -> Builder {
        Gateway::builder()
            .own_identity()
            .arg("--oidc-issuer", &self.issuer)
            .arg("--oidc-client-id", CLIENT_ID)
            .arg("--oidc-client-secret", CLIENT_SECRET)
            .arg("--oidc-name", "Acme")
    }

    /// Returns the table of this provider in a TOML file; `more` is added.
    pub fn table(&self, id: &str, more: &str) -> String {
        format!(
            "[[identity_providers]]\nid = {id:?}\nname = \"The {id}\"\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\n\
             client_secret = {CLIENT_SECRET:?}\n{more}\n",
            self.issuer
        )
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let wrong = std::mem::take(&mut self.state().wrong);
        assert!(wrong.is_empty() || std::thread::panicking(), "the gateway sent what is wrong: {wrong:#?}");
    }
}

/// Serves in a runtime of its own, which takes all connections with it when it ends.
fn serve(shared: &Arc<Shared>, listener: TcpListener) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    listener.set_nonblocking(true).unwrap();
    let shared = Arc::clone(shared);
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let answer = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            shared.answer(&method, &uri, &headers, &body).await
        };
        axum::serve(listener, axum::Router::new().fallback(answer)).await
    });
    runtime
}

fn pairs(text: &[u8]) -> HashMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

fn random(kind: &str) -> String {
    format!("{kind}-{}", Alphanumeric.sample_string(&mut rand::rng(), 32))
}

fn half_hash(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(&digest(&SHA256, text.as_bytes()).as_ref()[..16])
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(self: &Arc<Self>, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
        let path = uri.path().strip_prefix("/realm").unwrap_or(uri.path());
        self.state().calls.push(format!("{method} {path}"));
        let lie = self.state().lie.clone();
        let endpoint = match (method, path) {
            (&Method::GET, "/.well-known/openid-configuration") => Endpoint::Discovery,
            (&Method::GET, "/jwks") => Endpoint::Keys,
            (&Method::POST, "/token") => Endpoint::Token,
            (&Method::GET, "/userinfo") => Endpoint::Userinfo,
            (&Method::GET, "/authorize") => return self.authorize(&lie, uri.query().unwrap_or_default()),
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        if let Some(instead) = lie.instead(endpoint) {
            return instead.answer(Arc::clone(self)).await;
        }
        let answer = match endpoint {
            Endpoint::Discovery => Ok(self.document()),
            Endpoint::Keys => Ok(json!({"keys": [self.key.jwk, self.unlisted_key.jwk]})),
            Endpoint::Token => self.exchange(&lie, headers, &pairs(body)),
            Endpoint::Userinfo => self.userinfo(headers),
        };
        match answer {
            Ok(mut answer) => {
                lie.change(endpoint, &mut answer);
                axum::Json(answer).into_response()
            }
            // As providers do, with what they were sent.
            Err(error) => (
                StatusCode::BAD_REQUEST,
                axum::Json(json!({"error": error, "error_description": String::from_utf8_lossy(body)})),
            )
                .into_response(),
        }
    }

    fn document(&self) -> Value {
        let url = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer, "authorization_endpoint": url("/authorize"), "token_endpoint": url("/token"),
            "jwks_uri": url("/jwks"), "userinfo_endpoint": url("/userinfo"), "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["ES256"], "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true, "subject_types_supported": ["public"],
        })
    }

    /// The person signs in and agrees at once.
    fn authorize(&self, lie: &Lie, query: &str) -> Response {
        let request = pairs(query.as_bytes());
        let text = |name: &str| request.get(name).map(String::as_str).unwrap_or_default();
        let is_right = text("response_type") == "code"
            && text("client_id") == CLIENT_ID
            && text("redirect_uri").ends_with("/sign-in/callback")
            && text("scope").split(' ').any(|scope| scope == "openid")
            && text("code_challenge_method") == "S256"
            && ["state", "nonce", "code_challenge"].iter().all(|name| text(name).len() == 43);
        let (code, mut state) = (random("code"), self.state());
        if !is_right {
            state.wrong.push(format!("authorization request: {query}"));
            return StatusCode::BAD_REQUEST.into_response();
        }
        let mut answer = json!({"code": code, "state": text("state"), "iss": self.issuer});
        lie.change_answer(&mut answer);
        let mut url = url::Url::parse(text("redirect_uri")).unwrap();
        for (name, value) in answer.as_object().unwrap() {
            url.query_pairs_mut().append_pair(name, value.as_str().unwrap());
        }
        state.secrets.extend([code.clone(), text("state").to_owned(), text("nonce").to_owned()]);
        state.authorizations.push(request.clone());
        let request = request.into_iter().chain([("sub".to_owned(), state.subject.clone())]).collect();
        state.codes.insert(code, request);
        (StatusCode::FOUND, [("location", url.to_string())]).into_response()
    }

    fn exchange(&self, lie: &Lie, headers: &HeaderMap, body: &HashMap<String, String>) -> Result<Value, &'static str> {
        let mut state = self.state();
        let text = |name: &str| body.get(name).map(String::as_str).unwrap_or_default();
        state.secrets.push(text("code_verifier").to_owned());
        let (is_basic, has_id) = (is_the_gateway(headers), text("client_id") == CLIENT_ID);
        let is_public = has_id && !headers.contains_key("authorization");
        let (is_client, fields) = match state.authentication {
            Authentication::Basic => (is_basic, 4),
            Authentication::Post => (is_public && text("client_secret") == CLIENT_SECRET, 6),
            Authentication::Public => (is_public, 5),
        };
        if !is_client {
            state.wrong.push("the client's authentication".to_owned());
            return Err("invalid_client");
        }
        if text("grant_type") != "authorization_code" || body.len() != fields {
            state.wrong.push(format!("token request: {:?}", body.keys()));
            return Err("invalid_request");
        }
        let request = state.codes.remove(text("code")).ok_or("invalid_grant")?;
        if request["redirect_uri"] != text("redirect_uri") {
            state.wrong.push("another redirect_uri".to_owned());
            return Err("invalid_grant");
        }
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, text("code_verifier").as_bytes()));
        if challenge != request["code_challenge"] && !lie.ignores_pkce {
            return Err("invalid_grant");
        }
        let access_token = random(&format!("access-{}", request["sub"]));
        let id_token = self.id_token(lie, &request["sub"], &request["nonce"], &access_token);
        let refresh_token = random("refresh");
        state.secrets.extend([id_token.clone(), access_token.clone(), refresh_token.clone()]);
        Ok(json!({
            "token_type": "bearer", "access_token": access_token, "id_token": id_token,
            "refresh_token": refresh_token, "expires_in": 300,
        }))
    }

    fn id_token(&self, lie: &Lie, subject: &str, nonce: &str, access_token: &str) -> String {
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT_ID, "sub": subject, "name": "Ada Lovelace", "nonce": nonce,
            "iat": now(), "exp": now() + 300, "auth_time": now(), "acr": "mfa", "at_hash": half_hash(access_token),
        });
        lie.change_claims(&mut claims);
        let (algorithm, key) = match lie.signature {
            Signature::OtherKey => (self.unpublished_key.algorithm, &self.unpublished_key),
            Signature::Unlisted => (self.unlisted_key.algorithm, &self.unlisted_key),
            Signature::SharedSecret => (Algorithm::HS256, &self.key),
            Signature::Own | Signature::Missing => (self.key.algorithm, &self.key),
        };
        let mut header = json!({"alg": algorithm, "kid": key.jwk["kid"], "typ": "JWT"});
        if lie.signature == Signature::Missing {
            header["alg"] = json!("none");
        }
        lie.change_header(&mut header);
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let sign = |key: &EncodingKey| jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
        let signature = match lie.signature {
            Signature::Missing => String::new(),
            // What everybody can read: the key set's entry.
            Signature::SharedSecret => sign(&EncodingKey::from_secret(key.jwk.to_string().as_bytes())),
            _ => sign(&key.secret),
        };
        format!("{message}.{signature}")
    }

    fn userinfo(&self, headers: &HeaderMap) -> Result<Value, &'static str> {
        let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let subject = token.strip_prefix("Bearer access-").and_then(|rest| rest.split('-').next());
        let subject = subject.ok_or("invalid_token")?;
        Ok(json!({"sub": subject, "email": format!("{subject}@example.com"), "name": "Another Name"}))
    }
}

/// RFC 6749 §2.3.1.
fn is_the_gateway(headers: &HeaderMap) -> bool {
    let field = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let decoded = field.strip_prefix("Basic ").and_then(|text| BASE64_STANDARD.decode(text).ok()).unwrap_or_default();
    let text = String::from_utf8(decoded).unwrap_or_default();
    let decode = |text: &str| pairs(format!("x={text}").as_bytes()).remove("x").unwrap_or_default();
    text.split_once(':').is_some_and(|(id, secret)| decode(id) == CLIENT_ID && decode(secret) == CLIENT_SECRET)
}
