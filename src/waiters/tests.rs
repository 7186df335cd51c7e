//! Tests of the registry, with the memory store.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use parking_lot::{Mutex, MutexGuard};
use proptest::prelude::*;

use super::registration::EXPIRY_READ_DELAY;
use super::shared::{HEARTBEAT_TICK, MAX_REGISTERING};
use super::table::Table;
use super::*;
use crate::callers::{SMALL, Tier};
use crate::random;
use crate::store::memory::MemoryStore;
use crate::store::{Put, Reading, Replaced, StoreError};
use crate::ticket::{NewTicket, Ticket};

const LIMITS: WaiterLimits = WaiterLimits {
    per_ticket: 3,
    per_address: 5,
    per_process: 9,
    heartbeat: Duration::from_secs(25),
    drain_spread: Duration::from_millis(200),
};

const ROOMY: WaiterLimits =
    WaiterLimits { per_ticket: usize::MAX, per_address: usize::MAX, per_process: usize::MAX, ..LIMITS };

/// The memory store, and the tickets that it was asked to watch.
struct RecordingStore {
    store: MemoryStore,
    watched: Arc<Mutex<HashSet<TicketId>>>,
}

#[async_trait]
impl Store for RecordingStore {
    async fn create(&self, new: NewTicket) -> Result<Reading, StoreError> {
        self.store.create(new).await
    }

    async fn get(&self, id: &TicketId) -> Result<Option<Reading>, StoreError> {
        self.store.get(id).await
    }

    async fn replace(&self, current: &Ticket, next: &Ticket) -> Result<Replaced, StoreError> {
        self.store.replace(current, next).await
    }

    async fn watch(&self, id: &TicketId) -> Result<(), StoreError> {
        self.watched.lock().insert(*id);
        self.store.watch(id).await
    }

    fn unwatch(&self, id: &TicketId) {
        assert!(self.watched.lock().remove(id), "{id} was not watched");
        self.store.unwatch(id);
    }

    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError> {
        self.store.put_value(name, value, ttl, put).await
    }

    async fn replace_value(&self, name: &str, expected: &str, next: &str, ttl: Duration) -> Result<bool, StoreError> {
        self.store.replace_value(name, expected, next, ttl).await
    }

    async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.store.value(name).await
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        self.store.remove_value(name).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }
}

struct Site {
    waiters: Waiters,
    store: Arc<dyn Store>,
    watched: Arc<Mutex<HashSet<TicketId>>>,
    metrics: Arc<Metrics>,
}

impl Site {
    /// Must be called within a runtime.
    fn new(limits: WaiterLimits) -> Self {
        let metrics = Arc::new(Metrics::new());
        let waiters = Waiters::new(limits, Arc::clone(&metrics));
        let watched = Arc::default();
        let store = RecordingStore { store: MemoryStore::open(1, waiters.changes()), watched: Arc::clone(&watched) };
        Self { waiters, store: Arc::new(store), watched, metrics }
    }

    async fn registration(&self, id: TicketId) -> Registration {
        self.waiters.register(&self.store, id, address(0)).await.unwrap()
    }

    async fn registrations(&self, count: usize) -> Vec<Registration> {
        let mut registrations = Vec::new();
        for _ in 0..count {
            registrations.push(self.registration(random::ticket_id()).await);
        }
        registrations
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.waiters.shared.lock()
    }
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

/// Returns the pending wake of a registration.
fn poll_wake(registration: &mut Registration) -> Option<Wake> {
    registration.next().now_or_never()
}

#[derive(Debug, Clone)]
enum Op {
    Register { ticket: usize, address: u8 },
    Remove(prop::sample::Index),
    Change { ticket: usize },
    Poll(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..5_usize, 0..3_u8).prop_map(|(ticket, address)| Op::Register { ticket, address }),
        3 => any::<prop::sample::Index>().prop_map(Op::Remove),
        2 => (0..5_usize).prop_map(|ticket| Op::Change { ticket }),
        2 => any::<prop::sample::Index>().prop_map(Op::Poll),
    ]
}

/// A registration, with its expected state.
struct Registered {
    registration: Registration,
    ticket: usize,
    address: u8,
    is_woken: bool,
}

