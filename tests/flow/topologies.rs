//! The main ways through a sign-in, with two gateways on Sentinel and on a Cluster, open and guarded.

use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gateway::{Browser, Phone};
use crate::support::{Access, Cluster, EventStream, SOON, Sentinels, Site, cluster, eventually, sentinel};

/// Signs in, declines, lets expire, comes back and polls: the browser at one gateway, the phone at the other.
async fn people_sign_in(url: &str, authority: Option<PathBuf>) {
    let authority = authority.map(|file| file.to_str().unwrap().to_owned());
    // Each gateway makes dozens of connections at first, with all the cryptography of a debug build.
    let mut flags = vec![("--redis-url", url), ("--redis-timeout", "10s"), ("--ticket-ttl", "5s")];
    flags.extend(authority.as_deref().map(|file| ("--redis-ca-file", file)));
    let site = Site::start(2, &flags).await;
    tokio::join!(signs_in(&site), declines(&site), lets_expire(&site), comes_back_elsewhere(&site), polls(&site));
}

async fn signs_in(site: &Site) {
    let (browser, ada) = (Browser::new(site.gateway(0)), Phone::of("ada", site.gateway(1)));
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    events.expect("pending").await;
    assert_eq!(ada.act(&id, "scan").await.status(), StatusCode::OK);
    assert_eq!(events.expect("scanned").await.data["scanned_by"]["name"], "Ada");
    assert_eq!(ada.act(&id, "confirm").await.status(), StatusCode::OK);
    let confirmed = events.expect("confirmed").await;
    events.expect_end().await;
    assert_eq!(site.read(confirmed.data["token"]["access_token"].as_str().unwrap()).0, "ada");
    assert_eq!(ada.read(&id).await.json::<Value>().await.unwrap()["state"], "claimed");
}

async fn declines(site: &Site) {
    let (browser, ada) = (Browser::new(site.gateway(1)), Phone::of("ada", site.gateway(0)));
    let id = browser.create().await;
    let mut events = browser.events(&id).await;
    events.expect("pending").await;
    ada.act(&id, "scan").await;
    events.expect("scanned").await;
    assert_eq!(ada.act(&id, "cancel").await.status(), StatusCode::OK);
    assert_eq!(events.expect("cancelled").await.data["reason"], "declined");
    events.expect_end().await;
}

async fn lets_expire(site: &Site) {
    let browser = Browser::new(site.gateway(0));
    let id = browser.create().await;
    let mut events = browser.at(site.gateway(1)).events(&id).await;
    events.expect("pending").await;
    assert_eq!(events.expect("expired").await.data, json!({ "ticket_id": id }));
    events.expect_end().await;
    assert_eq!(browser.read(&id).await.status(), StatusCode::NOT_FOUND);
}

async fn comes_back_elsewhere(site: &Site) {
    let browser = Browser::new(site.gateway(0));
    let id = browser.create().await;
    let pending = browser.events(&id).await.expect("pending").await;
    Phone::of("ada", site.gateway(0)).approve(&id).await;
    let mut ids = Vec::new();
    for number in [1, 0] {
        let again = browser.at(site.gateway(number)).events_after(&id, &pending.id).await;
        let confirmed = EventStream::new(again).expect("confirmed").await;
        ids.push(site.read(confirmed.data["token"]["access_token"].as_str().unwrap()).1);
    }
    assert_eq!(ids[0], ids[1]);
}

async fn polls(site: &Site) {
    let (browser, ada) = (Browser::new(site.gateway(1)), Phone::of("ada", site.gateway(0)));
    let id = browser.create().await;
    let waiting = site.gateway(1).metric("scangate_streams_opened_total").await;
    let path = format!("/v1/tickets/{id}?wait=30&revision=1");
    let poll = browser.get(&path);
    let scan = async {
        eventually("the poll's seat", || async {
            (site.gateway(1).metric("scangate_streams_opened_total").await > waiting).then_some(())
        })
        .await;
        ada.act(&id, "scan").await
    };
    let (answer, _) = tokio::time::timeout(SOON, async { tokio::join!(poll, scan) }).await.expect("no answer");
    assert_eq!(answer.json::<Value>().await.unwrap()["state"], "scanned");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_database_of_sentinels() {
    let redis = Sentinels::start();
    let url = redis.url() + "/3";
    people_sign_in(&url, None).await;
    let primary = redis.node(redis.primary());
    let flags: Vec<String> = primary.run(&["CONFIG", "GET", "notify-keyspace-events"]);
    assert!(flags[1].contains('K'));
    assert!(primary.run::<String>(&["INFO", "keyspace"]).contains("db3:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_guarded_sentinels() {
    let access = Access::default().user("ada", "secret").tls();
    let redis = Sentinels::with(sentinel::Options { access, sentinel_password: Some("other"), redis: &[] });
    people_sign_in(&redis.url(), redis.access().authority_file()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster() {
    let cluster = Cluster::start();
    people_sign_in(&cluster.url(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_guarded_cluster() {
    let access = Access::default().user("ada", "secret").tls();
    let cluster = Cluster::with(cluster::Options { access, redis: &[] });
    people_sign_in(&cluster.url(), cluster.access().authority_file()).await;
}
