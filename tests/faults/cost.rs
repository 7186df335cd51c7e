//! What one sign-in asks of Redis: commands, each of which is a round trip. Those that scripts run are not counted.

use std::collections::BTreeMap;

use super::*;

/// Commands of the gateway's own, which have nothing to do with a sign-in; and those that its scripts are made of.
const OTHERS: [&str; 14] = [
    "ping",
    "config|get",
    "config|set",
    "config|resetstat",
    "info",
    "client|setinfo",
    "hello",
    "publish",
    "time",
    "hget",
    "hmget",
    "hset",
    "del",
    "exists",
];

/// Returns how often each command was called since the last call.
fn commands(redis: &Redis) -> BTreeMap<String, u64> {
    let text: String = redis.run(&["INFO", "commandstats"]);
    redis.run::<()>(&["CONFIG", "RESETSTAT"]);
    let calls = text.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split_once(',')?.0.parse().ok()?))
    });
    calls.filter(|(name, _): &(String, u64)| !OTHERS.contains(&name.as_str()) && !name.starts_with("pexpire")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_costs_redis_a_handful_of_commands() {
    const SIGN_INS: u64 = 20;

    let redis = Redis::start();
    let gateway = patient_gateway_on(&redis).await;
    let (browser, ada) = (Browser::new(&gateway), Phone::of("ada", &gateway));
    // Connections are made and scripts are known.
    for _ in 0..20 {
        ada.approve(&browser.create().await).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    commands(&redis);
    let mut costs = vec![
        ("create", BTreeMap::new()),
        ("open", BTreeMap::new()),
        ("scan", BTreeMap::new()),
        ("confirm and claim", BTreeMap::new()),
        ("leave", BTreeMap::new()),
    ];
    let count = async |costs: &mut Vec<(&str, BTreeMap<String, u64>)>, step: usize| {
        // What it wakes is over by then.
        tokio::time::sleep(Duration::from_millis(if step == 4 { 120 } else { 20 })).await;
        for (name, calls) in commands(&redis) {
            *costs[step].1.entry(name).or_default() += calls;
        }
    };
    for _ in 0..SIGN_INS {
        let id = browser.create().await;
        count(&mut costs, 0).await;
        let mut events = browser.events(&id).await;
        events.expect("pending").await;
        count(&mut costs, 1).await;
        assert_eq!(ada.act(&id, "scan").await.status(), StatusCode::OK);
        events.expect("scanned").await;
        count(&mut costs, 2).await;
        assert_eq!(ada.act(&id, "confirm").await.status(), StatusCode::OK);
        events.expect("confirmed").await;
        events.expect_end().await;
        count(&mut costs, 3).await;
        count(&mut costs, 4).await;
    }
    let mut all = 0.0;
    // What each needs: create; read, subscribe, read; read, replace, and the woken stream reads; the same, and it claims;
    // unsubscribe.
    for ((step, calls), most) in costs.iter().zip([1.0, 3.0, 3.0, 4.0, 1.0]) {
        let each: Vec<_> =
            calls.iter().map(|(name, &calls)| format!("{:.2} {name}", calls as f64 / SIGN_INS as f64)).collect();
        let sum = calls.values().sum::<u64>() as f64 / SIGN_INS as f64;
        println!("{step}: {}", each.join(", "));
        assert!(sum <= most + 0.5, "{step} costs {sum} commands");
        all += sum;
    }
    println!("a sign-in: {all:.2} commands");
}
