//! What the first view of each page takes: bytes, trips, and whom it asks.

use std::collections::HashMap;

use serde_json::Value;

use super::super::{Stage, be};
use super::requests;
use crate::support::browser::Device;

/// All that comes over the wire until a page is there, heads of answers too.
const MOST_BYTES: u64 = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_view_of_each_page_is_small_and_takes_one_trip_after_the_html() {
    let stage = Stage::set().await;
    let asked = stage.edge.browser().create().await;
    let mut too_large = Vec::new();
    for (path, state) in [
        ("/".to_owned(), "waiting"),
        (format!("/s/{asked}"), "sign-in"),
        ("/share".to_owned(), "sign-in"),
        ("/share".to_owned(), "waiting"),
        (format!("/share/{asked}"), "ready"),
    ] {
        let page = stage.driver.open(Device::Desk).await;
        if path == "/share" && state == "waiting" {
            be(&stage, &page, "Ada").await;
        }
        page.goto(&stage.edge.url(&path)).await;
        page.until(state).await;
        let messages = page.messages().await;
        let sizes = sizes(&messages, "Network.loadingFinished", "encodedDataLength");
        let read = sizes_of_what_is_read(&messages);
        let bytes: u64 = sizes.values().sum();
        println!("{path} until {state}: {bytes} bytes in {} answers, {read} when read", sizes.len());
        if bytes >= MOST_BYTES {
            too_large.push(format!("{path}: {bytes} bytes: {sizes:#?}"));
        }
        assert!(bytes > 10_000 && read > 40_000, "{path}: not all was counted: {read}, {sizes:#?}");
        is_asked_for_by_the_html(&stage, &path, &messages);
        page.end().await;
    }
    assert!(too_large.is_empty(), "{}", too_large.join("\n"));
}

/// Nothing but what the scripts ask of the gateway itself is learnt of only after the HTML; all comes from one origin.
fn is_asked_for_by_the_html(stage: &Stage, path: &str, messages: &[Value]) {
    for (url, initiator) in requests(messages) {
        let Some(asked) = url.strip_prefix(&stage.edge.base) else {
            assert!(url.starts_with("data:"), "{path} asks {url}");
            continue;
        };
        let is_data = asked.starts_with("/v1/tickets");
        // The browser asks for the icon by itself.
        let is_expected = asked == path || is_data || initiator == "parser" || asked.contains("favicon.svg");
        assert!(is_expected, "{path} learns of {asked} only by {initiator}");
    }
}

fn sizes_of_what_is_read(messages: &[Value]) -> u64 {
    sizes(messages, "Network.dataReceived", "dataLength").values().sum()
}

/// Returns the bytes of each answer by its address, as these messages tell them.
fn sizes(messages: &[Value], method: &str, field: &str) -> HashMap<String, u64> {
    let addresses: HashMap<_, _> = messages
        .iter()
        .filter(|message| message["method"] == "Network.requestWillBeSent")
        .map(|message| (&message["params"]["requestId"], message["params"]["request"]["url"].as_str().unwrap()))
        .collect();
    let mut sizes = HashMap::new();
    for message in messages.iter().filter(|message| message["method"] == method) {
        let Some(address) = addresses.get(&message["params"]["requestId"]) else { continue };
        if address.starts_with("https:") {
            *sizes.entry((*address).to_owned()).or_default() += message["params"][field].as_f64().unwrap() as u64;
        }
    }
    sizes
}
