//! `docs/identity-providers.md` against the program: every reason for which a sign-in fails, and what the person reads.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::Gateway;

const PAGE: &str = include_str!("../../docs/identity-providers.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const TEXTS: &str = include_str!("../../static/texts/en.json");

/// Returns the rows of the table of failures: the title of the page, which goes on in the rows below; the reason; the log.
fn failures() -> Vec<[String; 3]> {
    let (_, table) = PAGE.split_once("| the page says | `reason` | log |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut title = String::new();
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if !cells[1].is_empty() {
            cells[1].clone_into(&mut title);
        }
        [title.clone(), cells[2].trim_matches('`').to_owned(), cells[3].to_owned()]
    };
    rows.map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_for_a_failed_sign_in_is_in_the_table_and_no_other() {
    let metrics = Gateway::start().await.metrics().await;
    let series = "scangate_provider_sign_ins_failed_total{reason=\"";
    let reasons = metrics.lines().filter_map(|line| line.strip_prefix(series)?.split('"').next());
    let reasons: BTreeSet<_> = reasons.map(str::to_owned).collect();
    let described: BTreeSet<_> = failures().into_iter().map(|[_, reason, _]| reason).collect();
    assert!(reasons.len() > 10, "{reasons:?}");
    assert_eq!(described, reasons);
    let (_, row) = OPERATIONS.split_once("| `scangate_provider_sign_ins_failed_total{reason}` |").unwrap();
    let row = row.lines().next().unwrap();
    for reason in reasons {
        assert!(row.contains(&format!("`{reason}`")), "docs/operations.md lacks {reason}");
    }
}

#[test]
fn people_read_the_titles_of_the_table() {
    let texts: Value = serde_json::from_str(TEXTS).unwrap();
    let problems = texts["problem"].as_object().unwrap();
    let titles: BTreeMap<_, _> = problems.iter().filter_map(|(code, text)| Some((text[0].as_str()?, code))).collect();
    let named: BTreeSet<_> = failures().into_iter().map(|[title, ..]| title).collect();
    for title in &named {
        assert!(titles.contains_key(title.as_str()), "no page says {title:?}");
    }
    // Each page that only a sign-in at a provider can lead to.
    for (title, code) in titles {
        let is_of_an_app = ["sign_in_not_begun", "sign_in_address"].contains(&code.as_str());
        if (code.starts_with("sign_in_") && !is_of_an_app) || code.starts_with("provider_") {
            assert!(named.contains(title), "the table lacks {title:?} ({code})");
        }
    }
}

#[test]
fn the_reasons_without_a_line_are_the_same_in_both_pages() {
    let without: BTreeSet<_> =
        failures().into_iter().filter(|[_, _, log]| log.is_empty()).map(|[_, reason, _]| reason).collect();
    let (_, row) = OPERATIONS.split_once("| `a sign-in at an identity provider failed` |").unwrap();
    let (_, listed) = row.lines().next().unwrap().split_once("have no such line: ").unwrap();
    let listed: BTreeSet<_> = listed.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(listed, without);
}
