//! A person at a phone, as far as it can be without a browser: cookies, redirects, and the providers' forms, filled in as their
//! pages do it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use regex::Regex;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::support::gateway::Browser;
use crate::support::nginx::Edge;

/// More steps than any way has.
const MAX_STEPS: usize = 25;

/// A phone, its cookies, and the person who holds it.
pub struct Person {
    name: &'static str,
    http: Client,
    gateway: String,
    /// What was asked for: method, URL without its query, status, milliseconds.
    trail: Mutex<Vec<(String, String, u16, f64)>>,
}

/// Where a way has ended, and what the person did at the provider.
#[derive(Debug)]
pub struct Arrival {
    pub url: Url,
    pub status: StatusCode,
    pub body: String,
    /// The pages of the provider that the person answered: `login`, `consent`, `continue`, `sign-out`.
    pub pages: Vec<&'static str>,
}

/// What the person does at the provider.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    SignIn,
    /// With the second factor.
    SignInStrongly,
    Cancel,
}

impl Person {
    /// `alice` or `bob`, with a phone that has been nowhere yet.
    pub fn new(name: &'static str, edge: &Edge) -> Self {
        // The providers close a connection that is not used for five seconds. A request at that moment would fail.
        let http = edge.http().pool_idle_timeout(Duration::from_secs(1)).build().unwrap();
        Self { name, http, gateway: edge.base.clone(), trail: Mutex::default() }
    }

    /// The phone as a browser at the gateway's pages.
    pub fn browser(&self) -> Browser {
        Browser::through(self.http.clone(), &self.gateway)
    }

    /// Begins to sign in, as a page of the gateway does it, and goes on to where it ends.
    pub async fn sign_in(&self, provider: &str, query: &str) -> Arrival {
        self.sign_in_as(Manner::SignIn, provider, query).await
    }

    pub async fn sign_in_as(&self, manner: Manner, provider: &str, query: &str) -> Arrival {
        self.go(self.begins(provider, query), manner).await
    }

    /// The first request of a sign-in.
    pub fn begins(&self, provider: &str, query: &str) -> RequestBuilder {
        let url = format!("{}/sign-in/{provider}?{query}", self.gateway);
        self.http.get(url).header("accept", "text/html").header("sec-fetch-site", "same-origin")
    }

    /// Signs in at the provider, and returns the address to which it sends the person back, without going there.
    pub async fn answer(&self, provider: &str, query: &str) -> Url {
        let is_callback = |url: &Url| url.path() == "/sign-in/callback";
        self.go_until(self.begins(provider, query), Manner::SignIn, is_callback).await.url
    }

    /// Sends `request` and goes on from there: along redirects, and past the pages of a provider.
    pub async fn go(&self, request: RequestBuilder, manner: Manner) -> Arrival {
        self.go_until(request, manner, |_| false).await
    }

    /// The same until a redirect leads to an end, which is not visited.
    pub async fn go_until(&self, request: RequestBuilder, manner: Manner, is_end: impl Fn(&Url) -> bool) -> Arrival {
        let mut pages = Vec::new();
        let mut response = self.send(request).await;
        for _ in 0..MAX_STEPS {
            if response.status().is_redirection() {
                let location = response.headers()["location"].to_str().unwrap();
                let next = response.url().join(location).unwrap();
                if is_end(&next) {
                    return Arrival { url: next, status: response.status(), body: String::new(), pages };
                }
                response = self.send(self.visit(next)).await;
                continue;
            }
            let (url, status) = (response.url().clone(), response.status());
            let body = response.text().await.unwrap();
            let is_page = status == StatusCode::OK && !url.as_str().starts_with(&self.gateway);
            let next = match url.path() {
                path if is_page && path.starts_with("/interaction/") => {
                    self.answer_form(&url, &body, manner, &mut pages)
                }
                "/login.html" if is_page => self.answer_script(&url, &mut pages).await,
                "/session/end" if is_page => Some(self.sign_out_there(&url, &body, &mut pages)),
                _ => None,
            };
            let Some(next) = next else { return Arrival { url, status, body, pages } };
            response = self.send(next).await;
        }
        panic!("the way does not end: {:#?}", self.trail());
    }

