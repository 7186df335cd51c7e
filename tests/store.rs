//! The store's conformance suite: each behaviour is written once and runs on every engine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use scangate::metrics::Metrics;
use scangate::store::memory::MemoryStore;
use scangate::store::redis::{RedisSettings, RedisStore, Topology};
use scangate::store::{self, Changes, Replaced, Store, StoreError, TransitionError};
use scangate::ticket::{
    BindingSecret, CancelReason, Claims, ClientId, Decision, Flow, NewTicket, Party, Person, Refusal, Requester,
    Scanner, State, Step, Subject, Ticket, TicketId, TicketRequest,
};

use crate::support::{Cluster, Redis, Sentinels, eventually};

/// Counts what a store reports.
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

/// An open store with what it reports to, and what is behind it.
struct Engine {
    store: Arc<dyn Store>,
    reports: Arc<Recorder>,
    behind: Behind,
    prefix: &'static str,
}

/// What keeps an engine's tickets. Many servers take long to start, so all tests of an engine share them.
enum Behind {
    Memory,
    Redis(Redis),
    Sentinels(Arc<Sentinels>),
    Cluster(Arc<Cluster>),
}

impl Behind {
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
    async fn on(behind: Behind, prefix: &'static str) -> Self {
        let (store, reports) = open_redis(&behind.url(), prefix).await;
        Self { store, reports, behind, prefix }
    }

    /// The one server behind it.
    fn redis(&self) -> &Redis {
        self.behind.primaries()[0]
    }

    /// What stands in Redis of this engine's tickets: keys and, by their names, channels that it is subscribed to.
    fn traces(&self) -> Vec<String> {
        let primaries = self.behind.primaries();
        let each = primaries.into_iter().flat_map(|redis| [redis.keys(), redis.run(&["PUBSUB", "CHANNELS"])]);
        let is_ours = |name: &String| name.contains(&format!("{}{{", self.prefix));
        each.flatten().filter(is_ours).collect()
    }
}

async fn memory() -> Engine {
    let reports = Arc::new(Recorder::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::open(1000, Arc::clone(&reports) as _));
    Engine { store, reports, behind: Behind::Memory, prefix: "" }
}

async fn redis() -> Engine {
    Engine::on(Behind::Redis(Redis::start()), "test:").await
}

async fn open_redis(url: &str, prefix: &str) -> (Arc<dyn Store>, Arc<Recorder>) {
    crate::support::crypto();
    let reports = Arc::new(Recorder::default());
    let topology = Topology::parse(url).unwrap();
    let settings = RedisSettings {
        wait_replicas: usize::from(topology.has_replicas()),
        topology,
        prefix: prefix.into(),
        lanes: 4,
        timeout: Duration::from_secs(2),
    };
    let store = RedisStore::open(&settings, Arc::clone(&reports) as _, Arc::new(Metrics::new())).await.unwrap();
    (Arc::new(store), reports)
}

macro_rules! on_every_engine {
    ($($name:ident)*) => {
        mod on_memory {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::memory().await).await; })*
        }
        mod on_redis {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::redis().await).await; })*
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn on_sentinel() {
            let redis = Arc::new(Sentinels::start());
            $(
                // Shown if one fails: it is the last.
                println!(stringify!($name));
                $name(Engine::on(Behind::Sentinels(Arc::clone(&redis)), stringify!($name)).await).await;
            )*
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn on_cluster() {
            let cluster = Arc::new(Cluster::start());
            $(
                println!(stringify!($name));
                $name(Engine::on(Behind::Cluster(Arc::clone(&cluster)), stringify!($name)).await).await;
            )*
        }
    };
}

on_every_engine! {
    a_ticket_is_read_as_it_was_made
    an_unknown_ticket_is_none
    a_replacement_needs_the_stored_revision
    a_replacement_needs_the_very_change_that_was_read
    a_replacement_of_a_ticket_that_is_gone_says_so
    time_moves_on_and_is_the_stores
    a_ticket_is_gone_at_its_deadline
    a_later_deadline_keeps_a_ticket
    a_watcher_learns_of_every_change
    a_watcher_learns_of_the_expiry_when_the_ticket_is_read_after_it
    who_does_not_watch_is_not_told
    watching_again_after_unwatching_works
    many_watches_at_once_are_all_acknowledged
    two_hundred_parallel_confirms_have_one_winner
    two_hundred_parallel_scanners_have_one_winner
    two_hundred_parallel_claims_get_one_receipt
    random_actions_lead_where_the_state_machine_says
    nothing_is_left_after_expiry
}

