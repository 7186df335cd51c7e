//! What the doctor says of each node that keeps tickets, or might.
//!
//! Nodes of which the same is to be said share a line.

use std::time::Duration;

use super::super::report::Report;
use super::checks::{
    Line, PRIMARY, REPLICA, changes, enough_replicas, eviction, link, lost_primary, lost_replica, memory, misfit,
    notifications, notifications_after_failover, persistence, replicas_in_step, split_brain, subscribers, version,
    waits,
};
use crate::store::redis::RedisSettings;
use crate::store::redis::diagnosis::{Diagnosis, Facts, Installation, Probe, RoundTrip};

/// By how much a node's clock may differ from ours before it is said. Tickets run on the primary's clock alone, but tokens
/// that phones bring are checked by ours.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);
/// Above this round trip the page is told of a confirmation so late that people see it: a quarter of a second.
const MAX_ROUND_TRIP: Duration = Duration::from_millis(50);
/// How many round trips there are between a tap on Confirm and the page's event: the phone's request reads and writes the
/// ticket, the page's stream hears of it (half of one), reads and claims it (docs/operations.md has the measurements).
const CONFIRM_TO_EVENT: u32 = 4;
/// The same where changes wait for replicas that are as far from the primary as the gateway is: the page's claim does.
const CONFIRM_TO_EVENT_WAITING: u32 = 6;
/// How many round trips one command may take at most without anything being wrong: four to connect, three for the command of
/// which Redis does not know the script, two that wait for replicas, and the rest to ask who is primary.
const MIN_TIMEOUT: u32 = 16;

pub(super) fn examine(report: &mut Report, settings: &RedisSettings, found: &Diagnosis) {
    let has_failover = settings.topology.has_replicas();
    let primaries = Nodes::fit(report, PRIMARY, found, &found.primaries, settings);
    let replicas = Nodes::fit(report, REPLICA, found, &found.replicas, settings);

    primaries.answer(report, settings);
    primaries.say(report, |facts| Some(version(facts)));
    primaries.say(report, changes);
    primaries.say(report, notifications);
    primaries.say(report, |facts| Some(eviction(facts)));
    primaries.say(report, memory);
    primaries.say(report, |facts| persistence(facts, has_failover, settings.wait_replicas));
    primaries.say(report, |facts| enough_replicas(facts, has_failover, settings.wait_replicas));
    primaries.say(report, |facts| waits(facts, settings.wait_replicas));
    primaries.say(report, replicas_in_step);
    if matches!(found.installation, Installation::Sentinel { .. }) {
        primaries.say(report, split_brain);
    }
    primaries.say(report, subscribers);
    primaries.clocks(report);

    replicas.answer(report, settings);
    replicas.say(report, |facts| Some(version(facts)));
    replicas.say(report, link);
    replicas.say(report, |facts| Some(notifications_after_failover(facts)));
    replicas.say(report, |facts| Some(eviction(facts)));
    replicas.say(report, subscribers);
    replicas.clocks(report);
}

/// Nodes of one role that answer.
struct Nodes<'a> {
    role: &'static str,
    all: Vec<(&'a str, &'a Facts)>,
    /// A single server need not be told from others.
    is_single_server: bool,
}

impl<'a> Nodes<'a> {
    /// Takes those that are what they are taken for, and says what is wrong with the others.
    fn fit(
        report: &mut Report,
        role: &'static str,
        found: &Diagnosis,
        asked: &'a [Probe<Facts>],
        settings: &RedisSettings,
    ) -> Self {
        let mut all = Vec::new();
        for Probe { address, answer } in asked {
            let (verdict, text) = match answer {
                Err(why) if role == REPLICA => lost_replica(address, why),
                Err(why) => lost_primary(address, why, found, settings),
                Ok(facts) => {
                    let Some(line) = misfit(address, facts, role, &found.installation) else {
                        all.push((&**address, facts));
                        continue;
                    };
                    line
                }
            };
            report.add(verdict, "redis", text);
        }
        Self { role, all, is_single_server: matches!(found.installation, Installation::Standalone) }
    }

