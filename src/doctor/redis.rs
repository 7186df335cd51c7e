//! Checks Redis: Sentinels and the Cluster as a whole here, the nodes that keep tickets in `nodes`.
//!
//! A finding is [`Severity::Error`] if it prevents sign-ins now, and [`Severity::Warning`] if it would after the next fault.

mod checks;
mod nodes;

use super::report::{Report, Severity};
use crate::store::redis::RedisSettings;
use crate::store::redis::diagnosis::{self, ClusterView, Diagnosis, Installation, Probe, SentinelView, Unanswered};

/// The minimum number of Sentinels, or of a Cluster's primaries, that keeps a majority when one fails.
const MIN_VOTERS: usize = 3;

pub(super) async fn check(report: &mut Report, settings: &RedisSettings) {
    let found = diagnosis::diagnose(settings).await;
    match &found.installation {
        Installation::Standalone => {}
        Installation::Sentinel { name, sentinels } => sentinel(report, &found, name, sentinels),
        Installation::Cluster { seeds, nodes, unserved_slots } => {
            cluster_nodes(report, &found, nodes);
            if nodes.iter().any(|node| node.answer.is_ok()) {
                cluster(report, &found, seeds, nodes, unserved_slots);
            }
        }
    }
    nodes::check(report, settings, &found);
}

fn sentinel(report: &mut Report, found: &Diagnosis, name: &str, sentinels: &[Probe<SentinelView>]) {
    let views: Vec<_> = answers(sentinels).collect();
    for Probe { address, answer } in sentinels {
        let Err(why) = answer else { continue };
        let text = match why {
            Unanswered::Silent(why) => {
                format!("{address} does not answer ({why}): start it, or correct --redis-url or the network")
            }
            Unanswered::Login(why) => format!(
                "{address} refuses the login ({why}): append ?sentinel_password=… (and &sentinel_user=… if Sentinel has users) to --redis-url"
            ),
            Unanswered::Forbidden(why) => format!("{address} refuses this user's queries ({why}): allow `+sentinel`"),
            Unanswered::OtherKind(_) => format!(
                "{address} is not a Sentinel: name Sentinels in --redis-url (they listen on 26379), or, without Sentinels, use redis://{address}"
            ),
            Unanswered::UnknownName(watched) => format!(
                "{address} knows no primary named {name:?}, {}: correct the name after the hosts in --redis-url",
                if watched.is_empty() { "and watches none".to_owned() } else { format!("only {}", watched.join(", ")) }
            ),
            Unanswered::Refused(why) => format!("{address} does not say where the primary is: {why}"),
        };
        // One Sentinel that answers is enough for the gateway.
        report.add(if views.is_empty() { Severity::Error } else { Severity::Warning }, "sentinel", text);
    }
    let Some(primary) = found.primaries.first().map(|primary| &primary.address) else { return };
    let Some((_, newest)) = views.iter().find(|(_, view)| view.primary == *primary) else { return };
    report.ok("sentinel", format!("{} of {} Sentinel(s) say where {name} is: {primary}", views.len(), sentinels.len()));
    for (address, view) in &views {
        if view.primary != *primary {
            report.warn(
                "sentinel",
                format!(
                    "{address} says that {} is the primary (epoch {}), others say {primary} (epoch {}): check that it reaches them, or run this again if a failover is in progress",
                    view.primary, view.epoch, newest.epoch
                ),
            );
        } else if view.is_down {
            report.warn(
                "sentinel",
                format!("{address} says that the primary {} is down: check that they reach each other", view.primary),
            );
        }
        if let Some(why) = view.failover_obstacle() {
            report.warn("sentinel", format!(
                "{address} could not start a failover ({}): start the missing Sentinels, or set a smaller quorum with `SENTINEL SET {name} quorum N`",
                why.trim_end_matches('.')
            ));
        }
    }
    let known = views.iter().map(|(_, view)| view.sentinels).max().unwrap_or(0);
    let quorum =
        newest.quorum.map(|quorum| format!(", {quorum} must agree that the primary is down")).unwrap_or_default();
    if known < MIN_VOTERS {
        report.warn("sentinel", format!(
            "{known} Sentinel(s) watch {name}: a failover needs a majority, so no failover is possible when one is lost. Run {MIN_VOTERS} on separate machines"
        ));
    } else {
        report.ok("sentinel", format!("{known} Sentinel(s) watch {name}{quorum}"));
    }
    if sentinels.len() == 1 && known > 1 {
        report.warn("sentinel", format!(
            "--redis-url names one of {known}: without that one, the gateway does not notice a failover. Name all of them: host,host,host"
        ));
    }
}