fn new_ticket(ttl: Duration) -> (NewTicket, Party) {
    let presenter = Party::Browser(BindingSecret::random().hash());
    let request = TicketRequest {
        flow: Flow::Login,
        client_id: ClientId("web".into()),
        presenter: presenter.clone(),
        requester: Requester { ip: [192, 0, 2, 1].into(), browser: Some("Firefox".into()), os: None },
        return_to: Some("https://app.example.com/".into()),
        matching: None,
        release: vec!["name".into()],
        code: None,
    };
    (NewTicket { id: TicketId::random(), request, ttl }, presenter)
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

async fn a_ticket_is_read_as_it_was_made(engine: Engine) {
    let (new, _) = new_ticket(LONG);
    let made = engine.store.create(new.clone()).await.unwrap();
    assert_eq!(made.ticket, new.at(made.now));
    assert_eq!(made.remaining(), LONG);
    let read = engine.store.get(&made.ticket.id).await.unwrap().unwrap();
    assert_eq!(read.ticket, made.ticket);
}

async fn an_unknown_ticket_is_none(engine: Engine) {
    assert_eq!(engine.store.get(&TicketId::random()).await.unwrap(), None);
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

async fn a_replacement_needs_the_very_change_that_was_read(engine: Engine) {
    let ticket = created(&engine, LONG).await;
    let scan = |name: &str| {
        let scanner = Scanner::of(Party::Person(person(name)));
        ticket.scan(&scanner, ticket.created_at, SHORT).unwrap().into_ticket()
    };
    let (ada, bob) = (scan("ada"), scan("bob"));
    assert_eq!((ada.revision, ada.deadline), (bob.revision, bob.deadline));
    assert_eq!(engine.store.replace(&ticket, &ada).await.unwrap(), Replaced::Done);
    let confirm = |ticket: &Ticket, name: &str| {
        ticket.confirm(&person(name), Decision::all(&Claims::new()), ticket.created_at, LONG).unwrap().into_ticket()
    };
    // As if a failover had taken Bob's scan back, and Ada had scanned.
    assert_eq!(engine.store.replace(&bob, &confirm(&bob, "bob")).await.unwrap(), Replaced::Conflict);
    assert_eq!(engine.store.replace(&ada, &confirm(&ada, "ada")).await.unwrap(), Replaced::Done);
}

async fn a_replacement_of_a_ticket_that_is_gone_says_so(engine: Engine) {
    let ticket = created(&engine, SHORT).await;
    tokio::time::sleep(SHORT + Duration::from_millis(10)).await;
    assert_eq!(engine.store.replace(&ticket, &scanned(&ticket)).await.unwrap(), Replaced::Gone);
}

async fn time_moves_on_and_is_the_stores(engine: Engine) {
    let first = engine.store.create(new_ticket(LONG).0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let second = engine.store.get(&first.ticket.id).await.unwrap().unwrap();
    let moved = second.now.since(first.now);
    assert!((Duration::from_millis(25)..Duration::from_secs(5)).contains(&moved), "{moved:?}");
}

async fn a_ticket_is_gone_at_its_deadline(engine: Engine) {
    let ticket = created(&engine, SHORT).await;
    assert!(engine.store.get(&ticket.id).await.unwrap().is_some());
    tokio::time::sleep(SHORT + Duration::from_millis(2)).await;
    assert_eq!(engine.store.get(&ticket.id).await.unwrap(), None);
}

async fn a_later_deadline_keeps_a_ticket(engine: Engine) {
    let ticket = created(&engine, SHORT).await;
    let next = Ticket { deadline: ticket.deadline + LONG, ..scanned(&ticket) };
    assert_eq!(engine.store.replace(&ticket, &next).await.unwrap(), Replaced::Done);
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(engine.store.get(&ticket.id).await.unwrap().unwrap().ticket, next);
}

async fn a_watcher_learns_of_every_change(engine: Engine) {
    let ticket = created(&engine, LONG).await;
    engine.store.watch(&ticket.id).await.unwrap();
    let next = scanned(&ticket);
    engine.store.replace(&ticket, &next).await.unwrap();
    engine.reports.wait_for(&ticket.id, 1).await;
    let so_far = engine.reports.count(&ticket.id);
    engine.store.replace(&next, &scanned(&next)).await.unwrap();
    engine.reports.wait_for(&ticket.id, so_far + 1).await;
}

async fn a_watcher_learns_of_the_expiry_when_the_ticket_is_read_after_it(engine: Engine) {
    let ticket = created(&engine, SHORT).await;
    engine.store.watch(&ticket.id).await.unwrap();
    tokio::time::sleep(SHORT + Duration::from_millis(2)).await;
    assert_eq!(engine.store.get(&ticket.id).await.unwrap(), None);
    engine.reports.wait_for(&ticket.id, 1).await;
}

async fn who_does_not_watch_is_not_told(engine: Engine) {
    let (one, other) = (created(&engine, LONG).await, created(&engine, LONG).await);
    engine.store.watch(&one.id).await.unwrap();
    engine.store.watch(&other.id).await.unwrap();
    engine.store.unwatch(&other.id);
    // An engine may end the watch a little later, but it ends it.
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
    let ids: Vec<TicketId> = (0..1700).map(|_| TicketId::random()).collect();
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

/// Runs two hundred transitions of one ticket at once.
async fn parallel<S>(
    engine: &Engine,
    id: TicketId,
    step: impl Fn(usize) -> S,
) -> Vec<Result<store::Transition, TransitionError>>
where
    S: Fn(&Ticket, scangate::ticket::Timestamp) -> Result<Step, Refusal> + Send + Sync + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (store, step) = (Arc::clone(&engine.store), step(number));
        tasks.spawn(async move { store::transition(&store, &id, step).await });
    }
    tasks.join_all().await
}

/// One action of one of the parties.
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
    fn apply(self, ticket: &Ticket, presenter: &Party, now: scangate::ticket::Timestamp) -> Result<Step, Refusal> {
        let someone = |number: u8| person(&format!("person {number}"));
        let browser = |is_right: bool| {
            if is_right { presenter.clone() } else { Party::Browser(BindingSecret::random().hash()) }
        };
        match self {
            Self::Scan(who) => ticket.scan(&Scanner::of(Party::Person(someone(who))), now, LONG),
            Self::Confirm(who) => ticket.confirm(&someone(who), Decision::all(&Claims::new()), now, LONG),
            Self::Decline(who) => ticket.cancel(&Party::Person(someone(who)), CancelReason::Declined, now),
            Self::Close(is_right) => ticket.cancel(&browser(is_right), CancelReason::Closed, now),
            Self::Claim(is_right) => ticket.claim(&browser(is_right), "jti", LONG, now),
        }
    }
}

/// Applies random actions to a stored ticket and, beside it, to one in hand; both must agree after every step.
async fn random_actions_lead_where_the_state_machine_says(engine: Engine) {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::default());
    for _ in 0..60 {
        let actions = proptest::collection::vec(action(), 1..12);
        let actions = actions.new_tree(&mut runner).unwrap().current();
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
    }
}

