//! A walk through every page and every state that it has, in both languages: what has to hold at each stop, whatever the
//! page. Pictures of all are left in target/test-artifacts as PAGE-STATE-SIZE-SCHEME-LANGUAGE.png, of which
//! docs/images/contact-sheet makes one sheet per language.

mod confirm;
mod first_view;
mod keyboard;
mod provider;
mod receive;
mod share;
mod sign_in;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{SMALL_PHONE, Stage, be, made_up};
use crate::support::browser::{Chromium, Device, Driver, artifacts};
use crate::support::eventually;
use crate::support::gateway::{Browser, Phone, file};

/// What a stop is looked at on, in this order: the last of them has to be left again.
const LOOKS: [(&str, Device, &str); 4] = [
    ("desk-light", Device::Desk, "light"),
    ("desk-dark", Device::Desk, "dark"),
    ("phone-dark", SMALL_PHONE, "dark"),
    ("phone-light", SMALL_PHONE, "light"),
];

const CLIENTS: &str = r#"
[[clients]]
id = "web"
name = "Web"
flows = ["login", "share"]
claims = ["name"]

[[clients]]
id = "choose"
name = "Web"
flows = ["login", "share"]
claims = ["name"]
match = "choose"

[[clients]]
id = "type"
name = "Web"
flows = ["login", "share"]
claims = ["name"]
match = "type"

[[clients]]
id = "low"
name = "Web"
flows = ["login", "share"]
claims = ["name"]
ticket_ttl = "14s"
"#;

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// Somebody whose name takes more room than most.
const LONG_NAME: &str = "Wilhelmina Alexandrovna von Hohenzollern-Sigmaringen-Lübeck";

/// A walk through one page in one language. Faults are collected, and named all together at its end.
struct Walk {
    stage: Stage,
    page: &'static str,
    lang: &'static str,
    texts: Value,
    axe: String,
    /// Where the stage and the card are, by what they are looked at on.
    places: BTreeMap<&'static str, Value>,
    faults: Vec<String>,
    /// What axe finds that is neither serious nor critical, and where.
    minor: BTreeMap<String, Vec<String>>,
    stops: usize,
    _config: tempfile::TempDir,
}

impl Walk {
    async fn start(page: &'static str, lang: &'static str) -> Self {
        Self::start_with(page, lang, "").await
    }

    /// The same with further clients.
    async fn start_with(page: &'static str, lang: &'static str, clients: &str) -> Self {
        let (directory, config) = file(&format!("{CLIENTS}{clients}"));
        let stage = Stage::set_with(|builder| builder.arg("--config", config.to_str().unwrap())).await;
        Self::on(stage, page, lang, directory)
    }

    fn on(stage: Stage, page: &'static str, lang: &'static str, config: tempfile::TempDir) -> Self {
        Self {
            stage,
            page,
            lang,
            texts: texts(lang),
            axe: axe(),
            places: BTreeMap::new(),
            faults: Vec::new(),
            minor: BTreeMap::new(),
            stops: 0,
            _config: config,
        }
    }

    /// Opens a browser of somebody who reads the walk's language.
    async fn open(&self) -> Chromium {
        open(&self.stage.driver, self.lang).await
    }

    /// Goes to a page of the gateway and waits until it is in `state`. A code that the tab had before is not gone on with.
    async fn go(&self, page: &Chromium, path: &str, state: &str) {
        page.run("try { sessionStorage.removeItem('scangate.ticket'); } catch (e) { /* not a page of the gateway */ }")
            .await;
        page.goto(&self.stage.edge.url(path)).await;
        page.until(state).await;
    }

    /// Goes to a page without scripts and looks at it.
    async fn look_without_scripts(&mut self, page: &Chromium, path: &str) {
        page.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        page.goto(&self.stage.edge.url(path)).await;
        let said = page.text(".no-script").await;
        self.expect("no-script", *self.text("no_script") == said, &said);
        // What would be waited for comes only with scripts: there is no motion, and axe has to do without.
        self.look_at(page, "no-script", false).await;
        page.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": false })).await;
    }

