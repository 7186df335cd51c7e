//! The store's conformance suite: each behaviour is written once and runs on every engine.

mod browser_sessions;
mod codes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use scangate::metrics::Metrics;
use scangate::random;
use scangate::store::memory::MemoryStore;
use scangate::store::redis::{OpenError, RedisSettings, RedisStore, Topology};
use scangate::store::{self, Changes, MAX_VALUE_BYTES, Put, Replaced, Store, StoreError, TransitionError};
use scangate::ticket::{
    CancelReason, Claims, ClientId, Decision, Device, Flow, Freshness, NewTicket, Outcome, Party, Person, Refusal,
    Scanner, State, Subject, Ticket, TicketId, TicketRequest,
};

use crate::support::proxy::Distance;
use crate::support::{Access, Cluster, Redis, Sentinels, cluster, eventually, sentinel};
use browser_sessions::{
    a_session_of_a_browser_lasts_as_long_as_it_is_used,
    a_session_of_a_browser_stays_ended_after_two_hundred_ends_among_uses,
    what_the_store_has_of_a_session_of_a_browser_opens_nothing,
};
use codes::{
    of_two_hundred_uses_of_a_code_one_gets_tokens, two_hundred_uses_of_a_refresh_token_have_one_successor,
    what_the_store_has_of_a_sign_in_opens_nothing,
};

/// Counts the reports of a store.
#[derive(Default)]
struct Recorder {
    changed: Mutex<HashMap<TicketId, usize>>,
}

impl Changes for Recorder {
    fn changed(&self, id: &TicketId) {
        *self.changed.lock().unwrap().entry(*id).or_default() += 1;
    }

    fn missed(&self, ids: Vec<TicketId>) {
        ids.iter().for_each(|id| self.changed(id));
    }
}

impl Recorder {
    fn count(&self, id: &TicketId) -> usize {
        self.changed.lock().unwrap().get(id).copied().unwrap_or(0)
    }

    async fn wait_for(&self, id: &TicketId, count: usize) {
        eventually("a report", || async { (self.count(id) >= count).then_some(()) }).await;
    }
}

/// An open store, with the receiver of its reports and its servers.
struct Engine {
    store: Arc<dyn Store>,
    reports: Arc<Recorder>,
    backend: Backend,
    prefix: &'static str,
    /// Long enough for a few commands.
    short: Duration,
}

/// The servers of an engine. Starting many takes long, so all tests of an engine share them.
enum Backend {
    Memory,
    Redis(Arc<Redis>),
    Sentinels(Arc<Sentinels>),
    Cluster(Arc<Cluster>),
}

