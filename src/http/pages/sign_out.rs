//! The pages of a sign-out: the question, and that it is done. They need no script.

use axum::http::header;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use minijinja::context;

use super::headers::{KEEP_OPENER, NO_PERMISSIONS, language_headers, policy_source};
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
    /// Whether to sign out.
    Question,
    /// It is done.
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
    })?;
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    let policy = [(header::CONTENT_SECURITY_POLICY, content_security_policy(request.back.as_deref(), is_question))];
    // The gateway's own page must be known as the source of the form. No other site learns the address.
    let referrer = [(header::REFERRER_POLICY, if is_question { "same-origin" } else { "no-referrer" })];
    Ok((kind, policy, referrer, KEEP_OPENER, NO_PERMISSIONS, language_headers(language), html).into_response())
}

/// The form goes to the gateway, which redirects it to the client's address: browsers apply the rule to the redirect, too.
fn content_security_policy(back: Option<&str>, is_question: bool) -> String {
    let back = back.and_then(policy_source).map(|source| format!(" {source}")).unwrap_or_default();
    let form_action = if is_question { format!("'self'{back}") } else { "'none'".to_owned() };
    format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action {form_action}; base-uri 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_may_lead_to_the_gateway_and_the_client_alone() {
        for (back, form_action) in [
            (None, "form-action 'self';"),
            (Some("https://app.example/out?state=%3B"), "form-action 'self' https://app.example;"),
            (Some("http://127.0.0.1:81/out"), "form-action 'self' http://127.0.0.1:81;"),
            (Some("com.example.app:/out"), "form-action 'self' com.example.app:;"),
        ] {
            let policy = content_security_policy(back, true);
            assert!(policy.contains(form_action), "{policy}");
        }
        assert!(content_security_policy(Some("https://app.example/"), false).contains("form-action 'none';"));
    }
}
