//! Counts each caller's pending tickets, so that no network can fill the store for all others.
//!
//! The count is in this process and not in the store, so it works for either engine and costs no command. With several gateways
//! a caller may have that number at each. A ticket is counted from its creation for the time in which it may be scanned,
//! regardless of how it ends, so that creating and closing tickets in a loop is bounded, too. A ticket that a phone opens lives
//! longer, and is counted a second time, for the phone's address.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::callers::{Caller, CallerCounts};
use crate::http::bounds;
use crate::http::problem::{self, Problem};
use crate::metrics::Metrics;

/// The maximum number of counted tickets. An entry takes about 40 bytes. Further tickets are not counted until some expire.
const MAX_COUNTED: usize = 1_000_000;
/// The time after which a caller should try again. The gateway does not look up the exact time. With a ticket time of two
/// minutes, an eighth of the tickets have expired by then.
const RETRY_AFTER: Duration = Duration::from_secs(15);

/// The pending tickets, by the caller that created them.
pub(in crate::http) struct PendingTickets {
    per_address: usize,
    counted: Mutex<Counted>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Counted {
    counts: CallerCounts,
    expiries: BinaryHeap<Reverse<Expiry>>,
}

/// The time at which a ticket is no longer counted.
struct Expiry {
    at: Instant,
    caller: Caller,
}

/// The count of a ticket that is being created. If dropped before [`TicketSlot::keep`], the ticket is no longer counted.
pub(in crate::http) struct TicketSlot<'a> {
    pending: &'a PendingTickets,
    caller: Option<Caller>,
}

impl PendingTickets {
    pub(super) fn new(per_address: usize, metrics: Arc<Metrics>) -> Self {
        Self { per_address, counted: Mutex::default(), metrics }
    }

    /// Counts a ticket that `address` is about to create.
    ///
    /// # Errors
    /// [`problem::TOO_MANY_TICKETS`] if the address, or a network around it, has reached its limit.
    pub(in crate::http) fn reserve(&self, address: IpAddr) -> Result<TicketSlot<'_>, Problem> {
        let caller = Caller::of(address);
        let mut counted = self.counted.lock();
        counted.remove_expired(Instant::now());
        if let Some(tier) = counted.counts.first_full_tier(caller, self.per_address) {
            let refused = Problem::from(&problem::TOO_MANY_TICKETS).with_tier(tier, bounds::TICKETS);
            return Err(refused.retry_after(RETRY_AFTER));
        }
        if counted.expiries.len() >= MAX_COUNTED {
            self.metrics.refused("tickets_table_full");
            return Ok(TicketSlot { pending: self, caller: None });
        }
        counted.counts.add(caller);
        Ok(TicketSlot { pending: self, caller: Some(caller) })
    }

    pub(super) fn prune(&self) {
        let mut counted = self.counted.lock();
        counted.remove_expired(Instant::now());
        if counted.expiries.len() < counted.expiries.capacity() / 8 {
            counted.expiries.shrink_to_fit();
        }
    }
}

impl Counted {
    fn remove_expired(&mut self, now: Instant) {
        while let Some(Reverse(expiry)) = self.expiries.peek()
            && expiry.at <= now
        {
            self.counts.remove(expiry.caller);
            self.expiries.pop();
        }
    }
}

impl TicketSlot<'_> {
    /// Counts the ticket until it can no longer be scanned, which is after `ttl`.
    pub(in crate::http) fn keep(mut self, ttl: Duration) {
        if let Some(caller) = self.caller.take() {
            self.pending.counted.lock().expiries.push(Reverse(Expiry { at: Instant::now() + ttl, caller }));
        }
    }
}

impl Drop for TicketSlot<'_> {
    fn drop(&mut self) {
        if let Some(caller) = self.caller {
            self.pending.counted.lock().counts.remove(caller);
        }
    }
}

impl PartialEq for Expiry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Expiry {}

impl PartialOrd for Expiry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Expiry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn a_ticket_is_counted_until_it_expires() {
        let pending = PendingTickets::new(2, Arc::new(Metrics::new()));
        let refused = |address| pending.reserve(address).err().map(|problem| problem.reason());
        for ttl in [Duration::ZERO, Duration::from_secs(60), Duration::from_secs(60)] {
            pending.reserve(host(1)).ok().unwrap().keep(ttl);
        }
        assert_eq!(refused(host(1)), Some("tickets_per_address"));
        pending.counted.lock().remove_expired(Instant::now() + Duration::from_secs(61));
        assert_eq!(refused(host(1)), None);
        assert!(pending.counted.lock().counts.is_empty(), "a ticket that was not created is counted");
    }

    #[test]
    fn a_network_has_its_own_limit() {
        let pending = PendingTickets::new(2, Arc::new(Metrics::new()));
        for number in 0..32 {
            pending.reserve(host(number)).ok().unwrap().keep(Duration::from_secs(60));
        }
        let problem = pending.reserve(host(77)).err().unwrap();
        assert_eq!(
            (problem.problem_type().code, problem.reason()),
            ("too_many_tickets", "tickets_per_address_network")
        );
        assert!(pending.reserve([192, 0, 3, 1].into()).is_ok());
    }
}
