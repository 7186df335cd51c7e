use std::collections::HashSet;
use std::net::Ipv4Addr;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use parking_lot::{Mutex, MutexGuard};
use proptest::prelude::*;

use super::registration::AFTER_DEADLINE;
use super::shared::{HEARTBEAT_TICK, MAX_OPENING};
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

/// The memory store, and which tickets it has been asked to watch.
struct Noting {
    store: MemoryStore,
    watched: Arc<Mutex<HashSet<TicketId>>>,
}

#[async_trait]
impl Store for Noting {
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
        let store = Noting { store: MemoryStore::open(1, waiters.changes()), watched: Arc::clone(&watched) };
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

/// Returns what a registration would be told right now.
fn told(registration: &mut Registration) -> Option<Wake> {
    registration.next().now_or_never()
}

#[derive(Debug, Clone)]
enum Op {
    Sit { ticket: usize, address: u8 },
    Leave(prop::sample::Index),
    Change { ticket: usize },
    Listen(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..5_usize, 0..3_u8).prop_map(|(ticket, address)| Op::Sit { ticket, address }),
        3 => any::<prop::sample::Index>().prop_map(Op::Leave),
        2 => (0..5_usize).prop_map(|ticket| Op::Change { ticket }),
        2 => any::<prop::sample::Index>().prop_map(Op::Listen),
    ]
}

/// A registration as it should be.
struct Taken {
    registration: Registration,
    ticket: usize,
    address: u8,
    has_news: bool,
}

