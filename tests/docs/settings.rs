//! `docs/configuration.md` against the program: every setting with its default and its bounds, and every key of the TOML file,
//! in both directions. The tests find out by trying what the program accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::{Browser, Phone, file, token, verified_claims};

const PAGE: &str = include_str!("../../docs/configuration.md");

/// Returns the rows of the tables under a heading, up to the next heading, as trimmed cells.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = PAGE.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let lines = section.lines().take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("| `"));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.map(cells).collect()
}

/// Returns the code spans of a text.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// A setting as `--help` has it.
#[derive(Debug)]
struct Flag {
    flag: String,
    group: String,
    default: Option<String>,
}

fn flags() -> BTreeMap<String, Flag> {
    let help = Command::new(env!("CARGO_BIN_EXE_scangate")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (mut flags, mut group, mut flag) = (BTreeMap::new(), "", "");
    let mut variable = String::new();
    for line in help.lines() {
        if !line.starts_with(' ') && line.ends_with(':') {
            group = line.trim_end_matches(':');
        }
        let line = line.trim();
        if line.starts_with("--") {
            flag = line.split([' ', '[']).next().unwrap();
        } else if let Some(rest) = line.strip_prefix("[env: ") {
            rest.split(['=', ']']).next().unwrap().clone_into(&mut variable);
            let new = Flag { flag: flag.to_owned(), group: group.to_owned(), default: None };
            flags.insert(variable.clone(), new);
        } else if let Some(rest) = line.strip_prefix("[default: ") {
            flags.get_mut(&variable).unwrap().default = Some(rest.trim_end_matches(']').to_owned());
        }
    }
    flags
}

/// Where a default is stated besides `--help` and the tables of `docs/configuration.md`: setting, file, text. `{n}` is replaced
/// by n times the default; times are in seconds.
const STATED: [(&str, &str, &str); 23] = [
    ("SCANGATE_HEARTBEAT", "nginx/scangate.conf.template", "Three heartbeats of {1} s"),
    ("SCANGATE_HEARTBEAT", "nginx/scangate.conf.template", "proxy_read_timeout {3}s;"),
    ("SCANGATE_HEARTBEAT", "docs/edge.md", "(configuration.md#limits), {1} s): {3} s"),
    ("SCANGATE_HEARTBEAT", "docs/edge.md", "`proxy_read_timeout {3}s` | three heartbeats"),
    ("SCANGATE_HEARTBEAT", "docs/edge.md", "timeout client {3}s"),
    ("SCANGATE_HEARTBEAT", "docs/edge.md", "timeout server {3}s"),
    ("SCANGATE_HEARTBEAT", "docs/configuration.md", "({3} s in the nginx configuration here)"),
    ("SCANGATE_HEARTBEAT", "docs/http-api.md", "Every heartbeat ({1} s;"),
    ("SCANGATE_HEARTBEAT", "docs/http-api.md", "\"heartbeat\":{1},"),
    ("SCANGATE_HEARTBEAT", "docs/drop-in.md", "heartbeats (of {1} s,"),
    ("SCANGATE_TICKET_TTL", "docs/http-api.md", "\"expires_in\":{1}.0"),
    ("SCANGATE_TICKET_TTL", "docs/architecture.md", "\"expires_in\":{1}.0"),
    ("SCANGATE_DECISION_TTL", "docs/architecture.md", "the decision time ({1} s)"),
    ("SCANGATE_SIGN_IN_TIME", "docs/http-api.md", "`SCANGATE_SIGN_IN_TIME` ({1} s)"),
    ("SCANGATE_TOKEN_TTL", "docs/architecture.md", "\"expires_in\":{1}}"),
    ("SCANGATE_STREAMS_PER_ADDRESS", "nginx/scangate.conf.template", "limit_conn scangate_waiting {1};"),
    ("SCANGATE_STREAMS_PER_ADDRESS", "nginx/scangate.conf.template", "limit_conn scangate_waiting_site {4};"),
    ("SCANGATE_STREAMS_PER_ADDRESS", "nginx/scangate.conf.template", "limit_conn scangate_waiting_network {16};"),
    ("SCANGATE_STREAMS_PER_ADDRESS", "docs/load-testing.md", "{1} streams per address"),
    ("SCANGATE_LISTEN", "docs/install.md", "{1}"),
    ("SCANGATE_ADMIN_LISTEN", "docs/operations.md", "{1}"),
    ("SCANGATE_REDIS_PREFIX", "docs/architecture.md", "'{1}{"),
    ("SCANGATE_PUBLIC_URL", "docs/architecture.md", "{1}/v1/tickets"),
];

/// Fills a text of [`STATED`] with a default.
fn stated(text: &str, default: &str) -> String {
    let number = default.parse::<u64>().ok().or_else(|| Some(humantime::parse_duration(default).ok()?.as_secs()));
    [1, 3, 4, 16].into_iter().fold(text.to_owned(), |text, times| {
        let value = number.map_or_else(|| default.to_owned(), |number| (number * times).to_string());
        text.replace(&format!("{{{times}}}"), &value)
    })
}

#[test]
fn every_stated_default_is_the_programs() {
    let flags = flags();
    let read = |file: &str| std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut wrong = Vec::new();
    for (variable, file, text) in STATED {
        let text = stated(text, flags[variable].default.as_deref().unwrap());
        if !read(file).contains(&text) {
            wrong.push(format!("{file} must contain {text:?}, from the default of {variable}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns the program's faults for these arguments. They always contain a wrong one, so the program never starts.
fn faults_of(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scangate"));
    let output = command.args(["--public-url", "nowhere"]).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Returns the program's faults for a TOML file.
fn faults_of_file(text: &str) -> String {
    let (_directory, path) = file(text);
    faults_of(&["--config", path.to_str().unwrap()])
}

/// Returns the bounds in a cell, for example `5 s to 30 m` or `1 to 10,000,000`.
fn bounds(cell: &str) -> Option<[String; 2]> {
    let (low, high) = cell.split(';').next().unwrap().split_once(" to ")?;
    let plain = |text: &str| text.replace([',', ' '], "");
    // A bound that depends on another setting: the tests listen on one address.
    let low = if low.starts_with("one for each address") { "1" } else { low };
    Some([plain(low), plain(high)])
}

/// Returns values just outside of the bounds.
fn outside([low, high]: &[String; 2]) -> Vec<String> {
    match (low.parse::<u64>(), high.parse::<u64>()) {
        (Ok(low), Ok(high)) => {
            [low.checked_sub(1), high.checked_add(1)].into_iter().flatten().map(|n| n.to_string()).collect()
        }
        _ => {
            let time = |text: &str| humantime::parse_duration(text).unwrap_or_default();
            let (below, above) =
                (time(low).checked_sub(Duration::from_millis(1)), time(high) + Duration::from_millis(1));
            [below, Some(above)]
                .into_iter()
                .flatten()
                .map(|time| humantime::format_duration(time).to_string())
                .collect()
        }
    }
}

#[test]
fn every_setting_is_documented_in_its_group_with_its_default() {
    let flags = flags();
    let groups: BTreeSet<_> = flags.values().map(|flag| flag.group.as_str()).collect();
    let mut described = BTreeSet::new();
    for group in groups {
        for row in rows(&format!("### {group}")) {
            let variable = code(&row[0])[0].to_owned();
            let flag = flags.get(&variable).unwrap_or_else(|| panic!("unknown setting {variable}"));
            assert_eq!(flag.group, group, "{variable}");
            match &flag.default {
                Some(default) => assert_eq!(row[1], format!("`{default}`"), "{variable}"),
                None => assert!(!row[1].starts_with('`'), "{variable} has no default, and not {}", row[1]),
            }
            assert!(row[3].len() > 10, "the description of {variable} is too short");
            assert!(described.insert(variable), "{row:?} is there twice");
        }
    }
    assert_eq!(described, flags.keys().cloned().collect());
}

#[test]
fn the_bounds_of_settings_are_as_documented() {
    let mut tried = 0;
    for (variable, flag) in flags() {
        let rows = rows(&format!("### {}", flag.group));
        let row = rows.iter().find(|row| row[0].contains(&format!("`{variable}`"))).unwrap();
        let is_number = flag
            .default
            .is_some_and(|default| default.starts_with(|c: char| c.is_ascii_digit()) && !default.contains('.'));
        let Some(bounds) = bounds(&row[2]) else {
            assert!(!is_number, "{variable} has no bounds");
            continue;
        };
        // The drain must leave time for the shutdown.
        let other = match variable.as_str() {
            "SCANGATE_DRAIN" => ["--shutdown-timeout", "15m"],
            // A session's longest lifetime is not below its idle one.
            "SCANGATE_SESSION_LIFETIME" => ["--session-idle", "5s"],
            "SCANGATE_SSO_LIFETIME" => ["--sso-idle", "5s"],
            _ => ["--drain", "0s"],
        };
        // Settings of an identity provider are a fault without the provider.
        let url = "https://id.example";
        let provider = ["--identity-jwks-url", url, "--identity-issuer", url, "--identity-audience", "scangate"];
        let provider = if variable.starts_with("SCANGATE_IDENTITY_") { &provider[..] } else { &[] };
        let is_refused = |value: &str| {
            let args = [provider, &[other[0], other[1], &flag.flag, value]].concat();
            faults_of(&args).contains(&format!("{} ", flag.flag))
        };
        for value in &bounds {
            let value = if value == "0" && variable == "SCANGATE_DRAIN" { "0s" } else { value };
            assert!(!is_refused(value), "{} {value} is refused", flag.flag);
        }
        for value in outside(&bounds) {
            assert!(is_refused(&value), "{} {value} is accepted", flag.flag);
        }
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
}

/// Returns the expected values that a fault names.
fn expected(fault: &str) -> BTreeSet<String> {
    let (_, words) = fault.split_once("expected ").unwrap_or_else(|| panic!("nothing expected: {fault}"));
    code(words.lines().next().unwrap()).into_iter().map(str::to_owned).collect()
}

/// The tables of the TOML file, each with the text that must precede its keys.
const TABLES: [(&str, &str); 3] = [
    ("[[clients]]", "[[clients]]\nid = \"a\"\n"),
    ("[connectors.wechat]", "[[clients]]\nid = \"a\"\n[connectors.wechat]\n"),
    ("[[identity_providers]]", "[[clients]]\nid = \"a\"\n[[identity_providers]]\n"),
];

#[test]
fn every_key_of_the_toml_file_has_a_row_and_every_row_a_key() {
    for (table, before) in TABLES {
        let mut known = expected(&faults_of_file(&format!("{before}unknown_key = 1\n")));
        // It is read only to say what replaces it.
        known.remove("return_to");
        let rows = rows(&format!("### Keys of `{table}`"));
        let described: BTreeSet<_> = rows.iter().flat_map(|row| code(&row[0])).map(str::to_owned).collect();
        assert_eq!(described, known, "{table}");
    }
    let (_, example) = PAGE.split_once("```toml\n").unwrap();
    let example: BTreeSet<_> = example
        .split("```")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, _)| key)
        .collect();
    for row in rows("### Keys of `[[clients]]`") {
        assert!(example.contains(code(&row[0])[0]), "the example lacks {}", row[0]);
    }
    let tables: BTreeSet<_> = expected(&faults_of_file("unknown_key = 1\n"));
    assert_eq!(tables, ["clients", "connectors", "identity_providers"].map(str::to_owned).into());
    assert_eq!(expected(&faults_of_file("[connectors.unknown_key]\n")), ["wechat".to_owned()].into());
}

#[test]
fn the_values_and_bounds_of_the_toml_file_are_as_documented() {
    let mut tried = 0;
    for (table, before) in TABLES {
        for row in rows(&format!("### Keys of `{table}`")) {
            let key = code(&row[0])[0];
            let fault_of = |value: &str| faults_of_file(&format!("{before}{key} = {value}\n"));
            if row[2].starts_with("`\"") {
                let words: BTreeSet<_> =
                    code(&row[2]).into_iter().map(|word| word.trim_matches('"').to_owned()).collect();
                let value = if row[1].starts_with("`[") { "[\"unknown-value\"]" } else { "\"unknown-value\"" };
                assert_eq!(expected(&fault_of(value)), words, "{key}");
                tried += 1;
            } else if let Some(bounds) = bounds(&row[2]).filter(|bounds| bounds[0].ends_with('s')) {
                for value in &bounds {
                    assert!(!fault_of(&format!("\"{value}\"")).contains(key), "{key} = {value} is refused");
                }
                for value in outside(&bounds) {
                    assert!(fault_of(&format!("\"{value}\"")).contains(key), "{key} = {value} is accepted");
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 4, "{tried}");
    let with_id = |length: usize| faults_of_file(&format!("[[clients]]\nid = \"{}\"\n", "a".repeat(length)));
    assert_eq!(
        [1, 64, 65, 0].map(|length| with_id(length).contains("an id must have 1 to 64")),
        [false, false, true, true]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_defaults_of_a_client_are_as_documented() {
    let defaults: BTreeMap<_, _> = rows("### Keys of `[[clients]]`")
        .into_iter()
        .map(|row| (code(&row[0])[0].to_owned(), row[1].clone()))
        .collect();
    let documented = |key: &str| defaults[key].as_str();
    let of_scopes = "none; with `redirect_uris`, those of `scopes`";
    assert_eq!((documented("name"), documented("claims"), documented("origins")), ("the `id`", of_scopes, "none"));
    assert_eq!(
        (documented("match"), documented("flows"), documented("ticket_ttl")),
        ("`\"none\"`", "`[\"login\"]`", "`SCANGATE_TICKET_TTL`")
    );
    assert_eq!((documented("logo"), documented("connector"), documented("id")), ("none", "none", "required"));

    let (_directory, config) = file("[[clients]]\nid = \"plain\"\n");
    let gateway = Gateway::builder().arg("--config", config.to_str().unwrap()).arg("--ticket-ttl", "90s").start().await;
    let browser = Browser::new(&gateway);
    let made = browser.create_with(json!({})).await;
    assert_eq!(made["client"], json!({"id": "plain", "name": "plain"}));
    assert_eq!(made["expires_in"], json!(90.0));
    let share = reqwest::Client::new().post(gateway.url("/v1/tickets")).bearer_auth(token("ada"));
    let share = share.json(&json!({"flow": "share"})).send().await.unwrap();
    assert_eq!(share.json::<Value>().await.unwrap()["code"], "flow_not_allowed");

    let (id, ada) = (made["ticket_id"].as_str().unwrap(), Phone::of("ada", &gateway));
    let shown: Value = ada.act(id, "scan").await.json().await.unwrap();
    assert_eq!((&shown["match"], &shown["release"]), (&json!("none"), &json!([])));
    ada.act(id, "confirm").await;
    let ticket: Value = browser.read(id).await.json().await.unwrap();
    let claims = verified_claims(&gateway, ticket["token"]["access_token"].as_str().unwrap(), "plain").await;
    assert_eq!(claims.get("name"), None);
}
