//! Tests of the sessions on the in-process store.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::store::Changes;
use crate::store::memory::MemoryStore;
use crate::ticket::{Person, Subject, TicketId};

/// Ignores reports: a session has none.
struct Unwatched;

impl Changes for Unwatched {
    fn changed(&self, _id: &TicketId) {}

    fn missed(&self, _ids: Vec<TicketId>) {}
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Returns the store, and sessions of the provider `acme` on it. Must be called within a runtime.
fn open(idle: Duration, absolute: Duration) -> (Arc<dyn Store>, Sessions) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::open(1, Arc::new(Unwatched)));
    let sessions = reopen(&store, SessionLifetimes { idle, absolute }, ("acme", "https://id.example"));
    (store, sessions)
}

fn reopen(store: &Arc<dyn Store>, lifetimes: SessionLifetimes, (provider, namespace): (&str, &str)) -> Sessions {
    let signer = Signer::open("https://gate.example", None).unwrap();
    let providers = [(provider.to_owned(), namespace.to_owned())];
    Sessions::new(Arc::clone(store), signer, Arc::default(), lifetimes, &Clients::web_only(), providers)
}

fn ada() -> Identity {
    let person = Person { subject: Subject("ada".to_owned()), name: Some("Ada".to_owned()), picture: None };
    let claims = json!({"sub": "ada", "name": "Ada", "email": "ada@example.com", "nonce": "n", "auth_time": 17});
    Identity { person, claims: claims.as_object().unwrap().clone() }
}

fn device() -> Device {
    Device { ip: [192, 0, 2, 1].into(), browser: Some("Safari".to_owned()), os: None }
}

async fn started(sessions: &Sessions, old: Option<&SessionSecret>) -> SessionSecret {
    sessions.start(&ada(), "acme", &device(), old).await.unwrap()
}

/// Stores that the session was used last `ago`.
async fn backdate(store: &Arc<dyn Store>, secret: &SessionSecret, ago: Duration) {
    let name = secret.store_name();
    let mut session: Session = serde_json::from_str(&store.value(&name).await.unwrap().unwrap()).unwrap();
    session.used_at = Timestamp(session.used_at.0 - crate::ticket::millis(ago));
    session.created_at = session.created_at.min(session.used_at);
    assert!(store.put_value(&name, &encode(&session).unwrap(), DAY, Put::Always).await.unwrap());
}

#[tokio::test]
async fn a_session_is_found_by_its_secret_alone_until_it_is_ended() {
    let (_store, sessions) = open(DAY, DAY);
    let secret = started(&sessions, None).await;
    let session = sessions.find(&secret).await.unwrap().unwrap();
    assert_eq!((session.person.subject.0.as_str(), session.provider.as_str()), ("ada", "acme"));
    assert_eq!((session.browser.as_deref(), session.auth_time()), (Some("Safari"), Some(17)));
    assert!(!session.claims.contains_key("nonce"), "no client may receive it");
    assert_eq!(session.into_identity().claims["email"], "ada@example.com");
    assert_eq!(sessions.find(&SessionSecret::generate()).await.unwrap(), None);
    assert!(sessions.end(&secret).await.unwrap().is_some());
    assert_eq!(sessions.find(&secret).await.unwrap(), None);
    assert_eq!(sessions.end(&secret).await.unwrap(), None);
}

#[tokio::test]
async fn a_sign_in_ends_the_session_that_the_browser_had() {
    let (_store, sessions) = open(DAY, DAY);
    let before = started(&sessions, None).await;
    let after = started(&sessions, Some(&before)).await;
    assert_ne!(before.reveal(), after.reveal());
    assert_eq!(sessions.find(&before).await.unwrap(), None);
    assert!(sessions.find(&after).await.unwrap().is_some());
    let text = sessions.metrics.encode().unwrap();
    assert!(text.contains("scangate_sessions_started_total 2"), "{text}");
    assert!(text.contains("scangate_sessions_ended_total{reason=\"replaced\"} 1"), "{text}");
}

#[tokio::test]
async fn the_store_has_neither_the_secret_nor_claims_that_no_client_may_receive() {
    let (store, sessions) = open(DAY, DAY);
    let secret = started(&sessions, None).await;
    let stored = store.value(&secret.store_name()).await.unwrap().unwrap();
    assert!(!stored.contains(&secret.reveal()) && !stored.contains("nonce"), "{stored}");
    assert_eq!(store.value(&format!("session:{}", secret.reveal())).await.unwrap(), None);
}

#[tokio::test]
async fn the_last_use_is_stored_at_most_once_in_a_while() {
    let (store, sessions) = open(DAY, 90 * DAY);
    let secret = started(&sessions, None).await;
    let first = store.value(&secret.store_name()).await.unwrap();
    sessions.find(&secret).await.unwrap().unwrap();
    assert_eq!(store.value(&secret.store_name()).await.unwrap(), first);
    backdate(&store, &secret, DAY / 10).await;
    let before = now();
    let found = sessions.find(&secret).await.unwrap().unwrap();
    assert!(found.used_at >= before && found.created_at < before);
    assert_eq!(sessions.find(&secret).await.unwrap().unwrap().used_at, found.used_at);
}

#[tokio::test]
async fn a_session_ends_with_either_lifetime() {
    let (store, sessions) = open(DAY, 2 * DAY);
    for ago in [DAY, 3 * DAY] {
        let secret = started(&sessions, None).await;
        backdate(&store, &secret, ago).await;
        assert_eq!(sessions.find(&secret).await.unwrap(), None, "{ago:?}");
    }
    // The store itself drops it, too.
    let (store, sessions) = open(DAY, Duration::from_millis(50));
    let secret = started(&sessions, None).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(store.value(&secret.store_name()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_is_not_brought_back_by_a_parallel_use() {
    let (store, sessions) = open(DAY, 90 * DAY);
    for _ in 0..50 {
        let secret = started(&sessions, None).await;
        backdate(&store, &secret, DAY / 2).await;
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
async fn a_session_of_a_provider_that_was_removed_is_not_valid() {
    let (store, sessions) = open(DAY, DAY);
    let secret = started(&sessions, None).await;
    let elsewhere = reopen(&store, sessions.lifetimes(), ("demo", "https://id.example"));
    assert_eq!(elsewhere.find(&secret).await.unwrap(), None);
    assert!(sessions.find(&secret).await.unwrap().is_some());
}

#[tokio::test]
async fn a_session_is_not_valid_where_its_subject_may_be_somebody_elses() {
    let (store, sessions) = open(DAY, DAY);
    let secret = started(&sessions, None).await;
    // Another provider under the same id, and the same one among several, with its id before each subject.
    for namespace in ["https://other.example", "acme: https://id.example", ""] {
        let elsewhere = reopen(&store, sessions.lifetimes(), ("acme", namespace));
        assert_eq!(elsewhere.find(&secret).await.unwrap(), None, "{namespace:?}");
    }
    assert!(sessions.find(&secret).await.unwrap().is_some());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_costs_its_own_session_only() {
    let (store, sessions) = open(DAY, DAY);
    let (secret, other) = (started(&sessions, None).await, started(&sessions, None).await);
    for text in ["", "{}", "[]", "\u{0}", "{\"person\":1}"] {
        store.put_value(&secret.store_name(), text, DAY, Put::Always).await.unwrap();
        assert_eq!(sessions.find(&secret).await.unwrap(), None, "{text:?}");
    }
    assert!(sessions.find(&other).await.unwrap().is_some());
}
