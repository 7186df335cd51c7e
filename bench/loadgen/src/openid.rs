//! Sign-ins by OpenID Connect: the requests of a person's browser, and those of an app with a secret.
//!
//! The browser sends what the gateway's sign-in page sends. It has the page's scripts and styles in its cache.

use std::collections::BTreeMap;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::request::Builder;
use http::{Method, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::api::{ApiError, Response, request};
use crate::connect::ConnectionError;
use crate::context::Context;
use crate::logins::approve;
use crate::stream::Credential;

/// A verifier and its challenge: the example of RFC 7636, appendix B. The gateway does the same work for every pair.
const CODE_VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CODE_CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// The app that people sign in to.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct App {
    pub client_id: String,
    pub secret: String,
    pub redirect_uri: String,
}

/// A browser. It keeps all cookies and follows no redirect.
#[derive(Debug, Clone, Default)]
pub struct Browser {
    cookies: BTreeMap<String, String>,
}

impl App {
    /// Signs in by a scan: authorization request, ticket, stream, scan, confirmation, event, code, tokens, and claims. Returns when
    /// the last response arrived.
    ///
    /// # Errors
    /// If a step fails.
    pub async fn sign_in(&self, browser: &mut Browser, context: &Context, number: usize) -> Result<Instant, String> {
        let text = |error: ApiError| error.to_string();
        let query = self.query();
        let path = format!("/oauth2/authorize?{query}");
        let page = browser.open(context, number, "authorize", &path, "cross-site").await.map_err(text)?;
        page.expect("authorize", StatusCode::OK).map_err(text)?;
        let ticket = browser.create(context, number, &query).await.map_err(text)?;
        let field = |name: &str| ticket[name].as_str().ok_or_else(|| format!("create: response lacks {name}"));
        let (id, cookies) = (field("ticket_id")?, browser.header());
        approve(context, number, id, field("events")?, Credential::Cookies(&cookies)).await?;
        let path = format!("/oauth2/authorize/done?ticket={id}");
        let answer = browser.open(context, number, "done", &path, "same-origin").await.map_err(text)?;
        let access_token = self.exchange(context, number, answer).await?;
        let target = &context.api.targets[number % context.api.targets.len()];
        let userinfo = || finish(request(Method::GET, target, "/oauth2/userinfo", Some(&access_token)), Bytes::new());
        send(context, number, "userinfo", userinfo)
            .await
            .and_then(|claims| claims.expect("userinfo", StatusCode::OK))
            .map_err(text)?;
        Ok(Instant::now())
    }

    /// Signs in by the session that an earlier sign-in of `browser` has started: authorization request, code, and tokens. Returns
    /// when the last response arrived.
    ///
    /// # Errors
    /// If a step fails, or the gateway asks for a scan.
    pub async fn sign_in_again(
        &self,
        mut browser: Browser,
        context: &Context,
        number: usize,
    ) -> Result<Instant, String> {
        let path = format!("/oauth2/authorize?{}", self.query());
        let answer = browser.open(context, number, "authorize", &path, "cross-site").await;
        self.exchange(context, number, answer.map_err(|error| error.to_string())?).await?;
        Ok(Instant::now())
    }

