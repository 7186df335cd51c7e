//! Redis with Sentinel: its primary dies, freezes and wakes, is replaced; its replicas or its sentinels are lost.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::block_in_place;

use super::logins::Crowd;
use super::*;
use crate::support::{Access, Sentinels, Site, free_port, sentinel, until};

async fn site_on(redis: &Sentinels) -> Arc<Site> {
    Arc::new(Site::start(3, &[("--redis-url", &redis.url()), ("--redis-timeout", "1s")]).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_with_the_primary() {
    let mut redis = block_in_place(Sentinels::start);
    let site = site_on(&redis).await;
    let crowd = Crowd::of(24, &site);
    crowd.more(30).await;
    let old = redis.primary();
    redis.node_mut(old).kill();
    let killed = Instant::now();
    block_in_place(|| redis.wait_for_new_primary(old));
    println!("a new primary after {:.1?}", killed.elapsed());
    crowd.more(30).await;
    crowd.end("Sentinel's primary killed", killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_sentinel_changes_the_primary() {
    let redis = block_in_place(Sentinels::start);
    let site = site_on(&redis).await;
    let crowd = Crowd::of(24, &site);
    crowd.more(30).await;
    let asked = Instant::now();
    block_in_place(|| redis.failover());
    println!("another primary after {:.1?}", asked.elapsed());
    crowd.more(30).await;
    crowd.end("Sentinel's failover", asked).await;
}

/// The old primary keeps one replica for a while, which has whatever is written there, and is lost with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_has_changed_nothing_so_far_promises_nothing_at_a_primary_that_was_replaced() {
    let redis = block_in_place(Sentinels::start);
    let start = || Gateway::builder().arg("--redis-url", &redis.url()).arg("--redis-timeout", "1s").start();
    let (gateway, idle) = (start().await, start().await);
    let browser = Browser::new(&gateway);
    let (ada, her_other_phone) = (Phone::of("ada", &gateway), Phone::of("ada", &idle));
    let mut ids = Vec::new();
    for _ in 0..40 {
        let id = browser.create().await;
        assert_eq!(ada.act(&id, "scan").await.status(), StatusCode::OK);
        ids.push(id);
    }
    let old = redis.primary();
    block_in_place(|| {
        redis.sentinel(0).run::<()>(&["SENTINEL", "FAILOVER", sentinel::NAME]);
        let promoted = || (0..3).any(|index| index != old && redis.node(index).is_primary()).then_some(());
        until(SOON, "the promotion", promoted);
    });
    let mut acknowledged = Vec::new();
    for id in &ids {
        if her_other_phone.act(id, "confirm").await.status() == StatusCode::OK {
            acknowledged.push(id);
        }
    }
    block_in_place(|| until(SOON * 2, "its demotion", || (!redis.node(old).is_primary()).then_some(())));
    println!("{} of {} acknowledged", acknowledged.len(), ids.len());
    for id in acknowledged {
        let state: Value = browser.read(id).await.json().await.unwrap();
        assert_eq!(state["state"], "confirmed", "{state}");
    }
}

/// Gateways hear of another primary up to a second apart. Until then, some ask the old one, which lacks what is new.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_former_primary_does_not_have_is_not_called_unknown() {
    let redis = block_in_place(Sentinels::start);
    let start = || Gateway::builder().arg("--redis-url", &redis.url()).arg("--redis-timeout", "1s").start();
    let gateway = start().await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(start().await);
        // They ask every second, from their start on.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let known = browser.create().await;
    insist(&ada, &known, "scan").await;
    let old = redis.primary();
    block_in_place(|| {
        redis.sentinel(0).run::<()>(&["SENTINEL", "FAILOVER", sentinel::NAME]);
        let promoted = || (0..3).any(|index| index != old && redis.node(index).is_primary()).then_some(());
        until(SOON, "the promotion", promoted);
    });
    // A gateway that changes something asks who is primary.
    eventually("a scan at the new primary", || async {
        (ada.act(&known, "scan").await.status() == StatusCode::OK).then_some(())
    })
    .await;
    let (heard, mut ids, mut unknown) = (Instant::now(), Vec::new(), 0);
    while heard.elapsed() < Duration::from_millis(1500) {
        let id = browser.create().await;
        for other in &idle {
            unknown += usize::from(browser.at(other).read(&id).await.status() == StatusCode::NOT_FOUND);
        }
        ids.push(id);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for id in &ids {
        assert_eq!(browser.read(id).await.status(), StatusCode::OK, "it was made at the old primary");
    }
    assert_eq!(unknown, 0, "readings of {} new tickets were answered with 404", ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_that_wakes_after_its_failover_acknowledges_nothing() {
    let redis = block_in_place(Sentinels::start);
    let site = site_on(&redis).await;
    let crowd = Crowd::of(24, &site);
    crowd.more(30).await;
    let old = redis.primary();
    redis.node(old).signal("STOP");
    let frozen = Instant::now();
    block_in_place(|| redis.wait_for_new_primary(old));
    redis.node(old).signal("CONT");
    println!("woken {:.1?} after it was frozen", frozen.elapsed());
    crowd.more(30).await;
    block_in_place(|| until(SOON, "its demotion", || (!redis.node(old).is_primary()).then_some(())));
    crowd.end("Sentinel's primary frozen and woken", frozen).await;
}

/// It has never heard of the new primary, and tells everybody of the old one.
#[tokio::test(flavor = "multi_thread")]
async fn old_news_of_one_sentinel_is_not_believed() {
    let mut redis = block_in_place(Sentinels::start);
    let site = site_on(&redis).await;
    let old = redis.primary();
    let new = block_in_place(|| redis.failover());
    block_in_place(|| until(SOON, "the demotion", || (redis.node(new).replicas_online() == 2).then_some(())));
    redis.node_mut(old).kill();
    let port = redis.node(old).port().to_string();
    redis.sentinel(0).run::<()>(&["SENTINEL", "REMOVE", sentinel::NAME]);
    redis.sentinel(0).run::<()>(&["SENTINEL", "MONITOR", sentinel::NAME, "127.0.0.1", &port, "2"]);
    let told = Instant::now();
    let crowd = Crowd::of(8, &site);
    crowd.more(40).await;
    crowd.end("a Sentinel with old news", told).await;
    let newcomer = Gateway::builder().arg("--redis-url", &redis.url()).start().await;
    let (id, mut events) = wait_with(&Browser::new(&newcomer)).await;
    Phone::of("ada", &newcomer).act(&id, "scan").await;
    events.expect("scanned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_sentinel_sign_ins_go_on() {
    let mut redis = block_in_place(Sentinels::start);
    let site = site_on(&redis).await;
    let crowd = Crowd::of(8, &site);
    crowd.more(10).await;
    (0..3).for_each(|index| redis.sentinel_mut(index).kill());
    let killed = Instant::now();
    crowd.more(40).await;
    assert!(is_ready(site.gateway(0)).await);
    crowd.end("all sentinels killed", killed).await;
}

/// The other replica cannot follow it, so the Sentinel waits, and says no more than before of who is primary.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_primary_is_found_while_the_failover_is_not_over() {
    let redis = block_in_place(|| {
        let access = Access::default().password("secret");
        Sentinels::with(sentinel::Options { access, ..sentinel::Options::default() })
    });
    let gateway = Gateway::builder().arg("--redis-url", &redis.url()).start().await;
    let (id, mut events) = wait_with(&Browser::new(&gateway)).await;
    let ada = Phone::of("ada", &gateway);
    assert_eq!(ada.act(&id, "scan").await.status(), StatusCode::OK);
    events.expect("scanned").await;
    let old = redis.primary();
    let (new, other) = ((old + 1) % 3, (old + 2) % 3);
    redis.node(other).run::<()>(&["CONFIG", "SET", "masterauth", "wrong"]);
    redis.node(other).run::<()>(&["CONFIG", "SET", "replica-priority", "0"]);
    let say = |what: &str| {
        let fields: HashMap<String, String> = redis.sentinel(0).run(&["SENTINEL", what, sentinel::NAME]);
        fields
    };
    block_in_place(|| {
        let replicas =
            || redis.sentinel(0).run::<Vec<HashMap<String, String>>>(&["SENTINEL", "REPLICAS", sentinel::NAME]);
        let is_known = || replicas().iter().any(|replica| replica["slave-priority"] == "0");
        until(SOON, "the Sentinel's hearing of it", || is_known().then_some(()));
    });
    redis.sentinel(0).run::<()>(&["SENTINEL", "FAILOVER", sentinel::NAME]);
    block_in_place(|| until(SOON, "its promotion", || redis.node(new).is_primary().then_some(())));
    let promoted = Instant::now();
    insist(&ada, &id, "confirm").await;
    println!("confirmed {:.1?} after the promotion", promoted.elapsed());
    assert!(say("MASTER")["flags"].contains("failover_in_progress"), "the failover was over");
    events.expect("confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_replicas_sign_ins_go_on() {
    let mut redis = block_in_place(Sentinels::start);
    let site = site_on(&redis).await;
    let crowd = Crowd::of(12, &site);
    crowd.more(20).await;
    let primary = redis.primary();
    (0..3).filter(|&index| index != primary).for_each(|index| redis.node_mut(index).kill());
    let killed = Instant::now();
    crowd.more(40).await;
    crowd.end("both replicas killed", killed).await;
    assert!(site.metric("scangate_redis_unreplicated_total{outcome=\"acknowledged\"}").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_frozen_replicas_do_not_have_is_not_acknowledged() {
    let redis = block_in_place(Sentinels::start);
    let gateway = Gateway::builder().arg("--redis-url", &redis.url()).arg("--redis-timeout", "1s").start().await;
    let (id, mut events) = wait_with(&Browser::new(&gateway)).await;
    let ada = Phone::of("ada", &gateway);
    insist(&ada, &id, "scan").await;
    events.expect("scanned").await;
    let primary = redis.primary();
    let replicas: Vec<_> = (0..3).filter(|&index| index != primary).map(|index| redis.node(index)).collect();
    replicas.iter().for_each(|replica| replica.signal("STOP"));
    for _ in 0..3 {
        assert_eq!(ada.act(&id, "confirm").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    let told = tokio::time::timeout(Duration::from_millis(500), events.next_ever()).await;
    assert!(told.is_err(), "the browser was told {told:?}");
    replicas.iter().for_each(|replica| replica.signal("CONT"));
    let woken = Instant::now();
    insist(&ada, &id, "confirm").await;
    let confirmed = events.expect("confirmed").await;
    println!("confirmed and told {:.1?} after the replicas woke", woken.elapsed());
    verified_claims(&gateway, confirmed.data["token"]["access_token"].as_str().unwrap(), "web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_made_a_replica_is_not_read() {
    let mut redis = block_in_place(Sentinels::start);
    let gateway = Gateway::builder().arg("--redis-url", &redis.url()).arg("--redis-timeout", "1s").start().await;
    let browser = Browser::new(&gateway);
    let (id, mut events) = wait_with(&browser).await;
    let primary = redis.primary();
    // They would set it right.
    (0..3).for_each(|index| redis.sentinel_mut(index).kill());
    // Nobody is there, so it keeps what it has, and would serve it.
    redis.node(primary).run::<()>(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    for _ in 0..3 {
        assert_eq!(browser.read(&id).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(!is_ready(&gateway).await);
    redis.node(primary).run::<()>(&["REPLICAOF", "NO", "ONE"]);
    eventually("readiness", || async { is_ready(&gateway).await.then_some(()) }).await;
    insist(&Phone::of("ada", &gateway), &id, "scan").await;
    events.expect("scanned").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; tests/run --soak"]
async fn one_primary_after_another_takes_nothing_acknowledged_with_it() {
    let mut redis = block_in_place(Sentinels::start);
    let site = site_on(&redis).await;
    let crowd = Crowd::of(24, &site);
    let started = Instant::now();
    for round in 0..12 {
        crowd.more(20).await;
        let old = redis.primary();
        let in_step = |redis: &Sentinels, node: usize| (redis.node(node).replicas_online() == 2).then_some(());
        block_in_place(|| match round % 3 {
            0 => {
                redis.node_mut(old).kill();
                redis.wait_for_new_primary(old);
                redis.node_mut(old).restart();
            }
            1 => {
                redis.node(old).signal("STOP");
                redis.wait_for_new_primary(old);
                redis.node(old).signal("CONT");
            }
            _ => drop(redis.failover()),
        });
        let new = redis.primary();
        // Before the fault is mended, the next one may take something along.
        block_in_place(|| until(SOON * 3, "replicas in step", || in_step(&redis, new)));
    }
    crowd.end("one of Sentinel's primaries after another", started).await;
}