proptest! {
    #[test]
    fn registrations_are_added_and_removed_in_any_order(ops in prop::collection::vec(op(), 1..150)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _context = runtime.enter();
        let site = Site::new(LIMITS);
        let ids: Vec<TicketId> = (0..5).map(|_| random::ticket_id()).collect();
        let mut registered: Vec<Registered> = Vec::new();
        for op in ops {
            match op {
                Op::Register { ticket, address: from } => {
                    let of_ticket = registered.iter().filter(|registered| registered.ticket == ticket).count();
                    let of_address = registered.iter().filter(|registered| registered.address == from).count();
                    let is_full = (registered.len() >= LIMITS.per_process, of_address >= LIMITS.per_address, of_ticket >= LIMITS.per_ticket);
                    let answer = runtime.block_on(site.waiters.register(&site.store, ids[ticket], address(from)));
                    match (answer, is_full) {
                        (Ok(registration), (false, false, false)) => registered.push(Registered { registration, ticket, address: from, is_woken: false }),
                        (Err(RegisterError::ProcessFull), (true, _, _))
                        | (Err(RegisterError::CallerFull(Tier::Address)), (false, true, _))
                        | (Err(RegisterError::TicketFull), (false, false, true)) => {}
                        (answer, _) => prop_assert!(false, "{:?} where {is_full:?} is full", answer.err()),
                    }
                }
                Op::Remove(index) if !registered.is_empty() => drop(registered.remove(index.index(registered.len()))),
                Op::Change { ticket } => {
                    site.waiters.changes().changed(&ids[ticket]);
                    registered.iter_mut().filter(|registered| registered.ticket == ticket).for_each(|registered| registered.is_woken = true);
                }
                Op::Poll(index) if !registered.is_empty() => {
                    let index = index.index(registered.len());
                    let woken = std::mem::take(&mut registered[index].is_woken);
                    prop_assert_eq!(poll_wake(&mut registered[index].registration), woken.then_some(Wake::Refresh));
                }
                Op::Remove(_) | Op::Poll(_) => {}
            }
            prop_assert_eq!(site.waiters.count(), registered.len());
            prop_assert_eq!(usize::try_from(site.metrics.streams.open.get()), Ok(registered.len()));
            let expected: HashSet<_> = registered.iter().map(|registered| ids[registered.ticket]).collect();
            prop_assert_eq!(&*site.watched.lock(), &expected);
        }
        for mut left in registered.drain(..) {
            prop_assert_eq!(poll_wake(&mut left.registration), left.is_woken.then_some(Wake::Refresh));
        }
        let registrations = site.lock();
        prop_assert!(registrations.by_ticket.is_empty() && registrations.by_caller.is_empty() && registrations.entries.is_empty());
        prop_assert_eq!(registrations.wheel.next(), None, "a removed registration still has a timer");
    }

    /// Time is simulated: the test does not sleep.
    #[test]
    fn heartbeats_come_at_their_interval_and_deadlines_once(
        heartbeat in 1_000..60_000_u64,
        remaining in prop::collection::vec(prop::option::of(0..100_000_u64), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _context = runtime.enter();
        let site = Site::new(WaiterLimits { heartbeat: Duration::from_millis(heartbeat), ..ROOMY });
        let mut registrations = runtime.block_on(site.registrations(remaining.len()));
        let mut refreshes = Vec::new();
        for (registration, left) in registrations.iter_mut().zip(&remaining) {
            if let Some(left) = left {
                registration.set_deadline(Instant::now(), Duration::from_millis(*left));
            }
            refreshes.push(left.map(|_| site.lock().entries[registration.key as usize].refresh_at));
        }
        let registered_at = site.waiters.shared.ticks(Instant::now());
        let mut beats: Vec<Vec<u64>> = vec![Vec::new(); registrations.len()];
        let mut refreshed_at: Vec<Option<u64>> = vec![None; registrations.len()];
        let ends_at = registered_at + 4 * heartbeat.max(30_000);
        while let Some(now) = { let next = site.lock().wheel.next(); next.filter(|&next| next <= ends_at) } {
            site.lock().fire_due(now, heartbeat);
            for (index, registration) in registrations.iter_mut().enumerate() {
                while let Some(wake) = poll_wake(registration) {
                    match wake {
                        Wake::Heartbeat => beats[index].push(now),
                        Wake::Refresh => prop_assert_eq!(refreshed_at[index].replace(now), None, "refreshed twice"),
                        Wake::Drain => prop_assert!(false, "there is no drain"),
                    }
                }
            }
        }
        for index in 0..registrations.len() {
            let due = refreshes[index].filter(|&due| due <= ends_at);
            prop_assert_eq!(refreshed_at[index], due);
            let beats = &beats[index];
            prop_assert!(beats.len() >= 2, "{:?}", beats);
            prop_assert!(beats[0] <= registered_at + heartbeat);
            for pair in beats.windows(2) {
                let span = pair[1] - pair[0];
                prop_assert!(span <= heartbeat && span + HEARTBEAT_TICK > heartbeat, "{} of {}", span, heartbeat);
            }
            prop_assert!(beats.last().unwrap() + heartbeat > ends_at, "no further heartbeat: {:?}", beats);
        }
    }
}

#[tokio::test]
async fn the_most_urgent_wake_comes_first_and_once() {
    let site = Site::new(ROOMY);
    let mut registration = site.registration(random::ticket_id()).await;
    assert_eq!(poll_wake(&mut registration), None);
    let key = registration.key as usize;
    for wake in [Wake::Heartbeat, Wake::Drain, Wake::Refresh, Wake::Heartbeat, Wake::Refresh] {
        site.lock().signal(key, wake);
    }
    let all: Vec<_> = std::iter::from_fn(|| poll_wake(&mut registration)).collect();
    assert_eq!(all, [Wake::Refresh, Wake::Drain, Wake::Heartbeat]);
}

#[tokio::test]
async fn a_delayed_reply_does_not_postpone_the_deadline() {
    let site = Site::new(ROOMY);
    let mut registration = site.registration(random::ticket_id()).await;
    let asked = Instant::now();
    tokio::time::sleep(Duration::from_millis(30)).await;
    registration.set_deadline(asked, Duration::from_secs(5));
    let due = site.waiters.shared.ticks(asked + Duration::from_secs(5) + EXPIRY_READ_DELAY) + 1;
    assert_eq!(site.lock().entries[registration.key as usize].refresh_at, due);
    // A reply that waited longer than the time that was left.
    registration.set_deadline(asked, Duration::from_millis(10));
    assert!(registration.overdue() >= Some(Duration::from_millis(20)), "{:?}", registration.overdue());
}

#[tokio::test]
async fn a_wake_for_a_removed_registration_is_ignored() {
    let site = Site::new(ROOMY);
    let registration = site.registration(random::ticket_id()).await;
    let key = registration.key as usize;
    drop(registration);
    site.lock().signal(key, Wake::Refresh);
    let mut next = site.registration(random::ticket_id()).await;
    assert_eq!(next.key as usize, key);
    assert_eq!(poll_wake(&mut next), None);
}

#[tokio::test]
async fn every_waiting_task_is_woken() {
    let site = Site::new(ROOMY);
    let id = random::ticket_id();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut registration = site.registration(id).await;
        waiting.spawn(async move { registration.next().await });
    }
    // Each has been polled and has stored its waker.
    while site.lock().entries.iter().any(|(_, entry)| entry.waker.is_none()) {
        tokio::task::yield_now().await;
    }
    site.waiters.changes().changed(&id);
    let wakes = tokio::time::timeout(Duration::from_secs(10), waiting.join_all()).await.expect("one still waits");
    assert_eq!(wakes, [Wake::Refresh; 5]);
}