/// Reports the nodes that give no view of the Cluster. `nodes` also checks each node that keeps tickets.
fn cluster_nodes(report: &mut Report, found: &Diagnosis, nodes: &[Probe<ClusterView>]) {
    let is_examined = |address: &str| {
        found.primaries.iter().chain(&found.replicas).any(|node| node.address == address && node.answer.is_err())
    };
    let severity = if nodes.iter().any(|node| node.answer.is_ok()) { Severity::Warning } else { Severity::Error };
    for Probe { address, answer } in nodes {
        let Err(why) = answer else { continue };
        let text = match why {
            Unanswered::Silent(_) | Unanswered::Login(_) if is_examined(address) => continue,
            Unanswered::Silent(why) => {
                format!("{address} does not answer ({why}): start it, or correct --redis-url or the network")
            }
            Unanswered::Login(why) => format!(
                "{address} refuses the login ({why}): correct user and password in --redis-url, which are used for every node"
            ),
            Unanswered::Forbidden(why) => {
                format!("{address} refuses this user's queries ({why}): allow `+cluster|slots +cluster|info`")
            }
            Unanswered::OtherKind(_) => {
                format!(
                    "{address} is not a node of a Cluster: use redis://{address}, or name the Cluster's nodes in --redis-url"
                )
            }
            Unanswered::Refused(_) | Unanswered::UnknownName(_) => {
                format!(
                    "{address} does not say which node serves which slots: {why}; see `redis-cli --cluster check {address}`"
                )
            }
        };
        report.add(severity, "cluster", text);
    }
}

fn cluster(
    report: &mut Report,
    found: &Diagnosis,
    seeds: &[String],
    nodes: &[Probe<ClusterView>],
    unserved_slots: &[(u16, u16)],
) {
    let views: Vec<_> = answers(nodes).collect();
    let matching = |is: fn(&ClusterView) -> bool| -> Vec<_> {
        views.iter().filter(|(_, view)| is(view)).map(|(address, _)| *address).collect()
    };
    let (primaries, replicas) = (found.primaries.len(), found.replicas.len());
    let down = matching(|view| view.is_up == Some(false));
    let check = views.first().map(|(address, _)| format!("`redis-cli --cluster check {address}`")).unwrap_or_default();
    if !down.is_empty() {
        report.error(
            "cluster",
            format!(
                "the Cluster is down according to {} (cluster_state:fail), and refuses every command: run {check} for the reason",
                down.join(", ")
            ),
        );
    }
    if !unserved_slots.is_empty() {
        let runs: Vec<_> = unserved_slots.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let count: u32 = unserved_slots.iter().map(|(first, last)| u32::from(last - first) + 1).sum();
        report.error("cluster", format!(
            "no node serves {count} of 16384 slots ({}), so the gateway cannot create tickets in them: run {check}, then `redis-cli --cluster fix`",
            runs.join(" ")
        ));
    }
    let apart = matching(|view| !view.agrees);
    if !apart.is_empty() {
        report.warn(
            "cluster",
            format!(
                "views of the slots differ, according to {}: slots are being moved, or a node is cut off; run {check}",
                apart.join(", ")
            ),
        );
    }
    if down.is_empty() && unserved_slots.is_empty() && apart.is_empty() {
        report.ok(
            "cluster",
            format!("{primaries} primaries and {replicas} replicas agree on which node serves each of the 16384 slots"),
        );
    }
    if primaries < MIN_VOTERS {
        report.warn("cluster", format!(
            "only {primaries} node(s) serve slots: a failover needs a majority of the primaries, so no failover is possible when one is lost. Spread the slots over {MIN_VOTERS} or more"
        ));
    }
    if seeds.len() == 1 && primaries + replicas > 1 {
        report.warn("cluster", format!(
            "--redis-url names one of {} nodes: a gateway that starts while that one is down finds none. Name several: host,host,host",
            primaries + replicas
        ));
    }
}

fn answers<T>(asked: &[Probe<T>]) -> impl Iterator<Item = (&str, &T)> {
    asked.iter().filter_map(|asked| Some((&*asked.address, asked.answer.as_ref().ok()?)))
}
