//! The browser of a phone: it goes to the provider and back, with its cookies.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::super::Gateway;

/// The texts of the pages, by language.
const TEXTS: [(&str, &str); 2] =
    [("en", include_str!("../../../static/texts/en.json")), ("zh", include_str!("../../../static/texts/zh.json"))];

/// A browser that is not signed in yet, and follows no redirect by itself.
#[derive(Clone)]
pub struct PhoneBrowser {
    http: Client,
    base: String,
    origin: String,
    language: &'static str,
}

/// A page that tells of a failure.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub code: String,
    pub title: String,
    pub detail: String,
    /// Where its button leads.
    pub link: String,
    pub html: String,
    pub headers: HeaderMap,
}

impl PhoneBrowser {
    pub fn new(gateway: &Gateway) -> Self {
        let redirect = reqwest::redirect::Policy::none();
        let http = Client::builder().cookie_store(true).redirect(redirect).build().unwrap();
        Self { http, base: gateway.base.clone(), origin: gateway.public_url.clone(), language: "en" }
    }

    /// The same browser, talking to another gateway process.
    pub fn at(&self, gateway: &Gateway) -> Self {
        Self { base: gateway.base.clone(), ..self.clone() }
    }

    pub fn reading(self, language: &'static str) -> Self {
        Self { language, ..self }
    }

    /// Opens a page of the gateway's.
    pub fn open(&self, path: &str) -> RequestBuilder {
        let request = self.http.get(format!("{}{path}", self.base)).header("accept", "text/html,*/*;q=0.8");
        request.header("accept-language", self.language)
    }

    /// Presses the button of a provider.
    pub async fn begin(&self, path: &str) -> Response {
        self.open(path).header("sec-fetch-site", "same-origin").send().await.unwrap()
    }

    /// Begins, signs in at the provider, and returns where it sends the browser: path and query at the gateway.
    pub async fn until_callback(&self, path: &str) -> String {
        let begun = self.begin(path).await;
        assert_eq!(begun.status(), StatusCode::SEE_OTHER, "{}", begun.text().await.unwrap());
        self.at_provider(&location(&begun)).await
    }

    /// Signs in at the address to which the gateway sends browsers.
    pub async fn at_provider(&self, address: &str) -> String {
        let redirect = reqwest::redirect::Policy::none();
        let answer = Client::builder().redirect(redirect).build().unwrap().get(address).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FOUND, "{address}");
        let url = Url::parse(&location(&answer)).unwrap();
        assert_eq!(url.origin().ascii_serialization(), self.origin);
        format!("{}?{}", url.path(), url.query().unwrap())
    }

    /// Brings the provider's answer, as its redirect has the browser do.
    pub async fn bring(&self, callback: &str) -> Response {
        self.open(callback).header("sec-fetch-site", "cross-site").send().await.unwrap()
    }

    /// Goes the whole way.
    pub async fn sign_in(&self, path: &str) -> Response {
        let callback = self.until_callback(path).await;
        self.bring(&callback).await
    }

    /// Goes the whole way; fails if it does not lead to `page`.
    pub async fn signs_in(&self, path: &str, page: &str) {
        let response = self.sign_in(path).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{}", response.text().await.unwrap());
        assert_eq!(location(&response), page);
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    }

    /// Returns who is signed in.
    pub async fn session(&self) -> Option<Value> {
        let response = self.open("/v1/session").header("sec-fetch-site", "same-origin").send().await.unwrap();
        match response.status() {
            StatusCode::OK => response.json().await.unwrap(),
            StatusCode::UNAUTHORIZED => None,
            other => panic!("{other}"),
        }
    }

    /// Does `action` (`open`, `scan`, `confirm`) as the pages do.
    pub async fn act(&self, id: &str, action: &str) -> Response {
        let request = self.http.request(Method::POST, format!("{}/v1/tickets/{id}/{action}", self.base));
        let request = request.header("sec-fetch-site", "same-origin").header("origin", &self.origin);
        request.json(&json!({})).send().await.unwrap()
    }

    /// Scans and confirms; fails if either is refused.
    pub async fn approves(&self, id: &str) {
        for action in ["scan", "confirm"] {
            let response = self.act(id, action).await;
            assert_eq!(response.status(), StatusCode::OK, "{action}: {}", response.text().await.unwrap());
        }
    }
}

/// Returns where a redirect leads.
pub fn location(response: &Response) -> String {
    response.headers()["location"].to_str().unwrap().to_owned()
}

impl Told {
    /// Reads a page that tells of a failure.
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let html = response.text().await.unwrap();
        let between = |start: &str, end: &str| {
            let (_, rest) = html.split_once(start).unwrap_or_else(|| panic!("{status}, no {start} in: {html}"));
            rest.split_once(end).unwrap().0.replace("&#x2f;", "/")
        };
        Self {
            status,
            code: between("<code>", "</code>"),
            title: between("<h1>", "</h1>"),
            detail: between("<p class=\"lead\">", "</p>"),
            link: between("<a class=\"button\" href=\"", "\""),
            html: html.clone(),
            headers,
        }
    }

    /// Fails unless the page tells of this problem in the words of this language, and leads to `link`.
    pub fn is(&self, language: &str, status: u16, code: &str, link: &str) {
        assert_eq!((self.status, self.code.as_str(), self.link.as_str()), (status, code, link), "{}", self.html);
        let (_, texts) = TEXTS.iter().find(|(tag, _)| *tag == language).unwrap();
        let texts: Value = serde_json::from_str(texts).unwrap();
        let by_code = &texts["problem"][code];
        let text = if by_code.is_array() { by_code } else { &texts["problem"][&status.to_string()] };
        assert_eq!(json!([self.title, self.detail]), *text, "{code}");
        assert!(self.html.contains(&format!("<html lang=\"{language}")), "{}", self.html);
        assert_eq!(self.headers["referrer-policy"], "no-referrer");
        assert_eq!(self.headers["cache-control"], "no-store");
    }
}
