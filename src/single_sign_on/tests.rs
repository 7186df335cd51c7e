//! Tests of the sessions of browsers on the in-process store.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::random;
use crate::store::Changes;
use crate::store::memory::MemoryStore;
use crate::ticket::{Authentication, Grant, MatchPolicy, Subject, TicketId};

/// Ignores reports: a session has none.
struct Unwatched;

impl Changes for Unwatched {
    fn changed(&self, _id: &TicketId) {}

    fn missed(&self, _ids: Vec<TicketId>) {}
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Returns the store, and sessions on it. Must be called within a runtime.
fn open(idle: Duration, absolute: Duration) -> (Arc<dyn Store>, SingleSignOn) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::open(1, Arc::new(Unwatched)));
    let sessions = reopen(&store, SingleSignOnLifetimes { idle, absolute }, "acme=https://id.example");
    (store, sessions)
}

fn reopen(store: &Arc<dyn Store>, lifetimes: SingleSignOnLifetimes, namespace: &str) -> SingleSignOn {
    let signer = Signer::open("https://gate.example", None).unwrap();
    SingleSignOn::new(Arc::clone(store), signer, Arc::default(), lifetimes, namespace)
}

fn ada() -> Grant {
    let claims = json!({"name": "Ada", "email": "ada@example.com"}).as_object().unwrap().clone();
    let authentication =
        Authentication { auth_time: Some((now().unix_seconds() - 60).into()), acr: Some("mfa".into()), amr: None };
    Grant { subject: Subject("ada".into()), claims, authentication, confirmed_at: now() }
}

fn new_secret() -> BrowserSecret {
    BrowserSecret::of(&random::binding_secret(), &random::ticket_id(), "one")
}

async fn start(sessions: &SingleSignOn, secret: &BrowserSecret, old: Option<&BrowserSecret>) -> bool {
    let offered = ["name", "email", "phone_number"].map(str::to_owned).to_vec();
    let signed_in = SignedIn { grant: &ada(), offered, matching: MatchPolicy::Choose, at: now() };
    sessions.start(secret, &signed_in, old).await.unwrap()
}

async fn started(sessions: &SingleSignOn, old: Option<&BrowserSecret>) -> BrowserSecret {
    let secret = new_secret();
    assert!(start(sessions, &secret, old).await);
    secret
}

/// Stores that the session was used last `ago`.
async fn backdate(store: &Arc<dyn Store>, sessions: &SingleSignOn, secret: &BrowserSecret, ago: Duration) {
    let mut session = sessions.peek(secret).await.unwrap().unwrap();
    session.used_at = Timestamp(session.used_at.0 - crate::ticket::millis(ago));
    session.created_at = session.created_at.min(session.used_at);
    let record = encode(Content::Session(session)).unwrap();
    assert!(store.put_value(&store_name(&secret.sid()), &record, DAY, Put::Always).await.unwrap());
}

#[tokio::test]
async fn a_session_is_found_by_its_secret_until_it_is_ended() {
    let (_store, sessions) = open(DAY, DAY);
    let secret = started(&sessions, None).await;
    let session = sessions.find(&secret).await.unwrap().unwrap();
    assert_eq!((session.grant.subject.0.as_str(), session.matching), ("ada", MatchPolicy::Choose));
    assert!(sessions.is_alive(&secret.sid()).await.unwrap());
    assert_eq!(sessions.find(&new_secret()).await.unwrap(), None);
    assert!(sessions.end(&secret).await.unwrap().is_some());
    assert_eq!(sessions.find(&secret).await.unwrap(), None);
    assert_eq!(sessions.end(&secret).await.unwrap(), None);
    assert!(!sessions.is_alive(&secret.sid()).await.unwrap());
}

#[tokio::test]
async fn a_repeated_request_of_a_sign_in_finds_its_session_and_brings_none_back() {
    let (_store, sessions) = open(DAY, DAY);
    let secret = started(&sessions, None).await;
    // The browser that repeats it has the new cookie already.
    assert!(start(&sessions, &secret, Some(&secret)).await);
    assert!(sessions.find(&secret).await.unwrap().is_some());
    let text = sessions.metrics.encode().unwrap();
    assert!(text.contains("scangate_sso_sessions_started_total 1"), "{text}");
    sessions.end(&secret).await.unwrap();
    assert!(!start(&sessions, &secret, None).await, "the person has signed out");
    assert_eq!(sessions.find(&secret).await.unwrap(), None);
}

#[tokio::test]
async fn a_sign_in_ends_the_session_of_another_person_only() {
    let (_store, sessions) = open(DAY, DAY);
    let (first, before) = (started(&sessions, None).await, new_secret());
    assert!(start(&sessions, &before, Some(&first)).await);
    assert!(sessions.find(&first).await.unwrap().is_some() && sessions.find(&before).await.unwrap().is_some());
    let bob = Grant { subject: Subject("bob".into()), ..ada() };
    let signed_in = SignedIn { grant: &bob, offered: Vec::new(), matching: MatchPolicy::None, at: now() };
    let after = new_secret();
    assert!(sessions.start(&after, &signed_in, Some(&before)).await.unwrap());
    assert_eq!(sessions.find(&before).await.unwrap(), None);
    assert_eq!(sessions.find(&first).await.unwrap(), None, "Ada's other session in this browser");
    assert!(sessions.find(&after).await.unwrap().is_some());
    let text = sessions.metrics.encode().unwrap();
    assert!(text.contains("scangate_sso_sessions_ended_total{reason=\"replaced\"} 2"), "{text}");
}

