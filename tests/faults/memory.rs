//! Redis runs out of memory: it refuses to write, or evicts tickets.

use super::*;

fn limit(redis: &Redis, policy: &str, maxmemory: u64) {
    redis.run::<()>(&["CONFIG", "SET", "maxmemory-policy", policy, "maxmemory", &maxmemory.to_string()]);
}

fn used_memory(redis: &Redis) -> u64 {
    let info: String = redis.run(&["INFO", "memory"]);
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_takes_no_new_ticket_and_finishes_those_that_have_begun() {
    let redis = Redis::start();
    let (gateway, other) = (patient_gateway_on(&redis).await, patient_gateway_on(&redis).await);
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &other));
    let (pending, mut pending_events) = wait_with(&browser).await;
    let (scanned, mut scanned_events) = wait_with(&browser).await;
    let (closed, mut closed_events) = wait_with(&browser).await;
    ada.act(&scanned, "scan").await;
    scanned_events.expect("scanned").await;

    limit(&redis, "noeviction", 1);
    let request = browser.request(reqwest::Method::POST, "/v1/tickets").json(&json!({}));
    let refused = request.send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "store_full");
    // What has begun is finished, by whichever gateway; who comes back is served.
    ada.approve(&pending).await;
    until(&mut pending_events, "confirmed").await;
    let confirmed = ada.act(&scanned, "confirm").await;
    assert_eq!(confirmed.status(), StatusCode::OK, "{}", confirmed.text().await.unwrap());
    let frame = scanned_events.expect("confirmed").await;
    verified_claims(&gateway, frame.data["token"]["access_token"].as_str().unwrap(), "web").await;
    let mut again = browser.events(&closed).await;
    again.expect("pending").await;
    let left = browser.request(reqwest::Method::DELETE, &format!("/v1/tickets/{closed}")).send().await.unwrap();
    assert!(left.status().is_success(), "{}", left.status());
    for events in [&mut closed_events, &mut again] {
        events.expect("cancelled").await;
    }

    limit(&redis, "noeviction", 0);
    let (id, mut events) = wait_with(&browser).await;
    approve_and_be_told(&ada, &id, &mut events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_evicted_tickets_are_told_at_once_and_nothing_is_confirmed_that_is_not() {
    const STREAMS: usize = 200;
    const OTHERS: usize = 20_000;
    const STEP_BYTES: u64 = 1_000_000;

    let redis = Redis::start();
    let (gateway, other) = (patient_gateway_on(&redis).await, patient_gateway_on(&redis).await);
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &other));
    let crowd = crowd(&browser, STREAMS).await;
    // Among so many others that what clients' buffers take and give back meanwhile, some 100 KB, does not count: each key
    // is as likely to go as any other.
    let mut others = redis::pipe();
    for number in 0..OTHERS {
        others.cmd("SET").arg(format!("other:{number}")).arg("x".repeat(1000)).ignore();
    }
    others.exec(&mut redis.connect()).unwrap();
    let started = Instant::now();
    let full = used_memory(&redis);
    for step in 1.. {
        limit(&redis, "allkeys-random", full - step * STEP_BYTES);
        // Any command has it look.
        redis.run::<()>(&["PING"]);
        let left = redis.keys().iter().filter(|key| key.starts_with("scangate:{")).count();
        if left < STREAMS * 6 / 10 {
            break;
        }
    }
    limit(&redis, "allkeys-random", 0);
    let evicted = Instant::now();
    println!("evicting took {:.1?}", started.elapsed());
    let kept = redis.keys();
    let told = crowd.into_iter().map(async |(id, mut events)| {
        if kept.contains(&format!("scangate:{{{id}}}")) {
            approve_and_be_told(&ada, &id, &mut events).await;
            return None;
        }
        // None of them was scanned, so nothing else may come.
        events.expect("expired").await;
        let told = evicted.elapsed();
        events.expect_end().await;
        assert_eq!(ada.act(&id, "scan").await.status(), StatusCode::NOT_FOUND);
        Some(told)
    });
    let told: Vec<_> = join_all(told).await.into_iter().flatten().collect();
    assert!(told.len() > STREAMS / 4 && told.len() < STREAMS, "{} were evicted", told.len());
    let (text, longest) = spread(told);
    println!("streams were told of the eviction after {text}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    browser.create().await;
}

/// Scanned, confirmed: wherever a sign-in is when its ticket is evicted, both parties learn that it is over.
#[tokio::test(flavor = "multi_thread")]
async fn evictions_in_the_middle_of_sign_ins_are_told_to_both_parties() {
    const STREAMS: usize = 60;

    let redis = Redis::start();
    let (gateway, other) = (patient_gateway_on(&redis).await, patient_gateway_on(&redis).await);
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &other));
    let crowd = crowd(&browser, STREAMS).await;
    let evicting = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        limit(&redis, "allkeys-lru", 1);
        // Any command has it look.
        redis.run::<()>(&["PING"]);
        limit(&redis, "allkeys-lru", 0);
    };
    let signing_in = crowd.into_iter().enumerate().map(async |(index, (id, mut events))| {
        tokio::time::sleep(Duration::from_millis(20) * index as u32).await;
        let mut statuses = Vec::new();
        for action in ["scan", "confirm"] {
            statuses.push(ada.act(&id, action).await.status());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut last = None;
        while let Some(frame) = events.next().await {
            last = Some(frame);
        }
        (statuses, last.expect("some event"))
    });
    let (ends, ()) = tokio::join!(join_all(signing_in), evicting);
    let (mut confirmed, mut expired, mut unclaimed) = (0, 0, 0);
    for (statuses, last) in ends {
        match last.event.as_str() {
            "confirmed" => {
                assert_eq!(statuses, [StatusCode::OK, StatusCode::OK]);
                confirmed += 1;
            }
            // What the phone had been told was true then; what it asks afterwards is answered with 404.
            "expired" => {
                let known = [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE];
                assert!(statuses.iter().all(|status| known.contains(status)), "{statuses:?}");
                expired += 1;
                unclaimed += usize::from(statuses[1] == StatusCode::OK);
            }
            other => panic!("{other} is not how it ends"),
        }
    }
    println!("{confirmed} were confirmed, {expired} were evicted, {unclaimed} of them after their confirmation");
    assert!(confirmed > 0 && expired > 0);
}
