//! `oidc-client-ts` in a single-page app: a public client, whose every request comes from the browser.

use std::path::Path;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use axum::routing::get;
use serde_json::json;

use super::*;

const PAGE: &str = include_str!("spa/page.html");

/// The app's address, its provider and its scopes.
struct Spa {
    provider: Provider,
    here: String,
}

impl Spa {
    /// Starts it at `host`. Only an app of the gateway's own site has the gateway's cookies in its frames.
    async fn start(host: &str, scope: &str, further: &str) -> Self {
        let listener = tokio::net::TcpListener::bind((host, 0)).await.unwrap();
        let here = format!("http://{host}:{}", listener.local_addr().unwrap().port());
        let pages: Vec<String> = ["callback", "silent", "popup"].map(|page| format!("{here}/{page}")).into();
        let table = format!(
            "[[clients]]\nid = \"spa\"\nname = \"The App\"\ntoken_auth = \"none\"\norigins = [{here:?}]\n\
             redirect_uris = {pages:?}\npost_logout_redirect_uris = [\"{here}/bye\", \"{here}/bye-popup\"]\n{further}\n"
        );
        let provider = Provider::start(&table).await;
        let page = PAGE.replace("ISSUER", provider.issuer()).replace("CLIENT", "spa").replace("SCOPE", scope);
        let library = program("node/node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js");
        tokio::spawn(serve(listener, page, library));
        Self { provider, here }
    }

    async fn home(&self) {
        self.provider.desk.goto(&format!("{}/", self.here)).await;
        self.says(|text| text == "home").await;
    }

    /// Waits until the page shows an accepted text, and returns it.
    async fn says(&self, is_right: impl Fn(&str) -> bool) -> String {
        let look = async || {
            let said =
                self.provider.desk.run("var out = document.getElementById('out'); return out && out.textContent").await;
            let said = said.as_str().unwrap_or_default().to_owned();
            assert!(!said.starts_with("failed") || is_right(&said), "{said}");
            is_right(&said).then_some(said)
        };
        within(PATIENCE, "what the page says", look).await
    }

    async fn sign_in(&self) -> Value {
        self.home().await;
        self.provider.desk.run("manager.signinRedirect()").await;
        self.provider.confirm_code().await;
        self.provider.desk_is_at(&format!("{}/callback", self.here)).await;
        serde_json::from_str(&self.says(|text| text.starts_with('{')).await).unwrap()
    }

    /// Runs a script that returns a promise, and returns the promise's value.
    async fn does(&self, script: &str) -> Value {
        let script = format!("return (async () => {{ {script} }})().catch((error) => 'failed: ' + error)");
        self.provider.desk.run(&script).await
    }

    async fn sign_out(&self) {
        self.provider.desk.run("manager.signoutRedirect()").await;
        self.provider.desk_is_at(&format!("{}/bye", self.here)).await;
        self.says(|text| text == "signed out").await;
        self.home().await;
        let renew = "return await manager.signinSilent().then((user) => user.profile, (error) => error.error)";
        assert_eq!(self.does(renew).await, "login_required");
    }
}

async fn serve(listener: tokio::net::TcpListener, page: String, library: impl AsRef<Path>) {
    let library = std::fs::read_to_string(library).unwrap();
    let script = get(move || std::future::ready(([(CONTENT_TYPE, "text/javascript")], library.clone())));
    let page = get(move || std::future::ready(Html(page.clone())));
    axum::serve(listener, Router::new().route("/oidc-client-ts.js", script).fallback(page)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_spa_of_the_gateways_site_renews_in_a_frame_and_signs_in_by_popup() {
    let spa = Spa::start("127.0.0.1", "openid profile email", "single_sign_on = true").await;
    let profile = spa.sign_in().await;
    assert_eq!((&profile["sub"], &profile["email"]), (&json!("ada"), &json!(ADA)), "{profile}");
    spa.home().await;
    let renew = "const before = await manager.getUser();
        const after = await manager.signinSilent();
        return [Boolean(before.refresh_token), after.access_token !== before.access_token, after.profile.sub]";
    assert_eq!(spa.does(renew).await, json!([false, true, "ada"]));

    // The app forgets its person; the gateway does not.
    let popup = "await manager.removeUser(); return (await manager.signinPopup()).profile.sub";
    assert_eq!(spa.does(popup).await, "ada");
    spa.sign_out().await;
    spa.provider.desk.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_spa_of_another_site_renews_by_refresh_token() {
    let further =
        "scopes = [\"openid\", \"profile\", \"email\", \"offline_access\"]\nrefresh_tokens = \"offline_access\"";
    let spa = Spa::start("localhost", "openid profile email offline_access", further).await;
    assert_eq!(spa.sign_in().await["sub"], "ada");
    spa.home().await;
    let renew = "const before = await manager.getUser();
        const after = await manager.signinSilent();
        return [before.refresh_token !== after.refresh_token, after.access_token !== before.access_token, after.profile.sub]";
    assert_eq!(spa.does(renew).await, json!([true, true, "ada"]));
    assert_eq!(spa.does(renew).await, json!([true, true, "ada"]), "and again by the token that came");
    spa.sign_out().await;
    spa.provider.desk.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_spa_shows_the_code_in_a_popup_and_signs_out_by_one() {
    let spa = Spa::start("localhost", "openid profile email", "").await;
    spa.home().await;
    let begin = "manager.signinPopup().then((user) => say('popup ' + user.profile.sub), fail)";
    spa.provider.desk.run(begin).await;
    spa.provider.desk.be_at_window(1).await;
    spa.provider.confirm_code().await;
    spa.provider.desk.be_at_window(0).await;
    spa.says(|text| text == "popup ada").await;
    spa.provider.desk.run("manager.signoutPopup().then(() => say('popup signed out'), fail)").await;
    spa.says(|text| text == "popup signed out").await;
    assert_eq!(spa.does("return await manager.getUser()").await, json!(null));
    spa.provider.desk.end_after_refusals().await;
}
