//! A real Chromium, driven by the driver that belongs to it. Its console is read at the end: a page that breaks its own
//! Content-Security-Policy, or throws, fails its test.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};

use super::picture::Picture;
use super::process::Process;
use super::{crypto, eventually, free_port, within};

/// How long a browser may take to get somewhere, on a machine that runs several.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running chromedriver, and the folder of all that its browsers write.
pub struct Driver {
    process: Process,
    port: u16,
    directory: tempfile::TempDir,
    opened: AtomicUsize,
}

/// What a page has done: the ticks of its timer, the times that its document changed, that its styles were computed, and that
/// it was laid out.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    pub ticks: u64,
    pub changes: u64,
    pub styles: u64,
    pub layouts: u64,
}

/// What kind of device a browser is on.
#[derive(Debug, Clone, Copy)]
pub enum Device {
    Desk,
    /// Of this width and height.
    Phone(u32, u32),
    /// A desk whose page is zoomed to 400 %, which leaves it a quarter of 1280 by 1024 pixels.
    Zoomed,
}

impl Driver {
    pub async fn start() -> Self {
        crypto();
        let port = free_port();
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).env("TMPDIR", directory.path());
        let driver = Self { process: Process::start(&mut command), port, directory, opened: AtomicUsize::new(0) };
        eventually("chromedriver's start", async || TcpStream::connect(("127.0.0.1", port)).ok()).await;
        driver
    }

    /// Opens a browser with nothing in it.
    pub async fn open(&self, device: Device) -> Chromium {
        self.open_with(device, &[]).await
    }

    /// The same with further command-line arguments.
    pub async fn open_with(&self, device: Device, further: &[&str]) -> Chromium {
        self.open_as(device, further, &json!({})).await
    }

    /// The same with settings of the person's.
    pub async fn open_as(&self, device: Device, further: &[&str], settings: &Value) -> Chromium {
        let profile = self.directory.path().join(format!("profile-{}", self.opened.fetch_add(1, Ordering::Relaxed)));
        let profile = format!("--user-data-dir={}", profile.display());
        let mut args = vec![
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size=1000,1150",
            &profile,
        ];
        args.extend(further);
        let capabilities = json!({
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "args": args, "prefs": settings },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let client = ClientBuilder::rustls()
            .unwrap()
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{}", self.port))
            .await
            .unwrap_or_else(|error| panic!("no browser: {error}\n{}", self.process.lines().join("\n")));
        let chromium = Chromium { client, device };
        chromium.be_on(device).await;
        chromium
    }
}