    /// Returns the query of an authorization request.
    fn query(&self) -> String {
        let pairs = [
            ("client_id", self.client_id.as_str()),
            ("redirect_uri", &self.redirect_uri),
            ("response_type", "code"),
            ("scope", "openid profile email"),
            ("state", "the-state-of-the-load-generator"),
            ("nonce", "the-nonce-of-the-load-generator"),
            ("code_challenge", CODE_CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    /// Exchanges the code in an answer to the authorization request, and returns the access token.
    async fn exchange(&self, context: &Context, number: usize, answer: Response) -> Result<String, String> {
        let answer = answer.expect("answer", StatusCode::SEE_OTHER).map_err(|error| error.to_string())?;
        let location = answer.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        let code = location.and_then(code).ok_or("the answer to the authorization request contains no code")?;
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", &code)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("code_verifier", CODE_VERIFIER)
            .finish();
        let target = &context.api.targets[number % context.api.targets.len()];
        let tokens = || {
            let request = request(Method::POST, target, "/oauth2/token", None);
            let request = request.header(header::AUTHORIZATION, self.basic()).header(header::CONTENT_TYPE, FORM);
            finish(request, form.clone().into())
        };
        let tokens = send(context, number, "token", tokens).await;
        let tokens =
            tokens.and_then(|tokens| tokens.expect("token", StatusCode::OK)).map_err(|error| error.to_string())?;
        let tokens: Value = serde_json::from_slice(&tokens.body).unwrap_or_default();
        match (tokens["access_token"].as_str(), tokens["id_token"].as_str()) {
            (Some(access_token), Some(_)) => Ok(access_token.to_owned()),
            _ => Err("token: response lacks access_token or id_token".to_owned()),
        }
    }

    /// Returns the credentials of the app (RFC 6749 §2.3.1).
    fn basic(&self) -> String {
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let credentials = format!("{}:{}", encoded(&self.client_id), encoded(&self.secret));
        format!("Basic {}", BASE64_STANDARD.encode(credentials))
    }
}

impl Browser {
    /// Opens an address. `site` is the relation of the page that leads there, as in `Sec-Fetch-Site`.
    async fn open(
        &mut self,
        context: &Context,
        number: usize,
        action: &'static str,
        path: &str,
        site: &str,
    ) -> Result<Response, ApiError> {
        let target = &context.api.targets[number % context.api.targets.len()];
        let cookies = self.header();
        let page = || {
            let request = request(Method::GET, target, path, None).header(header::ACCEPT, "text/html");
            let request = request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document");
            finish(request.header("sec-fetch-site", site).header(header::COOKIE, &cookies), Bytes::new())
        };
        let response = send(context, number, action, page).await?;
        self.keep(&response);
        Ok(response)
    }

    /// Creates a ticket for the authorization request `query`, with its code as a picture.
    async fn create(&mut self, context: &Context, number: usize, query: &str) -> Result<Value, ApiError> {
        let target = &context.api.targets[number % context.api.targets.len()];
        let (cookies, body) = (self.header(), Bytes::from(json!({ "authorization": query }).to_string()));
        let ticket = || {
            let request = request(Method::POST, target, "/v1/tickets?qr=svg", None).header(header::CONTENT_TYPE, JSON);
            finish(request.header("sec-fetch-site", "same-origin").header(header::COOKIE, &cookies), body.clone())
        };
        let response = send(context, number, "create", ticket).await?.expect("create", StatusCode::CREATED)?;
        self.keep(&response);
        Ok(serde_json::from_slice(&response.body).unwrap_or_default())
    }

    /// Keeps the cookies of a response.
    fn keep(&mut self, response: &Response) {
        for line in response.headers.get_all(header::SET_COOKIE) {
            let pair = line.to_str().ok().and_then(|line| line.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Returns the value of `Cookie`.
    fn header(&self) -> String {
        let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }
}

/// Returns the code in the address that an answer leads to.
fn code(location: &str) -> Option<String> {
    let location = Url::parse(location).ok()?;
    location.query_pairs().find(|(name, _)| name == "code").map(|(_, code)| code.into_owned())
}

fn finish(request: Builder, body: Bytes) -> Result<http::Request<Full<Bytes>>, ConnectionError> {
    request.body(Full::new(body)).map_err(|error| ConnectionError::Request(error.to_string()))
}

/// Sends a request to the target of the sign-in `number`.
async fn send(
    context: &Context,
    number: usize,
    action: &'static str,
    request: impl Fn() -> Result<http::Request<Full<Bytes>>, ConnectionError>,
) -> Result<Response, ApiError> {
    let sent = context.api.send(number % context.api.targets.len(), request).await;
    sent.map_err(|error| ApiError::Connection { action, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> App {
        let text = str::to_owned;
        App { client_id: text("an app"), secret: text("a:secret"), redirect_uri: text("https://app.example/cb?a=b") }
    }

    #[test]
    fn credentials_are_encoded_as_a_form_before_they_are_joined() {
        assert_eq!(app().basic(), format!("Basic {}", BASE64_STANDARD.encode("an+app:a%3Asecret")));
    }

    #[test]
    fn the_request_names_the_redirect_uri_as_it_is_registered() {
        let url = Url::parse(&format!("https://localhost/?{}", app().query())).unwrap();
        assert!(url.query_pairs().any(|(name, value)| name == "redirect_uri" && value == app().redirect_uri));
    }

    #[test]
    fn only_an_answer_with_a_code_has_one() {
        assert_eq!(code("https://app.example/cb?a=b&code=x%2By&state=z"), Some("x+y".to_owned()));
        assert_eq!(code("https://app.example/cb?error=login_required"), None);
        assert_eq!(code("/oauth2/authorize"), None);
    }
}
