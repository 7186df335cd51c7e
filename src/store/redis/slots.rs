//! Which primary keeps which tickets, as last heard. A data structure alone; `discovery` asks, `router` acts on it.
//!
//! One server, or a primary that Sentinel watches, keeps all of them; in a Cluster each primary keeps some of the 16,384
//! slots. Every layout has an epoch, by which older news is told from newer.
//!
//! Invariant: ranges are in order and do not overlap.

use std::fmt::Display;

use redis::{ErrorKind, RedisError, Value};

use super::address::Address;

/// The last slot of a Cluster.
const LAST_SLOT: u16 = 16_383;

/// Returns the slot of a key that has `tag` between braces.
fn slot(tag: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % (LAST_SLOT + 1)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// Rises with every change: Sentinel's configuration epoch, the Cluster's current epoch.
    pub(super) epoch: u64,
    ranges: Vec<Range>,
    pub(super) trust: Confidence,
    /// Replicas, which can be asked where primaries are.
    pub(super) replicas: Vec<Address>,
}

/// How far a layout can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confidence {
    /// Somebody changes it, or has not heard of a primary of late and may be about to.
    Changing,
    /// Those who told it are few, or not in touch with the others, or nobody told anything.
    Thin,
    /// Most of those who know say so.
    Settled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    owner: Address,
}

impl SlotMap {
    /// All tickets are kept by one primary.
    pub(super) fn single(owner: Address, epoch: u64) -> Self {
        let ranges = vec![Range { first: 0, last: LAST_SLOT, owner }];
        Self { epoch, ranges, trust: Confidence::Settled, replicas: Vec::new() }
    }

    /// Reads the answer to `CLUSTER SLOTS` that `asked` gave.
    ///
    /// # Errors
    /// That it is no such answer, or that no slot is kept by anybody.
    pub(super) fn from_slots(answer: &Value, epoch: u64, asked: &Address) -> Result<Self, RedisError> {
        let unreadable =
            || RedisError::from((ErrorKind::UnexpectedReturnType, "CLUSTER SLOTS was answered with something else"));
        let Value::Array(rows) = answer else { return Err(unreadable()) };
        let mut layout = Self { epoch, ranges: Vec::new(), trust: Confidence::Settled, replicas: Vec::new() };
        for row in rows {
            let Value::Array(row) = row else { return Err(unreadable()) };
            let [first, last, owner, replicas @ ..] = row.as_slice() else { return Err(unreadable()) };
            let slot = |value: &Value| match value {
                Value::Int(slot) => u16::try_from(*slot).ok().filter(|&slot| slot <= LAST_SLOT),
                _ => None,
            };
            let (Some(first), Some(last)) = (slot(first), slot(last)) else { return Err(unreadable()) };
            let owner = node(owner, asked).ok_or_else(unreadable)?;
            layout.ranges.push(Range { first, last, owner });
            layout.replicas.extend(replicas.iter().filter_map(|replica| node(replica, asked)));
        }
        layout.ranges.sort_by_key(|range| range.first);
        layout.replicas.sort();
        layout.replicas.dedup();
        let overlaps = layout.ranges.windows(2).any(|pair| pair[1].first <= pair[0].last);
        if overlaps || layout.ranges.iter().any(|range| range.last < range.first) {
            return Err(unreadable());
        }
        if layout.ranges.is_empty() {
            return Err(RedisError::from((
                ErrorKind::InvalidClientConfig,
                "no node of the Cluster keeps any slot yet",
            )));
        }
        Ok(layout)
    }

    /// The same, as somebody tells it who may not know better than others.
    pub(super) fn doubted(self) -> Self {
        Self { epoch: 0, trust: Confidence::Thin, ..self }
    }

    /// Gives slots that nobody keeps at the moment back to whoever kept them in `previous`: they are waited for there.
    pub(super) fn completed_from(mut self, previous: &Self) -> Self {
        let mut ranges: Vec<Range> = Vec::new();
        for slot in 0..=LAST_SLOT {
            let Some(owner) = self.owner_of(slot).or_else(|| previous.owner_of(slot)) else { continue };
            match ranges.last_mut() {
                Some(range) if range.last + 1 == slot && range.owner == *owner => range.last = slot,
                _ => ranges.push(Range { first: slot, last: slot, owner: owner.clone() }),
            }
        }
        self.ranges = ranges;
        self
    }

    /// Returns who keeps a ticket, or `None` if nobody ever did.
    pub(super) fn owner(&self, id: &impl Display) -> Option<&Address> {
        match self.ranges.as_slice() {
            [all] if (all.first, all.last) == (0, LAST_SLOT) => Some(&all.owner),
            _ => self.owner_of(slot(&id.to_string())),
        }
    }

    fn owner_of(&self, slot: u16) -> Option<&Address> {
        let index = self.ranges.partition_point(|range| range.last < slot);
        self.ranges.get(index).filter(|range| range.first <= slot).map(|range| &range.owner)
    }

    /// Returns every primary, once.
    pub(super) fn primaries(&self) -> Vec<&Address> {
        let mut primaries: Vec<_> = self.ranges.iter().map(|range| &range.owner).collect();
        primaries.sort();
        primaries.dedup();
        primaries
    }

