//! Gateways whose clocks are wrong: tickets and JWTs go by the time of Redis, which all of them share.

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::support::clock_off_by;
use crate::support::gateway::{keys, token_until};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn a_gateway_whose_clock_is_off_goes_by_the_time_of_redis(seconds: i64) {
    let (redis, keys) = (Redis::start(), keys());
    let builder = || {
        let builder = patient(Gateway::builder().redis(&redis)).arg("--ticket-ttl", "5s");
        builder.arg("--keys-dir", keys.path().to_str().unwrap()).arg("--public-url", "http://localhost:8080")
    };
    let wrong = builder().run_by(&clock_off_by(seconds)).start().await;
    let right = builder().start().await;
    // Otherwise this would show nothing.
    let log: Value = serde_json::from_str(&wrong.process.lines()[0]).unwrap();
    let logged = log["timestamp"].as_str().unwrap().to_owned();
    let date = reqwest::get(&wrong.base).await.unwrap().headers().get("date").cloned();
    println!("with its clock off by {seconds} s, it logs {logged} and answers on {date:?}; it is {} here", now());

    let ada = [Phone::of("ada", &wrong), Phone::of("ada", &right)];
    for (here, there) in [(&wrong, 1), (&right, 0), (&wrong, 0)] {
        let browser = Browser::new(here);
        let ticket = browser.create_with(json!({})).await;
        let left = ticket["expires_in"].as_f64().unwrap();
        assert!((4.5..=5.0).contains(&left), "{left} s left");
        let id = ticket["ticket_id"].as_str().unwrap();
        let mut events = browser.events(id).await;
        events.expect("pending").await;
        ada[there].approve(id).await;
        let confirmed = until(&mut events, "confirmed").await;
        let token = &confirmed.data["token"];
        let claims = verified_claims(&right, token["access_token"].as_str().unwrap(), "web").await;
        let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert!(iat.abs_diff(now()) <= 5 && exp == iat + 3600, "{claims} at {}", now());
        assert!((3590..=3600).contains(&token["expires_in"].as_u64().unwrap()), "{token}");
    }

    let browser = Browser::new(&wrong);
    let (_id, mut events) = wait_with(&browser).await;
    let opened = Instant::now();
    events.expect("expired").await;
    let lived = opened.elapsed();
    println!("a ticket of 5 s was told to be over {lived:.2?} after its stream was opened");
    assert!(lived > Duration::from_secs(4) && lived < Duration::from_secs(7), "{lived:?}");

    // What phones bring is judged by the gateway's own clock: there is no other before Redis is asked.
    let id = browser.create().await;
    let short = Phone::with_token(token_until("ada", now() + 120), &wrong);
    let over = Phone::with_token(token_until("bob", now() - 120), &wrong);
    let (fresh, stale) = (short.act(&id, "scan").await.status(), over.act(&id, "scan").await.status());
    println!("with a token that has 2 min left: {fresh}; with one that is over since 2 min: {stale}");
    let expected = if seconds > 0 {
        [StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED]
    } else {
        [StatusCode::OK, StatusCode::CONFLICT]
    };
    assert_eq!([fresh, stale], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_ten_minutes_fast_goes_by_the_time_of_redis() {
    a_gateway_whose_clock_is_off_goes_by_the_time_of_redis(600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_ten_minutes_slow_goes_by_the_time_of_redis() {
    a_gateway_whose_clock_is_off_goes_by_the_time_of_redis(-600).await;
}