#[tokio::test]
async fn a_sign_out_ends_all_sessions_of_the_person_in_this_browser() {
    let (_store, sessions) = open(DAY, DAY);
    let mut secrets = vec![started(&sessions, None).await];
    for _ in 0..3 {
        secrets.push(started(&sessions, secrets.last()).await);
    }
    let elsewhere = started(&sessions, None).await;
    let sids: Vec<_> = secrets.iter().rev().map(BrowserSecret::sid).collect();
    let last = secrets.last().unwrap();
    assert_eq!(sessions.ids(last).await.unwrap(), sids);
    assert!(sessions.end(last).await.unwrap().is_some());
    for sid in sids {
        assert!(!sessions.is_alive(&sid).await.unwrap());
    }
    assert!(sessions.is_alive(&elsewhere.sid()).await.unwrap());
    assert_eq!(sessions.ids(last).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_made_up_secret_neither_finds_nor_stores_anything() {
    let (store, sessions) = open(DAY, DAY);
    let planted = new_secret();
    assert_eq!(sessions.find(&planted).await.unwrap(), None);
    assert_eq!(sessions.end(&planted).await.unwrap(), None);
    let own = started(&sessions, Some(&planted)).await;
    assert_eq!(store.value(&store_name(&planted.sid())).await.unwrap(), None);
    let stored = store.value(&store_name(&own.sid())).await.unwrap().unwrap();
    assert!(!stored.contains(&own.reveal()), "{stored}");
}

#[tokio::test]
async fn the_last_use_is_stored_at_most_once_in_a_while() {
    let (store, sessions) = open(DAY, 90 * DAY);
    let secret = started(&sessions, None).await;
    let name = store_name(&secret.sid());
    let first = store.value(&name).await.unwrap();
    sessions.find(&secret).await.unwrap().unwrap();
    assert_eq!(store.value(&name).await.unwrap(), first);
    backdate(&store, &sessions, &secret, DAY / 10).await;
    let before = now();
    assert!(sessions.peek(&secret).await.unwrap().unwrap().used_at < before, "to read is not to use");
    let found = sessions.find(&secret).await.unwrap().unwrap();
    assert!(found.used_at >= before && found.created_at < before);
    assert_eq!(sessions.find(&secret).await.unwrap().unwrap().used_at, found.used_at);
}

#[tokio::test]
async fn a_session_ends_with_either_lifetime() {
    let (store, sessions) = open(DAY, 2 * DAY);
    for ago in [DAY, 3 * DAY] {
        let secret = started(&sessions, None).await;
        backdate(&store, &sessions, &secret, ago).await;
        assert_eq!(sessions.find(&secret).await.unwrap(), None, "{ago:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_not_brought_back_by_a_parallel_use() {
    let (store, sessions) = open(DAY, 90 * DAY);
    for _ in 0..50 {
        let secret = started(&sessions, None).await;
        backdate(&store, &sessions, &secret, DAY / 2).await;
        let uses = (0..8).map(|_| {
            let (sessions, secret) = (sessions.clone(), secret.clone());
            crate::task::spawn("use", async move { drop(sessions.find(&secret).await.unwrap()) })
        });
        let uses: Vec<_> = uses.collect();
        sessions.end(&secret).await.unwrap();
        for one in uses {
            one.await.unwrap();
        }
        assert_eq!(sessions.find(&secret).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_session_of_other_identity_providers_is_not_valid() {
    let (store, sessions) = open(DAY, DAY);
    let secret = started(&sessions, None).await;
    for namespace in ["", "acme=https://other.example", "acme=acme: https://id.example\nb=b: https://b.example"] {
        let elsewhere = reopen(&store, sessions.lifetimes(), namespace);
        assert_eq!(elsewhere.find(&secret).await.unwrap(), None, "{namespace:?}");
    }
    assert!(sessions.find(&secret).await.unwrap().is_some());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_costs_its_own_session_only() {
    let (store, sessions) = open(DAY, DAY);
    let (secret, other) = (started(&sessions, None).await, started(&sessions, None).await);
    let name = store_name(&secret.sid());
    let of_next_version = store.value(&name).await.unwrap().unwrap().replace("\"v\":1", "\"v\":2");
    for text in ["", "{}", "[]", "\u{0}", "{\"v\":1}", "{\"v\":1,\"session\":{}}", &of_next_version] {
        store.put_value(&name, text, DAY, Put::Always).await.unwrap();
        assert_eq!(sessions.find(&secret).await.unwrap(), None, "{text:?}");
    }
    assert!(sessions.find(&other).await.unwrap().is_some());
}

#[tokio::test]
async fn a_claim_that_is_too_long_is_left_out_and_counts_as_not_asked_for() {
    let (_store, sessions) = open(DAY, DAY);
    let mut grant = ada();
    grant.claims.insert("address".to_owned(), "x".repeat(9000).into());
    let offered = ["name", "address"].map(str::to_owned).to_vec();
    let secret = new_secret();
    let signed_in = SignedIn { grant: &grant, offered, matching: MatchPolicy::None, at: now() };
    assert!(sessions.start(&secret, &signed_in, None).await.unwrap());
    let session = sessions.find(&secret).await.unwrap().unwrap();
    assert!(!session.grant.claims.contains_key("address") && session.grant.claims.contains_key("name"));
    assert_eq!(session.offered, ["name"]);
}
