//! A page in Firefox or in WebKit, driven by `tests/clients/drive.mjs`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::Process;
use super::within;

/// How long a browser may take to start or to get somewhere, on a machine that runs several.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Page {
    process: Process,
    http: reqwest::Client,
    base: String,
}

impl Page {
    /// Opens one in `firefox` or `webkit`.
    pub async fn open(browser: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/drive.mjs");
        let process = Process::start(Command::new("node").arg(program).arg(browser));
        let is_there = async || {
            let lines = process.lines();
            let mut read = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            read.find_map(|line| line["port"].as_u64())
        };
        let port = within(PATIENCE, browser, is_there).await;
        Self { process, http: reqwest::Client::new(), base: format!("http://127.0.0.1:{port}") }
    }

    async fn ask(&self, action: &str, arguments: Value) -> Result<Value, String> {
        let request = self.http.post(format!("{}/{action}", self.base)).json(&arguments);
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        match answer.get("error") {
            Some(error) => Err(format!("{action} {arguments}: {error}")),
            None => Ok(answer["value"].take()),
        }
    }

    pub async fn goto(&self, url: &str) {
        self.ask("goto", json!([url])).await.unwrap();
    }

    /// Runs a script in the page and returns what it returns; null while the page goes to another.
    pub async fn run(&self, script: &str) -> Value {
        self.ask("run", json!([script])).await.unwrap_or_default()
    }

    /// Waits until a script returns something that is neither null nor false.
    pub async fn until(&self, what: &str, script: &str) -> Value {
        let look = async || Some(self.run(script).await).filter(|value| !value.is_null() && *value != json!(false));
        let started = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            if started.elapsed() > PATIENCE {
                let shown = self.run("return location.href + ' ' + document.body.innerText").await;
                panic!("{what} did not happen: {shown}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until `<body>` is in this state.
    pub async fn is(&self, state: &str) {
        let script = format!("return document.body.getAttribute('data-state') === {state:?}");
        self.until(&format!("the state {state}"), &script).await;
    }

    /// Waits until `css` can be seen.
    pub async fn appears(&self, css: &str) {
        let script =
            format!("var one = document.querySelector({css:?}); return !!one && one.getClientRects().length > 0");
        self.until(css, &script).await;
    }

    pub async fn text(&self, css: &str) -> String {
        let script = format!("return document.querySelector({css:?}).textContent");
        self.run(&script).await.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks as a person does who has seen what is there: what has just come takes no click yet, and says so.
    pub async fn click(&self, css: &str) {
        self.appears(css).await;
        let is_ready = format!(
            "var one = document.querySelector({css:?}); return one.getAttribute('aria-disabled') !== 'true' && !one.disabled &&
               document.getAnimations().every(function (one) {{ return one.effect.getTiming().iterations !== 1; }})"
        );
        self.until(&format!("{css} to take a click"), &is_ready).await;
        self.ask("click", json!([css])).await.unwrap();
    }

    pub async fn write(&self, css: &str, text: &str) {
        self.appears(css).await;
        self.ask("write", json!([css, text])).await.unwrap();
    }
}

impl Drop for Page {
    /// Asks first: a program that is killed leaves its browser behind.
    fn drop(&mut self) {
        self.process.signal("TERM");
        let asked = Instant::now();
        while self.process.exit_code().is_none() && asked.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
