//! Idle event streams: what goes over the wire while they are parked, how they end, what they cost, and many at once.

mod crowd;
mod framing;
mod loss;
mod replicas;

use crate::support::Gateway;
use std::time::Duration;

/// How long anything may take that concerns a thousand streams or more, on a machine that is busy with other tests.
const IN_TIME: Duration = Duration::from_secs(60);

/// A gateway for many streams from one address.
fn roomy() -> crate::support::gateway::Builder {
    // All streams are of one address here, which has its share of the store.
    let builder = Gateway::builder().arg("--streams-per-address", "100000").arg("--memory-max-tickets", "1000000");
    builder.arg("--log", "warn,scangate::app=info")
}

/// Waits until a series has a value.
async fn metric_is(gateway: &Gateway, series: &str, is: impl Fn(f64) -> bool) {
    let started = std::time::Instant::now();
    while !is(gateway.metric(series).await) {
        assert!(started.elapsed() < IN_TIME, "{series} is not as it should be:\n{}", gateway.metrics().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until that many streams are parked.
async fn parked(gateway: &Gateway, count: usize) {
    metric_is(gateway, "scangate_connections_detached", |parked| parked == count as f64).await;
}

/// Returns what a process takes of memory beside its program, in KiB. How much of that it is charged for depends on how
/// many others run the same.
fn memory_kib(process: &crate::support::process::Process) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss_Anon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
