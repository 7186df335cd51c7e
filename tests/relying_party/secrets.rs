//! Nothing that opens an account or a session is said anywhere: not in the log at its loudest, not in metrics, not on pages, not in keys of
//! the store.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::support::Redis;
use crate::support::hostile::{CLIENT_SECRET, Endpoint, Instead, Signature};

/// The values of cookies that a response sets.
fn cookies(response: &reqwest::Response) -> Vec<String> {
    let all = response.headers().get_all("set-cookie").iter();
    all.filter_map(|cookie| cookie.to_str().unwrap().split([';', '=']).nth(1).map(str::to_owned)).collect()
}

/// Every way to fail after the person has been at the provider.
fn lies() -> Vec<Lie> {
    let claims = |name: &'static str, value: Value| Lie::claims(move |claims| claims[name] = value.clone());
    let at = |endpoint, instead| Lie::replacing(endpoint, instead);
    vec![
        Lie::default(),
        Lie::answering(|answer| answer["error"] = json!("server_error")),
        Lie::answering(|answer| answer["iss"] = json!("https://other.example")),
        Lie::answering(|answer| answer["access_token"] = json!("token-in-the-answer-0123456789")),
        claims("nonce", json!("another")),
        claims("sub", json!("\u{7}")),
        claims("at_hash", json!("x")),
        Lie::signed(Signature::OtherKey),
        Lie::signed(Signature::Missing),
        Lie::at(Endpoint::Token, |answer| answer["token_type"] = json!("DPoP")),
        Lie::at(Endpoint::Userinfo, |answer| answer["sub"] = json!("mallory")),
        at(Endpoint::Token, Instead::Status(400, "{\"error\":\"invalid_grant\"}")),
        at(Endpoint::Token, Instead::Page),
        at(Endpoint::Token, Instead::Endless),
        at(Endpoint::Userinfo, Instead::Status(500, "")),
        at(Endpoint::Userinfo, Instead::Page),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_sign_in_at_a_provider_is_said_anywhere() {
    let redis = Redis::start();
    let site = Site::with(|builder| builder.redis(&redis).arg("--log", "trace")).await;
    let id = site.desk.create().await;
    let (mut said, mut canaries) = (String::new(), vec![CLIENT_SECRET.to_owned()]);
    let mut statuses = BTreeSet::new();
    for lie in lies() {
        let phone = site.phone();
        site.provider.lie(lie);
        let begun = phone.begin(&begin_path(&id)).await;
        canaries.extend(cookies(&begun));
        let address = location(&begun);
        said.push_str(&begun.text().await.unwrap());
        let callback = phone.at_provider(&address).await;
        // In another browser, the true one, and again.
        for phone in [&site.phone(), &phone, &phone] {
            let answer = phone.bring(&callback).await;
            canaries.extend(cookies(&answer));
            statuses.insert(answer.status().as_u16());
            said.push_str(&format!("{:?}\n", answer.headers().get("location")));
            said.push_str(&answer.text().await.unwrap());
        }
    }
    assert_eq!(statuses, [303, 400, 403, 409, 502, 503].into());
    // A code that the provider does not know, which it repeats in its answer.
    let phone = site.phone();
    let callback = phone.until_callback(&begin_path(&id)).await;
    said.push_str(&phone.bring(&callback.replace("code-", "code-code-")).await.text().await.unwrap());
    // One that waits, while the store is looked at.
    let waiting = phone.until_callback(&begin_path(&id)).await;

    canaries.extend(site.provider.secrets());
    assert!(canaries.len() > 60, "{}", canaries.len());
    let (log, metrics) = (site.gateway.log(), site.gateway.metrics().await);
    assert!(log.contains("\"level\":\"TRACE\""), "the log is not as loud as it should be");
    let mut values = Vec::new();
    for key in redis.keys() {
        let fields: Vec<String> = redis.try_run(&["HVALS", &key]).unwrap_or_default();
        values.push((key, fields));
    }
    let is_waiting = |fields: &[String]| fields.iter().any(|value| value.contains("code_verifier"));
    for canary in &canaries {
        // The signature alone would be enough to tell.
        let tail = &canary[canary.len().saturating_sub(24)..];
        for line in log.lines().chain(metrics.lines()).chain(said.lines()) {
            assert!(!line.contains(tail), "{canary} is in: {line}");
        }
        for (key, fields) in &values {
            assert!(!key.contains(tail), "{canary} is in the key {key}");
            // The verifier and the nonce of a sign-in that waits are no use without its code.
            assert!(is_waiting(fields) || !fields.iter().any(|value| value.contains(tail)), "{canary} is in {key}");
        }
    }
    let state = url::Url::parse(&format!("http://x{waiting}")).unwrap();
    let state = state.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let begun: Vec<_> = values.iter().filter(|(_, fields)| is_waiting(fields)).collect();
    let own = canaries.iter().filter(|canary| canary.len() == 43 && !site.provider.secrets().contains(canary));
    for secret in own.chain([&state]) {
        assert!(begun.iter().all(|(_, fields)| !fields.iter().any(|value| value.contains(secret))), "{secret}");
    }
    // The one that waits, and those of the answers that were of another provider, or malformed.
    assert_eq!(begun.len(), 3);
}
