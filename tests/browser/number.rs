//! Comparing the screens: the number that one shows and the other asks for, on all four pages.

use super::share::{continue_as_nobody, share_as};
use super::{Stage, sign_in};
use crate::support::browser::{Chromium, Device};
use crate::support::gateway::file;

/// A client for each way of comparing; the directory goes last.
async fn stage() -> (Stage, tempfile::TempDir) {
    let (directory, config) = file(
        "[[clients]]\nid = \"web\"\nflows = [\"login\", \"share\"]\nmatch = \"choose\"\nclaims = [\"name\"]\n\n\
         [[clients]]\nid = \"typing\"\nflows = [\"login\", \"share\"]\nmatch = \"type\"\nclaims = [\"name\"]\n",
    );
    (Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await, directory)
}

/// Scans the code of `client`'s sign-in page; returns the screen, the phone, and the number that the screen shows.
async fn scanned(stage: &Stage, client: &str, name: &str) -> (Chromium, Chromium, String) {
    let screen = stage.driver.open(Device::Desk).await;
    screen.goto(&stage.edge.url(&format!("/?client_id={client}"))).await;
    screen.until("waiting").await;
    assert!(!screen.sees(".scangate-number").await);
    let phone = stage.phone(&screen.scan().await).await;
    sign_in(&phone, name).await;
    screen.until("scanned").await;
    let number = screen.text(".scangate-number").await;
    assert_eq!(number.len(), 2, "{number}");
    assert_eq!(screen.text(".scangate-title").await, format!("Your number is {number}"), "the live region says it");
    (screen, phone, number)
}

/// Chooses a number that is not `number`.
async fn choose_wrong(page: &Chromium, number: &str) {
    page.click(&format!(".choice:not([data-choice='{number}'])")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_choice_confirms() {
    let (stage, _directory) = stage().await;
    let (screen, phone, number) = scanned(&stage, "web", "Ada Lovelace").await;
    assert!(!phone.sees("#confirm").await, "to choose is to confirm");
    assert_eq!(phone.text("#choose-hint").await, "Choosing a number confirms the sign‑in.");
    let group = "var group = document.getElementById('choose');
        return [group.tagName, group.querySelectorAll('button').length, !!group.querySelector('legend').textContent]";
    assert_eq!(phone.run(group).await, serde_json::json!(["FIELDSET", 3, true]));

    phone.click(&format!("[data-choice='{number}']")).await;
    phone.until("confirmed").await;
    screen.until("confirmed").await;
    assert_eq!(screen.text("[data-claim=name]").await, "Ada Lovelace");
    screen.end().await;
    phone.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_choice_stops_the_sign_in() {
    let (stage, _directory) = stage().await;
    let (screen, phone, number) = scanned(&stage, "web", "Ada").await;
    choose_wrong(&phone, &number).await;
    phone.until("mismatch").await;
    assert_eq!(phone.text("#outcome-title").await, "The numbers don’t match");
    screen.until("cancelled").await;
    assert_eq!(screen.text(".scangate-title").await, "The numbers don’t match");
    screen.click(".scangate-refresh").await;
    screen.until("waiting").await;
    screen.end().await;
    phone.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_must_be_a_number_and_the_right_one() {
    let (stage, _directory) = stage().await;
    let (screen, phone, number) = scanned(&stage, "typing", "Ada").await;
    for rubbish in ["", "4", "x7", "07"] {
        phone.run("document.getElementById('number').value = ''").await;
        phone.write("#number", rubbish).await;
        phone.click("#confirm").await;
        assert_eq!(phone.text("#number-fault").await, "Please enter the two‑digit number from the other screen.");
        assert_eq!(phone.attribute("#number", "aria-invalid").await.as_deref(), Some("true"));
    }
    assert_eq!(screen.body("data-state").await.as_deref(), Some("scanned"), "nothing is used up");

    phone.run("document.getElementById('number').value = ''").await;
    phone.write("#number", &number).await;
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    screen.until("confirmed").await;
    screen.end().await;
    phone.end().await;

    let (screen, phone, number) = scanned(&stage, "typing", "Ada").await;
    phone.write("#number", if number == "10" { "11" } else { "10" }).await;
    phone.click("#confirm").await;
    phone.until("mismatch").await;
    screen.until("cancelled").await;
    screen.end().await;
    phone.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presenter_chooses_the_number_of_the_scanner() {
    let (stage, _directory) = stage().await;
    let presenter = share_as(&stage, "/share", "Ada").await;
    let scanner = continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;
    let number = scanner.text("#number").await;
    assert_eq!(scanner.text("#waiting-lead").await, "Ada will be asked to choose this number:");
    presenter.click(&format!("[data-choice='{number}']")).await;
    presenter.until("granted").await;
    scanner.until("granted").await;
    assert_eq!(scanner.text("[data-claim=sub]").await, "demo:Ada");
    scanner.end().await;

    presenter.click("#retry").await;
    presenter.until("waiting").await;
    let scanner = continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;
    choose_wrong(&presenter, &scanner.text("#number").await).await;
    presenter.until("mismatch").await;
    scanner.until("mismatch").await;
    presenter.end_after_refusals().await;
    scanner.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presenter_types_the_number_of_the_scanner() {
    let (stage, _directory) = stage().await;
    let presenter = share_as(&stage, "/share?client_id=typing", "Ada").await;
    let scanner = continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;
    presenter.click("#confirm").await;
    assert!(presenter.sees("#number-fault").await);
    let number = scanner.text("#number").await;
    presenter.write("#number", &number).await;
    presenter.click("#confirm").await;
    presenter.until("granted").await;
    scanner.until("granted").await;
    scanner.end().await;

    presenter.click("#retry").await;
    presenter.until("waiting").await;
    let scanner = continue_as_nobody(&stage, &presenter).await;
    presenter.until("scanned").await;
    let number = scanner.text("#number").await;
    presenter.write("#number", if number == "10" { "11" } else { "10" }).await;
    presenter.click("#confirm").await;
    presenter.until("mismatch").await;
    scanner.until("mismatch").await;
    presenter.end_after_refusals().await;
    scanner.end().await;
}
