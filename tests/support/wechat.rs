//! WeChat, as far as the gateway can see it: two API hosts that check what they are sent, and servers that call back.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::iv::FixedLength;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Gateway;

/// What WeChat's documentation takes for examples.
pub const APP_ID: &str = "wxba5fad812f8e6fb9";
pub const TOKEN: &str = "AAAAA";
pub const SECRET: &str = "5ec2e7f00d5ec2e7f00d5ec2e7f00d42";
/// The account, as its messages call it.
pub const ACCOUNT: &str = "gh_97417a04a28d";

/// What a host does instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Refuses,
    /// It answers 502.
    Broken,
    /// It answers that it is too busy.
    Busy,
    /// It takes longer than anybody waits.
    Hangs,
}

/// Two hosts of the API of one account.
pub struct Api {
    state: Arc<Mutex<Account>>,
    bases: [String; 2],
}

#[derive(Default)]
struct Account {
    /// The token that is good, and how many there were.
    token: String,
    tokens: usize,
    /// How long a token is said to live.
    expires_in: u64,
    /// What the next calls with a token are answered.
    errors: Vec<i64>,
    /// What every call is answered with.
    error: Option<i64>,
    /// What calls for a token are answered with.
    token_error: Option<i64>,
    faults: [Option<Fault>; 2],
    delay: Duration,
    unionid: Option<String>,
    /// The calls that were answered, as `host path`, with `!` behind forced renewals.
    calls: Vec<String>,
    codes: Vec<Code>,
    /// What was wrong with calls.
    wrong: Vec<String>,
}

/// A code as it was asked for.
#[derive(Debug, Clone)]
pub struct Code {
    pub scene: String,
    pub expire_seconds: u64,
    pub url: String,
}

impl Api {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(Account { expires_in: 7200, ..Account::default() }));
        let mut bases = Vec::new();
        for host in 0..2 {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            bases.push(format!("http://{}", listener.local_addr().unwrap()));
            let shared = Arc::clone(&state);
            let answer =
                async move |State(()): State<()>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                    answer(&shared, host, method, uri, headers, body).await
                };
            let router = axum::Router::new().fallback(answer).with_state(());
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        Self { state, bases: bases.try_into().unwrap() }
    }

    /// Returns the TOML table of a gateway that uses it, in plain mode; `more` is added.
    pub fn table(&self, more: &str) -> String {
        // A host that refuses connections is one where nobody listens.
        let bases = self.bases.each_ref().map(|base| match self.state.lock().unwrap().faults {
            [Some(Fault::Refuses), _] if *base == self.bases[0] => format!("http://127.0.0.1:{}", super::free_port()),
            _ => base.clone(),
        });
        format!(
            "[connectors.wechat]\napp_id = \"{APP_ID}\"\nsecret = \"{SECRET}\"\ntoken = \"{TOKEN}\"\napi_base = {bases:?}\n{more}\n\
             [[clients]]\nid = \"shop\"\nname = \"The Shop\"\nconnector = \"wechat\"\n\
             [[clients]]\nid = \"web\"\n"
        )
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Account> {
        self.state.lock().unwrap()
    }

    /// Has a host fail from now on; before the gateway's start for [`Fault::Refuses`].
    pub fn fail(&self, host: usize, fault: Option<Fault>) {
        self.state().faults[host] = fault;
    }

    /// Answers the next calls that bring a token with these codes.
    pub fn answer_next(&self, errors: &[i64]) {
        self.state().errors = errors.iter().rev().copied().collect();
    }

    /// Answers every call with this code.
    pub fn answer_all(&self, error: Option<i64>) {
        self.state().error = error;
    }

    /// Answers calls for a token with this code.
    pub fn refuse_tokens(&self, error: Option<i64>) {
        self.state().token_error = error;
    }

    /// Ends the token that is good: the next one is another.
    pub fn end_token(&self) {
        self.state().token.clear();
    }

    pub fn issue_for(&self, secs: u64) {
        self.state().expires_in = secs;
    }

    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    pub fn know_as(&self, unionid: &str) {
        self.state().unionid = Some(unionid.to_owned());
    }

    /// Returns how many calls there were whose `host path` holds `part`.
    pub fn count(&self, part: &str) -> usize {
        self.state().calls.iter().filter(|call| call.contains(part)).count()
    }

    pub fn codes(&self) -> Vec<Code> {
        self.state().codes.clone()
    }

    /// Returns every token that was ever issued.
    pub fn tokens(&self) -> Vec<String> {
        (1..=self.state().tokens).map(token_text).collect()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let wrong = std::mem::take(&mut self.state().wrong);
        assert!(wrong.is_empty() || std::thread::panicking(), "WeChat was sent what it would refuse: {wrong:#?}");
    }
}