    /// Returns a text by its name: the page's own, or one that all have.
    fn text(&self, name: &str) -> &Value {
        let sections = [self.page, "code", "page"].map(|section| &self.texts[section][name]);
        sections.into_iter().find(|text| !text.is_null()).unwrap_or_else(|| panic!("there is no text {name}"))
    }

    fn expect(&mut self, stop: &str, holds: bool, otherwise: &str) {
        if !holds {
            self.faults.push(format!("{}: {otherwise}", self.picture(stop, "")));
        }
    }

    fn picture(&self, stop: &str, look: &str) -> String {
        format!("{}-{stop}-{look}-{}", self.page, self.lang).replace("--", "-")
    }

    /// Stops at a state: the page says the text `says`, to the eyes, in its title and in its live region; the focus is on
    /// `focus`; and it looks as it should.
    async fn stop(&mut self, page: &Chromium, name: &str, says: &str, focus: &str) {
        self.listen(page, name, says, focus).await;
        self.look(page, name).await;
    }

    async fn listen(&mut self, page: &Chromium, name: &str, says: &str, focus: &str) {
        let said = page.run(include_str!("walk/said.js")).await;
        let said = |what: &str| said[what].as_str().unwrap_or_default().to_owned();
        let live = page.run(include_str!("walk/said.js")).await["live"].clone();
        let (title, heading, view) = (said("title"), said("heading"), said("view"));
        let words = self.text(says).clone();
        let (expected, detail) = (words[0].as_str().or(words.as_str()).unwrap(), words[1].as_str());
        self.expect(name, fits(expected, &title), &format!("it says {title:?} instead of {expected:?}"));
        if let Some(detail) = detail.filter(|detail| !detail.is_empty()) {
            self.expect(name, fits(detail, &said("detail")), &format!("it says {:?}, not {detail:?}", said("detail")));
        }
        // While the stage is as it was made, the document keeps its name.
        let is_calm = match self.page {
            "sign-in" => ["waiting", "loading"].contains(&view.as_str()),
            "share" => !heading.is_empty(),
            _ => false,
        };
        let subject = if heading.is_empty() && self.page == "share" {
            // The heading of the stage is not on show here.
            page.run("return document.getElementById('heading').textContent").await.as_str().unwrap().to_owned()
        } else if heading.is_empty() {
            self.text("title").as_str().unwrap().to_owned()
        } else {
            heading
        };
        let expected = if is_calm { subject } else { format!("{title} · {subject}") };
        self.expect(
            name,
            said("document") == expected,
            &format!("its title is {:?}, not {expected:?}", said("document")),
        );
        let is_live = live.as_array().unwrap().iter().any(|live| live.as_str().unwrap().starts_with(&title));
        self.expect(name, is_live, &format!("no live region says {title:?}: {live}"));
        self.expect(name, said("focus") == focus, &format!("the focus is on {}, not {focus}", said("focus")));
        let banner = said("banner");
        let is_told = [self.text("offline"), self.text("reconnecting")].iter().any(|text| *text == &banner);
        let is_away = said("state") == "offline";
        self.expect(name, is_away == is_told, &format!("in the state {} the banner says {banner:?}", said("state")));
    }

    /// Looks at the page on all devices, in light and dark; keeps the pictures.
    async fn look(&mut self, page: &Chromium, name: &str) {
        self.look_at(page, name, true).await;
    }

    async fn look_at(&mut self, page: &Chromium, name: &str, has_scripts: bool) {
        self.stops += 1;
        for (look, device, scheme) in LOOKS {
            page.be_on(device).await;
            page.prefer(scheme).await;
            if has_scripts {
                page.rest().await;
            }
            let seen = page.run(include_str!("walk/look.js")).await;
            for fault in seen["faults"].as_array().unwrap() {
                self.faults.push(format!("{}: {}", self.picture(name, look), fault.as_str().unwrap()));
            }
            for below in seen["below"].as_array().unwrap() {
                let stop = self.picture(name, look);
                self.minor.entry(format!("below the fold: {below}")).or_default().push(stop);
            }
            self.compare_places(page, name, look, &seen).await;
            page.keep_whole(&self.picture(name, look)).await;
            // Each language has axe on one device: it looks for what both share, and for contrast.
            if has_scripts && look.starts_with(if self.lang == "en" { "desk" } else { "phone" }) {
                self.ask_axe(page, name, look).await;
            }
        }
        page.be_on(Device::Desk).await;
    }

