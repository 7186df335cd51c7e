//! What the gateway logs: lines that any reader of JSON takes, that an incident can be followed by, that name nobody, and that
//! nobody can cause without bound.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest;
use reqwest::{Method, StatusCode};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use crate::support::gateway::{Browser, Phone, keys};
use crate::support::wire::Wire;
use crate::support::{Gateway, Redis, SOON, eventually, until};

/// JSON as RFC 8259 §4 would have it: no object has a name twice. `Value` alone would keep the last and say nothing.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON without a name that is there twice")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut all = Vec::new();
                while let Some(Strict(member)) = members.next_element()? {
                    all.push(member);
                }
                Ok(all.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
                let mut all = serde_json::Map::new();
                while let Some((name, Strict(value))) = fields.next_entry::<String, Strict>()? {
                    if all.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("{name} is there twice")));
                    }
                }
                Ok(all.into())
            }
        }

        deserializer.deserialize_any(Reader).map(Self)
    }
}

fn read(line: &str) -> Value {
    let Strict(value) = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(value.is_object(), "{line}");
    value
}

/// Returns all lines, each of which must be good.
fn lines(gateway: &Gateway) -> Vec<Value> {
    gateway.process.lines().iter().map(|line| read(line)).collect()
}

/// Returns the lines with this message.
fn said<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

/// Has it stop, so that it says what it still has to say.
fn stop(gateway: &mut Gateway) {
    gateway.process.signal("TERM");
    until(SOON * 3, "the gateway's end", || gateway.process.exit_code());
}

