//! A tap that was meant for what stood there before decides nothing. The page's time is in the test's hands: the guard lasts
//! until it is let go.

use serde_json::json;

use super::walk::shown;
use super::{Stage, be, made_up, sign_in};
use crate::support::browser::{Chromium, Device};
use crate::support::gateway::file;

/// How long pages ignore clicks after a change of view: `CLICK_BLOCK_MS` of static/dom.js.
const CLICK_BLOCK_MS: u64 = 500;
/// More than it takes to answer a request: what a tap had set off would be there.
const TICKS: u64 = 4;

const CLIENTS: &str = "[[clients]]\nid = \"web\"\nname = \"Web\"\nflows = [\"login\", \"share\"]\n\
    [[clients]]\nid = \"choose\"\nname = \"Web\"\nflows = [\"login\", \"share\"]\nmatch = \"choose\"\n";

async fn stage() -> (Stage, tempfile::TempDir) {
    let (directory, config) = file(CLIENTS);
    (Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await, directory)
}

/// Opens a browser whose guards last while `holding` is set.
async fn open(stage: &Stage) -> Chromium {
    let page = stage.driver.open(Device::Desk).await;
    page.count_steps().await;
    page.run_first(&format!(
        "window.holding = false; window.held = []; window.clicks = 0;
         (function () {{
           var set = window.setTimeout;
           window.setTimeout = function (step, ms) {{
             if (holding && ms === {CLICK_BLOCK_MS}) {{ held.push(step); return 0; }}
             return set.apply(window, arguments);
           }};
         }}());
         window.addEventListener('click', function () {{ clicks += 1; }}, true);"
    ))
    .await;
    page
}

async fn hold(page: &Chromium) {
    page.run("holding = true").await;
}

async fn let_go(page: &Chromium) {
    page.run("holding = false; held.splice(0).forEach(function (step) { step(); })").await;
}

/// Taps twice on each of these: the taps arrive, and nothing comes of them.
async fn takes_no_tap(page: &Chromium, buttons: &[&str]) {
    let state = page.body("data-state").await;
    for css in buttons {
        assert_eq!(page.attribute(css, "aria-disabled").await.as_deref(), Some("true"), "{css}");
        assert_eq!(page.attribute(css, "disabled").await, None, "{css} would lose the focus");
        page.run("clicks = 0").await;
        page.double_tap(css).await;
        assert_eq!(page.run("return clicks").await, json!(2), "{css} is not where it was tapped");
    }
    page.steps(TICKS).await;
    assert_eq!(page.body("data-busy").await.unwrap_or_else(|| "no".to_owned()), "no");
    assert_eq!(page.body("data-state").await, state, "{buttons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_tap_does_not_reach_the_answer_on_the_confirm_page() {
    let (stage, _directory) = stage().await;
    let phone = open(&stage).await;
    let browser = stage.edge.browser();
    let ask = async |client: &str| {
        let ticket = browser.create_with(json!({ "client_id": client })).await;
        ticket["ticket_id"].as_str().unwrap().to_owned()
    };
    let state = async |id: &str| {
        let ticket: serde_json::Value = browser.get(&format!("/v1/tickets/{id}")).await.json().await.unwrap();
        ticket["state"].as_str().unwrap().to_owned()
    };

    let id = ask("web").await;
    phone.goto(&stage.edge.url(&format!("/s/{id}"))).await;
    phone.until("sign-in").await;
    phone.click("#sign-in").await;
    hold(&phone).await;
    sign_in(&phone, "Ada").await;
    assert_eq!(phone.run("return document.activeElement.id").await, "scanned-heading", "the guard leaves the focus");
    takes_no_tap(&phone, &["#confirm", "#decline"]).await;
    assert_eq!(state(&id).await, "scanned");
    let_go(&phone).await;
    assert_eq!(phone.attribute("#confirm", "aria-disabled").await, None);
    phone.click("#confirm").await;
    phone.until("confirmed").await;

    // Keys go where the focus is: there is nothing to hold them for.
    let id = ask("web").await;
    phone.goto(&stage.edge.url(&format!("/s/{id}"))).await;
    phone.until("ready").await;
    hold(&phone).await;
    phone.run("document.getElementById('continue').focus()").await;
    phone.press("Enter").await;
    phone.until("scanned").await;
    phone.press("Enter").await;
    phone.steps(TICKS).await;
    assert_eq!(state(&id).await, "scanned", "a second Enter decides nothing");
    phone.run("document.getElementById('confirm').focus()").await;
    phone.press("Enter").await;
    phone.until("confirmed").await;

    let id = ask("choose").await;
    phone.goto(&stage.edge.url(&format!("/s/{id}"))).await;
    phone.until("ready").await;
    hold(&phone).await;
    phone.run("document.getElementById('continue').click()").await;
    phone.until("scanned").await;
    takes_no_tap(&phone, &["#choices .choice", "#decline"]).await;
    assert_eq!(state(&id).await, "scanned");
    let_go(&phone).await;
    phone.click("#decline").await;
    phone.until("declined").await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_on_the_presenters_page_does_not_grant_to_whoever_has_just_come() {
    let (stage, _directory) = stage().await;
    let presenter = open(&stage).await;
    be(&stage, &presenter, "Ada").await;
    for (client, buttons) in [("web", ["#confirm", "#decline"]), ("choose", ["#choices .choice", "#decline"])] {
        presenter.goto(&stage.edge.url(&format!("/share?client_id={client}"))).await;
        presenter.until("waiting").await;
        let id = shown(&presenter).await;
        hold(&presenter).await;
        stage
            .edge
            .browser()
            .request(reqwest::Method::POST, &format!("/v1/tickets/{id}/scan"))
            .json(&json!({}))
            .send()
            .await
            .unwrap();
        presenter.until("scanned").await;
        takes_no_tap(&presenter, &buttons).await;
        let_go(&presenter).await;
        presenter.click("#decline").await;
        presenter.until("declined").await;
    }
    hold(&presenter).await;
    presenter.run("document.getElementById('retry').click()").await;
    presenter.until("waiting").await;
    let id = shown(&presenter).await;
    takes_no_tap(&presenter, &["#stop", ".scangate-renew"]).await;
    assert_eq!(shown(&presenter).await, id);
    presenter.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_click_makes_one_new_code_and_not_two() {
    let (stage, _directory) = stage().await;
    let screen = open(&stage).await;
    screen.goto(&stage.edge.url("/")).await;
    screen.until("waiting").await;
    let first = shown(&screen).await;
    hold(&screen).await;
    screen.run("document.querySelector('.scangate-renew').click()").await;
    let second = super::walk::another(&screen, &first).await;
    takes_no_tap(&screen, &[".scangate-renew"]).await;
    assert_eq!(shown(&screen).await, second);
    let ada = stage.edge.phone(made_up(&stage, "Ada").await);
    ada.act(&second, "scan").await;
    ada.act(&second, "cancel").await;
    screen.until("declined").await;
    takes_no_tap(&screen, &[".scangate-refresh"]).await;
    let_go(&screen).await;
    screen.click(".scangate-refresh").await;
    super::walk::another(&screen, &second).await;
    screen.end().await;
}
