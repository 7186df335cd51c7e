//! The checks of one node of Redis, a function each.

use super::super::report::Severity;
use crate::store::redis::diagnosis::{Diagnosis, Facts, Installation, ReplicaLink, Unanswered};
use crate::store::redis::{RedisSettings, reports_changes};

/// The oldest version of Redis that the engine supports.
const MIN_REDIS: (u32, u32) = (6, 2);
/// A longer time without an acknowledgement is reported; a healthy replica acknowledges every second.
const MAX_LAG_SECS: u64 = 5;
/// A replica that is further behind is reported.
const MAX_BEHIND_BYTES: u64 = MIB;
/// The minimum output buffer that Redis should allow a subscriber.
const MIN_PUBSUB_BYTES: u64 = 8 * MIB;
/// The size of the two notifications of a change, with Redis's overhead.
const CHANGE_BYTES: u64 = 200;
const MIB: u64 = 1024 * 1024;
pub(super) const PRIMARY: &str = "primary";
pub(super) const REPLICA: &str = "replica";

/// A finding on a node.
pub(super) type Line = (Severity, String);

pub(super) fn unusable_primary(address: &str, why: &Unanswered, found: &Diagnosis, settings: &RedisSettings) -> Line {
    let advice = match (&found.installation, why) {
        (Installation::Standalone, Unanswered::OtherKind(_)) => {
            return error(format!(
                "{address} is a Sentinel: use redis-sentinel://{address}/NAME, with the primary's name"
            ));
        }
        (_, Unanswered::Login(_)) => "Correct user and password in --redis-url",
        (_, Unanswered::Forbidden(_)) => "docs/configuration.md lists the permissions that the user needs",
        (Installation::Standalone, _) => "Check --redis-url, the network and the login",
        (Installation::Sentinel { .. }, _) => {
            "Sentinels give this address; if only they can reach it, set replica-announce-ip on every node"
        }
        (Installation::Cluster { .. }, _) => {
            "The Cluster gives this address; if only its nodes can reach it, set cluster-announce-ip on every node"
        }
    };
    match found.installation {
        Installation::Standalone => error(format!("{} cannot be used: {why}. {advice}", settings.topology.address())),
        _ => error(format!("primary {address} cannot be used: {why}. {advice}")),
    }
}

pub(super) fn unusable_replica(address: &str, why: &Unanswered) -> Line {
    let advice = match why {
        Unanswered::Login(_) => "Give it the primary's users and passwords",
        _ => "Start it, or remove it (`SENTINEL RESET`, `CLUSTER FORGET`)",
    };
    warn(format!("replica {address} cannot be used: {why}. If it became the primary, sign-ins would fail. {advice}"))
}

/// Reports a node whose kind or role differs from what the URL, the Sentinels or the Cluster say.
pub(super) fn wrong_role(address: &str, facts: &Facts, role: &str, installation: &Installation) -> Option<Line> {
    let mode = facts.info.as_ref().and_then(|info| info.mode.as_deref());
    let moves = facts.write.as_ref().is_err_and(|refusal| refusal.code == "MOVED");
    let primary = facts.info.as_ref().and_then(|info| info.replica_of.as_deref());
    let of = primary.map(|primary| format!(" of {primary}")).unwrap_or_default();
    Some(match installation {
        Installation::Standalone if mode == Some("cluster") || moves => error(format!(
            "{address} is a node of a Cluster: it redirects commands for other nodes' slots (MOVED), and does not report their changes. Use redis-cluster://{address}"
        )),
        Installation::Standalone if facts.is_replica() => error(format!(
            "{address} is a replica{of} and refuses changes (READONLY): name its primary in --redis-url, or its Sentinels (redis-sentinel://)"
        )),
        _ if role == PRIMARY && facts.is_replica() => error(format!(
            "{address} should be a primary, but is a replica{of}: a failover may be in progress; run this again in a moment"
        )),
        _ if role == REPLICA && facts.info.is_some() && !facts.is_replica() => warn(format!(
            "{address} should be a replica, but is a primary: a failover has not demoted it yet; run this again in a moment"
        )),
        _ => return None,
    })
}

pub(super) fn version(facts: &Facts) -> Line {
    let Some(text) = facts.info.as_ref().and_then(|info| info.version.as_ref()) else {
        return warn("does not report its version (INFO is not allowed); 6.2 or newer is required");
    };
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= MIN_REDIS {
        ok(format!("version {text}"))
    } else {
        error(format!("version {text} is too old; 6.2 or newer is required"))
    }
}

