//! Rate limits per client address, on what can be guessed or piled up: creating, scanning, deciding.
//!
//! Good and bad attempts are counted apart, so that neither uses up the other's allowance: whoever guesses behind a shared
//! address takes nothing from the others there, and is told no more than that it was too often. An address is an IPv4
//! address or an IPv6 /64. The tables are bounded; past the bound all addresses share one large allowance.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota};

use super::error::{self, Problem};
use crate::config::RateLimits;
use crate::metrics::Metrics;
use crate::streams::address_group;

/// How many addresses one table remembers. An entry takes about 64 bytes.
const MAX_ADDRESSES: usize = 500_000;
/// How many addresses' allowance all of them share once a table is full.
const SHARED_ALLOWANCE: u32 = 1_000;
/// How often addresses whose allowance has refilled are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Limits {
    pub(super) create: Limit,
    pub(super) connector: Limit,
    pub(super) scan: Limit,
    /// Scans by whoever proves to be no person, which may be anybody's.
    pub(super) guest_scan: Limit,
    pub(super) confirm: Limit,
    pub(super) invalid_scan: Limit,
    pub(super) invalid_confirm: Limit,
}

/// An allowance per address: so many at once, refilled over a minute.
pub(super) struct Limit {
    name: &'static str,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    shared: DefaultDirectRateLimiter,
    metrics: Arc<Metrics>,
}

impl Limits {
    pub(super) fn new(rates: RateLimits, metrics: &Arc<Metrics>) -> Self {
        let quota = |per_minute: u32| Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        let limit = |name, per_minute: u32| Limit {
            name,
            addresses: DefaultKeyedRateLimiter::keyed(quota(per_minute)),
            shared: DefaultDirectRateLimiter::direct(quota(per_minute.saturating_mul(SHARED_ALLOWANCE))),
            metrics: Arc::clone(metrics),
        };
        Self {
            create: limit("rate_create", rates.create),
            connector: limit("rate_connector", rates.connector),
            scan: limit("rate_scan", rates.scan),
            guest_scan: limit("rate_guest_scan", rates.scan),
            confirm: limit("rate_confirm", rates.confirm),
            invalid_scan: limit("rate_invalid_scan", rates.invalid_scan),
            invalid_confirm: limit("rate_invalid_confirm", rates.invalid_confirm),
        }
    }

    pub(super) async fn tidy(&self) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            let Self { create, connector, scan, guest_scan, confirm, invalid_scan, invalid_confirm } = self;
            for limit in [create, connector, scan, guest_scan, confirm, invalid_scan, invalid_confirm] {
                limit.addresses.retain_recent();
                limit.addresses.shrink_to_fit();
            }
        }
    }
}

impl Limit {
    /// Uses up one attempt of `address`.
    ///
    /// # Errors
    /// [`error::RATE_LIMITED`] with the time to wait if none is left.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Problem> {
        let checked = if self.addresses.len() < MAX_ADDRESSES {
            self.addresses.check_key(&address_group(address))
        } else {
            self.metrics.refused("rate_table_full");
            self.shared.check()
        };
        // The clock of its own: making another one asks the processor what it is, which takes longer than the check.
        checked.map_err(|not_until| self.refuse(not_until.wait_time_from(self.addresses.clock().now())))
    }

    /// Counts what looks like guessing: no good token, not the caller's ticket, no ticket at all.
    ///
    /// # Errors
    /// The result's own, or [`error::RATE_LIMITED`] instead of it.
    pub(super) fn judge<T>(&self, address: IpAddr, result: Result<T, Problem>) -> Result<T, Problem> {
        result.map_err(|problem| match problem.kind().status.as_u16() {
            401 | 403 | 404 => self.check(address).err().unwrap_or(problem),
            _ => problem,
        })
    }

    fn refuse(&self, wait: Duration) -> Problem {
        Problem::from(&error::RATE_LIMITED).retry_after(wait).counted_as(self.name)
    }
}
