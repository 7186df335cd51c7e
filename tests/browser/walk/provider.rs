//! The pages of people who sign in at an identity provider, and of what goes wrong on the way.

use serde_json::json;

use super::confirm::in_sight;
use super::{LONG_NAME, Walk};
use crate::browser::provider::{comes_back, is_renewed, sign_in, stage_with};
use crate::browser::{Stage, end_session};
use crate::support::browser::Chromium;
use crate::support::gateway::file;
use crate::support::hostile::{Endpoint, Instead, Lie, Provider};
use crate::support::picture::plain;

/// The most providers that the settings may have.
const MOST_PROVIDERS: usize = 8;

/// An id of no ticket: the page of someone who is not signed in does not look.
const NO_TICKET: &str = "AAAAAAAAAAAAAAAAAAAAAA";

const CLIENTS: &str = r#"
[[clients]]
id = "web"
name = "Web"
flows = ["login", "share"]
claims = ["name", "email"]

[[clients]]
id = "recent"
name = "Web"
claims = ["name", "email"]
max_auth_age = "5m"

[[clients]]
id = "strong"
name = "Web"
claims = ["name"]
acr_values = ["two"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_confirm_page_with_a_provider_in_english() {
    confirm("en").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_confirm_page_with_a_provider_in_chinese() {
    confirm("zh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buttons_of_several_providers_are_on_one_screen() {
    let providers: Vec<_> = (0..MOST_PROVIDERS).map(|_| Provider::start()).collect();
    for lang in ["en", "zh"] {
        for (page, path) in [("confirm", format!("/s/{NO_TICKET}")), ("share", "/share".to_owned())] {
            let mut walk = with_providers(page, lang, &providers[..3]).await;
            let phone = walk.open().await;
            walk.go(&phone, &path, "sign-in").await;
            walk.stop(&phone, "providers", "sign_in_heading", ".").await;
            in_sight(&mut walk, &phone, "providers", "[data-provider=p2]").await;
            walk.end(phone).await;
        }
        let mut walk = with_providers("receive", lang, &providers[..3]).await;
        let phone = walk.open().await;
        walk.go(&phone, &format!("/share/{NO_TICKET}"), "ready").await;
        walk.look(&phone, "ready-providers").await;
        phone.click("#other").await;
        phone.until("sign-in").await;
        walk.stop(&phone, "providers", "sign_in_heading", ".").await;
        walk.end(phone).await;

        let mut walk = with_providers("confirm", lang, &providers).await;
        let phone = walk.open().await;
        walk.go(&phone, &format!("/s/{NO_TICKET}"), "sign-in").await;
        walk.stop(&phone, "providers-all", "sign_in_heading", ".").await;
        in_sight(&mut walk, &phone, "providers-all", "[data-provider=p7]").await;
        walk.end(phone).await;
    }
}

/// A gateway at which people sign in with these. A name that takes more room than most is on one of three buttons.
async fn with_providers(page: &'static str, lang: &'static str, providers: &[Provider]) -> Walk {
    let logos = tempfile::tempdir().unwrap();
    let logo = logos.path().join("logo.png");
    std::fs::write(&logo, plain(60, 60, [200, 30, 30])).unwrap();
    let long = if providers.len() > 3 { "Holding" } else { "Wilhelmina & Söhne Holding" };
    let names = ["Acme", "Keycloak", long, "Entra ID", "Google", "Okta", "Auth0", "authentik"];
    let table = |(at, (name, provider)): (usize, (&str, &Provider))| {
        let logo = if at % 2 == 0 { format!("logo = {logo:?}\n") } else { String::new() };
        provider.table(&format!("p{at}"), &logo).replace(&format!("The p{at}"), name)
    };
    let tables: String = names.into_iter().zip(providers).enumerate().map(table).collect();
    let (directory, config) = file(&format!("{tables}{CLIENTS}"));
    let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
    Walk::on(stage, page, lang, directory)
}

async fn ask(walk: &Walk, client: &str) -> String {
    let (_, ticket) = walk.ask(client).await;
    ticket["ticket_id"].as_str().unwrap().to_owned()
}

async fn confirm(lang: &'static str) {
    let provider = Provider::start();
    let (stage, directory) = stage_with(&provider, CLIENTS).await;
    let mut walk = Walk::on(stage, "confirm", lang, directory);
    let phone = walk.open().await;

    let id = ask(&walk, "web").await;
    walk.go(&phone, &format!("/s/{id}"), "sign-in").await;
    walk.stop(&phone, "provider", "sign_in_heading", ".").await;
    in_sight(&mut walk, &phone, "provider", "[data-provider]").await;
    sign_in(&phone, "scanned").await;
    walk.stop(&phone, "scanned-provider", "question", "#scanned-heading").await;
    end_session(&phone).await;
    phone.click("#confirm").await;
    phone.until("sign-in").await;
    walk.stop(&phone, "provider-again", "sign_in_heading", ".").await;
    sign_in(&phone, "scanned").await;
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    walk.stop(&phone, "confirmed-provider", "confirmed", "#outcome-title").await;
    phone.click("#sign-out").await;
    phone.until("signed-out").await;
    walk.stop(&phone, "signed-out", "signed_out", "#outcome-title").await;

    provider.lie(Lie::claims(|claims| claims["auth_time"] = json!(claims["iat"].as_u64().unwrap() - 3600)));
    let id = ask(&walk, "recent").await;
    walk.go(&phone, &format!("/s/{id}"), "sign-in").await;
    sign_in(&phone, "stale").await;
    walk.stop(&phone, "stale", "too_old", "#outcome-title").await;
    provider.lie(Lie::claims(|claims| claims["name"] = json!(LONG_NAME)));
    phone.click("#retry").await;
    is_renewed(&phone).await;
    walk.stop(&phone, "renewed", "question", "#scanned-heading").await;
    in_sight(&mut walk, &phone, "renewed", "#confirm").await;

    let id = ask(&walk, "strong").await;
    walk.go(&phone, &format!("/s/{id}"), "ready").await;
    walk.stop(&phone, "ready-provider", "ready_heading_as", "#ready-heading").await;
    phone.click("#continue").await;
    comes_back(&phone, "stale").await;
    walk.stop(&phone, "too-weak", "too_weak", "#outcome-title").await;
    // The provider is not the gateway.
    phone.messages().await;
    walk.end(phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_failures_on_the_way_to_a_provider() {
    for lang in ["en", "zh"] {
        failures(lang).await;
    }
}

async fn failures(lang: &'static str) {
    let provider = Provider::start();
    let (stage, directory) = stage_with(&provider, CLIENTS).await;
    let mut walk = Walk::on(stage, "problem", lang, directory);
    let phone = walk.open().await;
    let id = ask(&walk, "web").await;
    let (page, begin) = (format!("/s/{id}"), format!("/sign-in/acme?ticket={id}"));
    let issuer = provider.issuer.clone();
    let callback =
        |state: &str| format!("/sign-in/callback?{}", encoded(&[("state", state), ("code", "x"), ("iss", &issuer)]));

    provider.lie(Lie::answering(|answer| {
        answer["error"] = json!("access_denied");
        answer.as_object_mut().unwrap().remove("code");
    }));
    fails(&mut walk, &phone, &begin, "sign_in_declined", &page).await;
    provider.lie(Lie::replacing(Endpoint::Token, Instead::Status(400, "{\"error\":\"invalid_grant\"}")));
    fails(&mut walk, &phone, &begin, "sign_in_failed", &page).await;
    provider.lie(Lie::replacing(Endpoint::Token, Instead::Status(503, "{}")));
    fails(&mut walk, &phone, &begin, "provider_unavailable", &page).await;
    provider.lie(Lie::answering(|answer| answer["iss"] = json!("https://other.example")));
    fails(&mut walk, &phone, &begin, "sign_in_mixed_up", &page).await;

    provider.be_honest();
    phone.goto(&walk.stage.edge.url(&begin)).await;
    phone.until("ready").await;
    let used = callback(&provider.authorization()["state"]);
    fails(&mut walk, &phone, &used, "sign_in_used", &page).await;
    fails(&mut walk, &phone, &callback(&"A".repeat(43)), "sign_in_expired", "/").await;

    let begun = walk.stage.edge.browser().get(&begin).await;
    let url = url::Url::parse(begun.headers()["location"].to_str().unwrap()).unwrap();
    let state = url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    fails(&mut walk, &phone, &callback(&state), "sign_in_other_browser", &page).await;
    phone.messages().await;
    walk.end(phone).await;
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Opens `path`, which leads to the page of the problem `code`, with a link to `back`.
async fn fails(walk: &mut Walk, phone: &Chromium, path: &str, code: &str, back: &str) {
    phone.goto(&walk.stage.edge.url(path)).await;
    let texts = walk.text(code).clone();
    let said = [phone.text("h1").await, phone.text(".lead").await];
    walk.expect(code, json!(said) == texts, &format!("it says {said:?}"));
    let link = phone.attribute(".button", "href").await.unwrap();
    walk.expect(code, link == back, &format!("it leads to {link}"));
    walk.look(phone, code).await;
}
