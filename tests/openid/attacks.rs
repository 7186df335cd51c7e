//! The attacks on the OpenID Provider that `docs/security.md` lists. Each test performs one attack to its end, and
//! checks what the attacker then has, and whether the honest sign-in still works.

mod browser;
mod code;
mod leaks;
mod mix_up;
mod parameters;
mod redirects;
mod request;
mod sessions;
mod token_kinds;
mod tokens;

use reqwest::{Response, StatusCode};

/// Returns the text of an error page, without the parts that differ between requests; fails if the page redirects.
async fn page(response: Response, what: &str) -> (StatusCode, String) {
    let status = response.status();
    assert_eq!(response.headers().get("location"), None, "{what}");
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{what}");
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    (status, response.text().await.unwrap().replace(&id, "ID"))
}
