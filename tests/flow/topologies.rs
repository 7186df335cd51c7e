//! The main ways through a sign-in, with two gateways on Sentinel and on a Cluster, open and guarded.

use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gateway::{Browser, Phone};
use crate::support::{Access, Cluster, EventStream, SOON, Sentinels, Site, cluster, eventually, sentinel};

/// Signs in, declines, lets expire, comes back and polls: the browser at one gateway, the phone at the other.
async fn people_sign_in(url: &str, authority: Option<PathBuf>) {
    // Each gateway makes dozens of connections at first, with all the cryptography of a debug build.
    people_sign_in_with(url, authority, &[("--redis-timeout", "10s")]).await;
}

async fn people_sign_in_with(url: &str, authority: Option<PathBuf>, more: &[(&str, &str)]) {
    let authority = authority.map(|file| file.to_str().unwrap().to_owned());
    // Long enough for what people do meanwhile on a busy machine, and short enough to be waited for.
    let mut flags = vec![("--redis-url", url), ("--ticket-ttl", "8s")];
    flags.extend(more);
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
    let expired = tokio::time::timeout(SOON * 2, events.next_ever()).await.expect("it does not expire").unwrap();
    assert_eq!((expired.event.as_str(), expired.data), ("expired", json!({ "ticket_id": id })));
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
        eventually("the poll's registration", || async {
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
    let redis =
        Sentinels::with(sentinel::Options { access, sentinel_password: Some("other"), ..sentinel::Options::default() });
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
    let cluster = Cluster::with(cluster::Options { access, ..cluster::Options::default() });
    people_sign_in(&cluster.url(), cluster.access().authority_file()).await;
}

/// The same with Redis somewhere else, and with nothing set for it, but where a debug build has much cryptography to do.
mod far {
    use std::time::Duration;

    use super::*;
    use crate::support::Redis;
    use crate::support::proxy::Distance;

    const NOTHING: &[(&str, &str)] = &[];
    const PATIENT: &[(&str, &str)] = &[("--redis-timeout", "10s")];

    fn settings(access: &Access) -> &'static [(&'static str, &'static str)] {
        if access.authority_file().is_some() { PATIENT } else { NOTHING }
    }

    fn guarded() -> Access {
        Access::default().user("ada", "secret").tls()
    }

    async fn on_one_server(round_trip: Duration, access: Access) {
        let redis = Redis::far(Distance::rough(round_trip), &[], access);
        people_sign_in_with(&redis.url(), redis.access().authority_file(), settings(redis.access())).await;
    }

    async fn on_sentinels(round_trip: Duration, access: Access) {
        let distance = Some(Distance::rough(round_trip));
        let redis = Sentinels::with(sentinel::Options { access, distance, ..sentinel::Options::default() });
        people_sign_in_with(&redis.url(), redis.access().authority_file(), settings(redis.access())).await;
    }

    async fn on_a_cluster(round_trip: Duration, access: Access) {
        let distance = Some(Distance::rough(round_trip));
        let cluster = Cluster::with(cluster::Options { access, distance, ..cluster::Options::default() });
        people_sign_in_with(&cluster.url(), cluster.access().authority_file(), settings(cluster.access())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn people_sign_in_10_ms_away() {
        let round_trip = Duration::from_millis(10);
        on_one_server(round_trip, Access::default()).await;
        on_sentinels(round_trip, Access::default()).await;
        on_a_cluster(round_trip, Access::default()).await;
    }

    /// Managed Redis: TLS, a user with a password, no `CONFIG`.
    #[tokio::test(flavor = "multi_thread")]
    async fn people_sign_in_at_a_provider_80_ms_away() {
        let options = &["--notify-keyspace-events", "KA"];
        let redis = Redis::far(Distance::rough(Duration::from_millis(80)), options, guarded());
        redis.run::<()>(&["ACL", "SETUSER", "ada", "-config", "-info", "-client", "-role", "-wait"]);
        people_sign_in_with(&redis.url(), redis.access().authority_file(), settings(redis.access())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "takes minutes; tests/run --soak"]
    async fn people_sign_in_anywhere() {
        for millis in [2, 10, 80] {
            for access in [Access::default, guarded] {
                let round_trip = Duration::from_millis(millis);
                on_one_server(round_trip, access()).await;
                on_sentinels(round_trip, access()).await;
                on_a_cluster(round_trip, access()).await;
            }
        }
    }
}
