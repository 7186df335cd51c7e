//! The owners of slots, as last reported. A data structure without I/O: `discovery` asks, `router` acts on it.
//!
//! One server, or a primary that Sentinels watch, owns all 16,384 slots; the primaries of a Cluster share them. A map
//! has an epoch, which distinguishes older from newer reports.
//!
//! Invariant: ranges are sorted and do not overlap.

use super::address::Address;

/// The last slot of a Cluster.
pub(super) const LAST_SLOT: u16 = 16_383;

/// Returns the slot of a key with `tag` between braces.
pub(super) fn slot_of(tag: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % (LAST_SLOT + 1)
}

/// The owners of the slots, with the replicas that can be asked for owners as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// Rises with every change: Sentinel's configuration epoch, or the Cluster's current epoch.
    pub(super) epoch: u64,
    pub(super) confidence: Confidence,
    /// Sorted, without duplicates.
    pub(super) replicas: Vec<Address>,
    ranges: Vec<SlotRange>,
}

/// The confidence in a slot map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confidence {
    /// A failover is under way, or a Sentinel gets no replies from the primary and may start one.
    Changing,
    /// Too few servers reported it, they are cut off from the others, or none replied.
    Unconfirmed,
    /// The majority reports it.
    Confirmed,
}

/// Consecutive slots of one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotRange {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) owner: Address,
}

impl SlotMap {
    /// Returns a map in which one primary owns every slot.
    pub(super) fn single(owner: Address, epoch: u64) -> Self {
        let ranges = vec![SlotRange { first: 0, last: LAST_SLOT, owner }];
        Self { epoch, ranges, confidence: Confidence::Confirmed, replicas: Vec::new() }
    }

    /// Returns a map of these ranges, in any order; `None` if they overlap or exceed the slots of a Cluster.
    pub(super) fn from_ranges(epoch: u64, mut ranges: Vec<SlotRange>, mut replicas: Vec<Address>) -> Option<Self> {
        ranges.sort_by_key(|range| range.first);
        replicas.sort();
        replicas.dedup();
        let overlaps = ranges.windows(2).any(|pair| pair[1].first <= pair[0].last);
        if overlaps || ranges.iter().any(|range| range.last < range.first || range.last > LAST_SLOT) {
            return None;
        }
        Some(Self { epoch, ranges, confidence: Confidence::Confirmed, replicas })
    }

    /// Returns the same map as reported by a node that is cut off from the others: any other report is newer.
    pub(super) fn unconfirmed(self) -> Self {
        Self { epoch: 0, confidence: Confidence::Unconfirmed, ..self }
    }

    /// Gives slots without an owner to their owner in `previous`: the engine waits for that node to return.
    pub(super) fn filled_from(mut self, previous: &Self) -> Self {
        let mut ranges: Vec<SlotRange> = Vec::new();
        for slot in 0..=LAST_SLOT {
            let Some(owner) = self.owner(slot).or_else(|| previous.owner(slot)) else { continue };
            match ranges.last_mut() {
                Some(range) if range.last + 1 == slot && range.owner == *owner => range.last = slot,
                _ => ranges.push(SlotRange { first: slot, last: slot, owner: owner.clone() }),
            }
        }
        self.ranges = ranges;
        self
    }

    /// Returns the owner of a slot; `None` if it never had one.
    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        let index = self.ranges.partition_point(|range| range.last < slot);
        self.ranges.get(index).filter(|range| range.first <= slot).map(|range| &range.owner)
    }

    /// Returns the owner of the slot of a key with `tag` between braces.
    pub(super) fn owner_of_tag(&self, tag: &impl std::fmt::Display) -> Option<&Address> {
        match self.ranges.as_slice() {
            // One primary owns all slots, so none needs to be computed.
            [all] if (all.first, all.last) == (0, LAST_SLOT) => Some(&all.owner),
            _ => self.owner(slot_of(&tag.to_string())),
        }
    }

    /// Returns every primary once.
    pub(super) fn primaries(&self) -> Vec<&Address> {
        let mut primaries: Vec<_> = self.ranges.iter().map(|range| &range.owner).collect();
        primaries.sort();
        primaries.dedup();
        primaries
    }

    /// Returns the first and the last slot of each run of slots for which `is_served` is false. `is_served` receives the
    /// slot and its owner by this map.
    pub(super) fn unserved_runs(&self, is_served: impl Fn(u16, Option<&Address>) -> bool) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for slot in (0..=LAST_SLOT).filter(|&slot| !is_served(slot, self.owner(slot))) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => runs.push((slot, slot)),
            }
        }
        runs
    }

    /// Returns whether both maps give every slot to the same owner.
    pub(super) fn has_same_owners(&self, other: &Self) -> bool {
        self.ranges == other.ranges
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(ranges: &[(u16, u16, &str)]) -> Option<SlotMap> {
        let range = |&(first, last, owner): &(u16, u16, &str)| SlotRange { first, last, owner: Address::new(owner, 1) };
        SlotMap::from_ranges(7, ranges.iter().map(range).collect(), Vec::new())
    }

    /// The example of the Redis Cluster specification.
    #[test]
    fn a_slot_matches_the_specification() {
        assert_eq!(crc16::State::<crc16::XMODEM>::calculate(b"123456789"), 0x31C3);
        assert_eq!(slot_of("123456789"), 12_739);
    }

    #[test]
    fn slots_without_an_owner_are_found() {
        let map = map(&[(10, 19, "a"), (20, 29, "b"), (31, 16_383, "a")]).unwrap();
        assert_eq!(map.unserved_runs(|_, owner| owner.is_some()), [(0, 9), (30, 30)]);
        assert_eq!(
            map.unserved_runs(|slot, owner| owner.is_some() && slot < 16_000),
            [(0, 9), (30, 30), (16_000, 16_383)]
        );
        assert_eq!(SlotMap::single(Address::new("a", 1), 0).unserved_runs(|_, owner| owner.is_some()), []);
    }

    #[test]
    fn slots_without_an_owner_stay_with_their_previous_owner() {
        let before = map(&[(0, 99, "a"), (100, 199, "b")]).unwrap();
        let after = map(&[(0, 49, "c")]).unwrap().filled_from(&before);
        let owner = |slot| after.owner(slot).map(Address::host);
        assert_eq!(
            [owner(49), owner(50), owner(99), owner(100), owner(200)],
            [Some("c"), Some("a"), Some("a"), Some("b"), None]
        );
        assert_eq!(after.primaries().len(), 3);
    }

    #[test]
    fn ranges_that_overlap_or_exceed_the_slots_are_refused() {
        for ranges in [&[(10, 0, "a")][..], &[(0, 10, "a"), (10, 20, "b")], &[(0, 16_384, "a")]] {
            assert!(map(ranges).is_none(), "{ranges:?}");
        }
    }

    proptest! {
        #[test]
        fn the_owner_of_a_tag_is_the_owner_of_its_slot(tag in ".{0,20}", bound in 1..16_384_u16) {
            for map in [map(&[(0, bound - 1, "a"), (bound, 16_383, "b")]).unwrap(), map(&[(0, 16_383, "a")]).unwrap()] {
                prop_assert_eq!(map.owner_of_tag(&tag), map.owner(slot_of(&tag)));
            }
        }
    }
}
