//! Calls to WeChat's API: bounded in time and size, with failover to another host. No message quotes a secret.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::settings::WechatSettings;
use crate::metrics::Metrics;
use crate::outbound::{BodyError, read_body};
use crate::secret::Secret;

/// The time limit of one call to one host.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// The time limit for connecting to a host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest response that the gateway reads, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// How long a failed host is tried only after the others.
const BACKOFF: Duration = Duration::from_secs(30);
/// The longest code that is accepted, in bytes.
const MAX_CODE_BYTES: usize = 512;
/// The longest unionid that is accepted, in bytes; the JWT contains it. WeChat's have at most 28.
const MAX_UNIONID_BYTES: usize = 64;
/// WeChat's `errcode` for a host that is too busy; the other host may not be.
const BUSY: i64 = -1;
/// WeChat's `errcode` for an access token that is wrong, malformed or expired.
const BAD_TOKEN: [i64; 3] = [40001, 40014, 42001];

/// The reason why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No host returned a usable response.
    #[error("WeChat's API returned no usable response: {0}")]
    Unavailable(String),
    /// WeChat refused the call with an `errcode`.
    #[error("WeChat's API refused {operation} with errcode {code}{}", advice(*code))]
    Refused {
        /// The operation that was called.
        operation: &'static str,
        /// WeChat's `errcode`.
        code: i64,
    },
}

impl ApiError {
    /// Returns whether WeChat refused the access token, so that a new one may help.
    pub(super) fn is_bad_token(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if BAD_TOKEN.contains(code))
    }
}

/// Returns the fix for an `errcode` that a wrong setup causes. WeChat's own message is not quoted, because it may quote anything.
fn advice(code: i64) -> &'static str {
    match code {
        40001 | 40125 => ": the AppSecret is not this account's; correct connectors.wechat.secret",
        40013 => ": this AppID does not exist; correct connectors.wechat.app_id",
        40164 | 61004 => ": add the address that this gateway calls from to the IP whitelist in WeChat's console",
        45009 | 45011 => ": the quota of the day or minute is used up; see WeChat's console",
        48001 => ": the account lacks this permission; it must be a verified service account",
        50002 | 50007 => ": the account is restricted or frozen; see WeChat's console",
        89503 | 89506 | 89507 => {
            ": the account's administrator must allow this gateway's address; see WeChat's console"
        }
        _ => "; see the list of codes in WeChat's documentation",
    }
}

/// An access token as WeChat issued it.
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
    /// Until then, the host is tried only after the others.
    backoff_until: Mutex<Option<Instant>>,
}

impl Api {
    /// Sets up the client; sends nothing yet.
    ///
    /// # Errors
    /// The HTTP client's error if it cannot set up TLS.
    pub fn new(settings: &WechatSettings, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // The URL contains the access token, which must not follow a redirect.
            .redirect(reqwest::redirect::Policy::none())
            .https_only(settings.api_bases.iter().all(|base| base.scheme() == "https"))
            .user_agent(concat!("scangate/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let hosts = settings.api_bases.iter().map(|base| Host { base: base.clone(), backoff_until: Mutex::default() });
        Ok(Self {
            http,
            hosts: hosts.collect(),
            app_id: settings.app_id.clone(),
            secret: settings.secret.clone(),
            metrics,
        })
    }

    /// Fetches an access token: the current one, or, with `is_forced`, a new one that invalidates all others.
    pub(super) async fn stable_token(&self, is_forced: bool) -> Result<IssuedToken, ApiError> {
        let body = json!({
            "grant_type": "client_credential", "appid": self.app_id, "secret": self.secret.reveal(),
            "force_refresh": is_forced,
        });
        self.call("stable_token", |http, base| Some(post(http, at(base, "/cgi-bin/stable_token", &[])?, &body))).await
    }

    /// Fetches an access token and drops it, for the doctor.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn probe(&self) -> Result<(), ApiError> {
        self.stable_token(false).await.map(drop)
    }

    /// Creates a code that carries `scene` and can be scanned for `ttl`. Returns the text for its QR code.
    pub(super) async fn create_code(&self, token: Secret, scene: &str, ttl: Duration) -> Result<String, ApiError> {
        let body = json!({
            // Whole seconds, rounded up. Without expire_seconds, WeChat uses its default.
            "expire_seconds": ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0),
            "action_name": "QR_STR_SCENE",
            "action_info": { "scene": { "scene_str": scene } },
        });
        let query = [("access_token", token.reveal())];
        let request = |http: &Client, base: &Url| Some(post(http, at(base, "/cgi-bin/qrcode/create", &query)?, &body));
        let code: Code = self.call("qrcode", request).await?;
        if is_code(&code.url) { Ok(code.url) } else { Err(ApiError::Unavailable("the code is not a URL".to_owned())) }
    }

