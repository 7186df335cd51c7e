//! The values of the in-process engine: a map and a queue of deadlines. Each put drops the expired values.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::store::contract::{MAX_VALUE_BYTES, Put, StoreError};
use crate::store::key::StoreKey;
use crate::ticket::Timestamp;

/// The maximum number of values. A sign-in through a connector needs about five, for ten minutes; a signed-in person needs one,
/// for weeks.
const MAX_VALUES: usize = 200_000;
/// The maximum length of all values together, in bytes. A session usually has less than 1 KiB, and anyone can start one in the
/// demo.
const MAX_TOTAL_BYTES: usize = 128 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Values {
    by_name: HashMap<StoreKey, (Box<str>, Timestamp)>,
    by_deadline: BTreeSet<(Timestamp, StoreKey)>,
    /// The length of all values together, in bytes.
    bytes: usize,
}

impl Values {
    pub(super) fn put(
        &mut self,
        name: StoreKey,
        value: &str,
        ttl: Duration,
        put: Put,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(StoreError::Full(format!("the value has more than {MAX_VALUE_BYTES} bytes")));
        }
        if put == Put::IfAbsent && self.get(&name, now).is_some_and(|stored| stored != value) {
            return Ok(false);
        }
        self.drop_expired(now);
        // A refusal leaves an earlier value as it is.
        let earlier = self.by_name.get(&name).map(|(value, _)| value.len());
        if self.by_name.len() - usize::from(earlier.is_some()) >= MAX_VALUES {
            return Err(StoreError::Full(format!("it holds {MAX_VALUES} values; use Redis")));
        }
        if self.bytes - earlier.unwrap_or(0) + value.len() > MAX_TOTAL_BYTES {
            return Err(StoreError::Full(format!("its values have {MAX_TOTAL_BYTES} bytes; use Redis")));
        }
        self.remove(&name);
        self.bytes += value.len();
        self.by_name.insert(name, (value.into(), now + ttl));
        self.by_deadline.insert((now + ttl, name));
        Ok(true)
    }

    pub(super) fn replace(
        &mut self,
        name: StoreKey,
        expected: &str,
        next: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let is_expected = self.get(&name, now).is_some_and(|stored| stored == expected || stored == next);
        if is_expected { self.put(name, next, ttl, Put::Always, now) } else { Ok(false) }
    }

    pub(super) fn get(&self, name: &StoreKey, now: Timestamp) -> Option<&str> {
        self.by_name.get(name).filter(|(_, deadline)| now < *deadline).map(|(value, _)| &**value)
    }

    pub(super) fn remove(&mut self, name: &StoreKey) {
        if let Some((value, deadline)) = self.by_name.remove(name) {
            self.bytes -= value.len();
            self.by_deadline.remove(&(deadline, *name));
        }
    }

    fn drop_expired(&mut self, now: Timestamp) {
        while let Some(&(deadline, name)) = self.by_deadline.first()
            && deadline <= now
        {
            self.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_refuses_values_until_some_have_expired() {
        let (mut values, second) = (Values::default(), Duration::from_secs(1));
        let mut put =
            |number: usize, now| values.put(StoreKey::of_name(&number.to_string()), "", second, Put::Always, now);
        for number in 0..MAX_VALUES {
            assert!(put(number, Timestamp(0)).unwrap());
        }
        assert!(matches!(put(MAX_VALUES, Timestamp(999)), Err(StoreError::Full(_))));
        assert!(put(0, Timestamp(999)).unwrap(), "replacing a value takes no room");
        assert!(put(MAX_VALUES, Timestamp(1000)).unwrap());
        assert_eq!((values.by_name.len(), values.by_deadline.len()), (2, 2));
        let replaced = values.replace(StoreKey::of_name("0"), "", "new", second, Timestamp(1000));
        assert!(replaced.unwrap(), "replacing a value takes no room");
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        let refused = values.put(StoreKey::of_name("long"), &long, second, Put::Always, Timestamp(0));
        assert!(matches!(refused, Err(StoreError::Full(_))));
    }

    #[test]
    fn the_values_together_have_a_bound_and_a_refusal_changes_nothing() {
        let (mut values, second) = (Values::default(), Duration::from_secs(1));
        let long = "x".repeat(MAX_VALUE_BYTES);
        let mut put = |number: usize, value: &str, now| {
            values.put(StoreKey::of_name(&number.to_string()), value, second, Put::Always, now)
        };
        let count = MAX_TOTAL_BYTES / MAX_VALUE_BYTES;
        for number in 1..count {
            assert!(put(number, &long, Timestamp(0)).unwrap());
        }
        assert!(put(0, "short", Timestamp(0)).unwrap());
        assert!(matches!(put(count, &long, Timestamp(0)), Err(StoreError::Full(_))));
        assert!(put(1, &long, Timestamp(0)).unwrap(), "replacing a value by one of its length takes no room");
        assert!(put(0, &long, Timestamp(0)).unwrap());
        assert!(matches!(put(count, "x", Timestamp(999)), Err(StoreError::Full(_))));
        assert!(put(count, "x", Timestamp(1000)).unwrap());
        assert_eq!((values.bytes, values.by_name.len(), values.by_deadline.len()), (1, 1, 1));
    }
}
