//! What is tried against the OpenID Provider, as `docs/security.md` lists it. Each test plays one attack to its end, and looks at
//! what the attacker then has, and at what is left of the honest sign-in.

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

/// Returns the text of a page in words, without what differs from request to request; fails if the browser is led anywhere.
async fn page(response: Response, what: &str) -> (StatusCode, String) {
    let status = response.status();
    assert_eq!(response.headers().get("location"), None, "{what}");
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{what}");
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    (status, response.text().await.unwrap().replace(&id, "ID"))
}
