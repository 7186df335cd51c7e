//! A Redis Cluster: primaries die, freeze, are replaced, come and go; slots move; replicas are lost.

use std::sync::Arc;

use tokio::task::block_in_place;

use super::logins::Crowd;
use super::*;
use crate::support::{Cluster, Site, cluster, until};

async fn site_on(cluster: &Cluster) -> Arc<Site> {
    Arc::new(Site::start(3, &[("--redis-url", &cluster.url()), ("--redis-timeout", "1s")]).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_with_a_primary() {
    let mut cluster = block_in_place(Cluster::start);
    let site = site_on(&cluster).await;
    let crowd = Crowd::of(24, &site);
    crowd.more(30).await;
    cluster.kill(0);
    let killed = Instant::now();
    block_in_place(|| cluster.wait_for_new_primary(0, 0));
    println!("a new primary after {:.1?}", killed.elapsed());
    crowd.more(30).await;
    crowd.end("a Cluster's primary killed", killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_a_replica_takes_over() {
    let cluster = block_in_place(Cluster::start);
    let site = site_on(&cluster).await;
    let crowd = Crowd::of(24, &site);
    crowd.more(30).await;
    let asked = Instant::now();
    block_in_place(|| cluster.failover(1));
    println!("another primary after {:.1?}", asked.elapsed());
    crowd.more(30).await;
    crowd.end("a Cluster's failover", asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_that_wakes_after_its_failover_acknowledges_nothing() {
    let cluster = block_in_place(Cluster::start);
    let site = site_on(&cluster).await;
    let crowd = Crowd::of(24, &site);
    crowd.more(30).await;
    cluster.node(2).signal("STOP");
    let frozen = Instant::now();
    block_in_place(|| cluster.wait_for_new_primary(2, 16_383));
    cluster.node(2).signal("CONT");
    println!("woken {:.1?} after it was frozen", frozen.elapsed());
    crowd.more(30).await;
    block_in_place(|| until(SOON, "its demotion", || (!cluster.node(2).is_primary()).then_some(())));
    crowd.end("a Cluster's primary frozen and woken", frozen).await;
}

/// Returns the slot of a ticket.
fn slot(cluster: &Cluster, id: &str) -> u16 {
    cluster.slot(&format!("scangate:{{{id}}}"))
}

/// Makes a ticket that `node` keeps, and opens its stream.
async fn wait_at(cluster: &Cluster, node: usize, browser: &Browser) -> (String, EventStream) {
    loop {
        let id = browser.create().await;
        if cluster.owner_of_slot(slot(cluster, &id)) == node {
            let mut events = browser.events(&id).await;
            events.expect("pending").await;
            return (id, events);
        }
    }
}

/// Has a phone do `action`; the browser is to be told of it.
async fn act(phone: &Phone, id: &str, action: &str, events: &mut EventStream, event: &str) {
    let started = Instant::now();
    insist(phone, id, action).await;
    events.expect(event).await;
    println!("{event} told after {:.0?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_takes_its_streams_along_step_by_step() {
    let cluster = block_in_place(Cluster::start);
    let site = site_on(&cluster).await;
    let (browser, ada) = (Browser::new(site.gateway(0)), Phone::of("ada", site.gateway(1)));
    let step = |step: &dyn Fn()| block_in_place(step);

    // Scanned where it was, confirmed where it is going.
    let (id, mut events) = wait_at(&cluster, 0, &browser).await;
    let moving = slot(&cluster, &id);
    step(&|| cluster.begin_move(moving, 1));
    act(&ada, &id, "scan", &mut events, "scanned").await;
    step(&|| cluster.migrate_keys(moving, 1));
    act(&ada, &id, "confirm", &mut events, "confirmed").await;
    step(&|| cluster.finish_move(moving, 1));

    // Scanned on the way, confirmed when the move is over.
    let (id, mut events) = wait_at(&cluster, 1, &browser).await;
    let moving = slot(&cluster, &id);
    step(&|| cluster.begin_move(moving, 2));
    step(&|| cluster.migrate_keys(moving, 2));
    act(&ada, &id, "scan", &mut events, "scanned").await;
    step(&|| cluster.finish_move(moving, 2));
    act(&ada, &id, "confirm", &mut events, "confirmed").await;

    // A move that is given up, and one that is undone.
    let (id, mut events) = wait_at(&cluster, 2, &browser).await;
    let moving = slot(&cluster, &id);
    step(&|| cluster.begin_move(moving, 0));
    assert_eq!(browser.at(site.gateway(2)).read(&id).await.status(), StatusCode::OK);
    step(&|| cluster.cancel_move(moving, 0));
    act(&ada, &id, "scan", &mut events, "scanned").await;
    step(&|| cluster.move_slot(moving, 0));
    step(&|| cluster.move_slot(moving, 2));
    act(&ada, &id, "confirm", &mut events, "confirmed").await;

    // What is made on the way.
    let (id, _events) = wait_at(&cluster, 0, &browser).await;
    step(&|| cluster.begin_move(slot(&cluster, &id), 1));
    step(&|| cluster.migrate_keys(slot(&cluster, &id), 1));
    let mut again = browser.at(site.gateway(2)).events(&id).await;
    again.expect("pending").await;
    act(&ada, &id, "scan", &mut again, "scanned").await;
    step(&|| cluster.finish_move(slot(&cluster, &id), 1));
    act(&ada, &id, "confirm", &mut again, "confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn primaries_come_and_go_while_people_sign_in() {
    let mut cluster = block_in_place(Cluster::start);
    let site = site_on(&cluster).await;
    let crowd = Crowd::of(16, &site);
    let (browser, ada) = (Browser::new(site.gateway(0)), Phone::of("ada", site.gateway(1)));
    let (id, mut events) = wait_at(&cluster, 0, &browser).await;
    let started = Instant::now();
    let new = block_in_place(|| cluster.add_primary());
    block_in_place(|| cluster.move_slot(slot(&cluster, &id), new));
    println!("a slot is at a new primary after {:.1?}", started.elapsed());
    act(&ada, &id, "scan", &mut events, "scanned").await;
    block_in_place(|| cluster.remove_primary(new));
    println!("the new primary is gone after {:.1?}", started.elapsed());
    act(&ada, &id, "confirm", &mut events, "confirmed").await;
    block_in_place(|| cluster.remove_primary(1));
    println!("another one is gone after {:.1?}", started.elapsed());
    crowd.more(30).await;
    crowd.end("primaries added and removed", started).await;
    assert_eq!(site.gateway(0).metric("scangate_redis_primaries").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_keeps_waits_and_the_others_go_on() {
    let mut cluster = block_in_place(|| {
        let redis = &["--appendonly", "yes", "--appendfsync", "always", "--cluster-require-full-coverage", "no"];
        Cluster::with(cluster::Options { redis, ..cluster::Options::default() })
    });
    let site = site_on(&cluster).await;
    let browser = Browser::new(site.gateway(0));
    let ada = Phone::of("ada", site.gateway(1));
    let (down, mut down_events) = wait_at(&cluster, 0, &browser).await;
    let (up, mut up_events) = wait_at(&cluster, 1, &browser).await;
    act(&ada, &down, "scan", &mut down_events, "scanned").await;
    cluster.kill(3);
    cluster.kill(0);
    let killed = Instant::now();
    assert_eq!(ada.act(&down, "confirm").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    act(&ada, &up, "scan", &mut up_events, "scanned").await;
    // Longer than it takes the others to see that it is dead.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    act(&ada, &up, "confirm", &mut up_events, "confirmed").await;
    assert_eq!(ada.act(&down, "confirm").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    for gateway in &site.gateways {
        assert!(is_ready(gateway).await);
    }
    let told = tokio::time::timeout(Duration::from_millis(100), down_events.next_ever()).await;
    assert!(told.is_err(), "the browser was told {told:?}");
    println!("restarted {:.1?} after it was killed", killed.elapsed());
    let restarted = Instant::now();
    block_in_place(|| cluster.restart(0));
    act(&ada, &down, "confirm", &mut down_events, "confirmed").await;
    println!("all is right {:.1?} after the restart", restarted.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_replica_a_primary_goes_on() {
    let mut cluster = block_in_place(Cluster::start);
    let site = site_on(&cluster).await;
    let crowd = Crowd::of(12, &site);
    crowd.more(20).await;
    cluster.kill(3);
    let killed = Instant::now();
    crowd.more(60).await;
    crowd.end("a Cluster's replica killed", killed).await;
    assert!(site.metric("scangate_redis_unreplicated_total{outcome=\"acknowledged\"}").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_frozen_replica_does_not_have_is_not_acknowledged() {
    let cluster = block_in_place(Cluster::start);
    let gateway = Gateway::builder().arg("--redis-url", &cluster.url()).arg("--redis-timeout", "1s").start().await;
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    let (id, mut events) = wait_at(&cluster, 0, &browser).await;
    let (other, mut other_events) = wait_at(&cluster, 1, &browser).await;
    act(&ada, &id, "scan", &mut events, "scanned").await;
    cluster.node(3).signal("STOP");
    for _ in 0..3 {
        assert_eq!(ada.act(&id, "confirm").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    act(&ada, &other, "scan", &mut other_events, "scanned").await;
    act(&ada, &other, "confirm", &mut other_events, "confirmed").await;
    cluster.node(3).signal("CONT");
    act(&ada, &id, "confirm", &mut events, "confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; tests/run --soak"]
async fn one_primary_after_another_takes_nothing_acknowledged_with_it() {
    let mut cluster = block_in_place(Cluster::start);
    let site = site_on(&cluster).await;
    let crowd = Crowd::of(24, &site);
    let started = Instant::now();
    for round in 0..12 {
        crowd.more(20).await;
        let slot = [0, 8000, 16_000][round % 3];
        let old = cluster.owner_of_slot(slot);
        block_in_place(|| match round / 3 % 3 {
            0 => {
                cluster.kill(old);
                cluster.wait_for_new_primary(old, slot);
                cluster.restart(old);
            }
            1 => {
                cluster.node(old).signal("STOP");
                cluster.wait_for_new_primary(old, slot);
                cluster.node(old).signal("CONT");
            }
            _ => drop(cluster.failover(old)),
        });
        let new = cluster.owner_of_slot(slot);
        // Before the fault is mended, the next one may take something along.
        let in_step = || (cluster.node(new).replicas_online() == 1).then_some(());
        block_in_place(|| until(SOON * 3, "a replica in step", in_step));
    }
    crowd.end("one of a Cluster's primaries after another", started).await;
}