    /// Returns the first and last of each run of slots of which `is_kept`, told who keeps it by this layout, is false.
    pub(super) fn runs_unkept(&self, is_kept: impl Fn(u16, Option<&Address>) -> bool) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for slot in (0..=LAST_SLOT).filter(|&slot| !is_kept(slot, self.owner_of(slot))) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => runs.push((slot, slot)),
            }
        }
        runs
    }

    /// Returns whether `node` keeps `slot`.
    pub(super) fn is_kept_by(&self, slot: u16, node: &Address) -> bool {
        self.owner_of(slot) == Some(node)
    }

    /// Returns whether every ticket is kept by the same primary as in `other`.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        self.ranges == other.ranges
    }
}

/// Reads a node's entry: its address, port, id and, since Redis 7, more.
fn node(entry: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(parts) = entry else { return None };
    let port = match parts.get(1)? {
        Value::Int(port) => u16::try_from(*port).ok()?,
        _ => return None,
    };
    let host = match parts.first()? {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        // It does not know its own name: it is where it was asked.
        Value::Nil => "",
        _ => return None,
    };
    Some(Address::new(if matches!(host, "" | "?") { asked.host() } else { host }, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(host: &str, port: u16) -> Value {
        let host = if host.is_empty() { Value::Nil } else { Value::BulkString(host.into()) };
        Value::Array(vec![host, Value::Int(port.into()), Value::BulkString("id".into()), Value::Array(Vec::new())])
    }

    fn row(first: u16, last: u16, nodes: &[(&str, u16)]) -> Value {
        let mut row = vec![Value::Int(first.into()), Value::Int(last.into())];
        row.extend(nodes.iter().map(|(host, port)| entry(host, *port)));
        Value::Array(row)
    }

    fn read(rows: Vec<Value>) -> Result<SlotMap, RedisError> {
        SlotMap::from_slots(&Value::Array(rows), 7, &Address::new("asked", 1))
    }

    /// The example of the Redis Cluster specification.
    #[test]
    fn a_slot_is_that_of_the_specification() {
        assert_eq!(crc16::State::<crc16::XMODEM>::calculate(b"123456789"), 0x31C3);
        assert_eq!(slot("123456789"), 12_739);
    }

    #[test]
    fn slots_lead_to_their_primary_and_replicas_to_nobody() {
        let rows = vec![row(12_000, 16_383, &[("c", 3), ("d", 4)]), row(0, 11_999, &[("", 1), ("?", 2)])];
        let layout = read(rows).unwrap();
        assert_eq!(layout.owner_of(slot("123456789")), Some(&Address::new("c", 3)));
        assert_eq!(layout.owner_of(0), Some(&Address::new("asked", 1)));
        assert_eq!(layout.primaries(), [&Address::new("asked", 1), &Address::new("c", 3)]);
        assert_eq!(layout.replicas, [Address::new("asked", 2), Address::new("d", 4)]);
    }

    #[test]
    fn slots_that_nobody_keeps_are_named() {
        let layout =
            read(vec![row(10, 19, &[("a", 1)]), row(20, 29, &[("b", 2)]), row(31, 16_383, &[("a", 1)])]).unwrap();
        assert_eq!(layout.runs_unkept(|_, owner| owner.is_some()), [(0, 9), (30, 30)]);
        assert_eq!(
            layout.runs_unkept(|slot, owner| owner.is_some() && slot < 16_000),
            [(0, 9), (30, 30), (16_000, 16_383)]
        );
        assert_eq!(SlotMap::single(Address::new("a", 1), 0).runs_unkept(|_, owner| owner.is_some()), []);
    }

    #[test]
    fn slots_that_nobody_keeps_stay_with_who_kept_them() {
        let before = read(vec![row(0, 99, &[("a", 1)]), row(100, 199, &[("b", 2)])]).unwrap();
        let after = read(vec![row(0, 49, &[("c", 3)])]).unwrap().completed_from(&before);
        let owner = |slot| after.owner_of(slot).map(Address::host);
        assert_eq!(
            [owner(49), owner(50), owner(99), owner(100), owner(200)],
            [Some("c"), Some("a"), Some("a"), Some("b"), None]
        );
        assert_eq!(after.primaries().len(), 3);
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_refused() {
        for rows in [
            vec![],
            vec![Value::Nil],
            vec![row(0, 10, &[])],
            vec![row(10, 0, &[("a", 1)])],
            vec![row(0, 10, &[("a", 1)]), row(10, 20, &[("b", 1)])],
            vec![row(0, 16_384, &[("a", 1)])],
        ] {
            assert!(read(rows.clone()).is_err(), "{rows:?}");
        }
    }

    proptest! {
        #[test]
        fn every_slot_has_the_owner_that_was_told(bounds in proptest::collection::btree_set(1..16_384_u16, 0..12)) {
            let starts: Vec<u16> = std::iter::once(0).chain(bounds).collect();
            let last = |index: usize| starts.get(index + 1).map_or(16_383, |next| next - 1);
            let rows = starts.iter().enumerate().map(|(index, &first)| row(first, last(index), &[("n", first)])).collect();
            let layout = read(rows).unwrap();
            for slot in 0..=16_383 {
                let expected = starts.iter().rev().find(|&&first| first <= slot).copied().unwrap();
                prop_assert_eq!(layout.owner_of(slot), Some(&Address::new("n", expected)));
            }
            prop_assert!(layout.clone().completed_from(&SlotMap::single(Address::new("x", 1), 0)).agrees_with(&layout));
        }
    }
}
