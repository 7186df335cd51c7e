//! More at once than the subscriber's connection takes: output buffers that overrun, and thousands of streams to read again.

use super::*;
use crate::support::Guest;
use crate::support::guest::Waiting;

/// Notifies of each ticket often enough that a subscriber's output buffer overruns.
fn flood(redis: &Redis) {
    let script = "for _, key in ipairs(redis.call('KEYS', 'scangate:*')) do
        for i = 1, 100 do redis.call('HSET', key, 'noise', i) end
    end";
    redis.run::<()>(&["EVAL", script, "0"]);
}

fn with_a_small_output_buffer() -> Redis {
    Redis::with(&["--client-output-buffer-limit", "pubsub 64kb 0 0"])
}

/// It does not read at all while others sign in, and is cut off meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_stopped_and_cut_off_tells_everything_when_it_goes_on() {
    const STREAMS: usize = 100;

    let redis = with_a_small_output_buffer();
    let (gateway, other) = (patient_gateway_on(&redis).await, patient_gateway_on(&redis).await);
    let ada = Phone::of("ada", &other);
    let mut crowd = crowd(&Browser::new(&gateway), STREAMS).await;
    gateway.process.signal("STOP");
    flood(&redis);
    for (index, (id, _)) in crowd.iter().enumerate() {
        insist(&ada, id, "scan").await;
        if index % 2 == 0 {
            insist(&ada, id, "confirm").await;
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    gateway.process.signal("CONT");
    let continued = Instant::now();
    let told = crowd.iter_mut().enumerate().map(async |(index, (_, events))| {
        until(events, if index % 2 == 0 { "confirmed" } else { "scanned" }).await;
        continued.elapsed()
    });
    println!("{STREAMS} streams of a stopped gateway were told after {}", spread(join_all(told).await).0);
    assert!(gateway.metric("scangate_subscriber_reconnects_total").await >= 1.0, "it was not cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_in_time_while_the_subscriber_overruns_again_and_again() {
    const STREAMS: usize = 100;

    let redis = with_a_small_output_buffer();
    let (gateway, other) = (patient_gateway_on(&redis).await, patient_gateway_on(&redis).await);
    let ada = Phone::of("ada", &other);
    let mut crowd = crowd(&Browser::new(&gateway), STREAMS).await;
    let signing_in = crowd.iter_mut().enumerate().map(async |(index, (id, events))| {
        tokio::time::sleep(Duration::from_millis(30) * index as u32).await;
        approve_and_be_told(&ada, id, events).await.0
    });
    let flooding = async {
        loop {
            flood(&redis);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let times = tokio::select! {
        times = join_all(signing_in) => times,
        () = flooding => unreachable!(),
    };
    let (text, longest) = spread(times);
    let cuts = gateway.metric("scangate_subscriber_reconnects_total").await;
    println!("cut off {cuts} times; {STREAMS} streams were told after {text}");
    assert!(cuts >= 3.0, "it was not cut off");
    assert!(longest < SOON, "{longest:?}");
}

/// All keys go in the same moment as the subscriber, so that nothing but reading every one of them again tells.
async fn all_are_read_again(streams: usize) {
    let redis = Redis::start();
    let gateway =
        patient(Gateway::builder().redis(&redis)).arg("--log", "info").arg("--ticket-ttl", "30m").start().await;
    let waiting = Guest::of(&gateway).await.wait_often_at(&gateway, streams).await;
    let script = "for _, key in ipairs(redis.call('KEYS', 'scangate:*')) do redis.call('DEL', key) end";
    let mut at_once = redis::pipe();
    at_once.cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").ignore().cmd("EVAL").arg(script).arg(0).ignore();
    let started = Instant::now();
    at_once.exec(&mut redis.connect()).unwrap();
    let mut telling = tokio::task::JoinSet::new();
    for Waiting { mut wire, .. } in waiting {
        telling.spawn(async move {
            wire.until("event: expired\n").await;
            started.elapsed()
        });
    }
    let times = telling.join_all().await;
    assert_eq!(times.len(), streams);
    let failed = gateway.metric(r#"scangate_store_errors_total{operation="get"}"#).await;
    println!(
        "{streams} streams were read again after {}; {failed} times Redis did not answer in time",
        spread(times).0
    );
    assert!(gateway.metric("scangate_subscriber_reconnects_total").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_streams_are_read_again_after_a_gap() {
    all_are_read_again(3_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long, and 30,000 open files; tests/run --soak"]
async fn fifteen_thousand_streams_are_read_again_after_a_gap() {
    all_are_read_again(15_000).await;
}
