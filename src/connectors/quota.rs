//! What another service gives in a day, shared out: evenly over the day, and so that no caller takes much of it.
//!
//! It is this process's count: of several gateways on one account each is given its part in the settings.

use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};

use crate::callers::Caller;
use crate::callers::allowance::{Allowances, UsedUp, at_least_one};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Which part of the day's is there at once; the rest comes evenly.
const AT_ONCE: u32 = 24;
/// Which part of the day's an address may have; wider networks more, as with every limit.
const ADDRESS_SHARE: u32 = 100;
/// How many an address may have, however little there is in all.
const MIN_SHARE: u32 = 20;
/// Which part of its share is there at once.
const SHARE_AT_ONCE: u32 = 4;

/// The quota of one service.
pub(super) struct DailyQuota {
    all: DefaultDirectRateLimiter,
    callers: Allowances,
}

/// A quota that is used up for the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// The caller has had its share.
    #[error("the caller's share of today's codes is used up")]
    Caller(UsedUp),
    /// All have had theirs; there is more after this long.
    #[error("today's codes are used up for the moment; raise daily_codes if the account has more")]
    All(Duration),
}

impl DailyQuota {
    /// Shares out so many a day.
    pub(super) fn of(daily: u32) -> Self {
        Self {
            all: DefaultDirectRateLimiter::direct(spread(daily, AT_ONCE)),
            callers: Allowances::new(|factor| {
                let share = u64::from(daily) * u64::from(factor) / u64::from(ADDRESS_SHARE);
                let share = u32::try_from(share).unwrap_or(u32::MAX);
                spread(share.max(MIN_SHARE.saturating_mul(factor)).min(daily), SHARE_AT_ONCE)
            }),
        }
    }

    /// Uses up one for a caller.
    ///
    /// # Errors
    /// [`QuotaError`]. Callers that have had their share take nothing of what is for all.
    pub(super) fn take(&self, caller: Caller) -> Result<(), QuotaError> {
        self.callers.take(caller, || ()).map_err(QuotaError::Caller)?;
        self.all.check().map_err(|not_until| QuotaError::All(not_until.wait_time_from(DefaultClock::default().now())))
    }

    /// Forgets the callers whose share has refilled.
    pub(super) fn tidy(&self) {
        self.callers.tidy();
    }
}

/// Returns a quota of so many in any day: a part at once, the rest evenly.
fn spread(daily: u32, at_once: u32) -> Quota {
    let burst = (daily / at_once).max(1);
    let evenly = DAY / daily.saturating_sub(burst).max(1);
    let quota = Quota::with_period(evenly.max(Duration::from_nanos(1)));
    quota.unwrap_or(Quota::per_hour(at_least_one(1))).allow_burst(at_least_one(burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(network: u8, last: u8) -> Caller {
        Caller::of([203, 0, network, last].into())
    }

    #[test]
    fn ten_addresses_do_not_use_it_up() {
        let quota = DailyQuota::of(100_000);
        for last in 0..10 {
            let mut had = 0;
            while quota.take(address(113, last)).is_ok() {
                had += 1;
            }
            assert!((250..300).contains(&had), "{had}");
        }
        assert_eq!(quota.take(address(114, 1)), Ok(()));
    }

    #[test]
    fn all_together_have_a_part_at_once_and_the_rest_over_the_day() {
        let quota = DailyQuota::of(2_400);
        let mut had = 0;
        let wait = 'all: {
            for network in 0..=255 {
                for last in 0..2 {
                    match quota.take(address(network, last)) {
                        Ok(()) => had += 1,
                        Err(QuotaError::All(wait)) => break 'all wait,
                        Err(QuotaError::Caller(used)) => panic!("{used:?}"),
                    }
                }
            }
            panic!("{had} and no end");
        };
        assert!((100..105).contains(&had), "{had}");
        // 2,300 in a day.
        assert!(wait <= Duration::from_secs(38), "{wait:?}");
    }

    #[test]
    fn a_small_quota_still_has_something_for_everybody() {
        let quota = DailyQuota::of(1);
        assert_eq!(quota.take(address(1, 1)), Ok(()));
        assert!(quota.take(address(2, 1)).is_err());
    }
}
