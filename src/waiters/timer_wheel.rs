//! The timers of many streams in one structure: a hierarchical timing wheel (Varghese and Lauck, SOSP 1987, scheme 7).
//!
//! Time is counted in ticks; the caller uses milliseconds. Each key has at most one due tick. Setting, clearing and
//! firing take constant time, and a timer takes 16 bytes. The wheel has no clock, no wakers and no lock.

/// Each level has as many slots as a `u64` has bits, so that one bit shows whether a slot is taken.
const SLOTS: usize = 64;
/// The power of two of [`SLOTS`].
const BITS: usize = 6;
/// Five levels reach twelve days of milliseconds.
const LEVELS: usize = 5;
/// The maximum distance of a timer; a timer set farther ahead fires at this distance. It is one top-level slot less
/// than a full turn, so that the farthest slot is never the current one.
const SPAN: u64 = 63 << (BITS * (LEVELS - 1));
/// No key.
const NONE: u32 = u32::MAX;
/// The due tick of a key that is not set.
const UNSET: u64 = u64::MAX;

/// Timers by key. Keys are small numbers, such as keys of a slab.
pub(super) struct TimerWheel {
    /// Every timer due up to this tick has fired.
    now: u64,
    levels: [Level; LEVELS],
    links: Vec<Link>,
}

#[derive(Clone, Copy)]
struct Level {
    /// A bit for each slot that holds a key.
    taken: u64,
    /// The first key of each slot.
    first: [u32; SLOTS],
}

/// A key's node in the doubly linked list of its slot.
#[derive(Clone, Copy)]
struct Link {
    due: u64,
    previous: u32,
    next: u32,
}

impl TimerWheel {
    pub(super) fn new() -> Self {
        Self { now: 0, levels: [Level { taken: 0, first: [NONE; SLOTS] }; LEVELS], links: Vec::new() }
    }

    /// Sets `key` to fire at `due`, or at the next tick if `due` has passed. It replaces the key's previous timer.
    pub(super) fn set(&mut self, key: u32, due: u64) {
        self.clear(key);
        let due = due.clamp(self.now + 1, self.now + SPAN);
        self.push(key, due);
    }

    /// Clears the timer of `key`, if it has one.
    pub(super) fn clear(&mut self, key: u32) {
        let index = key as usize;
        if index >= self.links.len() {
            self.links.resize(index + 1, Link { due: UNSET, previous: NONE, next: NONE });
        }
        let Link { due, previous, next } = self.links[index];
        if due == UNSET {
            return;
        }
        self.links[index].due = UNSET;
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        if previous != NONE {
            self.links[previous as usize].next = next;
            return;
        }
        let (level, slot) = self.position(due);
        let level = &mut self.levels[level];
        level.first[slot] = next;
        if next == NONE {
            level.taken &= !(1 << slot);
        }
    }

    /// Returns the tick at which to call [`TimerWheel::advance`] next. It is never later than the first due key. It may be
    /// earlier, because keys far ahead move down level by level.
    pub(super) fn next(&self) -> Option<u64> {
        self.next_slot().map(|(_, _, start)| start)
    }

    /// Advances to tick `to`, and calls `fire` once for every key that is due up to it.
    pub(super) fn advance(&mut self, to: u64, mut fire: impl FnMut(u32)) {
        while let Some((level, slot, start)) = self.next_slot().filter(|&(.., start)| start <= to) {
            self.now = start;
            let mut key = std::mem::replace(&mut self.levels[level].first[slot], NONE);
            self.levels[level].taken &= !(1 << slot);
            while key != NONE {
                let Link { due, next, .. } = self.links[key as usize];
                if due <= start {
                    self.links[key as usize].due = UNSET;
                    fire(key);
                } else {
                    self.push(key, due);
                }
                key = next;
            }
        }
        self.now = self.now.max(to);
    }

    /// Frees memory after a peak. Call it only while no key is set.
    pub(super) fn reset(&mut self) {
        *self = Self { now: self.now, ..Self::new() };
    }

    fn push(&mut self, key: u32, due: u64) {
        let (level, slot) = self.position(due);
        let level = &mut self.levels[level];
        let next = std::mem::replace(&mut level.first[slot], key);
        level.taken |= 1 << slot;
        self.links[key as usize] = Link { due, previous: NONE, next };
        if next != NONE {
            self.links[next as usize].previous = key;
        }
    }

    /// Returns the level and slot of `due`: the level of the highest bit in which it differs from `now`.
    ///
    /// A key keeps its level and slot while `now` advances, because `advance` sorts a slot again as soon as `now` enters it.
    fn position(&self, due: u64) -> (usize, usize) {
        let differing = ((self.now ^ due) | 1).ilog2() as usize;
        let level = (differing / BITS).min(LEVELS - 1);
        (level, slot_at(due, level))
    }

    /// Returns the level, index and first tick of the next taken slot. Lower levels come before higher ones.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        self.levels.iter().enumerate().find(|(_, level)| level.taken != 0).map(|(index, level)| {
            let shift = index * BITS;
            let current = slot_at(self.now, index);
            #[expect(clippy::cast_possible_truncation, reason = "below 64")]
            let ahead = level.taken.rotate_right(current as u32).trailing_zeros() as usize;
            let slot = (current + ahead) % SLOTS;
            // In the top level, slots before the current one belong to the next turn.
            let start = ((self.now >> shift) + ahead as u64) << shift;
            (index, slot, start)
        })
    }
}

/// Returns the slot of a level that a tick belongs to.
fn slot_at(tick: u64, level: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "below 64")]
    let slot = (tick >> (level * BITS)) as usize % SLOTS;
    slot
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Set(u32, u64),
        Clear(u32),
        Advance(u64),
        AdvanceToNext,
    }

    fn op() -> impl Strategy<Value = Op> {
        let span = prop_oneof![0..4_u64, 0..200_u64, 0..100_000_u64, 0..SPAN];
        prop_oneof![
            4 => (0..40_u32, span.clone()).prop_map(|(key, ahead)| Op::Set(key, ahead)),
            1 => (0..40_u32).prop_map(Op::Clear),
            2 => span.prop_map(Op::Advance),
            2 => Just(Op::AdvanceToNext),
        ]
    }

    proptest! {
        #[test]
        fn each_key_fires_once_and_when_due(start in 0..SPAN * 3, ops in prop::collection::vec(op(), 1..120)) {
            let mut wheel = TimerWheel::new();
            wheel.advance(start, |_| unreachable!("nothing is set"));
            let mut now = start;
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            for op in ops {
                let to = match op {
                    Op::Set(key, ahead) => {
                        wheel.set(key, now + ahead);
                        model.insert(key, (now + ahead).clamp(now + 1, now + SPAN));
                        now
                    }
                    Op::Clear(key) => {
                        wheel.clear(key);
                        model.remove(&key);
                        now
                    }
                    Op::Advance(by) => now + by,
                    Op::AdvanceToNext => wheel.next().unwrap_or(now),
                };
                prop_assert!(to >= now, "time goes back from {} to {}", now, to);
                now = to;
                let mut fired = Vec::new();
                wheel.advance(now, |key| fired.push(key));
                fired.sort_unstable();
                let due: Vec<u32> = model.iter().filter(|&(_, due)| *due <= now).map(|(key, _)| *key).collect();
                prop_assert_eq!(&fired, &due);
                model.retain(|_, due| *due > now);
                let first = model.values().min().copied();
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                prop_assert!(wheel.next() <= first);
                prop_assert!(wheel.next().is_none_or(|next| next > now));
            }
        }
    }
}