fn token_text(number: usize) -> String {
    format!("86_the+access/token={number}")
}

async fn answer(
    state: &Mutex<Account>,
    host: usize,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (fault, delay) = {
        let account = state.lock().unwrap();
        (account.faults[host], account.delay)
    };
    match fault {
        Some(Fault::Hangs) => tokio::time::sleep(Duration::from_secs(60)).await,
        Some(Fault::Broken) => return StatusCode::BAD_GATEWAY.into_response(),
        Some(Fault::Busy) => return json_text(&json!({"errcode": -1, "errmsg": "system error"})),
        Some(Fault::Refuses) | None => {}
    }
    tokio::time::sleep(delay).await;
    let mut account = state.lock().unwrap();
    let query: Vec<(String, String)> = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or(json!("no JSON")) };
    let call = format!("{host} {}{}", uri.path(), if body["force_refresh"] == true { "!" } else { "" });
    account.calls.push(call.clone());
    match account.take(&method, uri.path(), &query, &headers, &body) {
        Ok(answer) => json_text(&answer),
        Err(fault) => {
            account.wrong.push(format!("{call}: {fault}: {query:?} {body}"));
            StatusCode::BAD_REQUEST.into_response()
        }
    }
}

/// WeChat says that its JSON is text.
fn json_text(answer: &Value) -> Response {
    ([("content-type", "text/plain")], answer.to_string()).into_response()
}

impl Account {
    fn take(
        &mut self,
        method: &Method,
        path: &str,
        query: &[(String, String)],
        headers: &HeaderMap,
        body: &Value,
    ) -> Result<Value, &'static str> {
        let is_json = headers.get("content-type").is_some_and(|kind| kind == "application/json");
        if *method == Method::POST && !is_json {
            return Err("the body is not said to be JSON");
        }
        let is_for_token = path == "/cgi-bin/stable_token";
        if let Some(error) = self.error.or(self.token_error.filter(|_| is_for_token)) {
            // As WeChat does, with what it was sent.
            return Ok(json!({"errcode": error, "errmsg": format!("refused {query:?} {body}")}));
        }
        if is_for_token && *method == Method::POST {
            let forced = body["force_refresh"].as_bool().ok_or("force_refresh is missing")?;
            let expected =
                json!({"grant_type": "client_credential", "appid": APP_ID, "secret": SECRET, "force_refresh": forced});
            if *body != expected || !query.is_empty() {
                return Err("these are not the fields");
            }
            if forced || self.token.is_empty() {
                self.tokens += 1;
                self.token = token_text(self.tokens);
            }
            return Ok(json!({"access_token": self.token, "expires_in": self.expires_in}));
        }
        let (name, token) = query.first().ok_or("the token is missing")?;
        if name != "access_token" {
            return Err("the token is missing");
        }
        if let Some(error) = self.errors.pop() {
            return Ok(json!({"errcode": error, "errmsg": format!("invalid credential {token}")}));
        }
        if *token != self.token {
            return Ok(json!({"errcode": 40001, "errmsg": format!("invalid credential {token}")}));
        }
        match (method, path) {
            (&Method::POST, "/cgi-bin/qrcode/create") if query.len() == 1 => {
                let scene = body["action_info"]["scene"]["scene_str"].as_str().ok_or("there is no scene")?.to_owned();
                let expire_seconds = body["expire_seconds"].as_u64().ok_or("there is no expire_seconds")?;
                let expected = json!({
                    "expire_seconds": expire_seconds, "action_name": "QR_STR_SCENE",
                    "action_info": {"scene": {"scene_str": scene}},
                });
                if *body != expected || !(1..=64).contains(&scene.len()) || !(1..=2_592_000).contains(&expire_seconds) {
                    return Err("these are not the fields");
                }
                if self.codes.iter().any(|code| code.scene == scene) {
                    return Err("the scene was used before");
                }
                let url = format!("http://weixin.qq.com/q/02{:022}", self.codes.len());
                self.codes.push(Code { scene, expire_seconds, url: url.clone() });
                Ok(json!({"ticket": "gQH47joAAAAAAAAAASxodHRw", "expire_seconds": expire_seconds, "url": url}))
            }
            (&Method::GET, "/cgi-bin/user/info") => {
                let rest: Vec<_> = query[1..].iter().map(|(name, value)| (&**name, &**value)).collect();
                let [("openid", openid), ("lang", "zh_CN")] = rest[..] else { return Err("these are not the fields") };
                let mut user = json!({"subscribe": 1, "openid": openid, "nickname": "", "language": "zh_CN"});
                if let Some(unionid) = &self.unionid {
                    user["unionid"] = json!(unionid);
                }
                Ok(user)
            }
            _ => Err("there is no such call"),
        }
    }
}

