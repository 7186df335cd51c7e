//! Calls to WeChat's API: bounded in time and size, by another host where one is lost, and never quoting what is secret.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::settings::WechatSettings;
use crate::metrics::Metrics;
use crate::net::{BodyError, read_body};
use crate::secret::Secret;

/// The bound of one call to one host.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// The bound of connecting to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How long a host that failed is asked last.
const AVOID_FOR: Duration = Duration::from_secs(30);
/// The longest code that is taken, in bytes.
const MAX_CODE_BYTES: usize = 512;
/// The longest unionid that is taken, in bytes: it goes into the JWT. WeChat's have 28 and fewer.
const MAX_UNIONID_BYTES: usize = 64;
/// What WeChat answers when it is too busy: the other host may not be.
const BUSY: i64 = -1;
/// What it says of an access token that is wrong, malformed or over.
const BAD_TOKEN: [i64; 3] = [40001, 40014, 42001];

/// Why a call has failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No host gave an answer, or not a good one.
    #[error("WeChat's API gives no good answer: {0}")]
    Unavailable(String),
    /// WeChat refuses, by its own `errcode`.
    #[error("WeChat's API refuses {operation} with errcode {code}{}", advice(*code))]
    Refused {
        /// What was asked for.
        operation: &'static str,
        /// Its `errcode`.
        code: i64,
    },
}

impl ApiError {
    /// Returns whether another access token may help.
    pub(super) fn is_of_token(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if BAD_TOKEN.contains(code))
    }
}

/// What to do about the codes that a wrong set-up leads to. WeChat's own words are not passed on: they may quote anything.
fn advice(code: i64) -> &'static str {
    match code {
        40001 | 40125 => ": the AppSecret is not this account's; correct connectors.wechat.secret",
        40013 => ": there is no such AppID; correct connectors.wechat.app_id",
        40164 | 61004 => ": put the address that this gateway calls from on the IP whitelist in WeChat's console",
        45009 | 45011 => ": today's or this minute's quota is used up; see it in WeChat's console",
        48001 => ": the account may not do that; it has to be a verified service account",
        50002 | 50007 => ": the account is limited or frozen; see WeChat's console",
        89503 | 89506 | 89507 => {
            ": the account's administrator has to allow this gateway's address; see WeChat's console"
        }
        _ => "; see the list of codes in WeChat's documentation",
    }
}

/// An access token as it was issued.
#[derive(Deserialize)]
pub(super) struct IssuedToken {
    pub(super) access_token: String,
    pub(super) expires_in: u64,
}

#[derive(Deserialize)]
struct Code {
    url: String,
}

#[derive(Deserialize)]
struct User {
    unionid: Option<String>,
}

/// Calls the API of one account.
pub struct Api {
    http: Client,
    hosts: Vec<Host>,
    app_id: String,
    secret: Secret,
    metrics: Arc<Metrics>,
}

struct Host {
    base: Url,
    /// Until when it is asked last.
    avoided_until: Mutex<Option<Instant>>,
}

impl Api {
    /// Prepares; nothing is called yet.
    ///
    /// # Errors
    /// The HTTP client's, if TLS cannot be set up.
    pub fn new(settings: &WechatSettings, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // The token stands in the address.
            .redirect(reqwest::redirect::Policy::none())
            .https_only(settings.api_bases.iter().all(|base| base.scheme() == "https"))
            .user_agent(concat!("scangate/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let hosts = settings.api_bases.iter().map(|base| Host { base: base.clone(), avoided_until: Mutex::default() });
        Ok(Self {
            http,
            hosts: hosts.collect(),
            app_id: settings.app_id.clone(),
            secret: settings.secret.clone(),
            metrics,
        })
    }

    /// Asks for an access token: the one that is there, or with `is_forced` a new one that ends all others.
    pub(super) async fn stable_token(&self, is_forced: bool) -> Result<IssuedToken, ApiError> {
        let body = json!({
            "grant_type": "client_credential", "appid": self.app_id, "secret": self.secret.reveal(),
            "force_refresh": is_forced,
        });
        self.call("stable_token", |http, base| Some(post(http, at(base, "/cgi-bin/stable_token", &[])?, &body))).await
    }

    /// Asks for an access token and drops it, for the doctor.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn probe(&self) -> Result<(), ApiError> {
        self.stable_token(false).await.map(drop)
    }

    /// Makes a code that carries `scene` and can be scanned for `ttl`; returns what it says.
    pub(super) async fn create_code(&self, token: Secret, scene: &str, ttl: Duration) -> Result<String, ApiError> {
        let body = json!({
            // Whole seconds, and none too few. Left out, WeChat would take its own default.
            "expire_seconds": ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0),
            "action_name": "QR_STR_SCENE",
            "action_info": { "scene": { "scene_str": scene } },
        });
        let query = [("access_token", token.reveal())];
        let request = |http: &Client, base: &Url| Some(post(http, at(base, "/cgi-bin/qrcode/create", &query)?, &body));
        let code: Code = self.call("qrcode", request).await?;
        if is_code(&code.url) { Ok(code.url) } else { Err(ApiError::Unavailable("the code is no address".to_owned())) }
    }