#[test]
fn the_reader_is_as_strict_as_it_says() {
    for twice in [r#"{"a":1,"a":1}"#, r#"{"a":[{"b":1,"c":{},"b":2}]}"#, r#"{"span":{"name":"x","name":"y"}}"#] {
        assert!(serde_json::from_str::<Strict>(twice).is_err(), "{twice}");
    }
    assert_eq!(read(r#"{"a":[1,-2,1.5,"x",true,null],"b":{"a":1}}"#)["b"]["a"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_json_that_has_no_name_twice() {
    let (mut redis, keys) = (Redis::start(), keys());
    let builder = Gateway::builder().redis(&redis).arg("--keys-dir", keys.path().to_str().unwrap());
    let mut gateway = builder.arg("--log", "trace").start().await;
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    ada.approve(&id).await;
    while events.next().await.is_some_and(|frame| frame.event != "confirmed") {}
    let id = browser.create().await;
    ada.act(&id, "scan").await;
    ada.act(&id, "cancel").await;
    for path in ["/v1/nowhere", "/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA", "/%22%5C%0A?x=\"", "/v1/verify"] {
        browser.get(path).await;
    }
    browser.request(Method::POST, "/v1/tickets").body("x").send().await.unwrap();
    // What tasks say, each in its span: of keys that are not good, and of a Redis that is gone.
    std::fs::write(keys.path().join("bad.pem"), "bad").unwrap();
    let complains = async || gateway.log().contains("the key directory is faulty").then_some(());
    eventually("the complaint of the key directory", complains).await;
    redis.kill();
    let refused = browser.request(Method::POST, "/v1/tickets").json(&json!({})).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    stop(&mut gateway);
    let lines = lines(&gateway);
    let tasks = lines.iter().filter(|line| line["span"]["name"] == "task").count();
    assert!(lines.len() > 30 && tasks > 0, "{} lines, {tasks} of tasks", lines.len());
    assert!(!said(&lines, "failed to serve a request").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_can_be_followed_and_names_nobody() {
    let keys = keys();
    let directory = keys.path().to_str().unwrap();
    let start = async || Gateway::builder().arg("--keys-dir", directory).arg("--log", "info").start().await;
    let (gateway, other) = (start().await, start().await);
    let sign_in = async |gateway: &Gateway, who: &str| {
        let browser = Browser::new(gateway);
        let id = browser.create().await;
        Phone::of(who, gateway).approve(&id).await;
        assert_eq!(browser.read(&id).await.status(), StatusCode::OK);
        id
    };
    let (first, second) = (sign_in(&gateway, "adalovelace").await, sign_in(&gateway, "adalovelace").await);
    let third = sign_in(&gateway, "gracehopper").await;
    let elsewhere = sign_in(&other, "adalovelace").await;
    // One that its page closes, and one that its phone declines.
    let browser = Browser::new(&gateway);
    let closed = browser.create().await;
    browser.request(Method::DELETE, &format!("/v1/tickets/{closed}")).send().await.unwrap();
    let declined = browser.create().await;
    for action in ["scan", "cancel"] {
        Phone::of("adalovelace", &gateway).act(&declined, action).await;
    }

    let (all, there) = (lines(&gateway), lines(&other));
    let of = |lines: &[Value], message: &str, id: &str| -> Value {
        let found: Vec<_> = said(lines, message).into_iter().filter(|line| line["ticket"] == id).cloned().collect();
        assert_eq!(found.len(), 1, "{message} {id}");
        assert_eq!((&found[0]["level"], &found[0]["client"]), (&json!("INFO"), &json!("web")), "{found:?}");
        found[0].clone()
    };
    let subject = |lines: &[Value], id: &str| {
        of(lines, "created", id);
        let names = ["scanned", "confirmed", "claimed"].map(|message| of(lines, message, id)["subject"].clone());
        assert!(names[0].as_str().is_some_and(|name| name.len() == 22), "{names:?}");
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        names[0].as_str().unwrap().to_owned()
    };
    let ada = subject(&all, &first);
    assert_eq!(subject(&all, &second), ada, "the same person");
    assert_eq!(subject(&there, &elsewhere), ada, "the same person at another gateway with these keys");
    assert_ne!(subject(&all, &third), ada);
    let cancelled = of(&all, "cancelled", &closed);
    assert_eq!((&cancelled["reason"], &cancelled["subject"]), (&json!("closed"), &Value::Null));
    let cancelled = of(&all, "cancelled", &declined);
    assert_eq!((&cancelled["reason"], &cancelled["subject"]), (&json!("declined"), &json!(ada)));
    // No name, and no hash that a list of names would undo.
    let hash = digest::digest(&digest::SHA256, b"adalovelace");
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    use base64::Engine as _;
    let base64 = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(hash);
    for text in [gateway.log(), other.log()] {
        assert!(
            !text.to_lowercase().contains("adalovelace") && !text.contains(&hex[..16]) && !text.contains(&base64[..16])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_is_logged() {
    let gateway = Gateway::builder().arg("--ticket-ttl", "5s").arg("--log", "info").start().await;
    let browser = Browser::new(&gateway);
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    while events.next().await.is_some_and(|frame| frame.event != "expired") {}
    let expired = async || said(&lines(&gateway), "expired").iter().any(|line| line["ticket"] == *id).then_some(());
    eventually("the line", expired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_breaks_a_line_or_speaks_to_a_terminal() {
    let mut gateway = Gateway::builder().arg("--log", "info").start().await;
    // What some take for a line's end, what terminals take for a command, and what turns text around.
    for unprintable in ["\u{85}", "\u{2028}", "\u{9b}31m", "\u{90}", "\u{202e}", "\u{e0001}", "\u{fffe}"] {
        let request = format!("GET /nowhere{unprintable}x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(Wire::tcp(&gateway.base).await.exchange(request.as_bytes()).await.status, 404);
    }
    stop(&mut gateway);
    let lines = lines(&gateway);
    let paths: Vec<&str> = lines.iter().filter_map(|line| line["span"]["path"].as_str()).collect();
    assert!(paths.iter().all(|path| path.is_ascii()), "{paths:?}");
    assert!(paths.contains(&"/nowhere%C2%9B31mx") && paths.contains(&"/nowhere%E2%80%A8x"), "{paths:?}");
}

/// How many lines of one kind are whole in one interval.
const FULL_LINES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_fills_the_log_and_nothing_goes_uncounted() {
    const REQUESTS: u64 = 300;
    let mut gateway = Gateway::builder().arg("--log", "info").start().await;
    let (browser, stranger) = (Browser::new(&gateway), reqwest::Client::new());
    let bad = Phone::with_token("bad".to_owned(), &gateway);
    for _ in 0..REQUESTS {
        let id = browser.create().await;
        browser.request(Method::DELETE, &format!("/v1/tickets/{id}")).send().await.unwrap();
        assert_eq!(bad.act(&id, "scan").await.status(), StatusCode::UNAUTHORIZED);
        let nowhere = stranger.get(gateway.url("/v1/nowhere")).send().await.unwrap();
        assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
    }
    stop(&mut gateway);
    let lines = lines(&gateway);
    // By event and reason: how many whole lines there are, how many sums, and of how many they tell.
    let mut seen: BTreeMap<(String, String), (u64, u64, u64)> = BTreeMap::new();
    for line in &lines {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        match text("message").as_str() {
            "more of the same" => {
                let entry = seen.entry((text("event"), text("reason"))).or_default();
                (entry.1, entry.2) = (entry.1 + 1, entry.2 + line["count"].as_u64().unwrap());
            }
            message @ ("created" | "cancelled" | "refused") => {
                seen.entry((message.to_owned(), text("reason"))).or_default().0 += 1;
                // An example says whose it is.
                assert!(line["span"]["address"].is_string() && line["span"]["id"].is_string(), "{line}");
            }
            _ => {}
        }
    }
    let kinds = [("created", ""), ("cancelled", "closed"), ("refused", "invalid_token"), ("refused", "not_found")];
    assert_eq!(seen.len(), kinds.len(), "{seen:?}");
    for (event, reason) in kinds {
        let (whole, sums, summed) = seen[&(event.to_owned(), reason.to_owned())];
        assert_eq!(whole + summed, REQUESTS, "{event} {reason}: {seen:?}");
        assert!(sums >= 1 && whole <= FULL_LINES as u64 * (sums + 1), "{event} {reason}: {seen:?}");
    }
    let written: usize = gateway.process.lines().iter().map(String::len).sum();
    assert!(lines.len() < 4 * REQUESTS as usize / 2, "{} lines, {written} bytes", lines.len());
}