    /// Nothing jumps: the stage and the card are where they were in every other state, but for the claims at the end.
    async fn compare_places(&mut self, page: &Chromium, name: &str, look: &'static str, seen: &Value) {
        if seen["stage"].is_null() || page.body("data-result").await.as_deref() == Some("yes") {
            return;
        }
        // The card of the presenter has more under its stage while a code is on show.
        let place = if self.page == "sign-in" { json!([seen["stage"], seen["card"]]) } else { seen["stage"].clone() };
        let first = self.places.entry(look).or_insert_with(|| place.clone()).clone();
        if place != first {
            self.faults.push(format!("{}: it has jumped from {first} to {place}", self.picture(name, look)));
        }
    }

    async fn ask_axe(&mut self, page: &Chromium, name: &str, look: &str) {
        if page.run("return !window.axe").await == json!(true) {
            page.cdp("Runtime.evaluate", json!({ "expression": self.axe })).await;
        }
        let found = page
            .run(
                "return axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
                   resultTypes: ['violations'], preload: false }).then(results => results.violations.map(found =>
                   [found.impact, found.id, found.nodes.map(node => node.html.slice(0, 120)).join(' ')]))",
            )
            .await;
        for violation in found.as_array().unwrap() {
            let [impact, rule, nodes] = [0, 1, 2].map(|at| violation[at].as_str().unwrap_or_default());
            let stop = self.picture(name, look);
            if ["serious", "critical"].contains(&impact) {
                self.faults.push(format!("{stop}: axe: {impact}: {rule}: {nodes}"));
            } else {
                self.minor.entry(format!("axe: {impact}: {rule}")).or_default().push(stop);
            }
        }
    }

    /// Ends it, and fails if anything was wrong. `page` is closed.
    async fn end(self, page: Chromium) {
        let base = &self.stage.edge.base;
        let foreign: Vec<_> = requests(&page.messages().await)
            .into_iter()
            .filter(|(url, _)| !url.starts_with(base) && !url.starts_with("data:"))
            .collect();
        assert_eq!(foreign, [], "asked of others");
        page.end_after_refusals().await;
        assert!(self.faults.is_empty(), "{}", self.report());
    }

    fn report(&self) -> String {
        let mut report = format!("{}-{}: {} stops, {} faults\n", self.page, self.lang, self.stops, self.faults.len());
        for fault in &self.faults {
            writeln!(report, "  {fault}").unwrap();
        }
        for (what, stops) in &self.minor {
            writeln!(report, "  ({}) {what}: {}", stops.len(), stops.join(" ")).unwrap();
        }
        report
    }
}

impl Drop for Walk {
    /// Leaves a report of it, however it ended.
    fn drop(&mut self) {
        let _ = std::fs::write(
            artifacts().join(format!("walk-{}-{}-{}.txt", self.page, self.lang, self.stage.edge.port())),
            self.report(),
        );
    }
}

// ---- What the walks do on the way -----------------------------------------------------------------------------------

impl Walk {
    /// A phone with a made-up person.
    async fn phone(&self, name: &str) -> Phone {
        self.stage.edge.phone(made_up(&self.stage, name).await)
    }

    /// Somebody who asks for a sign-in; returns the ticket.
    async fn ask(&self, client: &str) -> (Browser, Value) {
        let browser = self.stage.edge.browser();
        let request = browser.request(Method::POST, "/v1/tickets").header("user-agent", FIREFOX);
        let ticket = request.json(&json!({ "client_id": client })).send().await.unwrap().json().await.unwrap();
        (browser, ticket)
    }

    /// Somebody who shows a code; returns the phone and the ticket's id.
    async fn share(&self, name: &str, client: &str) -> (Phone, String) {
        let phone = self.phone(name).await;
        let body = json!({ "flow": "share", "client_id": client });
        let request = self.stage.edge.browser().request(Method::POST, "/v1/tickets").bearer_auth(&phone.token);
        let ticket: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        (phone, ticket["ticket_id"].as_str().unwrap().to_owned())
    }