    /// Asks for what names a person to all accounts of their owner; WeChat knows it only for accounts that are bound to an
    /// owner, and of followers.
    pub(super) async fn unionid(&self, token: Secret, openid: &str) -> Result<Option<String>, ApiError> {
        let query = [("access_token", token.reveal()), ("openid", openid), ("lang", "zh_CN")];
        let request = |http: &Client, base: &Url| Some(http.get(at(base, "/cgi-bin/user/info", &query)?));
        let user: User = self.call("user_info", request).await?;
        Ok(user.unionid.filter(|unionid| (1..=MAX_UNIONID_BYTES).contains(&unionid.len())))
    }

    /// Asks one host after the other until one answers.
    async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        request: impl Fn(&Client, &Url) -> Option<RequestBuilder>,
    ) -> Result<T, ApiError> {
        let (avoided, good): (Vec<&Host>, Vec<&Host>) = self.hosts.iter().partition(|host| host.is_avoided());
        let mut last = "no host is set".to_owned();
        for host in good.into_iter().chain(avoided) {
            let Some(request) = request(&self.http, &host.base) else { continue };
            let answer = ask(request).await;
            host.avoid(answer.is_err());
            match answer.map(|answer| read(answer, operation)) {
                Ok(Ok(answer)) => {
                    self.metrics.connectors.requested("wechat", operation, "ok");
                    return Ok(answer);
                }
                Ok(Err(refused)) => {
                    let result = if matches!(refused, ApiError::Refused { .. }) { "refused" } else { "failed" };
                    self.metrics.connectors.requested("wechat", operation, result);
                    return Err(refused);
                }
                Err(error) => {
                    self.metrics.connectors.requested("wechat", operation, "failed");
                    tracing::warn!(host = host.base.host_str(), operation, error, "a host of WeChat's API has failed");
                    last = error;
                }
            }
        }
        Err(ApiError::Unavailable(last))
    }
}

impl Host {
    fn is_avoided(&self) -> bool {
        self.avoided_until().is_some_and(|until| Instant::now() < until)
    }

    fn avoid(&self, has_failed: bool) {
        *self.avoided_until() = has_failed.then(|| Instant::now() + AVOID_FOR);
    }

    fn avoided_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.avoided_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether `text` is an address that a page may show and link to. Parsing alone drops blanks and line ends.
fn is_code(text: &str) -> bool {
    let is_good =
        |url: Url| matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    text.len() <= MAX_CODE_BYTES
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && Url::parse(text).is_ok_and(is_good)
}

fn at(base: &Url, path: &str, query: &[(&str, &str)]) -> Option<Url> {
    let mut url = base.join(path).ok()?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Some(url)
}

fn post(http: &Client, url: Url, body: &Value) -> RequestBuilder {
    http.post(url).header("content-type", "application/json").body(body.to_string())
}

/// Sends a request and reads the JSON of the answer; what is wrong is said without the address, which has the token.
async fn ask(request: RequestBuilder) -> Result<Value, String> {
    let text = |error: reqwest::Error| match error {
        error if error.is_timeout() => "no answer in time".to_owned(),
        error if error.is_connect() => "it cannot be reached".to_owned(),
        error => error.without_url().to_string(),
    };
    let response = request.send().await.map_err(text)?;
    if !response.status().is_success() {
        return Err(format!("it answers {}", response.status().as_u16()));
    }
    let body = match read_body(response, MAX_ANSWER_BYTES).await {
        Ok(body) => body,
        Err(BodyError::Http(error)) => return Err(text(error)),
        Err(BodyError::TooLarge) => return Err("the answer is too large".to_owned()),
    };
    let answer: Value = serde_json::from_slice(&body).map_err(|_error| "the answer is no JSON".to_owned())?;
    if answer["errcode"] == BUSY { Err("it is too busy".to_owned()) } else { Ok(answer) }
}

fn read<T: DeserializeOwned>(answer: Value, operation: &'static str) -> Result<T, ApiError> {
    match answer["errcode"].as_i64() {
        Some(code) if code != 0 => Err(ApiError::Refused { operation, code }),
        // What serde would say may quote the answer.
        _ => serde_json::from_value(answer)
            .map_err(|_error| ApiError::Unavailable(format!("the answer to {operation} lacks what it should have"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_an_address_and_nothing_else() {
        for text in ["http://weixin.qq.com/q/02", "https://weixin.qq.com/q/02?a=b"] {
            assert!(is_code(text), "{text}");
        }
        let long = format!("http://weixin.qq.com/{}", "x".repeat(MAX_CODE_BYTES));
        for text in
            ["", "q/02", "javascript:alert(1)", "http://a:b@x/", " http://x/", "http://x/\n", "http://x/ y", &long]
        {
            assert!(!is_code(text), "{text}");
        }
    }
}