impl Backend {
    fn url(&self) -> String {
        match self {
            Self::Memory => unreachable!(),
            Self::Redis(redis) => redis.url(),
            Self::Sentinels(redis) => redis.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    fn primaries(&self) -> Vec<&Redis> {
        match self {
            Self::Memory => Vec::new(),
            Self::Redis(redis) => vec![redis],
            Self::Sentinels(redis) => vec![redis.node(redis.primary())],
            Self::Cluster(cluster) => cluster.primaries().into_iter().map(|index| cluster.node(index)).collect(),
        }
    }
}

impl Engine {
    async fn on(backend: Backend, prefix: &'static str) -> Self {
        let (store, reports) = open_redis(&backend.url(), prefix).await;
        Self { store, reports, backend, prefix, short: SHORT }
    }

    /// Opens the engine, with servers at this distance.
    async fn far(distance: Distance, backend: Backend, prefix: &'static str) -> Self {
        // A few commands, of which the first ones find no connection yet.
        let short = SHORT + distance.at_most(20);
        Self { short, ..Self::on(backend, prefix).await }
    }

    /// The first of its servers.
    fn redis(&self) -> &Redis {
        self.backend.primaries()[0]
    }

    /// Returns the engine's keys and subscribed channels in Redis.
    fn traces(&self) -> Vec<String> {
        let primaries = self.backend.primaries();
        let each = primaries.into_iter().flat_map(|redis| [redis.keys(), redis.run(&["PUBSUB", "CHANNELS"])]);
        let is_ours = |name: &String| name.contains(&format!("{}{{", self.prefix));
        each.flatten().filter(is_ours).collect()
    }
}

async fn memory() -> Engine {
    let reports = Arc::new(Recorder::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::open(1000, Arc::clone(&reports) as _));
    Engine { store, reports, backend: Backend::Memory, prefix: "", short: SHORT }
}

async fn redis() -> Engine {
    Engine::on(Backend::Redis(Arc::new(Redis::start())), "test:").await
}

async fn open_redis(url: &str, prefix: &str) -> (Arc<dyn Store>, Arc<Recorder>) {
    crate::support::crypto();
    let reports = Arc::new(Recorder::default());
    let topology = Topology::parse(url).unwrap();
    let settings = RedisSettings {
        wait_replicas: usize::from(topology.has_replicas()),
        topology,
        prefix: prefix.into(),
        connections: 4,
        timeout: Duration::from_secs(2),
    };
    let open = || RedisStore::open(&settings, Arc::clone(&reports) as _, Arc::new(Metrics::new()));
    let store = match open().await {
        // As the gateway does at startup; on a busy machine, the first attempt may time out.
        Err(OpenError::Unreachable(_)) => open().await,
        opened => opened,
    };
    (Arc::new(store.unwrap()), reports)
}

macro_rules! on_every_engine {
    ($($name:ident)*) => {
        mod on_memory {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::memory().await).await; })*
        }
        mod on_redis {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::redis().await).await; })*
        }

        /// Runs all tests in sequence.
        async fn all_on(engine: impl AsyncFn(&'static str) -> Engine) {
            $(
                // If a test fails, its name is the last line.
                println!(stringify!($name));
                $name(engine(stringify!($name)).await).await;
            )*
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sentinel() {
    let redis = Arc::new(Sentinels::start());
    all_on(async |name| Engine::on(Backend::Sentinels(Arc::clone(&redis)), name).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_cluster() {
    let cluster = Arc::new(Cluster::start());
    all_on(async |name| Engine::on(Backend::Cluster(Arc::clone(&cluster)), name).await).await;
}

/// The same suite with a distant Redis.
mod far {
    use super::*;

    async fn on_redis(round_trip: Duration) {
        let distance = Distance::rough(round_trip);
        let redis = Arc::new(Redis::far(distance, &[], Access::default()));
        all_on(async |name| Engine::far(distance, Backend::Redis(Arc::clone(&redis)), name).await).await;
    }

    async fn on_sentinel(round_trip: Duration) {
        let distance = Distance::rough(round_trip);
        let options = sentinel::Options { distance: Some(distance), ..sentinel::Options::default() };
        let redis = Arc::new(Sentinels::with(options));
        all_on(async |name| Engine::far(distance, Backend::Sentinels(Arc::clone(&redis)), name).await).await;
    }

    async fn on_cluster(round_trip: Duration) {
        let distance = Distance::rough(round_trip);
        let cluster =
            Arc::new(Cluster::with(cluster::Options { distance: Some(distance), ..cluster::Options::default() }));
        all_on(async |name| Engine::far(distance, Backend::Cluster(Arc::clone(&cluster)), name).await).await;
    }

    macro_rules! at {
        ($millis:literal $(, $ignored:meta)?) => {
            #[tokio::test(flavor = "multi_thread")]
            $(#[$ignored])?
            async fn on_redis() {
                super::on_redis(Duration::from_millis($millis)).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            $(#[$ignored])?
            async fn on_sentinel() {
                super::on_sentinel(Duration::from_millis($millis)).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            $(#[$ignored])?
            async fn on_cluster() {
                super::on_cluster(Duration::from_millis($millis)).await;
            }
        };
    }

    mod a_round_trip_of_2_ms {
        use super::*;
        at!(2, ignore = "takes a minute; tests/run --soak");
    }

    mod a_round_trip_of_10_ms {
        use super::*;
        at!(10);
    }

    mod a_round_trip_of_80_ms {
        use super::*;
        at!(80, ignore = "takes minutes; tests/run --soak");
    }
}

on_every_engine! {
    a_ticket_is_read_as_created
    an_unknown_ticket_is_none
    a_replacement_needs_the_stored_revision
    a_replacement_needs_the_stored_stamp
    a_replacement_of_an_expired_ticket_reports_that
    time_advances_and_comes_from_the_store
    a_ticket_is_gone_at_its_deadline
    a_later_deadline_keeps_a_ticket
    an_opening_is_stored_and_prolongs_a_ticket
    every_change_is_reported_to_a_watcher
    the_expiry_is_reported_when_the_ticket_is_read_after_it
    changes_of_an_unwatched_ticket_are_not_reported
    watching_again_after_unwatching_works
    many_watches_at_once_are_all_acknowledged
    two_hundred_parallel_confirms_have_one_winner
    two_hundred_parallel_scanners_have_one_winner
    two_hundred_parallel_claims_get_one_receipt
    random_actions_agree_with_the_state_machine
    nothing_is_left_after_expiry
    a_value_is_read_unchanged_until_it_is_removed
    a_value_expires
    an_existing_value_is_not_replaced_if_absent
    putting_an_equal_value_again_writes_it_again
    one_of_two_hundred_parallel_values_is_put
    a_value_that_is_too_long_is_refused
    a_value_is_replaced_only_if_it_is_the_expected_one
    a_replaced_value_has_its_own_lifetime
    a_removed_or_expired_value_is_not_brought_back
    one_of_two_hundred_parallel_replacements_is_made
    a_value_removed_among_parallel_replacements_stays_removed
    an_end_that_is_put_always_is_kept_from_every_later_replacement
    of_two_hundred_uses_of_a_code_one_gets_tokens
    two_hundred_uses_of_a_refresh_token_have_one_successor
    what_the_store_has_of_a_sign_in_opens_nothing
    a_session_of_a_browser_lasts_as_long_as_it_is_used
    a_session_of_a_browser_stays_ended_after_two_hundred_ends_among_uses
    what_the_store_has_of_a_session_of_a_browser_opens_nothing
}

fn new_ticket(ttl: Duration) -> (NewTicket, Party) {
    let presenter = Party::Browser(random::binding_secret().hash());
    let request = TicketRequest {
        flow: Flow::Login,
        client_id: ClientId("web".into()),
        presenter: presenter.clone(),
        requester: Device { ip: [192, 0, 2, 1].into(), browser: Some("Firefox".into()), os: None },
        matching: None,
        release: vec!["name".into()],
        code: None,
        freshness: Freshness::default(),
        authorization: None,
    };
    (NewTicket { id: random::ticket_id(), request, ttl }, presenter)
}

fn person(name: &str) -> Person {
    Person { subject: Subject(name.into()), name: Some(name.into()), picture: None }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);

async fn created(engine: &Engine, ttl: Duration) -> Ticket {
    engine.store.create(new_ticket(ttl).0).await.unwrap().ticket
}

fn scanned(ticket: &Ticket) -> Ticket {
    Ticket {
        revision: ticket.revision + 1,
        state: State::Scanned { scanner: Scanner::of(Party::Person(person("ada"))) },
        ..ticket.clone()
    }
}

async fn a_ticket_is_read_as_created(engine: Engine) {
    let (new, _) = new_ticket(LONG);
    let made = engine.store.create(new.clone()).await.unwrap();
    assert_eq!(made.ticket, new.at(made.now));
    assert_eq!(made.remaining(), LONG);
    let read = engine.store.get(&made.ticket.id).await.unwrap().unwrap();
    assert_eq!(read.ticket, made.ticket);
}

async fn an_unknown_ticket_is_none(engine: Engine) {
    assert_eq!(engine.store.get(&random::ticket_id()).await.unwrap(), None);
}

async fn a_replacement_needs_the_stored_revision(engine: Engine) {
    let ticket = created(&engine, LONG).await;
    let next = scanned(&ticket);
    let skipped = scanned(&next);
    assert_eq!(engine.store.replace(&next, &skipped).await.unwrap(), Replaced::Conflict);
    assert_eq!(engine.store.replace(&ticket, &next).await.unwrap(), Replaced::Done);
    assert_eq!(engine.store.replace(&ticket, &next).await.unwrap(), Replaced::Conflict);
    assert_eq!(engine.store.get(&ticket.id).await.unwrap().unwrap().ticket, next);
}

async fn a_replacement_needs_the_stored_stamp(engine: Engine) {
    let ticket = created(&engine, LONG).await;
    let scan = |name: &str| {
        let scanner = Scanner::of(Party::Person(person(name)));
        ticket.scan(&scanner, ticket.created_at, engine.short).unwrap().into_ticket()
    };
    let (ada, bob) = (scan("ada"), scan("bob"));
    assert_eq!((ada.revision, ada.deadline), (bob.revision, bob.deadline));
    assert_eq!(engine.store.replace(&ticket, &ada).await.unwrap(), Replaced::Done);
    let confirm = |ticket: &Ticket, name: &str| {
        ticket.confirm(&person(name), Decision::all(&Claims::new()), ticket.created_at, LONG).unwrap().into_ticket()
    };
    // As after a failover that lost Bob's scan, and a scan by Ada.
    assert_eq!(engine.store.replace(&bob, &confirm(&bob, "bob")).await.unwrap(), Replaced::Conflict);
    assert_eq!(engine.store.replace(&ada, &confirm(&ada, "ada")).await.unwrap(), Replaced::Done);
}

async fn a_replacement_of_an_expired_ticket_reports_that(engine: Engine) {
    let ticket = created(&engine, engine.short).await;
    tokio::time::sleep(engine.short + Duration::from_millis(10)).await;
    assert_eq!(engine.store.replace(&ticket, &scanned(&ticket)).await.unwrap(), Replaced::Gone);
}

async fn time_advances_and_comes_from_the_store(engine: Engine) {
    let first = engine.store.create(new_ticket(LONG).0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let second = engine.store.get(&first.ticket.id).await.unwrap().unwrap();
    let moved = second.now.since(first.now);
    assert!((Duration::from_millis(25)..Duration::from_secs(5)).contains(&moved), "{moved:?}");
}

async fn a_ticket_is_gone_at_its_deadline(engine: Engine) {
    let ticket = created(&engine, engine.short).await;
    assert!(engine.store.get(&ticket.id).await.unwrap().is_some());
    tokio::time::sleep(engine.short + Duration::from_millis(2)).await;
    assert_eq!(engine.store.get(&ticket.id).await.unwrap(), None);
}

async fn a_later_deadline_keeps_a_ticket(engine: Engine) {
    let ticket = created(&engine, engine.short).await;
    let next = Ticket { deadline: ticket.deadline + LONG, ..scanned(&ticket) };
    assert_eq!(engine.store.replace(&ticket, &next).await.unwrap(), Replaced::Done);
    tokio::time::sleep(engine.short * 2).await;
    assert_eq!(engine.store.get(&ticket.id).await.unwrap().unwrap().ticket, next);
}

async fn an_opening_is_stored_and_prolongs_a_ticket(engine: Engine) {
    let ticket = created(&engine, engine.short).await;
    let Outcome::Changed(opened) = ticket.open(ticket.created_at, LONG).unwrap() else { panic!("not opened") };
    assert_eq!(engine.store.replace(&ticket, &opened).await.unwrap(), Replaced::Done);
    tokio::time::sleep(engine.short * 2).await;
    assert_eq!(engine.store.get(&ticket.id).await.unwrap().unwrap().ticket, opened);
}

async fn every_change_is_reported_to_a_watcher(engine: Engine) {
    let ticket = created(&engine, LONG).await;
    engine.store.watch(&ticket.id).await.unwrap();
    let next = scanned(&ticket);
    engine.store.replace(&ticket, &next).await.unwrap();
    engine.reports.wait_for(&ticket.id, 1).await;
    let so_far = engine.reports.count(&ticket.id);
    engine.store.replace(&next, &scanned(&next)).await.unwrap();
    engine.reports.wait_for(&ticket.id, so_far + 1).await;
}

async fn the_expiry_is_reported_when_the_ticket_is_read_after_it(engine: Engine) {
    let ticket = created(&engine, engine.short).await;
    engine.store.watch(&ticket.id).await.unwrap();
    tokio::time::sleep(engine.short + Duration::from_millis(2)).await;
    assert_eq!(engine.store.get(&ticket.id).await.unwrap(), None);
    engine.reports.wait_for(&ticket.id, 1).await;
}

async fn changes_of_an_unwatched_ticket_are_not_reported(engine: Engine) {
    let (one, other) = (created(&engine, LONG).await, created(&engine, LONG).await);
    engine.store.watch(&one.id).await.unwrap();
    engine.store.watch(&other.id).await.unwrap();
    engine.store.unwatch(&other.id);
    // An engine may end the watch shortly afterwards.
    let (mut one, mut other) = (one, other);
    let ended = async {
        loop {
            let (so_far, before) = (engine.reports.count(&one.id), engine.reports.count(&other.id));
            let (next_one, next_other) = (scanned(&one), scanned(&other));
            engine.store.replace(&other, &next_other).await.unwrap();
            engine.store.replace(&one, &next_one).await.unwrap();
            (one, other) = (next_one, next_other);
            engine.reports.wait_for(&one.id, so_far + 1).await;
            if engine.reports.count(&other.id) == before {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the watch has not ended");
}

async fn watching_again_after_unwatching_works(engine: Engine) {
    let ticket = created(&engine, LONG).await;
    for _ in 0..20 {
        engine.store.watch(&ticket.id).await.unwrap();
        engine.store.unwatch(&ticket.id);
    }
    engine.store.watch(&ticket.id).await.unwrap();
    engine.store.replace(&ticket, &scanned(&ticket)).await.unwrap();
    engine.reports.wait_for(&ticket.id, 1).await;
}

async fn many_watches_at_once_are_all_acknowledged(engine: Engine) {
    let ids: Vec<TicketId> = (0..1700).map(|_| random::ticket_id()).collect();
    let watches = ids.iter().map(|id| engine.store.watch(id));
    for result in futures_util::future::join_all(watches).await {
        result.unwrap();
    }
}

async fn two_hundred_parallel_confirms_have_one_winner(engine: Engine) {
    let ticket = created(&engine, LONG).await;
    engine.store.replace(&ticket, &scanned(&ticket)).await.unwrap();
    let ada = person("ada");
    let results = parallel(&engine, ticket.id, |_| {
        let ada = ada.clone();
        move |ticket: &Ticket, now| ticket.confirm(&ada, Decision::all(&Claims::new()), now, LONG)
    })
    .await;
    let winners = results.iter().filter(|result| result.as_ref().is_ok_and(|done| done.changed)).count();
    assert_eq!(winners, 1);
    assert!(results.iter().all(|result| result.as_ref().is_ok_and(|done| done.reading.ticket.revision == 3)));
}

async fn two_hundred_parallel_scanners_have_one_winner(engine: Engine) {
    let ticket = created(&engine, LONG).await;
    let results = parallel(&engine, ticket.id, |number| {
        let scanner = Scanner::of(Party::Person(person(&number.to_string())));
        move |ticket: &Ticket, now| ticket.scan(&scanner, now, LONG)
    })
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|result| matches!(result, Err(TransitionError::Refused(Refusal::AlreadyScanned)))));
}

async fn two_hundred_parallel_claims_get_one_receipt(engine: Engine) {
    let (new, presenter) = new_ticket(LONG);
    let ticket = engine.store.create(new).await.unwrap().ticket;
    engine.store.replace(&ticket, &scanned(&ticket)).await.unwrap();
    let ada = person("ada");
    store::transition(&engine.store, &ticket.id, |ticket, now| {
        ticket.confirm(&ada, Decision::all(&Claims::new()), now, LONG)
    })
    .await
    .unwrap();
    let results = parallel(&engine, ticket.id, |number| {
        let presenter = presenter.clone();
        move |ticket: &Ticket, now| ticket.claim(&presenter, &number.to_string(), LONG, now)
    })
    .await;
    let mut jtis: Vec<String> = results
        .into_iter()
        .map(|result| match result.unwrap().reading.ticket.state {
            State::Claimed { receipt, .. } => receipt.jti,
            other => panic!("{other:?}"),
        })
        .collect();
    jtis.dedup();
    assert_eq!(jtis.len(), 1);
}

/// Runs two hundred concurrent transitions of one ticket.
async fn parallel<S>(
    engine: &Engine,
    id: TicketId,
    step: impl Fn(usize) -> S,
) -> Vec<Result<store::Transition, TransitionError>>
where
    S: Fn(&Ticket, scangate::ticket::Timestamp) -> Result<Outcome, Refusal> + Send + Sync + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (store, step) = (Arc::clone(&engine.store), step(number));
        tasks.spawn(async move { store::transition(&store, &id, step).await });
    }
    tasks.join_all().await
}

/// An action of a party.
#[derive(Debug, Clone, Copy)]
enum Action {
    Scan(u8),
    Confirm(u8),
    Decline(u8),
    Close(bool),
    Claim(bool),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (0..3_u8).prop_map(Action::Scan),
        (0..3_u8).prop_map(Action::Confirm),
        (0..3_u8).prop_map(Action::Decline),
        any::<bool>().prop_map(Action::Close),
        any::<bool>().prop_map(Action::Claim),
    ]
}

impl Action {
    fn apply(self, ticket: &Ticket, presenter: &Party, now: scangate::ticket::Timestamp) -> Result<Outcome, Refusal> {
        let numbered = |number: u8| person(&format!("person {number}"));
        let browser = |is_right: bool| {
            if is_right { presenter.clone() } else { Party::Browser(random::binding_secret().hash()) }
        };
        match self {
            Self::Scan(number) => ticket.scan(&Scanner::of(Party::Person(numbered(number))), now, LONG),
            Self::Confirm(number) => ticket.confirm(&numbered(number), Decision::all(&Claims::new()), now, LONG),
            Self::Decline(number) => ticket.cancel(&Party::Person(numbered(number)), CancelReason::Declined, now),
            Self::Close(is_right) => ticket.cancel(&browser(is_right), CancelReason::Closed, now),
            Self::Claim(is_right) => ticket.claim(&browser(is_right), "jti", LONG, now),
        }
    }
}

/// Applies random actions to a stored ticket and to a copy; both must be equal after every action.
async fn random_actions_agree_with_the_state_machine(engine: Engine) {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::default());
    let actions = proptest::collection::vec(action(), 1..12);
    let all = (0..60).map(|_| actions.new_tree(&mut runner).unwrap().current()).map(async |actions| {
        let (new, presenter) = new_ticket(LONG);
        let mut model = engine.store.create(new).await.unwrap().ticket;
        for action in &actions {
            let stored =
                store::transition(&engine.store, &model.id, |ticket, now| action.apply(ticket, &presenter, now)).await;
            match stored {
                Ok(stored) => {
                    let expected = action.apply(&model, &presenter, stored.reading.now).unwrap().into_ticket();
                    assert_eq!(stored.reading.ticket, expected, "{action:?} of {actions:?}");
                    assert_eq!(stored.changed, expected.revision == model.revision + 1);
                    model = expected;
                }
                Err(TransitionError::Refused(refusal)) => {
                    assert_eq!(
                        action.apply(&model, &presenter, model.created_at),
                        Err(refusal),
                        "{action:?} of {actions:?}"
                    );
                }
                Err(other) => panic!("{other}"),
            }
            assert_eq!(engine.store.get(&model.id).await.unwrap().unwrap().ticket, model);
        }
    });
    futures_util::future::join_all(all).await;
}

async fn nothing_is_left_after_expiry(engine: Engine) {
    let ticket = created(&engine, engine.short).await;
    engine.store.watch(&ticket.id).await.unwrap();
    let next = Ticket { deadline: ticket.deadline + engine.short, ..scanned(&ticket) };
    engine.store.replace(&ticket, &next).await.unwrap();
    tokio::time::sleep(engine.short * 2 + Duration::from_millis(5)).await;
    assert_eq!(engine.store.get(&ticket.id).await.unwrap(), None);
    engine.store.unwatch(&ticket.id);
    eventually("the end of keys and subscription", || async { engine.traces().is_empty().then_some(()) }).await;
}

async fn a_value_is_read_unchanged_until_it_is_removed(engine: Engine) {
    let Engine { store, .. } = &engine;
    let (name, other) = ("wechat:waits:oé\n{x}", "wechat:waits:oé\n{y}");
    assert_eq!(store.value(name).await.unwrap(), None);
    store.remove_value(name).await.unwrap();
    for value in ["first", "", "数字 \0 \"42\"", &"x".repeat(MAX_VALUE_BYTES)] {
        assert!(store.put_value(name, value, LONG, Put::Always).await.unwrap());
        assert_eq!(store.value(name).await.unwrap().as_deref(), Some(value));
    }
    assert_eq!(store.value(other).await.unwrap(), None);
    let is_revealing = |key: &String| key.contains("waits") || !key.ends_with(":value");
    assert_eq!(engine.traces().into_iter().find(is_revealing), None, "a key shows a name");
    store.remove_value(name).await.unwrap();
    assert_eq!(store.value(name).await.unwrap(), None);
    assert_eq!(engine.traces(), [""; 0]);
}

async fn a_value_expires(engine: Engine) {
    let Engine { store, .. } = &engine;
    assert!(store.put_value("a", "1", engine.short, Put::Always).await.unwrap());
    assert_eq!(store.value("a").await.unwrap().as_deref(), Some("1"));
    assert!(store.put_value("b", "1", LONG, Put::Always).await.unwrap());
    // A new value has its own lifetime, whether that is longer or shorter.
    assert!(store.put_value("b", "2", engine.short, Put::Always).await.unwrap());
    assert!(store.put_value("c", "1", engine.short, Put::Always).await.unwrap());
    assert!(store.put_value("c", "2", LONG, Put::Always).await.unwrap());
    tokio::time::sleep(engine.short + Duration::from_millis(10)).await;
    assert_eq!(store.value("a").await.unwrap(), None);
    assert_eq!(store.value("b").await.unwrap(), None);
    assert_eq!(store.value("c").await.unwrap().as_deref(), Some("2"));
    assert!(store.put_value("a", "3", LONG, Put::IfAbsent).await.unwrap(), "an expired value is absent");
    assert_eq!(store.value("a").await.unwrap().as_deref(), Some("3"));
}

async fn an_existing_value_is_not_replaced_if_absent(engine: Engine) {
    let Engine { store, .. } = &engine;
    assert!(store.put_value("lock", "mine", LONG, Put::IfAbsent).await.unwrap());
    assert!(!store.put_value("lock", "yours", LONG, Put::IfAbsent).await.unwrap());
    assert_eq!(store.value("lock").await.unwrap().as_deref(), Some("mine"));
    // As after a connection that broke before the first reply.
    assert!(store.put_value("lock", "mine", LONG, Put::IfAbsent).await.unwrap());
    store.remove_value("lock").await.unwrap();
    assert!(store.put_value("lock", "yours", LONG, Put::IfAbsent).await.unwrap());
}

/// A repeated call may be the one that is acknowledged: it must write, so that there is a write for the replicas to
/// acknowledge.
async fn putting_an_equal_value_again_writes_it_again(engine: Engine) {
    let Engine { store, .. } = &engine;
    assert!(store.put_value("code", "mine", engine.short, Put::IfAbsent).await.unwrap());
    assert!(store.put_value("code", "mine", LONG, Put::IfAbsent).await.unwrap());
    assert!(store.put_value("other", "mine", engine.short, Put::IfAbsent).await.unwrap());
    assert!(!store.put_value("other", "yours", LONG, Put::IfAbsent).await.unwrap());
    tokio::time::sleep(engine.short + Duration::from_millis(10)).await;
    assert_eq!(store.value("code").await.unwrap().as_deref(), Some("mine"));
    assert_eq!(store.value("other").await.unwrap(), None, "a refused value changes nothing");
}

async fn one_of_two_hundred_parallel_values_is_put(engine: Engine) {
    let store = &engine.store;
    let puts = (0..200).map(async |number| {
        store.put_value("lock", &number.to_string(), LONG, Put::IfAbsent).await.unwrap().then_some(number.to_string())
    });
    let won: Vec<_> = futures_util::future::join_all(puts).await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1, "{won:?}");
    assert_eq!(store.value("lock").await.unwrap().as_ref(), won.first());
}

async fn a_value_that_is_too_long_is_refused(engine: Engine) {
    let long = "x".repeat(MAX_VALUE_BYTES + 1);
    let refused = engine.store.put_value("long", &long, LONG, Put::Always).await;
    assert!(matches!(refused, Err(StoreError::Full(_))));
    assert_eq!(engine.store.value("long").await.unwrap(), None);
    assert!(engine.store.put_value("long", "short", LONG, Put::Always).await.unwrap());
    let refused = engine.store.replace_value("long", "short", &long, LONG).await;
    assert!(matches!(refused, Err(StoreError::Full(_))));
    assert_eq!(engine.store.value("long").await.unwrap().as_deref(), Some("short"));
}

async fn a_value_is_replaced_only_if_it_is_the_expected_one(engine: Engine) {
    let Engine { store, .. } = &engine;
    assert!(!store.replace_value("session", "1", "2", LONG).await.unwrap());
    assert_eq!(store.value("session").await.unwrap(), None);
    assert!(store.put_value("session", "1", LONG, Put::Always).await.unwrap());
    for other in ["", "11", "1 ", "数字"] {
        assert!(!store.replace_value("session", other, "2", LONG).await.unwrap(), "{other:?}");
    }
    assert_eq!(store.value("session").await.unwrap().as_deref(), Some("1"));
    assert!(store.replace_value("session", "1", "数字 \0 \"42\"", LONG).await.unwrap());
    assert_eq!(store.value("session").await.unwrap().as_deref(), Some("数字 \0 \"42\""));
    // As after a connection that broke before the first reply.
    assert!(store.replace_value("session", "1", "数字 \0 \"42\"", LONG).await.unwrap());
    assert!(!store.replace_value("session", "1", "3", LONG).await.unwrap());
    // An empty value is a value.
    assert!(store.replace_value("session", "数字 \0 \"42\"", "", LONG).await.unwrap());
    assert!(store.replace_value("session", "", "4", LONG).await.unwrap());
    assert_eq!(store.value("session").await.unwrap().as_deref(), Some("4"));
}

async fn a_replaced_value_has_its_own_lifetime(engine: Engine) {
    let Engine { store, .. } = &engine;
    assert!(store.put_value("longer", "1", engine.short, Put::Always).await.unwrap());
    assert!(store.replace_value("longer", "1", "2", LONG).await.unwrap());
    assert!(store.put_value("shorter", "1", LONG, Put::Always).await.unwrap());
    assert!(store.replace_value("shorter", "1", "2", engine.short).await.unwrap());
    tokio::time::sleep(engine.short + Duration::from_millis(10)).await;
    assert_eq!(store.value("longer").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.value("shorter").await.unwrap(), None);
}

async fn a_removed_or_expired_value_is_not_brought_back(engine: Engine) {
    let Engine { store, .. } = &engine;
    assert!(store.put_value("removed", "1", LONG, Put::Always).await.unwrap());
    store.remove_value("removed").await.unwrap();
    assert!(store.put_value("expired", "1", engine.short, Put::Always).await.unwrap());
    tokio::time::sleep(engine.short + Duration::from_millis(10)).await;
    for name in ["removed", "expired"] {
        assert!(!store.replace_value(name, "1", "2", LONG).await.unwrap(), "{name}");
        assert_eq!(store.value(name).await.unwrap(), None, "{name}");
    }
    assert_eq!(engine.traces(), [""; 0]);
}

async fn one_of_two_hundred_parallel_replacements_is_made(engine: Engine) {
    let store = &engine.store;
    assert!(store.put_value("session", "first", LONG, Put::Always).await.unwrap());
    let all = (0..200).map(async |number| {
        let next = number.to_string();
        store.replace_value("session", "first", &next, LONG).await.unwrap().then_some(next)
    });
    let won: Vec<_> = futures_util::future::join_all(all).await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1, "{won:?}");
    assert_eq!(store.value("session").await.unwrap().as_ref(), won.first());
}

async fn a_value_removed_among_parallel_replacements_stays_removed(engine: Engine) {
    let store = &engine.store;
    for round in 0..10 {
        assert!(store.put_value("session", "0", LONG, Put::Always).await.unwrap());
        // Each caller replaces the value that it has read, as a session is touched.
        let touches = (1..=20).map(async |number| {
            let Some(current) = store.value("session").await.unwrap() else { return };
            store.replace_value("session", &current, &number.to_string(), LONG).await.unwrap();
        });
        let (_, removed) = tokio::join!(futures_util::future::join_all(touches), store.remove_value("session"));
        removed.unwrap();
        assert_eq!(store.value("session").await.unwrap(), None, "round {round}");
    }
}

async fn an_end_that_is_put_always_is_kept_from_every_later_replacement(engine: Engine) {
    let store = &engine.store;
    assert!(store.put_value("grant", "live", LONG, Put::IfAbsent).await.unwrap());
    let rotations = (0..20).map(async |number| {
        let next = format!("live {number}");
        store.replace_value("grant", "live", &next, LONG).await.unwrap();
    });
    let (_, ended) =
        tokio::join!(futures_util::future::join_all(rotations), store.put_value("grant", "ended", LONG, Put::Always));
    assert!(ended.unwrap());
    assert!(!store.put_value("grant", "live", LONG, Put::IfAbsent).await.unwrap());
    assert!(!store.replace_value("grant", "live", "live again", LONG).await.unwrap());
    assert_eq!(store.value("grant").await.unwrap().as_deref(), Some("ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_store_refuses_tickets_until_some_expire() {
    let store = MemoryStore::open(2, Arc::new(Recorder::default()));
    for _ in 0..2 {
        store.create(new_ticket(SHORT).0).await.unwrap();
    }
    assert!(matches!(store.create(new_ticket(SHORT).0).await, Err(StoreError::Full(_))));
    eventually("room", || async { store.is_empty().then_some(()) }).await;
    store.create(new_ticket(SHORT).0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_refuses_tickets_and_keeps_existing_ones() {
    let engine = redis().await;
    let ticket = created(&engine, LONG).await;
    engine.redis().run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(matches!(engine.store.create(new_ticket(LONG).0).await, Err(StoreError::Full(_))));
    assert!(engine.store.get(&ticket.id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_ticket_is_corrupt_and_not_quoted() {
    let engine = redis().await;
    let ticket = created(&engine, LONG).await;
    let key = format!("test:{{{}}}", ticket.id);
    engine.redis().run::<()>(&["HSET", &key, "state", "{\"secret\":1}"]);
    let error = engine.store.get(&ticket.id).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)));
    assert!(!error.to_string().contains("secret"), "{error}");
}

/// Before Redis 7.2, the clock advances while a script runs. The test stops Redis again and again, so that the clock
/// advances between any two commands of a script.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_while_it_is_set_leaves_no_key() {
    let engine = redis().await;
    let pid: u32 = {
        let info: String = engine.redis().run(&["INFO", "server"]);
        info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap().trim().parse().unwrap()
    };
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let interruptions = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
                std::thread::sleep(Duration::from_millis(2));
                rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
                std::thread::sleep(Duration::from_micros(rand::random_range(10..300)));
            }
        }
    });
    for _ in 0..800 {
        let ticket = created(&engine, LONG).await;
        let now = engine.store.get(&ticket.id).await.unwrap().unwrap().now;
        // Some of these lie in the future when Redis compares them, and in the past when it sets them.
        for millis in [2, 4, 8] {
            let deadline = now + Duration::from_millis(millis);
            let _ = engine.store.replace(&ticket, &Ticket { deadline, ..scanned(&ticket) }).await;
        }
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    interruptions.join().unwrap();
    let endless = || {
        let keys = engine.redis().keys();
        keys.into_iter().find(|key| engine.redis().run::<i64>(&["PTTL", key]) == -1)
    };
    assert_eq!(endless(), None, "a key has no expiry");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_on_one_redis_notify_each_other() {
    let engine = redis().await;
    let (other, reports) = open_redis(&engine.backend.url(), engine.prefix).await;
    let ticket = created(&engine, LONG).await;
    other.watch(&ticket.id).await.unwrap();
    engine.store.replace(&ticket, &scanned(&ticket)).await.unwrap();
    reports.wait_for(&ticket.id, 1).await;
    assert_eq!(other.get(&ticket.id).await.unwrap().unwrap().ticket.revision, 2);
}

mod flags {
    use super::*;

    async fn open(redis: &Redis, login: &str) -> Result<RedisStore, OpenError> {
        open_waiting(redis, login, 0).await
    }

    async fn open_waiting(redis: &Redis, login: &str, wait_replicas: usize) -> Result<RedisStore, OpenError> {
        let url = redis.url().replace("redis://", &format!("redis://{login}"));
        open_url(&url, wait_replicas).await
    }

    async fn open_url(url: &str, wait_replicas: usize) -> Result<RedisStore, OpenError> {
        crate::support::crypto();
        let settings = RedisSettings {
            topology: Topology::parse(url).unwrap(),
            prefix: "test:".into(),
            connections: 2,
            wait_replicas,
            timeout: Duration::from_secs(2),
        };
        let open = || RedisStore::open(&settings, Arc::new(Recorder::default()), Arc::new(Metrics::new()));
        match open().await {
            // As the gateway does at startup; on a busy machine, the first attempt may time out.
            Err(OpenError::Unreachable(_)) => open().await,
            opened => opened,
        }
    }

    fn flags(redis: &Redis) -> String {
        redis.run::<Vec<String>>(&["CONFIG", "GET", "notify-keyspace-events"]).remove(1)
    }

    /// Creates a user as in managed Redis: with every right except `CONFIG`.
    fn without_config(redis: &Redis) {
        redis.run::<()>(&["ACL", "SETUSER", "app", "on", ">app", "~*", "&*", "+@all", "-config"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn existing_flags_are_kept() {
        let redis = Redis::with(&["--notify-keyspace-events", "El"]);
        open(&redis, "").await.unwrap();
        let mut now: Vec<char> = flags(&redis).chars().collect();
        now.sort_unstable();
        assert_eq!(now.iter().collect::<String>(), "EKeghlx");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_config_existing_flags_are_found_by_a_probe() {
        let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
        without_config(&redis);
        open(&redis, "app:app@").await.unwrap();
        assert_eq!(redis.keys(), Vec::<String>::new());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_missing_right_to_subscribe_is_reported() {
        let redis = Redis::start();
        redis.run::<()>(&["ACL", "SETUSER", "app", "on", ">app", "~*", "resetchannels", "+@all"]);
        let error = open(&redis, "app:app@").await.err().unwrap();
        assert!(matches!(error, OpenError::Flags(_)) && error.to_string().contains("rights"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_wrong_password_fails_at_once() {
        let redis = Redis::start();
        let error = open(&redis, "app:wrong@").await.err().unwrap();
        assert!(matches!(error, OpenError::Flags(_)), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_config_missing_flags_are_reported_with_the_setting() {
        let redis = Redis::start();
        without_config(&redis);
        let error = open(&redis, "app:app@").await.err().unwrap().to_string();
        assert!(error.contains("notify-keyspace-events Kghxe"), "{error}");
    }

    /// Round-trip times from two racks to two continents. The probe's first key lives for 20 ms, which is shorter than
    /// some of these and longer than others.
    const ROUND_TRIPS: [Duration; 4] =
        [Duration::from_micros(500), Duration::from_millis(2), Duration::from_millis(10), Duration::from_millis(80)];

    #[tokio::test(flavor = "multi_thread")]
    async fn without_config_flags_are_probed_at_any_round_trip_time() {
        for round_trip in ROUND_TRIPS {
            let redis = Redis::far(Distance::rough(round_trip), &["--notify-keyspace-events", "KA"], Access::default());
            without_config(&redis);
            open(&redis, "app:app@").await.unwrap_or_else(|error| panic!("{round_trip:?} away: {error}"));
            eventually("the end of the key", || async { redis.keys().is_empty().then_some(()) }).await;
        }
    }

    /// Some of the reports, or none, are not taken for all of them, at any round-trip time.
    #[tokio::test(flavor = "multi_thread")]
    async fn without_config_every_missing_flag_is_found_at_any_round_trip_time() {
        let distances = [Distance::default(), Distance::rough(Duration::from_millis(10))];
        let lacking = ["", "ghxe", "Eghxe", "Khxe", "Kgxe", "Kghe"];
        let all = distances.iter().flat_map(|&distance| lacking.iter().map(move |&flags| (distance, flags)));
        let tried = all.map(async |(distance, flags)| {
            let redis = Redis::far(distance, &["--notify-keyspace-events", flags], Access::default());
            without_config(&redis);
            let error = open(&redis, "app:app@").await.err().unwrap_or_else(|| panic!("{flags:?} are accepted"));
            assert!(matches!(error, OpenError::Flags(_)), "{flags:?} from {distance:?}: {error}");
            assert!(error.to_string().contains("notify-keyspace-events Kghxe"), "{flags:?} from {distance:?}: {error}");
        });
        futures_util::future::join_all(tried).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_config_each_node_of_a_cluster_is_probed() {
        let distance = Some(Distance::rough(Duration::from_millis(10)));
        let redis = &["--notify-keyspace-events", "KA"];
        let cluster = Cluster::with(cluster::Options { distance, redis, ..cluster::Options::default() });
        for node in 0..6 {
            cluster.node(node).run::<()>(&["ACL", "SETUSER", "default", "-config"]);
        }
        open_url(&cluster.url(), 1).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn missing_rights_are_reported_at_startup() {
        let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
        let rights = ["evalsha", "time", "hmget", "hget", "hset", "pexpireat", "del", "subscribe", "unsubscribe"];
        for (number, right) in rights.iter().enumerate() {
            let user = format!("u{number}");
            redis.run::<()>(&["ACL", "SETUSER", &user, "on", ">pw", "~*", "&*", "+@all", &format!("-{right}")]);
            let error = open(&redis, &format!("{user}:pw@")).await.err().unwrap_or_else(|| panic!("without {right}"));
            assert!(matches!(error, OpenError::Flags(_)), "without {right}: {error}");
            assert!(error.to_string().to_lowercase().contains(right), "without {right}: {error}");
            assert!(error.to_string().contains("rights"), "without {right}: {error}");
        }
        for (number, right) in ["wait", "role"].iter().enumerate() {
            let user = format!("w{number}");
            redis.run::<()>(&["ACL", "SETUSER", &user, "on", ">pw", "~*", "&*", "+@all", &format!("-{right}")]);
            let error = open_waiting(&redis, &format!("{user}:pw@"), 1).await.err().unwrap().to_string();
            assert!(error.contains(right) && error.contains("rights"), "{error}");
            open(&redis, &format!("{user}:pw@")).await.unwrap_or_else(|error| panic!("without {right}: {error}"));
        }
        redis.run::<()>(&["ACL", "SETUSER", "keys", "on", ">pw", "~other:*", "&*", "+@all"]);
        let error = open(&redis, "keys:pw@").await.err().unwrap();
        assert!(matches!(error, OpenError::Flags(_)) && error.to_string().contains("key"), "{error}");
        assert_eq!(redis.keys(), [""; 0]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn unneeded_rights_may_be_missing() {
        let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
        let forbidden = ["-client", "-info", "-config", "-role", "-wait", "-publish", "-cluster", "-multi", "-hello"];
        let mut words = vec!["ACL", "SETUSER", "app", "on", ">app", "~test:*", "&__keyspace@0__:test:*", "+@all"];
        words.extend(forbidden);
        redis.run::<()>(&words);
        open(&redis, "app:app@").await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn servers_that_refuse_to_name_the_primary_are_reported_at_startup() {
        let sentinels = Sentinels::start();
        for number in 0..3 {
            sentinels.sentinel(number).run::<()>(&["ACL", "SETUSER", "default", "-sentinel|master"]);
        }
        let error = open_url(&sentinels.url(), 1).await.err().unwrap();
        assert!(matches!(error, OpenError::Flags(_)) && error.to_string().contains("sentinel"), "{error}");
        let cluster = Cluster::start();
        for node in 0..6 {
            cluster.node(node).run::<()>(&["ACL", "SETUSER", "default", "-cluster|slots"]);
        }
        let error = open_url(&cluster.url(), 1).await.err().unwrap();
        assert!(matches!(error, OpenError::Flags(_)) && error.to_string().contains("cluster"), "{error}");
    }
}
