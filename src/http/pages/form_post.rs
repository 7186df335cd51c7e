//! The page that posts an answer to a client (OAuth 2.0 Form Post Response Mode). Its script submits the form
//! immediately; without scripts, the person presses its button.

use axum::http::header;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use minijinja::context;

use super::headers::{KEEP_OPENER, NO_PERMISSIONS, language_headers, policy_source};
use super::language_of_request;
use super::renderer::RENDERER;
use crate::clients::Client;
use crate::http::problem::Problem;
use crate::openid_provider::answer::Answer;

/// Renders the page.
///
/// # Errors
/// The template's error.
pub(in crate::http) fn form_post(
    client: &Client,
    answer: &Answer,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let language = language_of_request(uri, headers);
    let html = RENDERER.templates.get_template("form-post.html")?.render(context! {
        lang => &language.tag,
        text => language.form_post_texts(),
        name => &client.name,
        action => &answer.redirect_uri,
        fields => &answer.fields,
    })?;
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    let policy = [(header::CONTENT_SECURITY_POLICY, content_security_policy(&answer.redirect_uri))];
    Ok((kind, policy, KEEP_OPENER, NO_PERMISSIONS, language_headers(language), html).into_response())
}

/// The page may post to the client's origin or app, and to nothing else.
fn content_security_policy(redirect_uri: &str) -> String {
    let form_action = policy_source(redirect_uri).unwrap_or_else(|| "'none'".to_owned());
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action {form_action}; base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_may_go_to_the_client_alone() {
        for (redirect_uri, form_action) in [
            ("https://app.example/cb?x=%3B", "form-action https://app.example;"),
            ("http://127.0.0.1:81/cb", "form-action http://127.0.0.1:81;"),
            ("com.example.app:/cb", "form-action com.example.app:;"),
            ("no address", "form-action 'none';"),
        ] {
            let policy = content_security_policy(redirect_uri);
            assert!(policy.contains(form_action), "{policy}");
        }
    }
}
