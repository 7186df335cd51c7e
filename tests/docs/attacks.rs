//! `docs/security.md`: every test that it names is there and is run; and the attacks that no other test had tried.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::{Browser, Phone};

const PAGE: &str = include_str!("../../docs/security.md");

/// Returns the names of this program's tests: of all, or of those that are left out by default.
fn tests(which: &[&str]) -> Vec<String> {
    let listed = Command::new(std::env::current_exe().unwrap()).args(["--list"]).args(which).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.lines().filter_map(|line| Some(line.strip_suffix(": test")?.to_owned())).collect()
}

/// Returns the texts of the files in a folder.
fn texts(folder: &Path, found: &mut Vec<String>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

/// Returns whether a file of the library, or of a package in `crates/`, has that test, and runs it.
fn is_unit_test(name: &str, sources: &[String]) -> bool {
    sources.iter().any(|source| {
        let Some((before, _)) = source.split_once(&format!("fn {name}(")) else { return false };
        let (before, _) = before.rsplit_once('\n').unwrap();
        let attributes: Vec<_> = before.lines().rev().take_while(|line| line.trim().starts_with('#')).collect();
        attributes.iter().any(|line| line.contains("test")) && !attributes.iter().any(|line| line.contains("ignore"))
    })
}

#[test]
fn every_test_that_stands_beside_an_attack_is_there_and_is_run() {
    let tables = PAGE.split("| attack | what stops it | tests |").skip(1);
    let rows_of = |table: &'static str| table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = tables.flat_map(rows_of).collect();
    let left_out: BTreeSet<_> = tests(&["--ignored"]).into_iter().collect();
    let run: Vec<_> = tests(&[]).into_iter().filter(|test| !left_out.contains(test)).collect();
    let mut sources = Vec::new();
    for folder in ["src", "crates"] {
        texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut sources);
    }
    let (mut count, mut missing) = (0, Vec::new());
    for row in rows {
        let cells: Vec<_> = row.split(" | ").collect();
        if row.starts_with("| **") {
            continue;
        }
        let [_, stops, named] = &cells[..] else { panic!("not three cells: {row}") };
        assert!(!stops.trim().is_empty(), "{row}");
        let names: Vec<_> = named.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty() || named.starts_with("none: "), "no test, and no reason: {row}");
        for name in names {
            // A test may stand for several engines or wires, in a module of its name.
            let is_run = run.iter().any(|test| test.split("::").any(|part| part == name));
            if !is_run && !is_unit_test(name, &sources) {
                missing.push(name);
            }
            count += 1;
        }
    }
    assert!(missing.is_empty(), "these are no tests that are run: {missing:#?}");
    assert!(count > 200, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_host_reaches_neither_the_code_nor_a_link() {
    let gateway = Gateway::start().await;
    let http = reqwest::Client::new();
    for (name, value) in
        [("host", "evil.example"), ("x-forwarded-host", "evil.example"), ("forwarded", "host=evil.example")]
    {
        let request =
            http.post(gateway.url("/v1/tickets?qr=svg")).header(name, value).json(&json!({"binding": "bearer"}));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{name}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("evil.example"), "{name}: {text}");
        let ticket: Value = serde_json::from_str(&text).unwrap();
        let url = ticket["scan_url"].as_str().unwrap();
        assert!(url.starts_with(&format!("{}/s/", gateway.public_url)), "{name}: {url}");
        for path in ["/", "/share", url.strip_prefix(&gateway.public_url).unwrap()] {
            let page = http.get(gateway.url(path)).header(name, value).send().await.unwrap();
            assert!(!format!("{:?}", page.headers()).contains("evil.example"), "{name} {path}");
            assert!(!page.text().await.unwrap().contains("evil.example"), "{name} {path}");
        }
    }
}

/// A stranger opens the sign-in page and has Ada scan its code. That cannot be kept from happening; it can be seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_shown_on_the_phone_for_what_it_is() {
    let gateway = Gateway::start().await;
    let stranger = Browser::new(&gateway);
    // By the edge, which the gateway trusts.
    let request = stranger.request(reqwest::Method::POST, "/v1/tickets").header("x-forwarded-for", "203.0.113.66");
    let request = request
        .header("user-agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0");
    let made: Value = request.json(&json!({})).send().await.unwrap().json().await.unwrap();
    let id = made["ticket_id"].as_str().unwrap();

    let ada = Phone::of("ada", &gateway);
    let shown: Value = ada.act(id, "scan").await.json().await.unwrap();
    let requester = &shown["requester"];
    assert_eq!(
        (&requester["ip"], &requester["browser"], &requester["os"], &shown["client"]["name"]),
        (&json!("203.0.113.66"), &json!("Firefox"), &json!("Windows 10"), &json!("Web"))
    );
    assert!(requester["created_at"].is_string(), "{requester}");
    // She says no, and the stranger has nothing but her name.
    assert_eq!(ada.act(id, "cancel").await.status(), StatusCode::OK);
    let left: Value = stranger.read(id).await.json().await.unwrap();
    assert_eq!(
        (&left["state"], &left["reason"], &left["token"]),
        (&json!("cancelled"), &json!("declined"), &Value::Null)
    );
}