pub(super) fn writes(facts: &Facts) -> Option<Line> {
    let Err(refusal) = &facts.write else {
        let is_failing = facts.info.as_ref().is_some_and(|info| info.is_disk_failing);
        return is_failing.then(|| warn("could not write to its disk: see its log, and check that `dir` has space"));
    };
    let advice = match refusal.code.as_str() {
        "NOREPLICAS" => "Connect more replicas, or lower its min-replicas-to-write",
        "MISCONF" => "See its log, and check that `dir` has space",
        "NOPERM" => "docs/configuration.md lists the permissions that the user needs",
        _ => "See its log",
    };
    Some(error(format!("refuses changes: {}. {advice}", refusal.text)))
}

pub(super) fn notifications(facts: &Facts) -> Option<Line> {
    Some(match (facts.flags.as_ref()?, &facts.flags_before) {
        (Err(fault), _) => error(fault.to_string()),
        (Ok(()), Some(flags)) if reports_changes(flags) => ok(format!("notify-keyspace-events {flags}")),
        (Ok(()), Some(flags)) => warn(format!(
            "notify-keyspace-events was {flags:?}, and the doctor has now set it; add `notify-keyspace-events Kghxe` to redis.conf, so that it survives a restart"
        )),
        (Ok(()), None) => ok("reports changes of keys (found by a test, because CONFIG is not allowed)"),
    })
}

pub(super) fn notifications_after_failover(facts: &Facts) -> Line {
    match &facts.flags_before {
        Some(flags) if reports_changes(flags) => ok(format!("notify-keyspace-events {flags}")),
        Some(flags) => warn(format!(
            "notify-keyspace-events is {flags:?}: if it became the primary, it would not report changes until the gateway sets it. Add `notify-keyspace-events Kghxe` to its redis.conf"
        )),
        None => ok(
            "does not report its notify-keyspace-events (CONFIG is not allowed); it must be the same as the primary's",
        ),
    }
}

pub(super) fn eviction(facts: &Facts) -> Line {
    let info = facts.info.as_ref();
    match (info.and_then(|info| info.eviction_policy.as_deref()), info.and_then(|info| info.maxmemory_bytes)) {
        (_, Some(0)) => ok("no maxmemory, so nothing is evicted"),
        (Some("noeviction"), _) => ok("maxmemory-policy noeviction"),
        (Some(policy), _) => warn(format!(
            "maxmemory-policy {policy} may evict tickets during a sign-in; set maxmemory-policy noeviction"
        )),
        (None, _) => warn("does not report its maxmemory-policy; make sure that it is noeviction"),
    }
}

pub(super) fn memory(facts: &Facts) -> Option<Line> {
    let info = facts.info.as_ref()?;
    let max = info.maxmemory_bytes.filter(|&max| max > 0)?;
    let percent = info.used_bytes.saturating_mul(100) / max;
    let text = format!("{percent} % of maxmemory ({} MiB) is in use", max / MIB);
    Some(match percent {
        100.. => error(format!(
            "{text}: the gateway refuses new codes (503 store_full). Raise maxmemory, or remove other data"
        )),
        90.. => {
            warn(format!("{text}; when it is full, the gateway refuses new codes (503 store_full). Raise maxmemory"))
        }
        _ => ok(text),
    })
}

pub(super) fn persistence(facts: &Facts, has_failover: bool, wait_replicas: usize) -> Option<Line> {
    let has_aof = facts.info.as_ref()?.has_aof?;
    Some(match (has_aof, has_failover) {
        (true, _) => ok("appendonly yes: a restart of Redis keeps tickets"),
        (false, false) => ok(
            "appendonly no: a restart of Redis loses the sign-ins in progress, and waiting pages create new codes; set appendonly yes if that matters",
        ),
        (false, true) if wait_replicas == 0 => warn(
            "appendonly no, and --redis-wait-replicas 0: a failover may lose acknowledged decisions. Set --redis-wait-replicas 1",
        ),
        (false, true) => warn(
            "appendonly no: if it restarts before a failover starts, it comes back empty, and empties its replicas. Set appendonly yes, or make sure that it does not restart automatically",
        ),
    })
}

pub(super) fn wait_permission(facts: &Facts, wanted: usize) -> Option<Line> {
    let why = facts.wait_permission.as_ref().err().filter(|_| wanted > 0)?;
    Some(error(format!(
        "does not let the gateway wait for replicas ({why}), so scans and confirmations fail. Allow `+wait +role`, or set --redis-wait-replicas 0"
    )))
}