proptest! {
    #[test]
    fn seats_of_any_tickets_come_and_go_in_any_order(ops in prop::collection::vec(op(), 1..150)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _context = runtime.enter();
        let site = Site::new(LIMITS);
        let ids: Vec<TicketId> = (0..5).map(|_| random::ticket_id()).collect();
        let mut taken: Vec<Taken> = Vec::new();
        for op in ops {
            match op {
                Op::Sit { ticket, address: from } => {
                    let of_ticket = taken.iter().filter(|taken| taken.ticket == ticket).count();
                    let of_address = taken.iter().filter(|taken| taken.address == from).count();
                    let is_full = (taken.len() >= LIMITS.per_process, of_address >= LIMITS.per_address, of_ticket >= LIMITS.per_ticket);
                    let answer = runtime.block_on(site.waiters.register(&site.store, ids[ticket], address(from)));
                    match (answer, is_full) {
                        (Ok(registration), (false, false, false)) => taken.push(Taken { registration, ticket, address: from, has_news: false }),
                        (Err(RegisterError::ProcessFull), (true, _, _))
                        | (Err(RegisterError::CallerFull(Tier::Address)), (false, true, _))
                        | (Err(RegisterError::TicketFull), (false, false, true)) => {}
                        (answer, _) => prop_assert!(false, "{:?} where {is_full:?} is full", answer.err()),
                    }
                }
                Op::Leave(index) if !taken.is_empty() => drop(taken.remove(index.index(taken.len()))),
                Op::Change { ticket } => {
                    site.waiters.changes().changed(&ids[ticket]);
                    taken.iter_mut().filter(|taken| taken.ticket == ticket).for_each(|taken| taken.has_news = true);
                }
                Op::Listen(index) if !taken.is_empty() => {
                    let index = index.index(taken.len());
                    let news = std::mem::take(&mut taken[index].has_news);
                    prop_assert_eq!(told(&mut taken[index].registration), news.then_some(Wake::Refresh));
                }
                Op::Leave(_) | Op::Listen(_) => {}
            }
            prop_assert_eq!(site.waiters.count(), taken.len());
            prop_assert_eq!(usize::try_from(site.metrics.streams.open.get()), Ok(taken.len()));
            let expected: HashSet<_> = taken.iter().map(|taken| ids[taken.ticket]).collect();
            prop_assert_eq!(&*site.watched.lock(), &expected);
        }
        for mut left in taken.drain(..) {
            prop_assert_eq!(told(&mut left.registration), left.has_news.then_some(Wake::Refresh));
        }
        let registrations = site.lock();
        prop_assert!(registrations.by_ticket.is_empty() && registrations.by_caller.is_empty() && registrations.entries.is_empty());
        prop_assert_eq!(registrations.wheel.next(), None, "something is still due for nobody");
    }

    /// In virtual time: nothing waits.
    #[test]
    fn heartbeats_come_at_their_interval_and_deadlines_once(
        heartbeat in 1_000..60_000_u64,
        lefts in prop::collection::vec(prop::option::of(0..100_000_u64), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _context = runtime.enter();
        let site = Site::new(WaiterLimits { heartbeat: Duration::from_millis(heartbeat), ..ROOMY });
        let mut registrations = runtime.block_on(site.registrations(lefts.len()));
        let mut looks = Vec::new();
        for (registration, left) in registrations.iter_mut().zip(&lefts) {
            if let Some(left) = left {
                registration.set_deadline(Instant::now(), Duration::from_millis(*left));
            }
            looks.push(left.map(|_| site.lock().entries[registration.key as usize].refresh_at));
        }
        let taken_at = site.waiters.shared.ticks(Instant::now());
        let mut beats: Vec<Vec<u64>> = vec![Vec::new(); registrations.len()];
        let mut looked: Vec<Option<u64>> = vec![None; registrations.len()];
        let ends_at = taken_at + 4 * heartbeat.max(30_000);
        while let Some(now) = { let next = site.lock().wheel.next(); next.filter(|&next| next <= ends_at) } {
            site.lock().fire_due(now, heartbeat);
            for (index, registration) in registrations.iter_mut().enumerate() {
                while let Some(wake) = told(registration) {
                    match wake {
                        Wake::Heartbeat => beats[index].push(now),
                        Wake::Refresh => prop_assert_eq!(looked[index].replace(now), None, "told twice"),
                        Wake::Drain => prop_assert!(false, "nobody drains"),
                    }
                }
            }
        }
        for index in 0..registrations.len() {
            let due = looks[index].filter(|&due| due <= ends_at);
            prop_assert_eq!(looked[index], due);
            let beats = &beats[index];
            prop_assert!(beats.len() >= 2, "{:?}", beats);
            prop_assert!(beats[0] <= taken_at + heartbeat);
            for pair in beats.windows(2) {
                let span = pair[1] - pair[0];
                prop_assert!(span <= heartbeat && span + HEARTBEAT_TICK > heartbeat, "{} of {}", span, heartbeat);
            }
            prop_assert!(beats.last().unwrap() + heartbeat > ends_at, "they stop: {:?}", beats);
        }
    }
}

#[tokio::test]
async fn what_a_seat_is_told_comes_by_importance_and_once() {
    let site = Site::new(ROOMY);
    let mut registration = site.registration(random::ticket_id()).await;
    assert_eq!(told(&mut registration), None);
    let key = registration.key as usize;
    for wake in [Wake::Heartbeat, Wake::Drain, Wake::Refresh, Wake::Heartbeat, Wake::Refresh] {
        site.lock().signal(key, wake);
    }
    let all: Vec<_> = std::iter::from_fn(|| told(&mut registration)).collect();
    assert_eq!(all, [Wake::Refresh, Wake::Drain, Wake::Heartbeat]);
}

#[tokio::test]
async fn a_deadline_is_not_put_off_by_an_answer_that_waited() {
    let site = Site::new(ROOMY);
    let mut registration = site.registration(random::ticket_id()).await;
    let asked = Instant::now();
    tokio::time::sleep(Duration::from_millis(30)).await;
    registration.set_deadline(asked, Duration::from_secs(5));
    let due = site.waiters.shared.ticks(asked + Duration::from_secs(5) + AFTER_DEADLINE) + 1;
    assert_eq!(site.lock().entries[registration.key as usize].refresh_at, due);
    // An answer that waited for longer than was left.
    registration.set_deadline(asked, Duration::from_millis(10));
    assert!(registration.overdue() >= Some(Duration::from_millis(20)), "{:?}", registration.overdue());
}

#[tokio::test]
async fn a_signal_for_a_seat_that_left_reaches_nobody() {
    let site = Site::new(ROOMY);
    let registration = site.registration(random::ticket_id()).await;
    let key = registration.key as usize;
    drop(registration);
    site.lock().signal(key, Wake::Refresh);
    let mut next = site.registration(random::ticket_id()).await;
    assert_eq!(next.key as usize, key);
    assert_eq!(told(&mut next), None);
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
    // Each has been polled, and has said whom to wake.
    while site.lock().entries.iter().any(|(_, place)| place.waker.is_none()) {
        tokio::task::yield_now().await;
    }
    site.waiters.changes().changed(&id);
    let told = tokio::time::timeout(Duration::from_secs(10), waiting.join_all()).await.expect("one still waits");
    assert_eq!(told, [Wake::Refresh; 5]);
}

#[tokio::test]
async fn every_seat_that_missed_something_looks_again() {
    let site = Site::new(ROOMY);
    crate::task::spawn("test", site.waiters.clone().run());
    let registrations = site.registrations(RESYNC_BATCH * 2 + 1).await;
    let ids: Vec<_> = site.lock().by_ticket.keys().copied().collect();
    // Twice: whoever waits for a turn has but one.
    site.waiters.changes().missed(ids.clone());
    site.waiters.changes().missed(ids);
    for mut registration in registrations {
        let wake = tokio::time::timeout(Duration::from_secs(10), registration.next()).await.expect("one was left out");
        assert_eq!(wake, Wake::Refresh);
    }
}

#[tokio::test]
async fn a_drain_tells_every_seat_and_lets_none_in() {
    let site = Site::new(ROOMY);
    let mut registrations: Vec<(Registration, usize)> =
        site.registrations(102).await.into_iter().map(|registration| (registration, 0)).collect();
    let listen = |registrations: &mut Vec<(Registration, usize)>| {
        for (registration, times) in registrations {
            let all: Vec<_> = std::iter::from_fn(|| told(registration)).collect();
            assert!(all.iter().all(|wake| *wake == Wake::Drain), "{all:?}");
            *times += all.len();
        }
    };
    let started = Instant::now();
    let drain = site.waiters.drain(false);
    tokio::pin!(drain);
    assert!(drain.as_mut().now_or_never().is_none());
    listen(&mut registrations);
    let at_first = registrations.iter().filter(|(_, times)| *times > 0).count();
    assert!(at_first < registrations.len() / 2, "{at_first} at once");
    assert!(site.waiters.is_draining());
    let refused = site.waiters.register(&site.store, random::ticket_id(), address(0)).await;
    assert!(matches!(refused, Err(RegisterError::Draining)));
    // One that was not told yet leaves.
    let index = registrations.iter().position(|(_, times)| *times == 0).unwrap();
    registrations.remove(index);
    drain.await;
    assert!(started.elapsed() >= LIMITS.drain_spread);
    listen(&mut registrations);
    let times: Vec<_> = registrations.iter().map(|(_, times)| *times).collect();
    assert_eq!(times, [1; 101]);
}

#[tokio::test]
async fn a_drain_without_seats_ends() {
    let site = Site::new(ROOMY);
    tokio::time::timeout(Duration::from_secs(10), site.waiters.drain(true)).await.expect("it hangs");
}

#[tokio::test]
async fn little_is_kept_after_a_peak() {
    const SEATS: usize = 20_000;

    let site = Site::new(ROOMY);
    let mut registrations = Vec::new();
    for index in 0..SEATS {
        let address = IpAddr::from(u32::try_from(index).unwrap().to_be_bytes());
        registrations.push(site.waiters.register(&site.store, random::ticket_id(), address).await.unwrap());
    }
    assert!(site.lock().entries.capacity() >= SEATS);
    // The first come last.
    while registrations.pop().is_some() {}
    let kept = {
        let registrations = site.lock();
        [registrations.entries.capacity(), registrations.by_ticket.capacity(), registrations.by_caller.capacity()]
    };
    assert!(kept.iter().all(|&kept| kept <= SMALL * 2), "{kept:?} entries, tickets, addresses");
    // It serves on.
    let id = random::ticket_id();
    let mut registration = site.registration(id).await;
    site.waiters.changes().changed(&id);
    assert_eq!(told(&mut registration), Some(Wake::Refresh));
}

#[tokio::test]
async fn a_turn_that_does_not_come_is_given_up() {
    let site = Site::new(ROOMY);
    let mut permits = Vec::new();
    for _ in 0..MAX_OPENING {
        permits.push(site.waiters.opening_permit().await.unwrap());
    }
    let waiting = site.waiters.opening_permit();
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    permits.pop();
    let turn = waiting.await;
    assert!(turn.is_ok());
    assert!(matches!(site.waiters.opening_permit().await, Err(RegisterError::Opening)));
}

#[tokio::test]
async fn a_network_has_more_seats_than_an_address_and_not_all() {
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