    /// Says what `check` finds, once for all nodes of which it finds the same.
    fn say(&self, report: &mut Report, check: impl Fn(&Facts) -> Option<Line>) {
        let mut lines: Vec<(Line, Vec<&str>)> = Vec::new();
        for (address, facts) in &self.all {
            let Some(line) = check(facts) else { continue };
            match lines.iter_mut().find(|(other, _)| *other == line) {
                Some((_, nodes)) => nodes.push(address),
                None => lines.push((line, vec![address])),
            }
        }
        for ((verdict, text), nodes) in lines {
            report.add(verdict, "redis", format!("{}{text}", self.prefix(&nodes)));
        }
    }

    fn prefix(&self, nodes: &[&str]) -> String {
        match nodes {
            _ if self.is_single_server => String::new(),
            _ if nodes.len() > 1 && nodes.len() == self.all.len() => format!("each {}: ", self.role),
            _ => format!("{} {}: ", self.role, nodes.join(", ")),
        }
    }

    /// Says how far away they are, and what that means.
    fn answer(&self, report: &mut Report, settings: &RedisSettings) {
        let Some((furthest, facts)) = self.all.iter().max_by_key(|(_, facts)| facts.round_trip.least) else { return };
        let RoundTrip { least, median } = facts.round_trip;
        let times = format!("{} (fastest {})", in_millis(median), in_millis(least));
        let who = match self.all.as_slice() {
            [_] if self.is_single_server => format!("{furthest} answers in {times}"),
            [_] => format!("{} {furthest} answers in {times}", self.role),
            all => {
                format!("{} nodes answer as {}, the furthest, {furthest}, in {times}", all.len(), self.role)
            }
        };
        if self.role == REPLICA {
            report.good("redis", who);
            return;
        }
        let is_waiting = settings.wait_replicas > 0;
        let round_trips = if is_waiting { CONFIRM_TO_EVENT_WAITING } else { CONFIRM_TO_EVENT };
        let late = in_millis(median * round_trips);
        // By the fastest: the others may have waited for a busy machine.
        if least > MAX_ROUND_TRIP {
            report.warn("redis", format!(
                "{who}. That is far: the page is told some {late} after a tap on Confirm, and everything else is late, too (docs/operations.md, \"How far away Redis may be\"). Run gateways beside Redis"
            ));
        } else {
            report.good("redis", format!("{who}: the page is told some {late} after a tap on Confirm"));
        }
        if settings.timeout < least * MIN_TIMEOUT {
            report.warn("redis", format!(
                "--redis-timeout {:?} is short for that: a first connection and a command take up to {MIN_TIMEOUT} round trips. Set it to {:?} or more",
                settings.timeout,
                Duration::from_millis(u64::try_from((least * MIN_TIMEOUT).as_millis()).unwrap_or(u64::MAX).next_multiple_of(100))
            ));
        }
    }

    fn clocks(&self, report: &mut Report) {
        let (apart, near): (Vec<_>, Vec<_>) =
            self.all.iter().partition(|(_, facts)| facts.clock_difference > MAX_CLOCK_DIFFERENCE);
        for (address, facts) in apart {
            report.warn("clock", format!(
                "{}Redis's clock and this machine's are {:?} apart. Tickets run on the primary's, but approvers' tokens are checked by this machine's: run NTP on both",
                self.prefix(&[address]),
                facts.clock_difference
            ));
        }
        if let Some(most) = near.iter().map(|(_, facts)| facts.clock_difference).max() {
            let nodes: Vec<_> = near.iter().map(|(address, _)| *address).collect();
            report.good("clock", format!("{}within {most:?} of Redis's", self.prefix(&nodes)));
        }
    }
}

/// Writes a time in milliseconds.
fn in_millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
