//! The pages of a sign-out: the question, and the confirmation. They need no script.
//!
//! The answer to the button is a page that leads on to the client, not a redirect. Chromium applies the `form-action`
//! of the question to every redirect that follows, and a client may redirect to any other origin.

use axum::http::header;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use minijinja::context;

use super::headers::{KEEP_OPENER, NO_PERMISSIONS, language_headers};
use super::language_of_request;
use super::people::Site;
use super::renderer::RENDERER;
use crate::http::oauth2::paths::CONFIRM_LOGOUT_PATH;
use crate::http::problem::Problem;
use crate::http::state::Gateway;
use crate::openid_provider::sign_out::SignOutRequest;

/// The page of a sign-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum SignOutView {
    /// The question whether to sign out.
    Question,
    /// The person is signed out. The page leads on to the client, if the request has an address.
    Done,
}

/// Renders the page.
///
/// # Errors
/// The template's error.
pub(in crate::http) fn sign_out(
    gateway: &Gateway,
    request: &SignOutRequest,
    view: SignOutView,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let language = language_of_request(uri, headers);
    let is_question = view == SignOutView::Question;
    let action = format!("{CONFIRM_LOGOUT_PATH}?{}", uri.query().unwrap_or_default());
    let html = RENDERER.templates.get_template("sign-out.html")?.render(context! {
        lang => &language.tag,
        text => language.sign_out_texts(),
        name => Site::of(gateway, request.client.as_deref()).name,
        action => is_question.then_some(action),
        back => request.back.as_deref().filter(|_| !is_question),
    })?;
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    let policy = [(header::CONTENT_SECURITY_POLICY, content_security_policy(is_question))];
    // The form's request must show that it comes from the gateway's own page. No other site learns the address.
    let referrer = [(header::REFERRER_POLICY, if is_question { "same-origin" } else { "no-referrer" })];
    Ok((kind, policy, referrer, KEEP_OPENER, NO_PERMISSIONS, language_headers(language), html).into_response())
}

fn content_security_policy(is_question: bool) -> String {
    let form_action = if is_question { "'self'" } else { "'none'" };
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action {form_action}; base-uri 'none'; frame-ancestors 'none'"
    )
}
