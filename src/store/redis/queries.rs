//! The commands that show which nodes are primaries and replicas, and the parsers of their replies: `CLUSTER SLOTS`,
//! `CLUSTER INFO`, `CLUSTER NODES` and the commands of Sentinel.
//!
//! `discovery` and `diagnosis` share them. They ask different servers, at different times, and draw different
//! conclusions.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, Value};

use super::address::Address;
use super::slots::{LAST_SLOT, SlotMap, SlotRange};

/// One node's view of its Cluster.
#[derive(Debug)]
pub(super) struct ClusterState {
    /// Whether the node considers the Cluster to be up; `None` if this user may not ask.
    pub(super) is_up: Option<bool>,
    pub(super) slots: SlotMap,
}

/// One Sentinel's view of the primary that it watches.
#[derive(Debug, Default)]
pub(super) struct WatchedPrimary {
    fields: ReplyFields,
}

type ReplyFields = HashMap<String, String>;

/// Asks the node at `address` for the state of its Cluster, in one round trip.
///
/// # Errors
/// Redis's error, also if the reply to `CLUSTER SLOTS` is malformed or assigns no slot.
pub(super) async fn cluster_state(
    connection: &MultiplexedConnection,
    address: &Address,
) -> Result<ClusterState, RedisError> {
    let (mut first, mut second) = (connection.clone(), connection.clone());
    let info = cluster("INFO");
    let slots = cluster("SLOTS");
    // Redis answers in this order, so the slots are at least as new as the epoch.
    let (info, slots) = tokio::join!(
        biased;
        info.query_async::<String>(&mut first),
        slots.query_async::<Value>(&mut second),
    );
    let slots = slots?;
    // If this user may not use CLUSTER INFO, epoch and state are unknown.
    let info = info.unwrap_or_default();
    let info = parse_fields(&info);
    let epoch = info.get("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    let is_up = info.get("cluster_state").map(|&state| state == "ok");
    Ok(ClusterState { is_up, slots: parse_slots(&slots, epoch, address)? })
}

/// Asks the node at `address` for the owners of slots, without an epoch.
///
/// # Errors
/// As [`cluster_state`].
pub(super) async fn cluster_slots(
    connection: &mut MultiplexedConnection,
    address: &Address,
) -> Result<SlotMap, RedisError> {
    let slots = cluster("SLOTS").query_async(connection).await?;
    parse_slots(&slots, 0, address)
}

/// Asks a node of a Cluster for the replicas that are not among `listed`: failed ones, and ones that never received
/// data. Returns none if this user may not ask.
pub(super) async fn unlisted_replicas(connection: &mut MultiplexedConnection, listed: &[Address]) -> Vec<Address> {
    let nodes = cluster("NODES").query_async::<String>(connection).await.unwrap_or_default();
    parse_unlisted_replicas(&nodes, listed)
}

/// Asks a Sentinel, in one round trip, for its view of the primary called `name` and for that primary's address.
///
/// # Errors
/// Redis's error, also if the Sentinel watches no primary of that name.
pub(super) async fn watched_primary_and_address(
    connection: &mut MultiplexedConnection,
    name: &str,
) -> Result<(WatchedPrimary, Address), RedisError> {
    let mut pipeline = redis::pipe();
    // Sentinel answers in this order, so the address is at least as new as the epoch.
    pipeline.add_command(sentinel("MASTER", Some(name))).add_command(sentinel("GET-MASTER-ADDR-BY-NAME", Some(name)));
    let (fields, (host, port)): (ReplyFields, (String, u16)) = pipeline.query_async(connection).await?;
    Ok((WatchedPrimary { fields }, Address::new(&host, port)))
}

/// Asks a Sentinel for its view of the primary called `name`; `None` if it watches none of that name.
///
/// # Errors
/// Redis's error.
pub(super) async fn watched_primary(
    connection: &mut MultiplexedConnection,
    name: &str,
) -> Result<Option<WatchedPrimary>, RedisError> {
    match sentinel("MASTER", Some(name)).query_async(connection).await {
        Ok(fields) => Ok(Some(WatchedPrimary { fields })),
        Err(error) if error.to_string().contains("No such master") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks a Sentinel for the address of the primary called `name`; `None` if it gives none.
pub(super) async fn primary_address(connection: &mut MultiplexedConnection, name: &str) -> Option<Address> {
    let reply = sentinel("GET-MASTER-ADDR-BY-NAME", Some(name)).query_async(connection).await;
    let (host, port) = reply.unwrap_or(None::<(String, u16)>)?;
    Some(Address::new(&host, port))
}

/// Asks a Sentinel for the names of the primaries that it watches; none if it gives none.
pub(super) async fn watched_names(connection: &mut MultiplexedConnection) -> Vec<String> {
    let watched: Vec<ReplyFields> = sentinel("MASTERS", None).query_async(connection).await.unwrap_or_default();
    watched.into_iter().filter_map(|mut primary| primary.remove("name")).collect()
}

/// Asks a Sentinel for the replicas of the primary called `name`; none if it gives none.
pub(super) async fn sentinel_replicas(connection: &mut MultiplexedConnection, name: &str) -> Vec<Address> {
    let replicas: Vec<ReplyFields> = sentinel("REPLICAS", Some(name)).query_async(connection).await.unwrap_or_default();
    replicas.iter().filter_map(parse_address).collect()
}

/// Asks a Sentinel whether enough Sentinels are reachable for a failover.
///
/// # Errors
/// The Sentinel's reason why not, or the connection's error.
pub(super) async fn check_quorum(connection: &mut MultiplexedConnection, name: &str) -> Result<(), RedisError> {
    sentinel("CKQUORUM", Some(name)).query_async::<String>(connection).await.map(drop)
}

impl WatchedPrimary {
    /// Returns the number of the failover that made it the primary.
    pub(super) fn epoch(&self) -> u64 {
        self.number("config-epoch").unwrap_or(0)
    }

    /// Returns its address. During a failover the Sentinel keeps the old address here until the last replica follows the
    /// new primary.
    pub(super) fn address(&self) -> Option<Address> {
        parse_address(&self.fields)
    }

    /// Returns whether this Sentinel considers it to be down.
    pub(super) fn is_down(&self) -> bool {
        self.has_flag("s_down") || self.has_flag("o_down")
    }

    /// Returns whether this Sentinel is replacing it.
    pub(super) fn is_failing_over(&self) -> bool {
        self.has_flag("failover_in_progress")
    }

    /// Returns the time since it last answered a ping of this Sentinel.
    pub(super) fn last_reply_age(&self) -> Option<Duration> {
        self.number("last-ok-ping-reply").map(Duration::from_millis)
    }

    /// Returns how many other Sentinels watch it.
    pub(super) fn other_sentinels(&self) -> Option<usize> {
        self.number("num-other-sentinels")
    }

    /// Returns how many Sentinels must agree that it is down.
    pub(super) fn quorum(&self) -> Option<usize> {
        self.number("quorum")
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.fields.get(name)?.parse().ok()
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.fields.get("flags").is_some_and(|flags| flags.split(',').any(|one| one == flag))
    }
}

/// Parses lines of the form `name:value`, the format of `INFO` and `CLUSTER INFO`.
pub(super) fn parse_fields(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.trim().split_once(':')).collect()
}

fn cluster(subcommand: &str) -> Cmd {
    let mut cmd = redis::cmd("CLUSTER");
    cmd.arg(subcommand);
    cmd
}

fn sentinel(subcommand: &str, name: Option<&str>) -> Cmd {
    let mut cmd = redis::cmd("SENTINEL");
    cmd.arg(subcommand).arg(name);
    cmd
}

fn parse_address(fields: &ReplyFields) -> Option<Address> {
    Some(Address::new(fields.get("ip")?, fields.get("port")?.parse().ok()?))
}

/// Parses the reply to `CLUSTER SLOTS` of the node at `asked`.
fn parse_slots(reply: &Value, epoch: u64, asked: &Address) -> Result<SlotMap, RedisError> {
    let malformed = || RedisError::from((ErrorKind::UnexpectedReturnType, "malformed reply to CLUSTER SLOTS"));
    let Value::Array(rows) = reply else { return Err(malformed()) };
    let (mut ranges, mut replicas) = (Vec::new(), Vec::new());
    for row in rows {
        let Value::Array(row) = row else { return Err(malformed()) };
        let [first, last, owner, others @ ..] = row.as_slice() else { return Err(malformed()) };
        let slot = |value: &Value| match value {
            Value::Int(slot) => u16::try_from(*slot).ok().filter(|&slot| slot <= LAST_SLOT),
            _ => None,
        };
        let (Some(first), Some(last)) = (slot(first), slot(last)) else { return Err(malformed()) };
        let owner = parse_node(owner, asked).ok_or_else(malformed)?;
        ranges.push(SlotRange { first, last, owner });
        replicas.extend(others.iter().filter_map(|replica| parse_node(replica, asked)));
    }
    let is_empty = ranges.is_empty();
    let slots = SlotMap::from_ranges(epoch, ranges, replicas).ok_or_else(malformed)?;
    if is_empty {
        return Err(RedisError::from((ErrorKind::InvalidClientConfig, "the Cluster has not assigned any slot yet")));
    }
    Ok(slots)
}

/// Parses a node's entry in `CLUSTER SLOTS`: its host, port, id and, since Redis 7, more.
fn parse_node(entry: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(parts) = entry else { return None };
    let port = match parts.get(1)? {
        Value::Int(port) => u16::try_from(*port).ok()?,
        _ => return None,
    };
    let host = match parts.first()? {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        // The node does not know its own address: it is the one that was asked.
        Value::Nil => "",
        _ => return None,
    };
    Some(Address::new(if matches!(host, "" | "?") { asked.host() } else { host }, port))
}

/// Parses, from lines such as `ID 127.0.0.1:7003@17003,HOSTNAME slave …`, the replicas that are not among `listed`.
fn parse_unlisted_replicas(nodes: &str, listed: &[Address]) -> Vec<Address> {
    let replica = |line: &str| {
        let [_, endpoint, flags, ..] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        let is_replica = flags.split(',').any(|flag| flag == "slave") && !flags.contains("noaddr");
        let (address, bus) = endpoint.split_once('@')?;
        let address = Address::parse(address).filter(|_| is_replica)?;
        // `listed` may contain its host name instead.
        let host_name = bus.split(',').nth(1).unwrap_or_default();
        let is_listed = |listed: &Address| *listed == address || *listed == address.with_host(host_name);
        (!listed.iter().any(is_listed)).then_some(address)
    };
    nodes.lines().filter_map(replica).collect()
}

#[cfg(test)]
mod tests;