impl Drop for Driver {
    /// Asks first: a driver that is killed leaves its browsers behind.
    fn drop(&mut self) {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)) else { return };
        let _ = connection.set_read_timeout(Some(PATIENCE));
        let _ = connection.write_all(b"GET /shutdown HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let _ = connection.read_to_end(&mut Vec::new());
        let asked = std::time::Instant::now();
        while self.process.exit_code().is_none() && asked.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// One browser with one page.
pub struct Chromium {
    client: Client,
    device: Device,
}

impl Chromium {
    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Runs a script in the page and returns what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Runs a script in every page before its own.
    pub async fn run_first(&self, script: &str) {
        self.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// Sends a command of the Chrome DevTools Protocol.
    pub async fn cdp(&self, command: &'static str, params: Value) -> Value {
        self.issue("goog/cdp/execute", json!({ "cmd": command, "params": params })).await
    }

    /// Returns an attribute of `<body>`, such as `data-state`.
    pub async fn body(&self, attribute: &str) -> Option<String> {
        let script = format!("return document.body && document.body.getAttribute('{attribute}')");
        self.run(&script).await.as_str().map(str::to_owned)
    }

    /// Waits until the page is in `state`.
    pub async fn until(&self, state: &str) {
        self.until_within(PATIENCE, state).await;
    }

    /// Waits until the page is in `state`, for as long as `time`.
    pub async fn until_within(&self, time: Duration, state: &str) {
        let is_there = async || (self.body("data-state").await.as_deref() == Some(state)).then_some(());
        within(time, &format!("the state {state}"), is_there).await;
        // What fades in cannot be seen at once.
        self.rest().await;
    }

    /// Returns the text of what `css` finds, as it is seen.
    pub async fn text(&self, css: &str) -> String {
        self.client.find(Locator::Css(css)).await.unwrap().text().await.unwrap()
    }

    /// Returns whether what `css` finds can be seen. It must be there; [`Chromium::until_seen`] waits for it.
    pub async fn sees(&self, css: &str) -> bool {
        self.client.find(Locator::Css(css)).await.unwrap().is_displayed().await.unwrap()
    }

    /// Waits until what `css` finds is there and can be seen.
    pub async fn until_seen(&self, css: &str) {
        let is_seen = async || {
            let element = self.client.find(Locator::Css(css)).await.ok()?;
            // It may be gone again by now.
            element.is_displayed().await.ok()?.then_some(())
        };
        eventually(&format!("{css} to be seen"), is_seen).await;
    }

    pub async fn attribute(&self, css: &str, name: &str) -> Option<String> {
        self.client.find(Locator::Css(css)).await.unwrap().attr(name).await.unwrap()
    }

    /// Clicks as a person does who has seen what is there: what has just come takes no tap yet, and says so.
    pub async fn click(&self, css: &str) {
        let element = self.client.find(Locator::Css(css)).await.unwrap();
        let is_ready = async || (element.attr("aria-disabled").await.unwrap().as_deref() != Some("true")).then_some(());
        eventually(&format!("{css} to take a click"), is_ready).await;
        element.click().await.unwrap();
    }

    /// Taps twice where `css` is, as fast as it goes and whatever it says of itself.
    pub async fn double_tap(&self, css: &str) {
        let script = format!(
            "var rect = document.querySelector({css:?}).getBoundingClientRect();
             return [rect.left + rect.width / 2, rect.top + rect.height / 2]"
        );
        let at = self.run(&script).await;
        for (kind, count) in [("mousePressed", 1), ("mouseReleased", 1), ("mousePressed", 2), ("mouseReleased", 2)] {
            let event = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": count });
            self.cdp("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Has every page count from its start: the ticks of its first timer, and the times that its document has changed.
    pub async fn count_steps(&self) {
        self.run_first(
            "window.steps = { ticks: 0, changes: 0, timers: 0 };
             (function () {
               var set = window.setInterval;
               window.setInterval = function (step, ms) {
                 var isFirst = (steps.timers += 1) === 1;
                 return set.call(window, function () { step(); if (isFirst) { steps.ticks += 1; } }, ms);
               };
               var all = { subtree: true, childList: true, characterData: true, attributes: true };
               new MutationObserver(function () { steps.changes += 1; }).observe(document, all);
             }());",
        )
        .await;
    }

    /// Lets the page's first timer tick so many times, and returns what happened meanwhile.
    pub async fn steps(&self, ticks: u64) -> Steps {
        self.cdp("Performance.enable", json!({})).await;
        let begin = self.counted().await;
        let is_over = async || Some(self.counted().await).filter(|now| now.ticks >= begin.ticks + ticks);
        let end = within(PATIENCE, "the ticks of a timer", is_over).await;
        Steps {
            ticks: end.ticks - begin.ticks,
            changes: end.changes - begin.changes,
            styles: end.styles - begin.styles,
            layouts: end.layouts - begin.layouts,
        }
    }

    async fn counted(&self) -> Steps {
        let metrics = self.cdp("Performance.getMetrics", json!({})).await;
        let metric = |name: &str| {
            let all = metrics["metrics"].as_array().unwrap();
            all.iter().find(|metric| metric["name"] == name).unwrap()["value"].as_f64().unwrap() as u64
        };
        let (styles, layouts) = (metric("RecalcStyleCount"), metric("LayoutCount"));
        let steps = self.run("return window.steps").await;
        let count = |name: &str| steps[name].as_u64().unwrap();
        Steps { ticks: count("ticks"), changes: count("changes"), styles, layouts }
    }

    pub async fn write(&self, css: &str, text: &str) {
        self.client.find(Locator::Css(css)).await.unwrap().send_keys(text).await.unwrap();
    }

    pub async fn url(&self) -> String {
        self.client.current_url().await.unwrap().into()
    }

    /// Goes on in another window of the browser, in the order in which they were opened; waits until it is there.
    pub async fn be_at_window(&self, number: usize) {
        let window =
            eventually("a window", async || self.client.windows().await.unwrap().into_iter().nth(number)).await;
        self.client.switch_to_window(window).await.unwrap();
    }

    /// Goes back as a person does. A script might do it twice: the driver repeats a script whose page goes away
    /// meanwhile.
    pub async fn back(&self) {
        self.client.back().await.unwrap();
    }

    pub async fn reload(&self) {
        self.client.refresh().await.unwrap();
    }

    /// Returns the picture that is on the screen, as PNG.
    pub async fn screen(&self) -> Vec<u8> {
        self.client.screenshot().await.unwrap()
    }

    /// Keeps a picture of the screen for people to look at.
    pub async fn keep_screen(&self, name: &str) {
        self.rest().await;
        std::fs::write(artifacts().join(format!("{name}.png")), self.screen().await).unwrap();
    }

    /// Keeps pictures of the whole page as it is in the light, in the dark, and on the smallest phone, none of which may be
    /// too narrow for it.
    pub async fn keep_page(&self, name: &str) {
        for (look, device, scheme) in [
            ("light", self.device, "light"),
            ("dark", self.device, "dark"),
            ("small", Device::Phone(320, 568), "light"),
        ] {
            self.be_on(device).await;
            self.prefer(scheme).await;
            let overflow = self.run("return document.documentElement.scrollWidth - innerWidth").await;
            assert_eq!(overflow, json!(0), "{name} is too wide for {device:?}");
            self.rest().await;
            let shot = self.cdp("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
            let picture = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
            std::fs::write(artifacts().join(format!("{name}-{look}.png")), picture).unwrap();
        }
        self.be_on(self.device).await;
    }

    /// Asks for pages in `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.cdp("Emulation.setEmulatedMedia", media).await;
    }

    /// Puts the page on another device.
    pub async fn be_on(&self, device: Device) {
        let (width, height, scale) = match device {
            Device::Desk => (1000, 1150, 1),
            Device::Phone(width, height) => (width, height, 2),
            Device::Zoomed => (320, 256, 4),
        };
        let is_phone = matches!(device, Device::Phone(..));
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone });
        self.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Waits for what moves once to have done so: it is shown as it will stay.
    pub async fn rest(&self) {
        let rest = "var passing = document.getAnimations().filter(one => one.effect.getTiming().iterations === 1);
            return Promise.allSettled(passing.map(one => one.finished)).then(() => null)";
        self.run(rest).await;
    }

    /// Keeps a picture of the whole page for people to look at.
    pub async fn keep_whole(&self, name: &str) {
        let params = json!({ "captureBeyondViewport": true, "optimizeForSpeed": true });
        let shot = self.cdp("Page.captureScreenshot", params).await;
        let picture = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(artifacts().join(format!("{name}.png")), picture).unwrap();
    }

    /// Presses and lets go of a key: `Tab`, `Enter`, `Space` or a character.
    pub async fn press(&self, key: &str) {
        let (key, code, number, text) = match key {
            "Tab" => ("Tab", "Tab", 9, ""),
            "Enter" => ("Enter", "Enter", 13, "\r"),
            "Space" => (" ", "Space", 32, " "),
            character => (character, "", 0, character),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.cdp("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Returns what the QR code on the screen says, once a camera could read it.
    pub async fn scan(&self) -> String {
        eventually("a readable QR code", async || read_code(&self.screen().await)).await
    }

    /// Returns the events that its streams have received since the last call: their names and data. Heartbeats are left out,
    /// which come at times of their own.
    pub async fn received(&self) -> Vec<(String, Value)> {
        let messages = self.messages().await.into_iter();
        let events = messages.filter(|message| message["method"] == "Network.eventSourceMessageReceived");
        events
            .map(|message| {
                let event = &message["params"];
                let data = serde_json::from_str(event["data"].as_str().unwrap()).unwrap();
                (event["eventName"].as_str().unwrap().to_owned(), data)
            })
            .filter(|(name, _)| name != "heartbeat")
            .collect()
    }

    /// Returns what the DevTools Protocol has reported of network and page since the last call.
    pub async fn messages(&self) -> Vec<Value> {
        let entries = self.log("performance").await;
        let message = |entry: &Value| -> Value { serde_json::from_str(entry["message"].as_str().unwrap()).unwrap() };
        entries.iter().map(|entry| message(entry)["message"].take()).collect()
    }

    /// Closes it; fails if anything was wrong with its pages.
    pub async fn end(self) {
        let faults = self.faults().await;
        assert!(faults.is_empty(), "the console says: {faults:#?}");
        self.client.close().await.unwrap();
    }

    /// Closes it; fails if anything was wrong with its pages but for requests that failed or were refused.
    pub async fn end_after_refusals(self) {
        let faults: Vec<_> = self.faults().await.into_iter().filter(|fault| fault["source"] != "network").collect();
        assert!(faults.is_empty(), "the console says: {faults:#?}");
        self.client.close().await.unwrap();
    }

    /// Returns what the console says of faults, since the last call.
    pub async fn faults(&self) -> Vec<Value> {
        let mut entries = self.log("browser").await;
        entries.retain(|entry| entry["level"] == "SEVERE" || entry["source"] == "security");
        entries
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let Value::Array(entries) = self.issue("se/log", json!({ "type": kind })).await else { panic!("no log") };
        entries
    }

    async fn issue(&self, path: &'static str, body: Value) -> Value {
        self.client.issue_cmd(DriverCommand { path, body }).await.unwrap()
    }
}

/// A command that is the driver's own, beside WebDriver.
#[derive(Debug)]
struct DriverCommand {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for DriverCommand {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

/// Returns what the one QR code in a PNG says, if it can be read.
pub fn read_code(png: &[u8]) -> Option<String> {
    Picture::of(png).code()
}

/// Returns the folder for what tests leave behind.
pub fn artifacts() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-artifacts");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
