//! The same in a real Chromium on both sides, with the providers' own pages: what a person sees and presses.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::support::browser::{Chromium, Device, Driver, artifacts};
use crate::support::{eventually, within};

const PHONE: Device = Device::Phone(390, 844);
/// How long a page of a provider may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Browsers at a site's pages. They go before the site.
struct Browsers {
    driver: Driver,
    site: Site,
}

impl Browsers {
    async fn at(site: Site) -> Self {
        Self { driver: Driver::start().await, site }
    }

    /// Opens the sign-in page of a client on a desk; returns the address in its code too.
    async fn screen(&self, client: &str) -> (Chromium, String) {
        let screen = self.driver.open(Device::Desk).await;
        let scanned = self.show_code(&screen, client).await;
        (screen, scanned)
    }

    async fn show_code(&self, screen: &Chromium, client: &str) -> String {
        screen.goto(&self.site.edge.url(&format!("/?client_id={client}"))).await;
        screen.until("waiting").await;
        screen.scan().await
    }

    /// Opens what was scanned on a phone at which nobody is signed in.
    async fn phone(&self, scanned: &str) -> Chromium {
        let phone = self.driver.open(PHONE).await;
        phone.goto(scanned).await;
        phone.until("sign-in").await;
        phone
    }

    /// Waits until the desk is signed in; returns the claims of the JWT that its page got.
    async fn signed_in(&self, screen: &Chromium, client: &str) -> Value {
        screen.until("confirmed").await;
        let events = screen.received().await;
        let confirmed = events.iter().rfind(|(name, _)| name == "confirmed").unwrap_or_else(|| panic!("{events:?}"));
        let keys: Value = self.site.edge.browser().get("/.well-known/jwks.json").await.json().await.unwrap();
        verify_with(&keys, confirmed.1["token"]["access_token"].as_str().unwrap(), client)
    }
}

/// Waits until `css` can be seen on a page, whichever page is there by then.
async fn appears(page: &Chromium, css: &str) {
    let look = format!("var one = document.querySelector({css:?}); return !!one && one.getClientRects().length > 0");
    within(PATIENCE, &format!("{css} to appear"), async || (page.run(&look).await == json!(true)).then_some(())).await;
}

/// The address of a page without its query, in which the language may be.
async fn address(page: &Chromium) -> String {
    page.url().await.split('?').next().unwrap().to_owned()
}

/// Leaves for a provider by its button on a page of the gateway.
async fn press(phone: &Chromium, provider: &str) {
    phone.click(&format!("[data-provider={provider}]")).await;
}

/// Fills in the form of `oidc-provider`.
async fn sign_in_at_oidc_provider(phone: &Chromium, name: &str, otp: Option<&str>) {
    appears(phone, "#sign-in").await;
    phone.write("[name=login]", name).await;
    phone.write("[name=password]", &format!("{name}-password")).await;
    if let Some(otp) = otp {
        phone.write("[name=otp]", otp).await;
    }
    phone.click("#sign-in").await;
}

/// Confirms what the phone shows.
async fn confirm(phone: &Chromium) {
    phone.click("#confirm").await;
    phone.until("confirmed").await;
}

