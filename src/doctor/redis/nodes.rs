//! Checks each node that keeps tickets, and each replica that could.
//!
//! Nodes with the same finding share a line.

use std::time::Duration;

use super::super::report::Report;
use super::checks::{
    Line, PRIMARY, REPLICA, eviction, memory, notifications, notifications_after_failover, persistence, replica_count,
    replica_lag, replication_link, split_brain, subscriber_buffer, unusable_primary, unusable_replica, version,
    wait_permission, writes, wrong_role,
};
use crate::store::redis::RedisSettings;
use crate::store::redis::diagnosis::{Diagnosis, Facts, Installation, Probe, RoundTrip};

/// A larger difference between a node's clock and ours is reported. Tickets use the primary's clock only, but the gateway
/// checks approvers' tokens by its own.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);
/// With a longer round trip, the page gets the confirmation noticeably late: after a quarter of a second.
const MAX_ROUND_TRIP: Duration = Duration::from_millis(50);
/// The round trips between a tap on Confirm and the page's event: the approver's request reads and writes the ticket; the page's
/// stream is notified (half a round trip), reads and claims it (docs/operations.md has the measurements).
const CONFIRM_TO_EVENT: u32 = 4;
/// The same if changes wait for replicas as far from the primary as the gateway is; the page's claim waits as well.
const CONFIRM_TO_EVENT_WAITING: u32 = 6;
/// The maximum number of round trips of one command without a fault: four to connect, three for a command whose script Redis does not
/// know, two that wait for replicas, and the rest to find the primary.
const MIN_TIMEOUT: u32 = 16;

pub(super) fn check(report: &mut Report, settings: &RedisSettings, found: &Diagnosis) {
    let has_failover = settings.topology.has_replicas();
    let primaries = Nodes::select(report, PRIMARY, found, &found.primaries, settings);
    let replicas = Nodes::select(report, REPLICA, found, &found.replicas, settings);

    primaries.round_trip(report, settings);
    primaries.check(report, |facts| Some(version(facts)));
    primaries.check(report, writes);
    primaries.check(report, notifications);
    primaries.check(report, |facts| Some(eviction(facts)));
    primaries.check(report, memory);
    primaries.check(report, |facts| persistence(facts, has_failover, settings.wait_replicas));
    primaries.check(report, |facts| replica_count(facts, has_failover, settings.wait_replicas));
    primaries.check(report, |facts| wait_permission(facts, settings.wait_replicas));
    primaries.check(report, replica_lag);
    if matches!(found.installation, Installation::Sentinel { .. }) {
        primaries.check(report, split_brain);
    }
    primaries.check(report, subscriber_buffer);
    primaries.clocks(report);

    replicas.round_trip(report, settings);
    replicas.check(report, |facts| Some(version(facts)));
    replicas.check(report, replication_link);
    replicas.check(report, |facts| Some(notifications_after_failover(facts)));
    replicas.check(report, |facts| Some(eviction(facts)));
    replicas.check(report, subscriber_buffer);
    replicas.clocks(report);
}

/// The nodes of one role that answer.
struct Nodes<'a> {
    role: &'static str,
    all: Vec<(&'a str, &'a Facts)>,
    /// Whether there is a single server, whose lines need no node name.
    is_single_server: bool,
}

impl<'a> Nodes<'a> {
    /// Selects the nodes that answer in the expected role, and reports the others.
    fn select(
        report: &mut Report,
        role: &'static str,
        found: &Diagnosis,
        asked: &'a [Probe<Facts>],
        settings: &RedisSettings,
    ) -> Self {
        let mut all = Vec::new();
        for Probe { address, answer } in asked {
            let (severity, text) = match answer {
                Err(why) if role == REPLICA => unusable_replica(address, why),
                Err(why) => unusable_primary(address, why, found, settings),
                Ok(facts) => {
                    let Some(line) = wrong_role(address, facts, role, &found.installation) else {
                        all.push((&**address, facts));
                        continue;
                    };
                    line
                }
            };
            report.add(severity, "redis", text);
        }
        Self { role, all, is_single_server: matches!(found.installation, Installation::Standalone) }
    }

