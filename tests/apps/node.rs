//! Libraries for Node: `openid-client`, `oauth4webapi` and `passport-openidconnect`.

use serde_json::json;

use super::*;
use crate::support::provider::node;

/// An app in Node, and its provider.
struct Site {
    provider: Provider,
    app: App,
    here: String,
}

impl Site {
    async fn start(script: &str, clients: impl Fn(&str) -> String, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let here = format!("http://localhost:{port}");
        let provider = Provider::start(&clients(&here)).await;
        let mut command = Command::new(node());
        command.arg(program(&format!("node/{script}"))).env("ISSUER", provider.issuer()).env("PORT", port.to_string());
        command.env("CLIENT_SECRET", SECRET).envs(settings.iter().copied());
        program("node/node_modules");
        let app = App::start(&mut command, port);
        Self { provider, app, here }
    }

    /// Signs in, and returns what the app shows then.
    async fn sign_in(&self) -> Value {
        self.provider.sign_in(&format!("{}/sign-in", self.here)).await;
        self.provider.shown().await
    }

    /// Makes the app do something for which it needs no browser.
    async fn asks(&self, path: &str) -> Value {
        reqwest::get(format!("{}{path}", self.here)).await.unwrap().json().await.unwrap()
    }

    /// Opens a page of the app, and returns what the app shows in the end.
    async fn opens(&self, path: &str) -> Value {
        self.provider.desk.goto(&format!("{}{path}", self.here)).await;
        self.provider.desk_is_at(&self.here).await;
        self.provider.shown().await
    }
}

