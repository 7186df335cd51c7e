//! Rate limits per client address, on what can be guessed or piled up: creating, scanning, deciding.
//!
//! Good and bad attempts are counted apart, so that neither uses up the other's allowance. Whether an attempt is bad is known
//! only after the work; so an address that has used up its bad attempts is refused beforehand, until it has one again. An
//! address is an IPv4 address or an IPv6 /64. The tables are bounded; past the bound all addresses share one large allowance.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
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
    pub(super) scan: Limit,
    pub(super) confirm: Limit,
    pub(super) invalid_scan: Limit,
    pub(super) invalid_confirm: Limit,
}

/// An allowance per address: so many at once, refilled over a minute.
pub(super) struct Limit {
    name: &'static str,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    shared: DefaultDirectRateLimiter,
    /// Until when an address is refused beforehand; only of limits that punish. Bounded like `addresses`.
    barred: Mutex<HashMap<IpAddr, Instant>>,
    metrics: Arc<Metrics>,
}

impl Limits {
    pub(super) fn new(rates: RateLimits, metrics: &Arc<Metrics>) -> Self {
        let quota = |per_minute: u32| Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        let limit = |name, per_minute: u32| Limit {
            name,
            addresses: DefaultKeyedRateLimiter::keyed(quota(per_minute)),
            shared: DefaultDirectRateLimiter::direct(quota(per_minute.saturating_mul(SHARED_ALLOWANCE))),
            barred: Mutex::default(),
            metrics: Arc::clone(metrics),
        };
        Self {
            create: limit("rate_create", rates.create),
            scan: limit("rate_scan", rates.scan),
            confirm: limit("rate_confirm", rates.confirm),
            invalid_scan: limit("rate_invalid_scan", rates.invalid_scan),
            invalid_confirm: limit("rate_invalid_confirm", rates.invalid_confirm),
        }
    }

    pub(super) async fn tidy(&self) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            for limit in [&self.create, &self.scan, &self.confirm, &self.invalid_scan, &self.invalid_confirm] {
                limit.addresses.retain_recent();
                limit.addresses.shrink_to_fit();
                let now = Instant::now();
                limit.barred.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, until| now < *until);
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
        let now = DefaultClock::default().now();
        let checked = if self.addresses.len() < MAX_ADDRESSES {
            self.addresses.check_key(&address_group(address))
        } else {
            self.metrics.refused("rate_table_full");
            self.shared.check()
        };
        checked.map_err(|not_until| self.refuse(not_until.wait_time_from(now)))
    }

    /// Does work that may turn out to be a bad attempt, unless the address has none left. Of the work's problems, those
    /// that look like guessing count: no good token, not the caller's ticket, no ticket at all.
    ///
    /// # Errors
    /// The work's, or [`error::RATE_LIMITED`].
    pub(super) async fn gate<T>(
        &self,
        address: IpAddr,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let group = address_group(address);
        let barred_until = self.barred.lock().unwrap_or_else(PoisonError::into_inner).get(&group).copied();
        if let Some(wait) = barred_until.and_then(|until| until.checked_duration_since(Instant::now())) {
            return Err(self.refuse(wait));
        }
        match work.await {
            Err(problem) if matches!(problem.kind().status.as_u16(), 401 | 403 | 404) => {
                if let Err(refused) = self.check(address) {
                    let until = Instant::now() + refused.wait();
                    let mut barred = self.barred.lock().unwrap_or_else(PoisonError::into_inner);
                    if barred.len() < MAX_ADDRESSES {
                        barred.insert(group, until);
                    }
                    return Err(refused);
                }
                Err(problem)
            }
            result => result,
        }
    }

    fn refuse(&self, wait: Duration) -> Problem {
        Problem::from(&error::RATE_LIMITED).retry_after(wait).counted_as(self.name)
    }
}