    /// Fetches a person's unionid, which is the same for all accounts of one owner. WeChat has it only for accounts that are
    /// bound to an owner, and only for followers.
    pub(super) async fn unionid(&self, token: Secret, openid: &str) -> Result<Option<String>, ApiError> {
        let query = [("access_token", token.reveal()), ("openid", openid), ("lang", "zh_CN")];
        let request = |http: &Client, base: &Url| Some(http.get(at(base, "/cgi-bin/user/info", &query)?));
        let user: User = self.call("user_info", request).await?;
        Ok(user.unionid.filter(|unionid| (1..=MAX_UNIONID_BYTES).contains(&unionid.len())))
    }

    /// Calls one host after the other until one returns a usable response.
    async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        request: impl Fn(&Client, &Url) -> Option<RequestBuilder>,
    ) -> Result<T, ApiError> {
        let (backing_off, good): (Vec<&Host>, Vec<&Host>) = self.hosts.iter().partition(|host| host.is_backing_off());
        let mut last = "no host is set".to_owned();
        for host in good.into_iter().chain(backing_off) {
            let Some(request) = request(&self.http, &host.base) else { continue };
            let response = send(request).await;
            host.set_backoff(response.is_err());
            match response.map(|response| read(response, operation)) {
                Ok(Ok(result)) => {
                    self.metrics.connectors.requested("wechat", operation, "ok");
                    return Ok(result);
                }
                Ok(Err(refused)) => {
                    let result = if matches!(refused, ApiError::Refused { .. }) { "refused" } else { "failed" };
                    self.metrics.connectors.requested("wechat", operation, result);
                    return Err(refused);
                }
                Err(error) => {
                    self.metrics.connectors.requested("wechat", operation, "failed");
                    tracing::warn!(host = host.base.host_str(), operation, error, "a host of WeChat's API failed");
                    last = error;
                }
            }
        }
        Err(ApiError::Unavailable(last))
    }
}

impl Host {
    fn is_backing_off(&self) -> bool {
        self.backoff_until.lock().is_some_and(|until| Instant::now() < until)
    }

    fn set_backoff(&self, has_failed: bool) {
        *self.backoff_until.lock() = has_failed.then(|| Instant::now() + BACKOFF);
    }
}

/// Returns whether `text` is a URL that a page may show and link to. URL parsers ignore spaces and line ends, so the bytes are
/// checked first.
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

/// Sends a request and reads the JSON of the response. Messages omit the URL, which contains the access token.
async fn send(request: RequestBuilder) -> Result<Value, String> {
    let text = |error: reqwest::Error| match error {
        error if error.is_timeout() => "no response in time".to_owned(),
        error if error.is_connect() => "cannot connect".to_owned(),
        error => error.without_url().to_string(),
    };
    let response = request.send().await.map_err(text)?;
    if !response.status().is_success() {
        return Err(format!("HTTP status {}", response.status().as_u16()));
    }
    let body = match read_body(response, MAX_RESPONSE_BYTES).await {
        Ok(body) => body,
        Err(BodyError::Http(error)) => return Err(text(error)),
        Err(BodyError::TooLarge) => return Err("the response is too large".to_owned()),
    };
    let json: Value = serde_json::from_slice(&body).map_err(|_error| "the response is not JSON".to_owned())?;
    if json["errcode"] == BUSY { Err("WeChat is too busy".to_owned()) } else { Ok(json) }
}

fn read<T: DeserializeOwned>(response: Value, operation: &'static str) -> Result<T, ApiError> {
    match response["errcode"].as_i64() {
        Some(code) if code != 0 => Err(ApiError::Refused { operation, code }),
        // serde's message may quote the response.
        _ => serde_json::from_value(response)
            .map_err(|_error| ApiError::Unavailable(format!("the response to {operation} lacks a required field"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_plain_url() {
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