async fn openid_client_does_all(auth: &str, algorithm: &str) {
    let clients = |here: &str| {
        let further = format!(
            "signing_alg = {algorithm:?}\nscopes = [\"openid\", \"profile\", \"email\", \"offline_access\"]\n\
             refresh_tokens = \"offline_access\"\nsingle_sign_on = true\n\
             post_logout_redirect_uris = [\"{here}/bye\"]\n"
        );
        let callback = format!("{here}/callback");
        if auth == "none" {
            public_client("app", &callback, &format!("token_auth = \"none\"\n{further}"))
        } else {
            client("app", &callback, &format!("token_auth = {auth:?}\n{further}"))
        }
    };
    let site = Site::start("openid-client.mjs", clients, &[("AUTH", auth)]).await;
    let first = site.sign_in().await;
    let claims = &first["claims"];
    assert_eq!(
        (&claims["sub"], &claims["email"], &claims["name"]),
        (&json!("ada"), &json!(ADA), &json!("Ada")),
        "{first}"
    );
    assert_eq!(first["userinfo"], json!({ "sub": "ada", "name": "Ada", "email": ADA }));
    assert_eq!(claims.get("email_verified"), None, "the identity provider says nothing of it");

    // The browser is signed in at the gateway: no second scan.
    let silent = site.opens("/sign-in?prompt=none").await;
    assert_eq!((&silent["claims"]["sub"], &silent["claims"]["sid"]), (&json!("ada"), &claims["sid"]), "{silent}");

    let refreshed = site.asks("/refresh").await;
    assert_eq!((&refreshed["rotated"], &refreshed["claims"]["sub"]), (&json!(true), &json!("ada")), "{refreshed}");
    assert_eq!(refreshed["claims"]["sid"], claims["sid"]);
    if auth != "none" {
        let described = site.asks("/introspect").await;
        assert_eq!((&described["active"], &described["client_id"]), (&json!(true), &json!("app")), "{described}");
    }
    assert_eq!(site.asks("/userinfo").await["sub"], "ada");
    assert_eq!(site.asks("/revoke").await, json!({}));
    assert_eq!(site.asks("/refresh").await, json!({ "error": "invalid_grant" }));
    assert_eq!(site.asks("/userinfo").await, json!({ "error": "invalid_token" }));

    assert_eq!(site.opens("/sign-out").await, json!({ "state": "of the app" }), "{}", site.app.log());
    assert_eq!(site.opens("/sign-in?prompt=none").await, json!({ "error": "login_required" }));
    site.provider.desk.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openid_client_does_all_that_it_can() {
    for (auth, algorithm) in [("basic", "RS256"), ("post", "EdDSA"), ("none", "ES256")] {
        openid_client_does_all(auth, algorithm).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openid_client_verifies_how_long_ago_a_person_signed_in() {
    let clients = |here: &str| client("app", &format!("{here}/callback"), "");
    let site = Site::start("openid-client.mjs", clients, &[("AUTH", "post")]).await;
    site.provider.desk.goto(&format!("{}/sign-in?prompt=consent&max_age=3600", site.here)).await;
    site.provider.confirm_code_of(|claims| claims["auth_time"] = json!(now() - 60)).await;
    site.provider.desk_is_at(&site.here).await;
    let shown = site.provider.shown().await;
    assert!(shown["claims"]["auth_time"].as_u64().is_some_and(|at| now() - at >= 60), "{shown}");
    site.provider.desk.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth4webapi_does_all_that_it_can_and_a_code_that_it_sends_twice_ends_its_tokens() {
    for mode in ["query", "form_post"] {
        let clients = |here: &str| {
            let further = format!(
                "scopes = [\"openid\", \"email\", \"offline_access\"]\nrefresh_tokens = \"offline_access\"\n\
                 single_sign_on = true\npost_logout_redirect_uris = [\"{here}/bye\"]\n"
            );
            client("app", &format!("{here}/callback"), &further)
        };
        let site = Site::start("oauth4webapi.mjs", clients, &[("MODE", mode)]).await;
        let shown = site.sign_in().await;
        let method = if mode == "query" { "GET" } else { "POST" };
        assert_eq!((&shown["method"], &shown["claims"]["email"]), (&json!(method), &json!(ADA)), "{shown}");
        assert_eq!(shown["userinfo"], json!({ "sub": "ada", "email": ADA }));
        assert_eq!(site.asks("/again").await, json!({ "error": "invalid_grant" }));
        assert_eq!(site.asks("/userinfo").await, json!({ "error": "invalid_token" }));

        // The browser is signed in at the gateway: no second scan.
        let second = site.opens("/sign-in").await;
        assert_eq!(
            (&second["method"], &second["claims"]["sid"]),
            (&json!(method), &shown["claims"]["sid"]),
            "{second}"
        );
        let refreshed = site.asks("/refresh").await;
        assert_eq!((&refreshed["rotated"], &refreshed["claims"]["sub"]), (&json!(true), &json!("ada")), "{refreshed}");
        assert_eq!(site.asks("/userinfo").await["sub"], "ada");
        assert_eq!(site.asks("/revoke").await, json!({}));
        assert_eq!(site.asks("/refresh").await, json!({ "error": "invalid_grant" }));
        assert_eq!(site.asks("/userinfo").await, json!({ "error": "invalid_token" }));
        assert_eq!(site.opens("/sign-out").await, json!({ "signedOut": true }), "{}", site.app.log());
        assert_eq!(site.opens("/sign-in?prompt=none").await, json!({ "error": "login_required" }));
        site.provider.desk.end_after_refusals().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passport_signs_people_in() {
    for algorithm in ["RS256", "ES256"] {
        let clients = |here: &str| client("app", &format!("{here}/callback"), &format!("signing_alg = {algorithm:?}"));
        let site = Site::start("passport.mjs", clients, &[]).await;
        site.provider.sign_in(&format!("{}/", site.here)).await;
        let shown = site.provider.shown().await;
        assert_eq!((&shown["id"], &shown["displayName"]), (&json!("ada"), &json!("Ada")), "{}", site.app.log());
        assert_eq!(shown["emails"][0]["value"], ADA);
        assert_eq!(shown["issuer"], site.provider.issuer());
        site.provider.desk.end_after_refusals().await;
    }
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}
