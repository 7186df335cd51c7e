//! `docs/coming-from.md`: the scripts that sign in in the manner of other systems, run as they stand there.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Gateway;

const PAGE: &str = include_str!("../docs/coming-from.md");

/// All that the scripts may need besides bash.
const TOOLS: [&str; 9] = ["base64", "curl", "cut", "grep", "mktemp", "rm", "sed", "sleep", "tr"];

/// The kinds of systems, each with its section and what its script says before the claims of the JWT.
const KINDS: [(&str, &[&str]); 4] = [
    ("Polling", &["pending", "scanned", "confirmed"]),
    ("Redis and poll", &["pending", "scanned", "confirmed"]),
    ("Three endpoints", &["CANCEL", "QRCODE_EXPIRE", "WAITING", "SCAN", "QRCODE_SUCCESS"]),
    ("WebSocket with a scene id", &["pending", "scanned", "confirmed"]),
];

/// Returns the fenced blocks of a language in a text.
pub fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let parts = text.split(&opening).skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// Returns the sections of the page, by their headings.
fn sections() -> Vec<(&'static str, &'static str)> {
    PAGE.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

fn script_of(kind: &str) -> String {
    let (_, section) = sections().into_iter().find(|(heading, _)| *heading == kind).unwrap();
    let [script] = &blocks(section, "bash")[..] else { panic!("{kind} has not one script") };
    script.clone()
}

/// Runs a script with these settings, in a folder of its own, with nothing on its `PATH` but what it may need.
fn run(script: &str, settings: &[(&str, &str)]) -> Output {
    let place = tempfile::tempdir().unwrap();
    let bin = place.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for tool in TOOLS {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap();
        assert!(found.status.success(), "{tool} is missing");
        symlink(String::from_utf8(found.stdout).unwrap().trim(), bin.join(tool)).unwrap();
    }
    let mut command = Command::new("/bin/bash");
    command.args(["-c", script]).current_dir(place.path()).env_clear().env("PATH", &bin).env("TMPDIR", place.path());
    command.envs(settings.iter().copied()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let left: Vec<_> = place.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["bin"], "the script leaves something behind");
    output
}

/// Runs the script of a kind to its end, and checks what it says.
async fn signs_in(kind: &'static str) {
    let (_, expected) = KINDS.into_iter().find(|(name, _)| *name == kind).unwrap();
    let gateway = Gateway::builder().own_identity().start().await;
    let base = gateway.base.clone();
    let running = tokio::task::spawn_blocking(move || run(&script_of(kind), &[("GATEWAY_URL", &base)]));
    let output = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it does not end").unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{kind} failed: {said}\n{complained}\n{}", gateway.log());
    assert_eq!(complained, "", "{kind}");
    let mut words: Vec<_> = said.trim().lines().collect();
    let claims = words.pop().unwrap();
    let claims: Value = serde_json::from_str(claims).unwrap_or_else(|_| panic!("no claims at the end of: {said}"));
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["iss"], &claims["name"]),
        (&json!("demo:Ada"), &json!("web"), &json!(gateway.public_url), &json!("Ada")),
    );
    if kind == "Polling" {
        // Whoever polls reads a state again and again; all others are told once.
        words.dedup();
    }
    // On a busy machine the phone may be done before the browser has looked twice.
    let mut ahead = expected.iter();
    assert!(words.iter().all(|word| ahead.any(|next| next == word)), "{kind}: {words:?}");
    assert_eq!(words.last(), expected.last(), "{kind}");
    assert_eq!(gateway.metric("scangate_tickets_total{outcome=\"claimed\"}").await, 1.0, "{}", gateway.metrics().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_system_signs_in_by_its_script() {
    signs_in("Polling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_and_poll_system_signs_in_by_its_script() {
    signs_in("Redis and poll").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_of_three_endpoints_signs_in_by_its_script() {
    signs_in("Three endpoints").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_system_signs_in_by_its_script() {
    signs_in("WebSocket with a scene id").await;
}

#[test]
fn every_script_of_the_page_is_run() {
    assert_eq!(blocks(PAGE, "bash").len(), KINDS.len());
    assert_eq!(PAGE.matches("\n```").count(), KINDS.len() * 2, "there is a block that no test runs");
    for (kind, _) in KINDS {
        let script = script_of(kind);
        assert!(script.contains("gateway=${GATEWAY_URL:-http://localhost:8080}\n"), "{kind} has no default");
        assert!(!script.contains("http://localhost:8080/"), "{kind} goes elsewhere than it is told");
    }
}

#[test]
fn every_kind_has_its_table_and_its_link() {
    for (kind, _) in KINDS {
        let (_, section) = sections().into_iter().find(|(heading, _)| *heading == kind).unwrap();
        assert!(section.contains("| there | here | what changes |"), "{kind}");
        assert!(PAGE.contains(&format!("](#{})", kind.to_lowercase().replace(' ', "-"))), "{kind}");
    }
}

/// Every route that the page names is one of the gateway's.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_names_no_route_that_is_not_there() {
    let gateway = Gateway::start().await;
    let api: Value = reqwest::get(gateway.url("/v1/openapi.json")).await.unwrap().json().await.unwrap();
    let mut named = BTreeSet::new();
    for method in ["GET", "POST", "DELETE"] {
        for part in PAGE.split(&format!("`{method} /v1/")).skip(1) {
            let path = part.split(['`', '?', ' ']).next().unwrap();
            let known = &api["paths"][format!("/v1/{path}")][method.to_lowercase()];
            assert!(known.is_object(), "{method} /v1/{path} is not there");
            named.insert(format!("{method} {path}"));
        }
    }
    assert!(named.len() > 5, "{named:?}");
}
