//! Problems as pages: what people are told, in words and in their language, where a program would be told JSON.
//!
//! Such a page loads nothing. It may be about a request that is too large, which its files' would be too, and it may stand
//! on a site's own host, where the pages' files are not.

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
use super::query::parameter;
use super::renderer::RENDERER;
use crate::http::fields::is_of_a_program;
use crate::http::problem::ProblemBody;
use crate::http::weights::prefers_html;

/// Its style sheet, which stands in the page itself.
const STYLE: &str = "parts/problem.css";
/// The least and the longest time after which a page that is told to come back does so, in seconds.
const REFRESH_SECS: std::ops::RangeInclusive<u64> = 5..=60;

/// What a page may do: nothing but have its own style.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, style().as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

fn style() -> &'static str {
    files::text(STYLE).unwrap_or_default()
}

/// What decides how a problem is told: what was asked for, and which kind of answer and language are preferred.
pub(in crate::http) struct Reader {
    method: Method,
    uri: Uri,
    preferences: HeaderMap,
    is_program: bool,
}

impl Reader {
    /// Notes it of a request, before that is handed on.
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
            is_program: is_of_a_program(request.headers()),
        }
    }

    /// Returns whether this is a person who opens an address, to whom a page says more than JSON.
    pub(in crate::http) fn prefers_page(&self) -> bool {
        !self.is_program && prefers_html(&self.preferences)
    }

    /// Returns a problem as a page. `retry_href` is where the person goes on to, if that is known.
    ///
    /// # Errors
    /// The template's.
    pub(in crate::http) fn page(
        &self,
        body: &ProblemBody,
        retry_href: Option<&str>,
    ) -> Result<Response, minijinja::Error> {
        let language = RENDERER.languages.choose(parameter(&self.uri, "lang").as_deref(), &self.preferences);
        let (title, detail) = language.problem(&body.code, body.status);
        let is_reading = matches!(self.method, Method::GET | Method::HEAD);
        let is_for_later = matches!(body.status, 408 | 429 | 431 | 500..);
        // An empty address is that of the page itself, which is asked for again.
        let again = retry_href.or((is_reading && is_for_later).then_some(""));
        let is_late = body.status == StatusCode::SERVICE_UNAVAILABLE.as_u16();
        let refresh_secs = body.retry_after.filter(|_| is_late && is_reading && retry_href.is_none());
        let html = RENDERER.templates.get_template("problem.html")?.render(context! {
            lang => &language.tag,
            text => language.problem_texts(),
            title,
            detail,
            again,
            sign => if is_late || body.status == 429 { "late" } else { "fault" },
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