/// Keeps the list of what both browsers have asked for, with times since the first request.
fn keep_way(name: &str, sides: [(&str, &[Value]); 2]) {
    let mut rows = Vec::new();
    for (side, messages) in sides {
        for (at, message) in messages.iter().enumerate().filter(|(_, one)| one["method"] == "Network.requestWillBeSent")
        {
            let sent = &message["params"];
            let url = sent["request"]["url"].as_str().unwrap().split('?').next().unwrap().to_owned();
            if !url.starts_with("http") || url.contains("/static/") || url.ends_with("favicon.ico") {
                continue;
            }
            let is_of = |one: &&Value| one["params"]["requestId"] == sent["requestId"];
            let answer = messages[at + 1..].iter().filter(is_of).find_map(|one| {
                let params = &one["params"];
                let redirect = Some(&params["redirectResponse"]).filter(|response| response.is_object());
                let response =
                    redirect.or_else(|| Some(&params["response"]).filter(|response| response.is_object()))?;
                Some((response["status"].as_u64()?, params["timestamp"].as_f64()?))
            });
            let (status, answered) = answer.unwrap_or((0, f64::NAN));
            let took = (answered - sent["timestamp"].as_f64().unwrap()) * 1000.0;
            let method = sent["request"]["method"].as_str().unwrap().to_owned();
            rows.push((sent["wallTime"].as_f64().unwrap(), side, method, url, status, took));
        }
    }
    rows.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut text, first) = (String::new(), rows.first().map_or(0.0, |row| row.0));
    for (at, side, method, url, status, took) in rows {
        writeln!(text, "{:8.3} s  {side:5}  {status:3}  {took:7.1} ms  {method:4} {url}", at - first).unwrap();
    }
    std::fs::write(artifacts().join(name), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_sign_in_may_take_longer_than_the_code_and_the_second_is_one_tap() {
    let place = Place::choose();
    let provider = Provider::start(Program::OidcProvider, &[&place.url()], &[]).await;
    let tables = format!("{WEB}{}", table("acme", &provider, "scangate", "sign_out = \"provider\""));
    let short = |builder: Builder| builder.arg("--ticket-ttl", "15s").arg("--sign-in-time", "2m");
    let browsers = Browsers::at(Site::set_with(place, &tables, short).await).await;
    let (screen, scanned) = browsers.screen("web").await;
    let shown = Instant::now();
    let phone = browsers.phone(&scanned).await;
    press(&phone, "acme").await;
    appears(&phone, "#sign-in").await;
    let is_told = async || (screen.text(".scangate-title").await == "Someone is signing in on a phone").then_some(());
    eventually("the line about the phone", is_told).await;
    phone.keep_screen("provider-login").await;
    // The person looks for a password for longer than a code lives.
    tokio::time::sleep(Duration::from_secs(17).saturating_sub(shown.elapsed())).await;
    assert_eq!(screen.scan().await, scanned, "the code is kept meanwhile");
    sign_in_at_oidc_provider(&phone, "alice", None).await;
    appears(&phone, "#allow").await;
    phone.click("#allow").await;
    // Back on the ticket: who is asking, without another step.
    phone.until("scanned").await;
    assert_eq!(address(&phone).await, scanned);
    assert_eq!(phone.text("#scanned-as").await, "as Alice Example");
    phone.keep_screen("provider-way-back").await;
    screen.until("scanned").await;
    confirm(&phone).await;
    screen.until("confirmed").await;
    let (of_screen, of_phone) = (screen.messages().await, phone.messages().await);
    keep_way("way-chromium.txt", [("desk", &of_screen), ("phone", &of_phone)]);

    // The second time: one tap, and no provider.
    let scanned = browsers.show_code(&screen, "web").await;
    let before = provider.visits().await;
    phone.goto(&scanned).await;
    phone.until("ready").await;
    assert_eq!(phone.text("#ready-heading").await, "You’re signed in as Alice Example");
    phone.click("#continue").await;
    phone.until("scanned").await;
    confirm(&phone).await;
    let claims = browsers.signed_in(&screen, "web").await;
    assert_eq!(json!([claims["sub"], claims["email"]]), json!(["4f1c8a52-alice", "alice@example.test"]));
    assert_eq!(provider.visits().await, before);

    // The person signs out, here and there.
    phone.click("#sign-out").await;
    appears(&phone, "#sign-out[value=yes]").await;
    phone.click("#sign-out").await;
    phone.until("waiting").await;
    assert_eq!(phone.url().await, browsers.site.edge.url("/"));
    phone.goto(&browsers.show_code(&screen, "web").await).await;
    phone.until("sign-in").await;
    press(&phone, "acme").await;
    appears(&phone, "[name=password]").await;
    for page in [phone, screen] {
        page.end_after_refusals().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_cancels_or_whose_session_has_expired_gets_on_with_one_press() {
    let place = Place::choose();
    let provider = Provider::start(Program::OidcProvider, &[&place.url()], &["--consent", "auto"]).await;
    let tables = format!("{WEB}{}", table("acme", &provider, "scangate", ""));
    let idle = |builder: Builder| builder.arg("--session-idle", "8s");
    let browsers = Browsers::at(Site::set_with(place, &tables, idle).await).await;
    let (screen, scanned) = browsers.screen("web").await;
    let phone = browsers.phone(&scanned).await;
    press(&phone, "acme").await;
    appears(&phone, "#cancel").await;
    phone.click("#cancel").await;
    appears(&phone, ".button").await;
    assert_eq!(phone.text("h1").await, "Signing in was cancelled");
    phone.keep_screen("provider-declined").await;
    phone.click(".button").await;
    phone.until("sign-in").await;
    assert_eq!(address(&phone).await, scanned);
    press(&phone, "acme").await;
    sign_in_at_oidc_provider(&phone, "alice", None).await;
    phone.until("scanned").await;
    confirm(&phone).await;
    browsers.signed_in(&screen, "web").await;

    let scanned = browsers.show_code(&screen, "web").await;
    phone.goto(&scanned).await;
    phone.until("ready").await;
    // The page is read again after eight seconds, and was used a moment ago.
    tokio::time::sleep(Duration::from_millis(8_500)).await;
    phone.click("#continue").await;
    phone.until("sign-in").await;
    assert_eq!(phone.text("#sign-in-lead").await, "Your session has ended. Please sign in again.");
    press(&phone, "acme").await;
    // The provider knows her, so there is no page of its own on the way.
    phone.until("scanned").await;
    confirm(&phone).await;
    assert_eq!(browsers.signed_in(&screen, "web").await["sub"], "4f1c8a52-alice");
    for page in [phone, screen] {
        page.end_after_refusals().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_choose_among_two_providers_and_stay_two_people() {
    let place = Place::choose();
    let url = place.url();
    let urls = [url.as_str()];
    let auto = ["--consent", "auto"];
    let (acme, other) = tokio::join!(
        Provider::start(Program::OidcProvider, &urls, &auto),
        Provider::start(Program::Glewlwyd, &urls, &[]),
    );
    let tables = [WEB.to_owned(), table("acme", &acme, "scangate", ""), table("other", &other, "scangate", "")];
    let browsers = Browsers::at(Site::set(place, &tables.concat()).await).await;
    let (screen, scanned) = browsers.screen("web").await;
    let of_other = browsers.phone(&scanned).await;
    of_other.keep_screen("providers-two").await;
    assert_eq!(of_other.text("[data-provider=other]").await, "Continue with other of the tests");
    press(&of_other, "other").await;
    // glewlwyd's page: password, what to grant, and on.
    appears(&of_other, "#username").await;
    of_other.write("#username", "alice").await;
    of_other.write("#password", "alice-password").await;
    of_other.click("#loginbut").await;
    appears(&of_other, "#grant-profile").await;
    for scope in ["#grant-profile", "#grant-email", ".card-body .btn-primary"] {
        of_other.click(scope).await;
    }
    appears(&of_other, ".card-footer .btn-success").await;
    of_other.keep_screen("provider-glewlwyd").await;
    of_other.click(".card-footer .btn-success").await;
    of_other.until("scanned").await;
    confirm(&of_other).await;
    let claims = browsers.signed_in(&screen, "web").await;
    assert!(claims["sub"].as_str().unwrap().starts_with("other:"), "{claims}");
    assert_eq!(claims["name"], "Alice Example");

    // Another alice scans the next code; this one cannot take it.
    let scanned = browsers.show_code(&screen, "web").await;
    let of_acme = browsers.phone(&scanned).await;
    press(&of_acme, "acme").await;
    sign_in_at_oidc_provider(&of_acme, "alice", None).await;
    of_acme.until("scanned").await;
    of_other.goto(&scanned).await;
    of_other.until("ready").await;
    of_other.click("#continue").await;
    of_other.until("refused").await;
    confirm(&of_acme).await;
    assert_eq!(browsers.signed_in(&screen, "web").await["sub"], "acme:4f1c8a52-alice");
    for page in [of_acme, of_other, screen] {
        page.end_after_refusals().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_that_the_provider_is_down_and_gets_on_when_it_is_back() {
    let place = Place::choose();
    let mut provider = Provider::start(Program::OidcProvider, &[&place.url()], &["--consent", "auto"]).await;
    provider.stop().await;
    let tables = format!("{WEB}{}", table("acme", &provider, "scangate", ""));
    let browsers = Browsers::at(Site::set(place, &tables).await).await;
    let (screen, scanned) = browsers.screen("web").await;
    let phone = browsers.phone(&scanned).await;
    press(&phone, "acme").await;
    appears(&phone, ".button").await;
    phone.keep_screen("provider-down").await;
    assert!(phone.text(".meta").await.contains("provider_unavailable"), "{}", phone.text("main").await);
    provider.start_again().await;
    // A fetch for a person waits for two seconds after one that failed.
    let is_back = async || {
        if phone.run("return !!document.querySelector('a.button')").await == json!(true) {
            phone.click(".button").await;
            phone.until("sign-in").await;
            press(&phone, "acme").await;
        }
        let look = "return !!document.querySelector('[name=password]')";
        (phone.run(look).await == json!(true)).then_some(())
    };
    within(PATIENCE, "the provider's page", is_back).await;
    sign_in_at_oidc_provider(&phone, "alice", None).await;
    phone.until("scanned").await;

    // It goes down again: whoever is signed in goes on.
    provider.stop().await;
    confirm(&phone).await;
    browsers.signed_in(&screen, "web").await;
    phone.goto(&browsers.show_code(&screen, "web").await).await;
    phone.until("ready").await;
    phone.click("#continue").await;
    phone.until("scanned").await;
    confirm(&phone).await;
    browsers.signed_in(&screen, "web").await;
    for page in [phone, screen] {
        page.end_after_refusals().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_requires_a_second_factor_has_the_page_ask_for_it() {
    let place = Place::choose();
    let further = ["--consent", "auto", "--auth-claims", "always"];
    let provider = Provider::start(Program::OidcProvider, &[&place.url()], &further).await;
    let clients = format!("{WEB}\n[[clients]]\nid = \"bank\"\nname = \"Bank\"\nacr_values = [\"mfa\"]\n");
    let tables = format!("{clients}{}", table("acme", &provider, "scangate", ""));
    let browsers = Browsers::at(Site::set(place, &tables).await).await;
    let (screen, scanned) = browsers.screen("web").await;
    let phone = browsers.phone(&scanned).await;
    press(&phone, "acme").await;
    sign_in_at_oidc_provider(&phone, "alice", None).await;
    phone.until("scanned").await;
    confirm(&phone).await;
    assert_eq!(browsers.signed_in(&screen, "web").await["acr"], "pwd");

    let scanned = browsers.show_code(&screen, "bank").await;
    phone.goto(&scanned).await;
    phone.until("ready").await;
    phone.click("#continue").await;
    // The page leaves for the provider by itself. The person leaves the second factor out.
    appears(&phone, "[name=otp]").await;
    sign_in_at_oidc_provider(&phone, "alice", None).await;
    phone.until("stale").await;
    assert_eq!(address(&phone).await, scanned);
    phone.keep_screen("provider-too-weak").await;
    phone.click("#retry").await;
    appears(&phone, "[name=otp]").await;
    sign_in_at_oidc_provider(&phone, "alice", Some("111111")).await;
    phone.until("scanned").await;
    confirm(&phone).await;
    let claims = browsers.signed_in(&screen, "bank").await;
    assert_eq!(json!([claims["acr"], claims["amr"]]), json!(["mfa", ["pwd", "otp", "mfa"]]));
    for page in [phone, screen] {
        page.end_after_refusals().await;
    }
}