async fn nothing_is_left_after_expiry(engine: Engine) {
    let ticket = created(&engine, SHORT).await;
    engine.store.watch(&ticket.id).await.unwrap();
    let next = Ticket { deadline: ticket.deadline + SHORT, ..scanned(&ticket) };
    engine.store.replace(&ticket, &next).await.unwrap();
    tokio::time::sleep(SHORT * 2 + Duration::from_millis(5)).await;
    assert_eq!(engine.store.get(&ticket.id).await.unwrap(), None);
    engine.store.unwatch(&ticket.id);
    eventually("the end of keys and subscription", || async { engine.traces().is_empty().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_store_refuses_and_has_room_again_after_expiry() {
    let store = MemoryStore::open(2, Arc::new(Recorder::default()));
    for _ in 0..2 {
        store.create(new_ticket(SHORT).0).await.unwrap();
    }
    assert!(matches!(store.create(new_ticket(SHORT).0).await, Err(StoreError::Full(_))));
    eventually("room", || async { store.is_empty().then_some(()) }).await;
    store.create(new_ticket(SHORT).0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_says_so_and_keeps_what_it_has() {
    let engine = redis().await;
    let ticket = created(&engine, LONG).await;
    engine.redis().run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(matches!(engine.store.create(new_ticket(LONG).0).await, Err(StoreError::Full(_))));
    assert!(engine.store.get(&ticket.id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_cannot_be_read_is_corrupt_and_not_quoted() {
    let engine = redis().await;
    let ticket = created(&engine, LONG).await;
    let key = format!("test:{{{}}}", ticket.id);
    engine.redis().run::<()>(&["HSET", &key, "state", "{\"secret\":1}"]);
    let error = engine.store.get(&ticket.id).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)));
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_on_one_redis_tell_each_other() {
    let engine = redis().await;
    let (other, reports) = open_redis(&engine.behind.url(), engine.prefix).await;
    let ticket = created(&engine, LONG).await;
    other.watch(&ticket.id).await.unwrap();
    engine.store.replace(&ticket, &scanned(&ticket)).await.unwrap();
    reports.wait_for(&ticket.id, 1).await;
    assert_eq!(other.get(&ticket.id).await.unwrap().unwrap().ticket.revision, 2);
}

mod flags {
    use super::*;
    use scangate::store::redis::OpenError;

    async fn open(redis: &Redis, login: &str) -> Result<RedisStore, OpenError> {
        crate::support::crypto();
        let url = redis.url().replace("redis://", &format!("redis://{login}"));
        let settings = RedisSettings {
            topology: Topology::parse(&url).unwrap(),
            prefix: "test:".into(),
            lanes: 2,
            wait_replicas: 0,
            timeout: Duration::from_secs(2),
        };
        RedisStore::open(&settings, Arc::new(Recorder::default()), Arc::new(Metrics::new())).await
    }

    fn flags(redis: &Redis) -> String {
        redis.run::<Vec<String>>(&["CONFIG", "GET", "notify-keyspace-events"]).remove(1)
    }

    /// A user as managed Redis gives out: everything but `CONFIG`.
    fn without_config(redis: &Redis) {
        redis.run::<()>(&["ACL", "SETUSER", "app", "on", ">app", "~*", "&*", "+@all", "-config"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_set_already_is_kept() {
        let redis = Redis::with(&["--notify-keyspace-events", "El"]);
        open(&redis, "").await.unwrap();
        let mut now: Vec<char> = flags(&redis).chars().collect();
        now.sort_unstable();
        assert_eq!(now.iter().collect::<String>(), "EKeghlx");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_config_flags_that_are_there_are_found_by_trying() {
        let redis = Redis::with(&["--notify-keyspace-events", "KA"]);
        without_config(&redis);
        open(&redis, "app:app@").await.unwrap();
        assert_eq!(redis.keys(), Vec::<String>::new());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_user_who_may_not_subscribe_is_an_error_that_says_so() {
        let redis = Redis::start();
        redis.run::<()>(&["ACL", "SETUSER", "app", "on", ">app", "~*", "resetchannels", "+@all"]);
        let error = open(&redis, "app:app@").await.err().unwrap();
        assert!(matches!(error, OpenError::Flags(_)) && error.to_string().contains("rights"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_wrong_password_is_not_waited_for() {
        let redis = Redis::start();
        let error = open(&redis, "app:wrong@").await.err().unwrap();
        assert!(matches!(error, OpenError::Flags(_)), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_config_missing_flags_are_an_error_that_names_the_setting() {
        let redis = Redis::start();
        without_config(&redis);
        let error = open(&redis, "app:app@").await.err().unwrap().to_string();
        assert!(error.contains("notify-keyspace-events Kghxe"), "{error}");
    }
}
