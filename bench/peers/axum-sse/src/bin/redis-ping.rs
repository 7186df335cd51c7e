//! Measures the round trip of a Redis PING from an async Rust process: `redis-ping URL COUNT PAUSE_MS`.
//!
//! It uses one multiplexed connection on tokio's multi-threaded runtime, as the gateway does. It prints one line of JSON, in
//! milliseconds. With a pause, each round trip starts with sleeping threads, as a confirmation does.

use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| arguments.next().ok_or(format!("{name} is missing"));
    let client = redis::Client::open(next("URL")?)?;
    let count: usize = next("COUNT")?.parse()?;
    let pause = Duration::from_secs_f64(next("PAUSE_MS")?.parse::<f64>()? / 1000.0);

    // Run on a worker thread, as the gateway's requests do, and not on the main thread.
    let mut times = tokio::spawn(async move {
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut times = Vec::with_capacity(count);
        for round in 0..count + 100 {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let start = Instant::now();
            let _: String = redis::cmd("PING").query_async(&mut connection).await?;
            // The first hundred round trips are for warming up.
            if round >= 100 {
                times.push(start.elapsed().as_secs_f64() * 1000.0);
            }
        }
        Ok::<_, redis::RedisError>(times)
    })
    .await??;

    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    println!(r#"{{"count":{},"min":{:.4},"p50":{:.4},"p99":{:.4},"max":{:.4}}}"#, count, at(0.0), at(0.5), at(0.99), at(1.0));
    Ok(())
}
