//! Allowances that refill: a token bucket per caller and tier. The limits per minute and the shares of a daily quota both use
//! them.
//!
//! The tables are bounded, and callers whose allowance has refilled are removed. If one table is full, the wider tiers still
//! limit its callers. If the widest is full, all callers share one large allowance.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota};

use super::{Caller, Tier};

/// The maximum number of addresses in the table of the narrowest tier. An entry takes about 64 bytes.
const MAX_ADDRESSES: usize = 500_000;
/// The maximum number of groups in the table of each wider tier.
const MAX_NETWORKS: usize = 250_000;
/// The allowance that all callers share once the table of the widest tier is full, as a multiple of an address's.
const SHARED_ALLOWANCE: u32 = 1_000;

/// One allowance for each group of each tier.
pub struct Allowances {
    tiers: [DefaultKeyedRateLimiter<IpAddr>; Tier::ALL.len()],
    shared: DefaultDirectRateLimiter,
}

/// The error of an allowance that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// The tier whose allowance is used up.
    pub tier: Tier,
    /// The time until one attempt has refilled.
    pub wait: Duration,
}

impl Allowances {
    /// Creates full allowances. `quota` maps a tier's factor to its quota.
    #[must_use]
    pub fn new(quota: impl Fn(u32) -> Quota) -> Self {
        Self {
            tiers: Tier::ALL.map(|tier| DefaultKeyedRateLimiter::keyed(quota(tier.factor()))),
            shared: DefaultDirectRateLimiter::direct(quota(SHARED_ALLOWANCE)),
        }
    }

    /// Creates allowances with a burst of `count` attempts for an address, refilled over a minute.
    #[must_use]
    pub fn per_minute(count: u32) -> Self {
        Self::new(|factor| Quota::per_minute(at_least_one(count.saturating_mul(factor))))
    }

    /// Takes one attempt at each tier, the narrowest first, so that a refused caller takes nothing from the others of its
    /// network. Calls `on_full_table` for each full table.
    ///
    /// # Errors
    /// [`Exhausted`], for the first tier at which no attempt is left.
    pub fn take(&self, caller: Caller, mut on_full_table: impl FnMut()) -> Result<(), Exhausted> {
        for (tier, group) in caller.groups() {
            let table = &self.tiers[tier as usize];
            let taken = if table.len() < max_groups(tier) {
                table.check_key(&group)
            } else {
                on_full_table();
                if tier != Tier::Network {
                    continue;
                }
                self.shared.check()
            };
            taken.map_err(|not_until| Exhausted {
                tier,
                wait: not_until.wait_time_from(DefaultClock::default().now()),
            })?;
        }
        Ok(())
    }

    /// Removes the groups whose allowance has refilled.
    pub fn prune(&self) {
        for table in &self.tiers {
            table.retain_recent();
            table.shrink_to_fit();
        }
    }
}

fn max_groups(tier: Tier) -> usize {
    match tier {
        Tier::Address => MAX_ADDRESSES,
        Tier::Site | Tier::Network => MAX_NETWORKS,
    }
}

/// Returns `count`, or one if it is zero, because a quota cannot be zero.
#[must_use]
pub fn at_least_one(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn host(subnet: u16) -> Caller {
        Caller::of(Ipv6Addr::new(0x2001, 0xdb8, 1, subnet, 0, 0, 0, 1).into())
    }

    #[test]
    fn a_network_has_less_than_the_sum_of_its_addresses() {
        let allowances = Allowances::per_minute(2);
        let take = |subnet| allowances.take(host(subnet), || panic!("the table is not full")).map_err(|used| used.tier);
        assert_eq!([take(0), take(0), take(0)], [Ok(()), Ok(()), Err(Tier::Address)]);
        // Six more of the /56 …
        for subnet in 1..7 {
            assert_eq!(take(subnet), Ok(()), "{subnet}");
        }
        assert_eq!(take(7), Err(Tier::Site));
        // … and 24 more of the /48; refused attempts take nothing from the wider ones.
        for subnet in 0..24 {
            assert_eq!(take(0x100 * (1 + subnet / 8) + subnet), Ok(()), "{subnet}");
        }
        assert_eq!(take(0xff00), Err(Tier::Network));
        let other = Caller::of(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1).into());
        assert!(allowances.take(other, || ()).is_ok());
    }
}
