//! The sign-in page.

use std::time::Duration;

use serde_json::json;

use super::{HOLD, LET_GO, Walk, another, be_offline, go_offline, shown};
use crate::support::browser::Chromium;
use crate::support::{eventually, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_sign_in_page_in_english() {
    walk("en").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sign_in_page_in_chinese() {
    walk("zh").await;
}

async fn walk(lang: &'static str) {
    let site = site().await;
    let clients =
        format!("[[clients]]\nid = \"site\"\nname = \"Shop\"\nredirect_uris = [{site:?}]\ntoken_auth = \"none\"\n");
    let mut walk = Walk::start_with("sign-in", lang, &clients).await;
    let screen = walk.open().await;
    through_a_sign_in(&mut walk, &screen).await;
    through_refusals(&mut walk, &screen).await;
    through_expiry(&mut walk, &screen).await;
    // The page of an app has one line more, the link back to it.
    walk.places.clear();
    back_to_a_site(&mut walk, &screen, &site).await;
    walk.places.clear();
    walk.look_without_scripts(&screen, "/").await;
    through_failures(&mut walk, &screen).await;
    // The site is not the gateway.
    screen.messages().await;
    walk.end(screen).await;
}

async fn fresh(walk: &Walk, screen: &Chromium, client: &str) -> String {
    walk.go(screen, &format!("/?client_id={client}"), "waiting").await;
    shown(screen).await
}

async fn through_a_sign_in(walk: &mut Walk, screen: &Chromium) {
    let id = fresh(walk, screen, "web").await;
    walk.stop(screen, "waiting", "waiting", "body").await;
    let ada = walk.phone("Ada Lovelace").await;
    ada.act(&id, "open").await;
    screen.until_seen(".scangate[data-reason=opened]").await;
    walk.stop(screen, "opened", "opened", "body").await;
    ada.act(&id, "scan").await;
    screen.until("scanned").await;
    walk.stop(screen, "scanned", "scanned", "body").await;
    ada.act(&id, "confirm").await;
    screen.until("confirmed").await;
    walk.stop(screen, "confirmed", "confirmed", "#heading").await;

    let id = fresh(walk, screen, "choose").await;
    walk.phone(super::LONG_NAME).await.act(&id, "scan").await;
    screen.until("scanned").await;
    walk.stop(screen, "number", "numbered", "body").await;

    let id = fresh(walk, screen, "web").await;
    walk.phone(super::LONG_NAME).await.act(&id, "scan").await;
    screen.until("scanned").await;
    walk.stop(screen, "scanned-long", "scanned", "body").await;

    fresh(walk, screen, "low").await;
    walk.stop(screen, "waiting-low", "waiting", "body").await;
}

async fn through_refusals(walk: &mut Walk, screen: &Chromium) {
    let id = fresh(walk, screen, "web").await;
    let ada = walk.phone("Ada").await;
    ada.act(&id, "scan").await;
    ada.act(&id, "cancel").await;
    screen.until("declined").await;
    walk.stop(screen, "declined", "declined", ".scangate-refresh").await;

    // From here on by the button, whose focus is not lost on the way.
    screen.run(HOLD).await;
    screen.press("Enter").await;
    screen.until("loading").await;
    walk.stop(screen, "loading", "loading", ".scangate").await;
    screen.run(LET_GO).await;
    let id = another(screen, &id).await;
    walk.listen(screen, "again", "waiting", ".scangate").await;

    let closes = |id: &str, reason: &str| {
        format!("return fetch('/v1/tickets/{id}?reason={reason}', {{ method: 'DELETE' }}).then(() => null)")
    };
    screen.run(&closes(&id, "closed")).await;
    screen.until("cancelled").await;
    walk.stop(screen, "closed", "closed", ".scangate-refresh").await;
    let id = fresh(walk, screen, "web").await;
    screen.run(&closes(&id, "superseded")).await;
    screen.until("cancelled").await;
    walk.stop(screen, "superseded", "superseded", ".scangate-refresh").await;

    let id = fresh(walk, screen, "choose").await;
    ada.act(&id, "scan").await;
    screen.until("scanned").await;
    let number = screen.text(".scangate-number").await;
    ada.act_with(&id, "confirm", json!({ "match": if number == "10" { "11" } else { "10" } })).await;
    screen.until("cancelled").await;
    walk.stop(screen, "mismatch", "mismatch", ".scangate-refresh").await;
}

async fn through_expiry(walk: &mut Walk, screen: &Chromium) {
    let mut id = fresh(walk, screen, "web").await;
    // Somebody is about to press the link when the code is renewed.
    screen.run("document.querySelector('.scangate-link').focus()").await;
    for _ in 0..5 {
        walk.run_out(&id);
        id = another(screen, &id).await;
    }
    // The link was away for a moment.
    walk.stop(screen, "renewed", "waiting", ".scangate-link").await;
    walk.run_out(&id);
    screen.until("expired").await;
    walk.stop(screen, "expired", "expired", ".scangate-refresh").await;

    let id = fresh(walk, screen, "web").await;
    screen.run("Object.defineProperty(Document.prototype, 'hidden', { value: true, configurable: true })").await;
    walk.run_out(&id);
    screen.until("expired").await;
    walk.stop(screen, "away", "away", ".scangate-refresh").await;
    screen.run("delete Document.prototype.hidden; document.dispatchEvent(new Event('visibilitychange'))").await;
    another(screen, &id).await;
}

async fn back_to_a_site(walk: &mut Walk, screen: &Chromium, site: &str) {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", "site"), ("response_type", "code"), ("scope", "openid"), ("redirect_uri", site)])
        .extend_pairs([("code_challenge", "x".repeat(43).as_str()), ("code_challenge_method", "S256")])
        .finish();
    walk.go(screen, &format!("/oauth2/authorize?{query}"), "waiting").await;
    let id = shown(screen).await;
    walk.phone("Ada Lovelace").await.approve(&id).await;
    screen.until("confirmed").await;
    walk.stop(screen, "returning", "returning", "body").await;
    let is_stuck = async || (screen.body("data-result").await.as_deref() == Some("yes")).then_some(());
    within(Duration::from_secs(20), "the way out", is_stuck).await;
    // Its words come with the next tick.
    let says = walk.text("stuck")[1].as_str().unwrap().replace("{name}", "Shop");
    eventually("the words", async || (screen.text(".scangate-detail").await == says).then_some(())).await;
    walk.stop(screen, "stuck", "stuck", "#heading").await;
}

async fn through_failures(walk: &mut Walk, screen: &Chromium) {
    let id = fresh(walk, screen, "web").await;
    go_offline(screen).await;
    walk.stop(screen, "offline", "waiting", "body").await;
    be_offline(screen, false).await;
    screen.until("waiting").await;
    walk.stop(screen, "back", "waiting", "body").await;

    walk.phone("Ada Lovelace").await.act(&id, "scan").await;
    screen.until("scanned").await;
    walk.stage.gateway.process.kill();
    screen.until("offline").await;
    walk.stop(screen, "reconnecting", "scanned", "body").await;
    walk.restart(None).await;
    screen.until("scanned").await;

    let id = fresh(walk, screen, "web").await;
    walk.stage.gateway.process.kill();
    screen.until("offline").await;
    screen.click(".scangate-renew").await;
    screen.until("error").await;
    walk.stop(screen, "gateway-down", "unreachable", ".scangate").await;

    walk.restart(Some("--rate-create")).await;
    // By itself.
    another(screen, &id).await;
    screen.click(".scangate-renew").await;
    screen.until("error").await;
    walk.stop(screen, "busy", "busy", ".scangate").await;

    walk.restart(None).await;
    fresh(walk, screen, "web").await;
    walk.stage.edge.stop();
    screen.until("offline").await;
    screen.click(".scangate-renew").await;
    screen.until("error").await;
    walk.stop(screen, "unreachable", "unreachable", ".scangate").await;
}

/// A site that has nothing to say: a browser that is sent there stays where it is.
async fn site() -> String {
    let app = axum::Router::new().fallback(|| async { axum::http::StatusCode::NO_CONTENT });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    eventually("the site", async || reqwest::get(format!("http://{address}/")).await.ok()).await;
    format!("http://{address}/signed-in")
}
