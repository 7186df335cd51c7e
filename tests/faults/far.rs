//! The same faults with Redis somewhere else: nothing set for the distance, segments held back, replicas as far from their
//! primary as the gateways are.

use std::sync::Arc;

use tokio::task::block_in_place;

use super::logins::Crowd;
use super::*;
use crate::support::proxy::Distance;
use crate::support::{Access, Cluster, Sentinels, Site, cluster, sentinel, until};

async fn site_on(url: &str) -> Arc<Site> {
    Arc::new(Site::start(2, &[("--redis-url", url)]).await)
}

fn sentinels(round_trip: Duration) -> Sentinels {
    let distance = Some(Distance::rough(round_trip));
    block_in_place(|| Sentinels::with(sentinel::Options { distance, ..sentinel::Options::default() }))
}

fn cluster(round_trip: Duration) -> Cluster {
    let distance = Some(Distance::rough(round_trip));
    block_in_place(|| Cluster::with(cluster::Options { distance, ..cluster::Options::default() }))
}

async fn sentinels_primary_is_killed(round_trip: Duration) {
    let mut redis = sentinels(round_trip);
    let site = site_on(&redis.url()).await;
    let crowd = Crowd::of(12, &site);
    crowd.more(15).await;
    let old = redis.primary();
    redis.node_mut(old).kill();
    let killed = Instant::now();
    block_in_place(|| redis.wait_for_new_primary(old));
    crowd.more(15).await;
    crowd.end(&format!("Sentinel's primary killed, {round_trip:?} away"), killed).await;
}

async fn sentinels_primary_is_frozen(round_trip: Duration) {
    let redis = sentinels(round_trip);
    let site = site_on(&redis.url()).await;
    let crowd = Crowd::of(12, &site);
    crowd.more(15).await;
    let old = redis.primary();
    redis.node(old).signal("STOP");
    let frozen = Instant::now();
    block_in_place(|| redis.wait_for_new_primary(old));
    redis.node(old).signal("CONT");
    crowd.more(15).await;
    block_in_place(|| until(SOON, "its demotion", || (!redis.node(old).is_primary()).then_some(())));
    crowd.end(&format!("Sentinel's primary frozen and woken, {round_trip:?} away"), frozen).await;
}

async fn a_clusters_primary_is_killed(round_trip: Duration) {
    let mut cluster = cluster(round_trip);
    let site = site_on(&cluster.url()).await;
    let crowd = Crowd::of(12, &site);
    crowd.more(15).await;
    cluster.kill(0);
    let killed = Instant::now();
    block_in_place(|| cluster.wait_for_new_primary(0, 0));
    crowd.more(15).await;
    crowd.end(&format!("a Cluster's primary killed, {round_trip:?} away"), killed).await;
}

async fn a_clusters_replica_takes_over(round_trip: Duration) {
    let cluster = cluster(round_trip);
    let site = site_on(&cluster.url()).await;
    let crowd = Crowd::of(12, &site);
    crowd.more(15).await;
    let asked = Instant::now();
    block_in_place(|| cluster.failover(1));
    crowd.more(15).await;
    crowd.end(&format!("a Cluster's failover, {round_trip:?} away"), asked).await;
}

async fn one_server_is_lost_and_back(round_trip: Duration) {
    let durable = &["--appendonly", "yes", "--appendfsync", "always"];
    let mut redis = Redis::far(Distance::rough(round_trip), durable, Access::default());
    let site = site_on(&redis.url()).await;
    let crowd = Crowd::of(12, &site);
    crowd.more(15).await;
    redis.kill();
    let killed = Instant::now();
    block_in_place(|| redis.restart());
    crowd.more(15).await;
    crowd.end(&format!("a server killed and restarted, {round_trip:?} away"), killed).await;
}

/// The tie-breaker in another region: the others have long answered when it does. It may be the only one that knows better.
#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_further_away_than_the_others_is_heard_and_keeps_its_connection() {
    let redis = block_in_place(Sentinels::start);
    let far = Proxy::at(Distance::steady(Duration::from_millis(150)), redis.sentinel(2).port());
    let ports = [redis.sentinel(0).port(), redis.sentinel(1).port(), far.port()];
    let hosts = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let url = format!("redis-sentinel://{hosts}/{}", sentinel::NAME);
    let gateway = Gateway::builder().arg("--redis-url", &url).start().await;
    let stats = |name: &str| -> u64 {
        let stats: String = redis.sentinel(2).run(&["INFO", "stats"]);
        stats.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
    };
    let connections = || stats("total_connections_received:");
    // It is asked once a second. The tests' own questions are connections, too.
    eventually("its connection", || async { gateway.log().contains("serving").then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = connections();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let more = connections() - before;
    assert!(more <= 3, "{more} connections within five seconds");
    // The two of three that answer: one that is near, and the far one.
    redis.sentinel(0).signal("STOP");
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let id = browser.create().await;
    for action in ["scan", "confirm"] {
        insist(&ada, &id, action).await;
    }
    redis.sentinel(0).signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_10_ms_away() {
    let round_trip = Duration::from_millis(10);
    sentinels_primary_is_killed(round_trip).await;
    one_server_is_lost_and_back(round_trip).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; tests/run --soak"]
async fn nothing_acknowledged_is_lost_anywhere() {
    for millis in [2, 10, 80] {
        let round_trip = Duration::from_millis(millis);
        one_server_is_lost_and_back(round_trip).await;
        sentinels_primary_is_killed(round_trip).await;
        sentinels_primary_is_frozen(round_trip).await;
        a_clusters_primary_is_killed(round_trip).await;
        a_clusters_replica_takes_over(round_trip).await;
    }
}