    /// Reports the findings of `check`, on one line for all nodes with the same finding.
    fn check(&self, report: &mut Report, check: impl Fn(&Facts) -> Option<Line>) {
        let mut lines: Vec<(Line, Vec<&str>)> = Vec::new();
        for (address, facts) in &self.all {
            let Some(line) = check(facts) else { continue };
            match lines.iter_mut().find(|(other, _)| *other == line) {
                Some((_, nodes)) => nodes.push(address),
                None => lines.push((line, vec![address])),
            }
        }
        for ((severity, text), nodes) in lines {
            report.add(severity, "redis", format!("{}{text}", self.prefix(&nodes)));
        }
    }

    fn prefix(&self, nodes: &[&str]) -> String {
        match nodes {
            _ if self.is_single_server => String::new(),
            _ if nodes.len() > 1 && nodes.len() == self.all.len() => format!("each {}: ", self.role),
            _ => format!("{} {}: ", self.role, nodes.join(", ")),
        }
    }

    /// Reports the round trip to the nodes, and its effects.
    fn round_trip(&self, report: &mut Report, settings: &RedisSettings) {
        let Some((furthest, facts)) = self.all.iter().max_by_key(|(_, facts)| facts.round_trip.fastest) else { return };
        let RoundTrip { fastest, median } = facts.round_trip;
        let times = format!("{} (fastest {})", in_millis(median), in_millis(fastest));
        let text = match self.all.as_slice() {
            [_] if self.is_single_server => format!("{furthest} answers in {times}"),
            [_] => format!("{} {furthest} answers in {times}", self.role),
            all => {
                format!("{} nodes answer as {}; the furthest, {furthest}, in {times}", all.len(), self.role)
            }
        };
        if self.role == REPLICA {
            report.ok("redis", text);
            return;
        }
        let is_waiting = settings.wait_replicas > 0;
        let round_trips = if is_waiting { CONFIRM_TO_EVENT_WAITING } else { CONFIRM_TO_EVENT };
        let late = in_millis(median * round_trips);
        // Only the fastest round trip is compared, because a busy machine may have delayed the others.
        if fastest > MAX_ROUND_TRIP {
            report.warn("redis", format!(
                "{text}. Redis is far away: the page gets a confirmation some {late} after the tap, and every other step is slower too (docs/operations.md, \"How far away Redis may be\"). Run gateways near Redis"
            ));
        } else {
            report.ok("redis", format!("{text}: the page gets a confirmation some {late} after the tap"));
        }
        if settings.timeout < fastest * MIN_TIMEOUT {
            report.warn("redis", format!(
                "--redis-timeout {:?} is too short for that: a new connection and a command take up to {MIN_TIMEOUT} round trips. Set it to {:?} or more",
                settings.timeout,
                Duration::from_millis(u64::try_from((fastest * MIN_TIMEOUT).as_millis()).unwrap_or(u64::MAX).next_multiple_of(100))
            ));
        }
    }

    fn clocks(&self, report: &mut Report) {
        let (apart, near): (Vec<_>, Vec<_>) =
            self.all.iter().partition(|(_, facts)| facts.clock_difference > MAX_CLOCK_DIFFERENCE);
        for (address, facts) in apart {
            report.warn("clock", format!(
                "{}Redis's clock and this machine's differ by {:?}. Tickets use the primary's, but the gateway checks approvers' tokens by this machine's: run NTP on both",
                self.prefix(&[address]),
                facts.clock_difference
            ));
        }
        if let Some(most) = near.iter().map(|(_, facts)| facts.clock_difference).max() {
            let nodes: Vec<_> = near.iter().map(|(address, _)| *address).collect();
            report.ok("clock", format!("{}within {most:?} of Redis's", self.prefix(&nodes)));
        }
    }
}

/// Formats a time in milliseconds.
fn in_millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
