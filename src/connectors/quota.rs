//! The daily quota of another service: spread evenly over the day, and limited for each caller.
//!
//! Each process counts separately. If several gateways use one account, set `daily_codes` of each to its part of the quota.

use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};

use crate::callers::Caller;
use crate::callers::allowance::{Allowances, Exhausted, at_least_one};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The divisor of the daily quota for a burst: 1/24 is available at once, and the rest refills evenly.
const BURST_DIVISOR: u32 = 24;
/// The divisor of the daily quota for an address: 1/100. Wider networks may take more, as with every limit.
const ADDRESS_DIVISOR: u32 = 100;
/// The minimum daily share of an address, even if the quota is small.
const MIN_SHARE: u32 = 20;
/// The divisor of a caller's share for a burst: 1/4.
const SHARE_BURST_DIVISOR: u32 = 4;

/// The quota of one service.
pub(super) struct DailyQuota {
    all: DefaultDirectRateLimiter,
    callers: Allowances,
}

/// A quota that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// The caller has used up its share.
    #[error("the caller's share of today's codes is used up")]
    Caller(Exhausted),
    /// All callers together have used it up. The next code is available after this time.
    #[error("no codes are left; raise daily_codes if the account's quota is larger")]
    All(Duration),
}

impl DailyQuota {
    /// Creates a quota of `daily` codes a day.
    pub(super) fn new(daily: u32) -> Self {
        Self {
            all: DefaultDirectRateLimiter::direct(spread(daily, BURST_DIVISOR)),
            callers: Allowances::new(|factor| {
                let share = u64::from(daily) * u64::from(factor) / u64::from(ADDRESS_DIVISOR);
                let share = u32::try_from(share).unwrap_or(u32::MAX);
                spread(share.max(MIN_SHARE.saturating_mul(factor)).min(daily), SHARE_BURST_DIVISOR)
            }),
        }
    }

    /// Takes one code for a caller.
    ///
    /// # Errors
    /// [`QuotaError`]. A caller without a share left takes nothing from the common quota.
    pub(super) fn take(&self, caller: Caller) -> Result<(), QuotaError> {
        self.callers.take(caller, || ()).map_err(QuotaError::Caller)?;
        self.all.check().map_err(|not_until| QuotaError::All(not_until.wait_time_from(DefaultClock::default().now())))
    }

    /// Removes the callers whose share has refilled.
    pub(super) fn prune(&self) {
        self.callers.prune();
    }
}

/// Returns a quota of `daily` a day: 1/`burst_divisor` of it at once, the rest evenly.
fn spread(daily: u32, burst_divisor: u32) -> Quota {
    let burst = (daily / burst_divisor).max(1);
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
    fn ten_addresses_do_not_use_up_the_quota() {
        let quota = DailyQuota::new(100_000);
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
    fn all_callers_share_a_burst_and_the_rest_refills_over_the_day() {
        let quota = DailyQuota::new(2_400);
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
            panic!("no limit after {had}");
        };
        assert!((100..105).contains(&had), "{had}");
        // 2,300 in a day.
        assert!(wait <= Duration::from_secs(38), "{wait:?}");
    }

    #[test]
    fn a_small_quota_serves_a_caller() {
        let quota = DailyQuota::new(1);
        assert_eq!(quota.take(address(1, 1)), Ok(()));
        assert!(quota.take(address(2, 1)).is_err());
    }
}