pub(super) fn replica_count(facts: &Facts, has_failover: bool, wanted: usize) -> Option<Line> {
    let connected = facts.replicas_connected?;
    let is_silent = |replica: &&ReplicaLink| replica.is_online && replica.lag_secs >= MAX_LAG_SECS;
    let silent = facts.info.iter().flat_map(|info| &info.replicas).filter(is_silent).count();
    Some(match connected {
        0 if wanted == 0 && !has_failover => return None,
        0 if wanted == 0 => warn("has no replica that could take over if it fails"),
        _ if wanted == 0 => ok(format!("{connected} replica(s) connected, of which none must have a decision")),
        _ if connected.saturating_sub(silent) < wanted.min(connected) => error(format!(
            "{silent} of {connected} connected replica(s) do not acknowledge, so decisions time out and are refused (503). Repair or stop them: the gateway waits only for connected replicas"
        )),
        _ if connected < wanted => warn(format!(
            "{connected} replica(s) connected, fewer than --redis-wait-replicas {wanted}: if the primary fails now, acknowledged decisions may be lost. Connect more, or lower --redis-wait-replicas"
        )),
        _ if connected == wanted => ok(format!(
            "{connected} replica(s) connected, all of which must have a decision before it is acknowledged; if one fails, decisions have fewer copies"
        )),
        _ => ok(format!(
            "{connected} replicas connected, of which {wanted} must have a decision before it is acknowledged"
        )),
    })
}

pub(super) fn replica_lag(facts: &Facts) -> Option<Line> {
    let lagging: Vec<_> = facts.info.as_ref()?.replicas.iter().filter_map(replica_lag_text).collect();
    (!lagging.is_empty()).then(|| {
        warn(format!(
            "lagging replicas: {}. Check their load and network; a failover loses the changes that they lack",
            lagging.join(", ")
        ))
    })
}

fn replica_lag_text(replica: &ReplicaLink) -> Option<String> {
    let ReplicaLink { address, is_online, lag_secs, behind_bytes } = replica;
    if !is_online {
        Some(format!("{address} is not synchronised yet"))
    } else if *lag_secs >= MAX_LAG_SECS {
        Some(format!("{address} has acknowledged nothing for {lag_secs} s"))
    } else if *behind_bytes >= MAX_BEHIND_BYTES {
        Some(format!("{address} is {} MiB behind", behind_bytes / MIB))
    } else {
        None
    }
}

pub(super) fn split_brain(facts: &Facts) -> Option<Line> {
    Some(match facts.limits.as_ref()?.min_replicas_to_write? {
        0 => warn(
            "min-replicas-to-write 0: a primary that is cut off from its replicas and Sentinels keeps accepting changes, which are lost when it is back. Set min-replicas-to-write 1",
        ),
        min => ok(format!("min-replicas-to-write {min}: a primary that is cut off refuses changes")),
    })
}

pub(super) fn subscriber_buffer(facts: &Facts) -> Option<Line> {
    let Some(limits) = &facts.limits else {
        return Some(ok(
            "does not report client-output-buffer-limit (CONFIG is not allowed); Redis's default, pubsub 32mb 8mb 60, is enough",
        ));
    };
    let bytes = limits.pubsub_buffer_bytes.filter(|&bytes| bytes > 0 && bytes < MIN_PUBSUB_BYTES)?;
    Some(warn(format!(
        "client-output-buffer-limit allows {} KiB for a subscriber: when more than some {} tickets change at once, Redis closes the gateway's connection, and the gateway must re-read every stream's ticket. Set `client-output-buffer-limit pubsub 32mb 8mb 60`",
        bytes / 1024,
        bytes / CHANGE_BYTES
    )))
}

pub(super) fn replication_link(facts: &Facts) -> Option<Line> {
    let info = facts.info.as_ref()?;
    let primary = info.replica_of.as_deref()?;
    Some(if info.is_linked {
        ok("connected to its primary")
    } else {
        warn(format!(
            "is not connected to its primary {primary}: check its log, the network and, if the primary has a password, masterauth"
        ))
    })
}

fn ok(text: impl Into<String>) -> Line {
    (Severity::Ok, text.into())
}

fn warn(text: impl Into<String>) -> Line {
    (Severity::Warning, text.into())
}

fn error(text: impl Into<String>) -> Line {
    (Severity::Error, text.into())
}
