//! The confirm page.

use serde_json::json;

use super::{LONG_NAME, Walk, be_offline};
use crate::browser::{SMALL_PHONE, Stage, end_session};
use crate::support::browser::Chromium;

#[tokio::test(flavor = "multi_thread")]
async fn the_confirm_page_in_english() {
    walk("en").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_confirm_page_in_chinese() {
    walk("zh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_gateway_at_which_no_browser_signs_in() {
    for page in ["confirm", "share"] {
        for lang in ["en", "zh"] {
            let mut walk = Walk::on(Stage::set_with_apps_only().await, page, lang, tempfile::tempdir().unwrap());
            let browser = walk.open().await;
            let (_, ticket) = walk.ask("web").await;
            let path = format!("/s/{}", ticket["ticket_id"].as_str().unwrap());
            walk.go(&browser, if page == "share" { "/share" } else { &path }, "no-identity").await;
            walk.stop(&browser, "no-identity", "no_identity", "#outcome-title").await;
            walk.end(browser).await;
        }
    }
}

async fn walk(lang: &'static str) {
    let mut walk = Walk::start("confirm", lang).await;
    let phone = walk.open().await;
    through_an_answer(&mut walk, &phone).await;
    through_numbers(&mut walk, &phone).await;
    through_refusals(&mut walk, &phone).await;
    walk.look_without_scripts(&phone, "/s/x").await;
    through_failures(&mut walk, &phone).await;
    walk.end(phone).await;
}

/// Opens what a screen of `client` shows; returns its ticket's id.
async fn scan(walk: &Walk, phone: &Chromium, client: &str, state: &str) -> String {
    let (_, ticket) = walk.ask(client).await;
    let id = ticket["ticket_id"].as_str().unwrap().to_owned();
    walk.go(phone, &format!("/s/{id}"), state).await;
    id
}

async fn go_on(phone: &Chromium, state: &str) {
    phone.click("#continue").await;
    phone.until(state).await;
}

async fn through_an_answer(walk: &mut Walk, phone: &Chromium) {
    scan(walk, phone, "web", "sign-in").await;
    // The page was only just opened: nothing has been said that is not read out anyway.
    walk.stop(phone, "sign-in", "sign_in_heading", "#name").await;
    phone.click("#sign-in").await;
    walk.stop(phone, "sign-in-fault", "sign_in_heading", "#name").await;
    phone.write("#name", "Ada Lovelace").await;
    phone.click("#sign-in").await;
    phone.until("scanned").await;
    walk.stop(phone, "scanned", "question", "#scanned-heading").await;
    in_sight(walk, phone, "scanned", "#confirm").await;
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    walk.stop(phone, "confirmed", "confirmed", "#outcome-title").await;

    scan(walk, phone, "web", "ready").await;
    walk.stop(phone, "ready", "ready_heading_as", "#ready-heading").await;
    go_on(phone, "scanned").await;
    phone.click("#decline").await;
    phone.until("declined").await;
    walk.stop(phone, "declined", "declined", "#outcome-title").await;

    scan(walk, phone, "web", "ready").await;
    phone.click("#other").await;
    phone.until("sign-in").await;
    phone.write("#name", LONG_NAME).await;
    phone.click("#sign-in").await;
    phone.until("scanned").await;
    walk.stop(phone, "scanned-long", "question", "#scanned-heading").await;
    in_sight(walk, phone, "scanned-long", "#confirm").await;
    scan(walk, phone, "web", "ready").await;
    walk.stop(phone, "ready-long", "ready_heading_as", "#ready-heading").await;
}

async fn through_numbers(walk: &mut Walk, phone: &Chromium) {
    scan(walk, phone, "choose", "ready").await;
    go_on(phone, "scanned").await;
    walk.stop(phone, "choose", "question", "#scanned-heading").await;
    in_sight(walk, phone, "choose", "#choices").await;
    // Two of the three are wrong.
    for _ in 0..20 {
        phone.click(".choice").await;
        let is_over = async || Some(phone.body("data-state").await.unwrap()).filter(|state| state != "scanned");
        if crate::support::eventually("the answer", is_over).await == "mismatch" {
            break;
        }
        scan(walk, phone, "choose", "ready").await;
        go_on(phone, "scanned").await;
    }
    walk.stop(phone, "mismatch", "mismatch", "#outcome-title").await;

    scan(walk, phone, "type", "ready").await;
    go_on(phone, "scanned").await;
    walk.stop(phone, "type", "question", "#scanned-heading").await;
    phone.click("#confirm").await;
    walk.stop(phone, "type-fault", "question", "#number").await;
    in_sight(walk, phone, "type-fault", "#confirm").await;
}

async fn through_refusals(walk: &mut Walk, phone: &Chromium) {
    let id = scan(walk, phone, "web", "ready").await;
    walk.phone("Bob").await.act(&id, "scan").await;
    go_on(phone, "refused").await;
    walk.stop(phone, "taken", "taken", "#outcome-title").await;

    let (screen, ticket) = walk.ask("web").await;
    let id = ticket["ticket_id"].as_str().unwrap();
    walk.go(phone, &format!("/s/{id}"), "ready").await;
    screen.request(reqwest::Method::DELETE, &format!("/v1/tickets/{id}")).send().await.unwrap();
    go_on(phone, "refused").await;
    walk.stop(phone, "withdrawn", "refused", "#outcome-title").await;

    let id = scan(walk, phone, "web", "ready").await;
    walk.run_out(&id);
    go_on(phone, "expired").await;
    walk.stop(phone, "expired", "expired", "#outcome-title").await;

    scan(walk, phone, "web", "ready").await;
    end_session(phone).await;
    go_on(phone, "sign-in").await;
    walk.stop(phone, "ran-out", "sign_in_heading", "#name").await;
    phone.write("#name", "Ada Lovelace").await;
    phone.click("#sign-in").await;
    phone.until("scanned").await;
}

async fn through_failures(walk: &mut Walk, phone: &Chromium) {
    scan(walk, phone, "web", "ready").await;
    go_on(phone, "scanned").await;
    be_offline(phone, true).await;
    phone.click("#confirm").await;
    phone.until("error").await;
    walk.stop(phone, "offline", "unreachable", "#outcome-title").await;
    be_offline(phone, false).await;
    phone.click("#back").await;
    phone.until("scanned").await;
    walk.listen(phone, "back", "question", "#scanned-heading").await;

    walk.stage.gateway.process.kill();
    phone.click("#confirm").await;
    phone.until("error").await;
    walk.stop(phone, "gateway-down", "unreachable", "#outcome-title").await;
    walk.restart(Some("--rate-confirm")).await;
    walk.be(phone, "Ada Lovelace").await;
    let id = scan(walk, phone, "web", "ready").await;
    walk.phone("Bob").await.act(&id, "confirm").await;
    go_on(phone, "scanned").await;
    phone.click("#confirm").await;
    phone.until("error").await;
    walk.stop(phone, "busy", "busy", "#outcome-title").await;

    walk.restart(None).await;
    walk.be(phone, "Ada Lovelace").await;
    scan(walk, phone, "web", "ready").await;
    go_on(phone, "scanned").await;
    walk.stage.edge.stop();
    phone.click("#decline").await;
    phone.until("error").await;
    walk.stop(phone, "unreachable", "unreachable", "#outcome-title").await;
}

/// What is decided with must be there without a scroll on the smallest phone.
pub(super) async fn in_sight(walk: &mut Walk, phone: &Chromium, stop: &str, css: &str) {
    phone.be_on(SMALL_PHONE).await;
    let script = format!("return document.querySelector('{css}').getBoundingClientRect().bottom <= innerHeight");
    let is_there = phone.run(&script).await == json!(true);
    walk.expect(stop, is_there, &format!("{css} is out of sight on the smallest phone"));
    phone.be_on(crate::support::browser::Device::Desk).await;
}