#[tokio::test]
async fn every_registration_that_missed_a_change_refreshes() {
    let site = Site::new(ROOMY);
    crate::task::spawn("test", site.waiters.clone().run());
    let registrations = site.registrations(RESYNC_BATCH * 2 + 1).await;
    let ids: Vec<_> = site.lock().by_ticket.keys().copied().collect();
    // Twice: a queued registration is queued once.
    site.waiters.changes().missed(ids.clone());
    site.waiters.changes().missed(ids);
    for mut registration in registrations {
        let wake = tokio::time::timeout(Duration::from_secs(10), registration.next())
            .await
            .expect("a registration was not woken");
        assert_eq!(wake, Wake::Refresh);
    }
}

#[tokio::test]
async fn a_drain_wakes_every_registration_and_refuses_new_ones() {
    let site = Site::new(ROOMY);
    let mut registrations: Vec<(Registration, usize)> =
        site.registrations(102).await.into_iter().map(|registration| (registration, 0)).collect();
    let poll = |registrations: &mut Vec<(Registration, usize)>| {
        for (registration, times) in registrations {
            let all: Vec<_> = std::iter::from_fn(|| poll_wake(registration)).collect();
            assert!(all.iter().all(|wake| *wake == Wake::Drain), "{all:?}");
            *times += all.len();
        }
    };
    let started = Instant::now();
    let drain = site.waiters.drain(false);
    tokio::pin!(drain);
    assert!(drain.as_mut().now_or_never().is_none());
    poll(&mut registrations);
    let at_first = registrations.iter().filter(|(_, times)| *times > 0).count();
    assert!(at_first < registrations.len() / 2, "{at_first} at once");
    assert!(site.waiters.is_draining());
    let refused = site.waiters.register(&site.store, random::ticket_id(), address(0)).await;
    assert!(matches!(refused, Err(RegisterError::Draining)));
    // A registration that was not woken yet is dropped.
    let index = registrations.iter().position(|(_, times)| *times == 0).unwrap();
    registrations.remove(index);
    drain.await;
    assert!(started.elapsed() >= LIMITS.drain_spread);
    poll(&mut registrations);
    let times: Vec<_> = registrations.iter().map(|(_, times)| *times).collect();
    assert_eq!(times, [1; 101]);
}

