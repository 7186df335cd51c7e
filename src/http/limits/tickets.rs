//! How many tickets each caller has waiting: no network may fill the store for all others.
//!
//! It is counted here and not in the store, so it holds for either engine and costs no command, and it is this process's
//! count: with several gateways a caller may have as many at each. A ticket counts from its making for the time in which it
//! may be scanned, however it ends: so making and closing tickets is bounded, too.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::callers::{Caller, Holdings};
use crate::http::bounds;
use crate::http::problem::{self, Problem};
use crate::metrics::Metrics;

/// How many tickets are counted. An entry takes about 40 bytes. Past it further ones are not, until some are over.
const MAX_COUNTED: usize = 1_000_000;
/// How long a caller is asked to wait. Which of its tickets ends when is not looked up: with codes of two minutes, an eighth
/// of them is over by then.
const RETRY_AFTER: Duration = Duration::from_secs(15);

/// The tickets that wait, by who made them.
pub(in crate::http) struct Waiting {
    per_address: usize,
    counted: Mutex<Counted>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Counted {
    holdings: Holdings,
    ends: BinaryHeap<Reverse<Ending>>,
}

/// When a ticket ceases to count.
struct Ending {
    at: Instant,
    caller: Caller,
}

/// A ticket that is being made. Dropped before [`Place::keep`], it ceases to count at once.
pub(in crate::http) struct Place<'a> {
    waiting: &'a Waiting,
    caller: Option<Caller>,
}

impl Waiting {
    pub(super) fn new(per_address: usize, metrics: Arc<Metrics>) -> Self {
        Self { per_address, counted: Mutex::default(), metrics }
    }

    /// Counts a ticket that `address` is about to make.
    ///
    /// # Errors
    /// [`problem::TOO_MANY_TICKETS`] if it has as many as it may, or a network that it is in.
    pub(in crate::http) fn place(&self, address: IpAddr) -> Result<Place<'_>, Problem> {
        let caller = Caller::of(address);
        let mut counted = self.lock();
        counted.forget_ended(Instant::now());
        if let Some(tier) = counted.holdings.full_at(caller, self.per_address) {
            return Err(Problem::from(&problem::TOO_MANY_TICKETS)
                .of_tier(tier, bounds::TICKETS)
                .retry_after(RETRY_AFTER));
        }
        if counted.ends.len() >= MAX_COUNTED {
            self.metrics.refused("tickets_table_full");
            return Ok(Place { waiting: self, caller: None });
        }
        counted.holdings.add(caller);
        Ok(Place { waiting: self, caller: Some(caller) })
    }

    pub(super) fn tidy(&self) {
        let mut counted = self.lock();
        counted.forget_ended(Instant::now());
        if counted.ends.len() < counted.ends.capacity() / 8 {
            counted.ends.shrink_to_fit();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        // Nothing is left half-done where a panic could happen under this lock.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn forget_ended(&mut self, now: Instant) {
        while let Some(Reverse(ending)) = self.ends.peek()
            && ending.at <= now
        {
            self.holdings.remove(ending.caller);
            self.ends.pop();
        }
    }
}

impl Place<'_> {
    /// Has the ticket count until it may no more be scanned, which is after `ttl`.
    pub(in crate::http) fn keep(mut self, ttl: Duration) {
        if let Some(caller) = self.caller.take() {
            self.waiting.lock().ends.push(Reverse(Ending { at: Instant::now() + ttl, caller }));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(caller) = self.caller {
            self.waiting.lock().holdings.remove(caller);
        }
    }
}

impl PartialEq for Ending {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Ending {}

impl PartialOrd for Ending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ending {
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
    fn a_ticket_counts_until_its_time_is_over() {
        let waiting = Waiting::new(2, Arc::new(Metrics::new()));
        let refused = |address| waiting.place(address).err().map(|problem| problem.reason());
        for ttl in [Duration::ZERO, Duration::from_secs(60), Duration::from_secs(60)] {
            waiting.place(host(1)).ok().unwrap().keep(ttl);
        }
        assert_eq!(refused(host(1)), Some("tickets_per_address"));
        waiting.lock().forget_ended(Instant::now() + Duration::from_secs(61));
        assert_eq!(refused(host(1)), None);
        assert!(waiting.lock().holdings.is_empty(), "a ticket that was not made counts");
    }

    #[test]
    fn a_network_has_a_share_of_its_own() {
        let waiting = Waiting::new(2, Arc::new(Metrics::new()));
        for number in 0..32 {
            waiting.place(host(number)).ok().unwrap().keep(Duration::from_secs(60));
        }
        let problem = waiting.place(host(77)).err().unwrap();
        assert_eq!((problem.kind().code, problem.reason()), ("too_many_tickets", "tickets_per_address_network"));
        assert!(waiting.place([192, 0, 3, 1].into()).is_ok());
    }
}
