//! The dashboard, the alerts and the table of metrics against the metrics of a gateway that runs.

mod attacks;
mod blocks;
mod code;
mod edge;
mod providers;
mod samples;
mod settings;
mod shell;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::Gateway;
use crate::support::gateway::Browser;

const DASHBOARD: &str = include_str!("../docs/grafana.json");
const ALERTS: &str = include_str!("../docs/alerts.yaml");
const OPERATIONS: &str = include_str!("../docs/operations.md");

/// The families of metrics that a gateway exposes, each with the names of its samples; and all the text.
async fn exposed() -> (BTreeMap<String, BTreeSet<String>>, String) {
    let gateway = Gateway::start().await;
    // Some series begin with the first request.
    Browser::new(&gateway).create().await;
    let text = gateway.metrics().await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let samples = |name: &str, kind: &str| -> BTreeSet<String> {
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect()
    };
    let families = types.map(|(name, kind)| (name.to_owned(), samples(name, kind))).collect();
    (families, text)
}

/// The names of scangate's metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("scangate_")).map(str::to_owned).collect()
}

/// The labels that expressions ask for with fixed values, as they are exposed: `reason="internal"`.
fn labels(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for label in ["outcome", "reason", "operation", "kind"] {
        for operator in ["=", "=~"] {
            for part in text.split(&format!("{label}{operator}\"")).skip(1) {
                let values = part.split('"').next().unwrap();
                found.extend(values.split('|').map(|value| format!("{label}=\"{value}\"")));
            }
        }
    }
    found
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

fn expressions(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard).into_iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_every_metric_and_no_others() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let (families, text) = exposed().await;
    let shown = names(&expressions(&dashboard).join("\n"));
    let samples: BTreeSet<_> = families.values().flatten().cloned().collect();
    assert_eq!(shown.difference(&samples).collect::<Vec<_>>(), [""; 0], "not exposed");
    for (family, samples) in &families {
        assert!(!shown.is_disjoint(samples), "{family} is in no panel");
    }
    for label in labels(&expressions(&dashboard).join("\n")) {
        assert!(text.contains(&label), "{label} is not exposed");
    }
}

#[test]
fn every_panel_says_what_it_means_and_can_be_filtered() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let variables: Vec<_> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|variable| &variable["name"]).collect();
    assert_eq!(variables, ["DS_PROMETHEUS", "job", "instance"]);
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(titles.insert(panel["title"].as_str().unwrap()), "{panel}");
    }
    for panel in panels(&dashboard) {
        let title = &panel["title"];
        assert!(panel["description"].as_str().unwrap().len() > 80, "{title} explains too little");
        assert_eq!(panel["datasource"]["uid"], "${DS_PROMETHEUS}", "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${DS_PROMETHEUS}", "{title}");
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(
                names(expression).is_empty(),
                !expression.contains("job=~\"$job\",instance=~\"$instance\""),
                "{title} cannot be filtered: {expression}"
            );
        }
        // Where a description sends the reader, there is something.
        for other in panel["description"].as_str().unwrap().split('"').skip(1).step_by(2) {
            assert!(titles.iter().any(|title| title.starts_with(other)), "{title} names {other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_use_what_is_exposed_and_say_what_to_do() {
    assert!(!ALERTS.contains('\t'), "YAML is not indented with tabs");
    let (families, text) = exposed().await;
    let samples: BTreeSet<_> = families.values().flatten().cloned().collect();
    assert_eq!(names(ALERTS).difference(&samples).collect::<Vec<_>>(), [""; 0], "not exposed");
    for label in labels(ALERTS) {
        assert!(text.contains(&label), "{label} is not exposed");
    }
    let headings: BTreeSet<_> = OPERATIONS.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut alerts = BTreeSet::new();
    for rule in ALERTS.split("\n      - ").skip(1) {
        let value = |name: &str| {
            let line = rule.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("no {name} in:\n{rule}")).trim_matches('"')
        };
        let alert = value("alert");
        assert!(alerts.insert(alert), "{alert} is there twice");
        value("expr");
        assert!(["critical", "warning"].contains(&value("severity")), "{alert}");
        assert!(value("summary").len() > 15 && value("description").len() > 40, "{alert} says too little");
        assert_eq!(value("runbook"), format!("docs/operations.md#{}", alert.to_lowercase()));
        assert!(headings.contains(alert), "docs/operations.md has no heading {alert}");
        let count = |bracket: char| rule.matches(bracket).count();
        assert_eq!((count('('), count('[')), (count(')'), count(']')), "{alert} is not balanced");
    }
    // Each says what it means to whoever is woken by it, and what to do.
    for section in OPERATIONS.split("\n### Scangate").skip(1) {
        let section = section.split("\n#").next().unwrap();
        assert!(section.contains("\n**At night** (") && section.contains("\n**Do**: "), "{section}");
    }
    for rule in ALERTS.split("\n      - alert: ").skip(1) {
        let (alert, rest) = rule.split_once('\n').unwrap();
        let severity = rest.split("severity: ").nth(1).unwrap().split('\n').next().unwrap();
        assert!(OPERATIONS.contains(&format!("### {alert}\n\n**At night** ({severity}): ")), "{alert} is {severity}");
    }
    let described: BTreeSet<_> = headings.into_iter().filter(|heading| heading.starts_with("Scangate")).collect();
    assert_eq!(described, alerts);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_metrics_has_every_metric_and_no_others() {
    let (families, _) = exposed().await;
    let named = names(OPERATIONS);
    let known: BTreeSet<_> =
        families.iter().flat_map(|(family, samples)| samples.iter().chain([family])).cloned().collect();
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), [""; 0], "not exposed");
    for (family, samples) in &families {
        assert!(named.contains(family) || !named.is_disjoint(samples), "{family} is not in docs/operations.md");
    }
}