    /// Scans what somebody shares, as a browser in which nobody is signed in; returns the answer too.
    async fn receive(&self, id: &str) -> (Browser, Value) {
        let browser = self.stage.edge.browser();
        let request = browser.request(Method::POST, &format!("/v1/tickets/{id}/scan")).header("user-agent", FIREFOX);
        let scan = request.json(&json!({})).send().await.unwrap().json().await.unwrap();
        (browser, scan)
    }

    /// Signs a made-up person in in a browser.
    async fn be(&self, page: &Chromium, name: &str) {
        be(&self.stage, page, name).await;
    }

    /// Lets the time of a ticket run out.
    fn run_out(&self, id: &str) {
        let _: i64 = self.stage.redis.run(&["PEXPIRE", &format!("scangate:{{{id}}}"), "1"]);
    }

    /// Starts the gateway again, with another rate.
    async fn restart(&mut self, rate: Option<&str>) {
        self.stage.gateway.process.kill();
        let settings = self.stage.settings.clone();
        let settings = rate.map_or(settings.clone(), |rate| settings.arg(rate, "1"));
        self.stage.gateway = settings.start().await;
    }
}

async fn open(driver: &Driver, lang: &str) -> Chromium {
    let accept = if lang == "zh" { "--accept-lang=zh-CN,zh" } else { "--accept-lang=en-GB,en" };
    driver.open_with(Device::Desk, &[accept]).await
}

/// Returns the id of the ticket whose code is on show.
pub(super) async fn shown(page: &Chromium) -> String {
    page.attribute(".scangate-link", "href").await.unwrap().rsplit('/').next().unwrap().to_owned()
}

/// Waits for another code than that of `id`, and returns its ticket.
pub(super) async fn another(page: &Chromium, id: &str) -> String {
    let id = eventually("another code", async || Some(shown(page).await).filter(|shown| shown != id)).await;
    page.until("waiting").await;
    id
}

pub(super) async fn be_offline(page: &Chromium, is_offline: bool) {
    let conditions = json!({ "offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
    page.cdp("Network.emulateNetworkConditions", conditions).await;
}

/// Takes the network from a page that waits on a stream, until it says so. What was on its way may still arrive and be
/// taken for a sign that the connection is back; then again.
async fn go_offline(page: &Chromium) {
    let is_told = async || {
        be_offline(page, false).await;
        be_offline(page, true).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        (page.body("data-state").await.as_deref() == Some("offline")).then_some(())
    };
    eventually("the state offline", is_told).await;
    page.until("offline").await;
}

/// Holds back what the page sends, until it is let go.
const HOLD: &str = "window.held = [];
    window.send = XMLHttpRequest.prototype.send;
    XMLHttpRequest.prototype.send = function (body) { held.push([this, body]); };";
const LET_GO: &str = "XMLHttpRequest.prototype.send = send;
    held.forEach(function (request) { send.call(request[0], request[1]); });";

/// Returns the addresses and initiators of all requests.
fn requests(messages: &[Value]) -> Vec<(String, String)> {
    let sent = messages.iter().filter(|message| message["method"] == "Network.requestWillBeSent");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = sent.map(|message| {
        let params = &message["params"];
        (text(&params["request"]["url"]), text(&params["initiator"]["type"]))
    });
    // A browser begins with a page of its own.
    all.filter(|(url, _)| !url.starts_with("chrome://")).collect()
}

/// Returns whether `words` are those of a text, whatever stands in its slots.
fn fits(text: &str, words: &str) -> bool {
    let mut rest = words;
    let mut parts = text.split('{').enumerate().map(|(at, part)| match part.split_once('}') {
        Some((_, after)) if at > 0 => after,
        _ => part,
    });
    let is_there = parts.all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    });
    is_there && !words.is_empty()
}

fn texts(lang: &str) -> Value {
    let path = format!("{}/static/texts/{lang}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The accessibility rules, as tests/run has installed them.
fn axe() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/axe/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(path).expect("axe-core is missing: npm ci --prefix tests/axe")
}