/// What signs and encrypts callbacks. As WeChat itself does, if not said otherwise.
#[derive(Clone)]
pub struct Sender {
    pub token: String,
    pub app_id: String,
    /// The `EncodingAESKey`; none in plain mode.
    pub key: Option<String>,
    /// How many seconds its clock is ahead.
    pub ahead: i64,
}

/// A callback as it goes out.
#[derive(Clone, Debug)]
pub struct Callback {
    pub query: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

pub fn sha1(mut parts: Vec<&str>) -> String {
    parts.sort_unstable();
    digest(&SHA1_FOR_LEGACY_USE_ONLY, parts.concat().as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn cipher(key: &str) -> (UnboundCipherKey, FixedLength<16>) {
    // 32 bytes are 43 characters, of which WeChat leaves the last one's lowest bits as they are.
    let config = base64::engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let engine = base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    let bytes = engine.decode(format!("{key}=")).unwrap();
    let iv: [u8; 16] = bytes[..16].try_into().unwrap();
    (UnboundCipherKey::new(&AES_256, &bytes).unwrap(), FixedLength::from(iv))
}

/// Encrypts bytes as they are.
pub fn encrypt(key: &str, mut bytes: Vec<u8>) -> String {
    let (key, iv) = cipher(key);
    EncryptingKey::cbc(key).unwrap().less_safe_encrypt(&mut bytes, EncryptionContext::Iv128(iv)).unwrap();
    STANDARD.encode(bytes)
}

/// Returns what `message` is before it is encrypted.
pub fn padded(message: &str, app_id: &str) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let mut bytes = [b"0123456789abcdef", &length[..], message.as_bytes(), app_id.as_bytes()].concat();
    let padding = 32 - bytes.len() % 32;
    bytes.extend(std::iter::repeat_n(u8::try_from(padding).unwrap(), padding));
    bytes
}

impl Sender {
    pub fn plain() -> Self {
        Self { token: TOKEN.to_owned(), app_id: APP_ID.to_owned(), key: None, ahead: 0 }
    }

    pub fn encrypted(key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..Self::plain() }
    }

    /// Wraps a message.
    pub fn callback(&self, message: &str) -> Callback {
        match &self.key {
            None => self.signed(None, message.as_bytes().to_vec()),
            Some(key) => self.with_encrypted(&encrypt(key, padded(message, &self.app_id))),
        }
    }

    /// Wraps what is encrypted, or should be.
    pub fn with_encrypted(&self, encrypted: &str) -> Callback {
        let body = format!(
            "<xml><ToUserName><![CDATA[{ACCOUNT}]]></ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
        );
        self.signed(Some(encrypted), body.into_bytes())
    }

    fn signed(&self, encrypted: Option<&str>, body: Vec<u8>) -> Callback {
        let (timestamp, nonce) =
            ((now() + self.ahead).to_string(), rand::random_range(1..2_000_000_000_u32).to_string());
        let mut query = vec![
            ("signature", sha1(vec![&self.token, &timestamp, &nonce])),
            ("openid", "o9AgO5Kd5ggOC-bXrbNODIiE3bGY".to_owned()),
        ];
        if let Some(encrypted) = encrypted {
            query.push(("encrypt_type", "aes".to_owned()));
            query.push(("msg_signature", sha1(vec![&self.token, &timestamp, &nonce, encrypted])));
        }
        query.extend([("timestamp", timestamp), ("nonce", nonce)]);
        Callback { query, body }
    }

    /// Sends a message and reads what the person is told, which must be for them; none for `success`.
    pub async fn tell(&self, gateway: &Gateway, message: &str) -> Option<String> {
        let response = self.callback(message).send(gateway).await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        self.read(&response.text().await.unwrap())
    }

    /// Reads an answer.
    pub fn read(&self, answer: &str) -> Option<String> {
        if answer == "success" {
            return None;
        }
        let reply = match &self.key {
            None => answer.to_owned(),
            Some(key) => {
                let part = |name: &str| element(answer, name);
                let signed = sha1(vec![&self.token, &part("TimeStamp"), &part("Nonce"), &part("Encrypt")]);
                assert_eq!(signed, part("MsgSignature"));
                let mut bytes = STANDARD.decode(part("Encrypt")).unwrap();
                let (key, iv) = cipher(key);
                DecryptingKey::cbc(key).unwrap().decrypt(&mut bytes, DecryptionContext::Iv128(iv)).unwrap();
                assert_eq!(bytes.len() % 32, 0);
                bytes.truncate(bytes.len() - usize::from(*bytes.last().unwrap()));
                let length = u32::from_be_bytes(bytes[16..20].try_into().unwrap()) as usize;
                assert_eq!(&bytes[20 + length..], self.app_id.as_bytes());
                String::from_utf8(bytes[20..20 + length].to_vec()).unwrap()
            }
        };
        assert_eq!((&*element(&reply, "FromUserName"), &*element(&reply, "MsgType")), (ACCOUNT, "text"));
        assert!((now() - element(&reply, "CreateTime").parse::<i64>().unwrap()).abs() < 30);
        Some(element(&reply, "Content"))
    }
}

impl Callback {
    pub async fn send(&self, gateway: &Gateway) -> reqwest::Response {
        self.request(&reqwest::Client::new(), gateway).send().await.unwrap()
    }

