//! Renders a problem as a page in the person's language. Programs get JSON.
//!
//! The page loads no files. If the request was too large because of its cookies, requests for files would fail too; and behind
//! `auth_request` the page is served from the site's own host, which does not have the files.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::extract::Request;
use axum::http::header::{self, HeaderMap};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::context;

use super::files;
use super::headers::{NO_PERMISSIONS, language_headers};
use super::language_of_request;
use super::renderer::RENDERER;
use crate::http::fields::is_programmatic;
use crate::http::problem::ProblemBody;
use crate::http::weights::prefers_html;

/// The style sheet that is embedded in the page.
const STYLE: &str = "parts/problem.css";
/// The shortest and the longest time after which the page reloads automatically, in seconds.
const REFRESH_SECS: std::ops::RangeInclusive<u64> = 5..=60;

/// The page's Content-Security-Policy: it allows the embedded style sheet and nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, style().as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

fn style() -> &'static str {
    files::text(STYLE).unwrap_or_default()
}

/// The part of a request that decides how a problem is presented: method, URL, preferred media types and languages.
pub(in crate::http) struct ProblemContext {
    method: Method,
    uri: Uri,
    preferences: HeaderMap,
    is_program: bool,
}

impl ProblemContext {
    /// Copies this part of a request, before the handler consumes it.
    pub(in crate::http) fn of(request: &Request) -> Self {
        let mut preferences = HeaderMap::new();
        for name in [header::ACCEPT, header::ACCEPT_LANGUAGE] {
            for value in request.headers().get_all(&name) {
                preferences.append(&name, value.clone());
            }
        }
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            preferences,
            is_program: is_programmatic(request.headers()),
        }
    }

    /// Returns whether the request comes from a person who opens a URL, and not from a program that expects JSON.
    pub(in crate::http) fn prefers_page(&self) -> bool {
        !self.is_program && prefers_html(&self.preferences)
    }

    /// Renders a problem as a page. `retry_href` is the link to continue with, if that is known.
    ///
    /// # Errors
    /// The template's error.
    pub(in crate::http) fn render(
        &self,
        body: &ProblemBody,
        retry_href: Option<&str>,
    ) -> Result<Response, minijinja::Error> {
        let language = language_of_request(&self.uri, &self.preferences);
        let (title, detail) = language.problem(&body.code, body.status);
        let is_reading = matches!(self.method, Method::GET | Method::HEAD);
        let is_temporary = matches!(body.status, 408 | 429 | 431 | 500..);
        // An empty href reloads the page.
        let again = retry_href.or((is_reading && is_temporary).then_some(""));
        let is_late = body.status == StatusCode::SERVICE_UNAVAILABLE.as_u16();
        let refresh_secs = body.retry_after.filter(|_| is_late && is_reading && retry_href.is_none());
        let html = RENDERER.templates.get_template("problem.html")?.render(context! {
            lang => &language.tag,
            text => language.problem_texts(),
            title,
            detail,
            again,
            icon => if is_late || body.status == 429 { "late" } else { "fault" },
            refresh_secs => refresh_secs.map(|secs| secs.clamp(*REFRESH_SECS.start(), *REFRESH_SECS.end())),
            style => minijinja::value::Value::from_safe_string(style().to_owned()),
            code => &body.code,
            request_id => &body.request_id,
        })?;
        let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        let policy = [(header::CONTENT_SECURITY_POLICY, POLICY.as_str())];
        Ok((kind, policy, NO_PERMISSIONS, language_headers(language), html).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn link(method: Method, status: u16, retry_href: Option<&str>) -> String {
        let request = Request::builder().method(method).uri("/x?y=z").body(axum::body::Body::empty()).unwrap();
        let body = ProblemBody {
            r#type: String::new(),
            title: String::new(),
            status,
            detail: String::new(),
            code: "any".to_owned(),
            retry_after: None,
            request_id: None,
        };
        let page = ProblemContext::of(&request).render(&body, retry_href).unwrap();
        let page = axum::body::to_bytes(page.into_body(), usize::MAX).await.unwrap();
        let page = str::from_utf8(&page).unwrap().replace("&#x2f;", "/");
        let link = page.split("<a class=\"button\" ").nth(1).unwrap().split("</a>").next().unwrap();
        link.to_owned()
    }

    #[tokio::test]
    async fn the_page_of_a_temporary_fault_loads_the_same_address_again() {
        for status in [408, 429, 431, 500, 503] {
            assert_eq!(link(Method::GET, status, None).await, "href=\"\">Try again", "{status}");
            assert_eq!(link(Method::POST, status, None).await, "href=\"/\">Go to the home page", "{status}");
        }
        for status in [400, 403, 404] {
            assert_eq!(link(Method::GET, status, None).await, "href=\"/\">Go to the home page", "{status}");
        }
        assert_eq!(link(Method::POST, 503, Some("/reports")).await, "href=\"/reports\">Try again");
    }
}
