//! The plan *RP-Initiated Logout*.

use reqwest::{Response, StatusCode};

use super::{BYE, Suite};
use crate::support::openid::{Answer, random};

/// A browser in which a person is signed in, and its app's knowledge of the sign-in.
struct SignedIn {
    suite: Suite,
    hint: String,
    state: String,
}

impl SignedIn {
    async fn start() -> Self {
        let suite = Suite::start(None).await;
        let request = suite.request("openid");
        let (tokens, _) = suite.tokens(&request, &suite.authorize(&request).await).await;
        Self { suite, hint: tokens.id, state: random() }
    }

    async fn sign_out(&self, pairs: &[(&str, &str)]) -> Response {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.suite.screen.open(&format!("/oauth2/logout?{query}"), "cross-site").await
    }

    async fn is_signed_in(&self) -> bool {
        let query = self.suite.request("openid").set("prompt", "none").query();
        let answer = Answer::of(self.suite.screen.arrive(&query).await).await;
        answer.field("error").is_empty()
    }

    /// The page with a question or an explanation, which leads nowhere else.
    async fn is_asked(&self, pairs: &[(&str, &str)]) {
        let page = self.sign_out(pairs).await;
        assert_eq!(page.headers().get("location"), None);
        assert!([StatusCode::OK, StatusCode::BAD_REQUEST].contains(&page.status()));
        assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
        assert!(self.is_signed_in().await, "signed out without being asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout_discovery_endpoint_verification() {
    let suite = Suite::start(None).await;
    let document = reqwest::get(suite.gateway.url("/.well-known/openid-configuration")).await.unwrap();
    let document: serde_json::Value = document.json().await.unwrap();
    assert_eq!(document["end_session_endpoint"], format!("{}/oauth2/logout", suite.gateway.public_url));
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout() {
    let there = SignedIn::start().await;
    let (hint, bye, state) =
        (("id_token_hint", &*there.hint), ("post_logout_redirect_uri", BYE), ("state", &*there.state));
    let answer = Answer::of(there.sign_out(&[hint, bye, state]).await).await;
    assert_eq!((answer.to.as_str(), answer.field("state")), (BYE, &*there.state));
    assert!(!there.is_signed_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout_bad_post_logout_redirect_uri() {
    let there = SignedIn::start().await;
    let bad = ("post_logout_redirect_uri", "https://suite.example/bye/other");
    there.is_asked(&[("id_token_hint", &there.hint), bad, ("state", &there.state)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout_modified_id_token_hint() {
    let there = SignedIn::start().await;
    let body = there.hint.split('.').nth(1).unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{body}.");
    there.is_asked(&[("id_token_hint", &unsigned), ("post_logout_redirect_uri", BYE), ("state", &there.state)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout_no_id_token_hint() {
    let there = SignedIn::start().await;
    there.is_asked(&[("post_logout_redirect_uri", BYE), ("state", &there.state)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout_no_params() {
    let there = SignedIn::start().await;
    there.is_asked(&[]).await;
    // The button on that page.
    let page = there.sign_out(&[]).await.text().await.unwrap();
    assert!(
        page.contains("<form id=\"sign-out\" method=\"post\" action=\"&#x2f;oauth2&#x2f;logout&#x2f;confirm?\">"),
        "{page}"
    );
    let pressed = there.suite.screen.post("/oauth2/logout/confirm", &serde_json::json!({})).await;
    assert_eq!(pressed.status(), StatusCode::OK);
    assert!(pressed.text().await.unwrap().contains("You’re signed out"));
    assert!(!there.is_signed_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout_no_post_logout_redirect_uri() {
    let there = SignedIn::start().await;
    let page = there.sign_out(&[("id_token_hint", &there.hint), ("state", &there.state)]).await;
    assert_eq!((page.status(), page.headers().get("location")), (StatusCode::OK, None));
    assert!(!there.is_signed_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout_no_state() {
    let there = SignedIn::start().await;
    let answer = there.sign_out(&[("id_token_hint", &there.hint), ("post_logout_redirect_uri", BYE)]).await;
    let answer = Answer::of(answer).await;
    assert_eq!((answer.to.as_str(), answer.fields.is_empty()), (BYE, true));
    assert!(!there.is_signed_in().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout_only_state() {
    let there = SignedIn::start().await;
    there.is_asked(&[("state", &there.state)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri() {
    let there = SignedIn::start().await;
    let added = format!("{BYE}?foo=bar");
    there
        .is_asked(&[("id_token_hint", &there.hint), ("post_logout_redirect_uri", &added), ("state", &there.state)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidcc_rp_initiated_logout_bad_id_token_hint() {
    let there = SignedIn::start().await;
    let (signed, _) = there.hint.rsplit_once('.').unwrap();
    let bad = format!("{signed}.AAAA");
    there.is_asked(&[("id_token_hint", &bad), ("post_logout_redirect_uri", BYE), ("state", &there.state)]).await;
}