    pub fn url(&self, gateway: &Gateway) -> url::Url {
        url::Url::parse_with_params(&gateway.url("/connectors/wechat"), &self.query).unwrap()
    }

    pub fn request(&self, http: &reqwest::Client, gateway: &Gateway) -> reqwest::RequestBuilder {
        let request = http.post(self.url(gateway));
        request.header("content-type", "text/xml").header("user-agent", "Mozilla/4.0").body(self.body.clone())
    }

    /// Puts another value in the place of a parameter.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.query.retain(|(other, _)| *other != name);
        self.query.push((Box::leak(name.to_owned().into_boxed_str()), value.to_owned()));
        self
    }
}

/// Returns the text of an element, out of its CDATA.
fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    let (text, _) = rest.split_once(&format!("</{name}>")).unwrap();
    text.trim_start_matches("<![CDATA[").trim_end_matches("]]>").replace("]]]]><![CDATA[>", "]]>")
}

/// The message of a scan by somebody who follows the account.
pub fn scan(openid: &str, scene: &str) -> String {
    event(openid, "SCAN", scene, now())
}

pub fn event(openid: &str, event: &str, key: &str, created: i64) -> String {
    format!(
        "<xml><ToUserName><![CDATA[{ACCOUNT}]]></ToUserName>\n<FromUserName><![CDATA[{openid}]]></FromUserName>\n\
         <CreateTime>{created}</CreateTime>\n<MsgType><![CDATA[event]]></MsgType>\n<Event><![CDATA[{event}]]></Event>\n\
         <EventKey><![CDATA[{key}]]></EventKey>\n<Ticket><![CDATA[gQH47joAAAAAAAAAASxodHRw]]></Ticket>\n</xml>"
    )
}

/// The message of somebody who writes in the chat.
pub fn text(openid: &str, content: &str) -> String {
    text_of(openid, content, rand::random_range(1..i64::MAX))
}

pub fn text_of(openid: &str, content: &str, id: i64) -> String {
    format!(
        "<xml><ToUserName><![CDATA[{ACCOUNT}]]></ToUserName><FromUserName><![CDATA[{openid}]]></FromUserName>\
         <CreateTime>{}</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{content}]]></Content>\
         <MsgId>{id}</MsgId></xml>",
        now()
    )
}