#[tokio::test]
async fn a_drain_without_registrations_ends() {
    let site = Site::new(ROOMY);
    tokio::time::timeout(Duration::from_secs(10), site.waiters.drain(true)).await.expect("it hangs");
}

#[tokio::test]
async fn memory_is_freed_after_a_peak() {
    const REGISTRATIONS: usize = 20_000;

    let site = Site::new(ROOMY);
    let mut registrations = Vec::new();
    for index in 0..REGISTRATIONS {
        let address = IpAddr::from(u32::try_from(index).unwrap().to_be_bytes());
        registrations.push(site.waiters.register(&site.store, random::ticket_id(), address).await.unwrap());
    }
    assert!(site.lock().entries.capacity() >= REGISTRATIONS);
    // The first ones are removed last.
    while registrations.pop().is_some() {}
    let capacities = {
        let registrations = site.lock();
        [registrations.entries.capacity(), registrations.by_ticket.capacity(), registrations.by_caller.capacity()]
    };
    assert!(capacities.iter().all(|&capacity| capacity <= SMALL * 2), "{capacities:?} entries, tickets, addresses");
    // It still works.
    let id = random::ticket_id();
    let mut registration = site.registration(id).await;
    site.waiters.changes().changed(&id);
    assert_eq!(poll_wake(&mut registration), Some(Wake::Refresh));
}

#[tokio::test]
async fn waiting_for_a_permit_times_out() {
    let site = Site::new(ROOMY);
    let mut permits = Vec::new();
    for _ in 0..MAX_REGISTERING {
        permits.push(site.waiters.registration_permit().await.unwrap());
    }
    let waiting = site.waiters.registration_permit();
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    permits.pop();
    let permit = waiting.await;
    assert!(permit.is_ok());
    assert!(matches!(site.waiters.registration_permit().await, Err(RegisterError::TooManyAtOnce)));
}

#[tokio::test]
async fn a_network_may_hold_more_registrations_than_an_address_but_not_all() {
    let site = Site::new(WaiterLimits { per_address: 2, ..ROOMY });
    let from = |third: u8, last: u8| IpAddr::from([192, 0, third, last]);
    let mut registrations = Vec::new();
    for number in 0..32 {
        registrations.push(site.waiters.register(&site.store, random::ticket_id(), from(2, number / 2)).await.unwrap());
    }
    let more = async |address| site.waiters.register(&site.store, random::ticket_id(), address).await;
    assert!(matches!(more(from(2, 0)).await, Err(RegisterError::CallerFull(Tier::Address))));
    assert!(matches!(more(from(2, 200)).await, Err(RegisterError::CallerFull(Tier::Network))));
    assert!(more(from(3, 200)).await.is_ok());
    registrations.pop();
    assert!(more(from(2, 200)).await.is_ok());
}