    /// A page of `oidc-provider`: a form.
    fn answer_form(
        &self,
        url: &Url,
        body: &str,
        manner: Manner,
        pages: &mut Vec<&'static str>,
    ) -> Option<RequestBuilder> {
        let (page, action) = match manner {
            Manner::Cancel => ("cancel", format!("{}/cancel", url.path())),
            _ if body.contains("name=\"password\"") => ("login", format!("{}/login", url.path())),
            _ => ("consent", format!("{}/consent", url.path())),
        };
        assert!(body.contains(&format!("action=\"{action}\"")), "{url}: {body}");
        assert!(pages.iter().filter(|seen| **seen == page).count() == 0, "{page} came twice: {body}");
        pages.push(page);
        let mut fields = BTreeMap::new();
        if page == "login" {
            fields.insert("login", self.name.to_owned());
            fields.insert("password", format!("{}-password", self.name));
        }
        if page == "login" && manner == Manner::SignInStrongly {
            assert!(body.contains("name=\"otp\""), "no second factor is asked for: {body}");
            fields.insert("otp", if self.name == "alice" { "111111" } else { "222222" }.to_owned());
        }
        Some(self.http.post(url.join(&action).unwrap()).form(&fields))
    }

    /// The page of `glewlwyd`, which is a script: what it calls when the person signs in, grants what is asked for and continues.
    async fn answer_script(&self, url: &Url, pages: &mut Vec<&'static str>) -> Option<RequestBuilder> {
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let api = |path: &str| url.join(&format!("/api/{path}")).unwrap();
        let is_known = self.send(self.http.get(api("profile_list"))).await.status() == StatusCode::OK;
        let must_sign_in = query.get("prompt").is_some_and(|prompt| prompt == "login");
        if !is_known || must_sign_in || query.contains_key("refresh_login") {
            pages.push("login");
            let credentials = json!({ "username": self.name, "password": format!("{}-password", self.name) });
            let answer = self.send(self.http.post(api("auth/")).json(&credentials)).await;
            assert_eq!(answer.status(), StatusCode::OK);
        }
        let (client, scopes) = (&query["client_id"], &query["scope"]);
        let path = format!("auth/grant/{client}/{}", scopes.replace(' ', "%20"));
        let asked: Value = self.send(self.http.get(api(&path))).await.json().await.unwrap();
        let is_granted = |scope: &Value| scope["granted"] == true && scope["name"] != "openid";
        if !asked["scope"].as_array().unwrap().iter().any(is_granted) {
            pages.push("consent");
            let request = self.http.put(api(&format!("auth/grant/{client}"))).json(&json!({ "scope": scopes }));
            assert_eq!(self.send(request).await.status(), StatusCode::OK);
        }
        pages.push("continue");
        Some(self.visit(Url::parse(&format!("{}&g_continue", query["callback_url"])).unwrap()))
    }

    /// The page on which `oidc-provider` asks whether to sign out there.
    fn sign_out_there(&self, url: &Url, body: &str, pages: &mut Vec<&'static str>) -> RequestBuilder {
        let hidden = Regex::new(r#"<input type="hidden" name="xsrf" value="([^"]+)""#).unwrap();
        let xsrf = hidden.captures(body).unwrap_or_else(|| panic!("{body}"))[1].to_owned();
        pages.push("sign-out");
        self.http.post(url.join("/session/end/confirm").unwrap()).form(&[("xsrf", xsrf.as_str()), ("logout", "yes")])
    }

    /// A page that the browser goes to from another site, as a redirect from a provider does it.
    pub fn visit(&self, url: Url) -> RequestBuilder {
        self.http.get(url).header("accept", "text/html").header("sec-fetch-site", "cross-site")
    }

    /// Opens, scans or confirms a ticket as the gateway's page does it.
    pub async fn act(&self, id: &str, action: &str) -> Response {
        self.send(self.browser().request(Method::POST, &format!("/v1/tickets/{id}/{action}")).json(&json!({}))).await
    }

    /// Scans and confirms a ticket; fails if either is refused.
    pub async fn approve(&self, id: &str) {
        for action in ["scan", "confirm"] {
            let response = self.act(id, action).await;
            assert_eq!(response.status(), StatusCode::OK, "{action}: {}", response.text().await.unwrap());
        }
    }

    /// Returns who is signed in at the gateway, or the status of the refusal.
    pub async fn session(&self) -> Result<Value, StatusCode> {
        let response = self.browser().get("/v1/session").await;
        if response.status() == StatusCode::OK { Ok(response.json().await.unwrap()) } else { Err(response.status()) }
    }

    pub async fn send(&self, request: RequestBuilder) -> Response {
        let request = request.build().unwrap();
        let (method, mut url) = (request.method().to_string(), request.url().clone());
        url.set_query(None);
        let started = Instant::now();
        let response = self.http.execute(request).await.unwrap_or_else(|error| panic!("{method} {url}: {error}"));
        let time = started.elapsed().as_secs_f64() * 1000.0;
        self.trail.lock().unwrap().push((method, url.into(), response.status().as_u16(), time));
        response
    }

    /// Returns what was asked for until now, a line each.
    pub fn trail(&self) -> Vec<String> {
        let trail = self.trail.lock().unwrap();
        trail.iter().map(|(method, url, status, time)| format!("{time:8.1} ms  {status}  {method} {url}")).collect()
    }
}
