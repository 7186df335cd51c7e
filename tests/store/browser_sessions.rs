//! The sessions of browsers (single sign-on) on each engine: they last by use, and one that was ended stays ended.

use futures_util::future::{join, join_all};
use scangate::clock::now;
use scangate::signer::Signer;
use scangate::single_sign_on::{BrowserSecret, SignedIn, SingleSignOn, SingleSignOnLifetimes};
use scangate::ticket::{Authentication, Grant, MatchPolicy};

use super::*;

fn sessions(engine: &Engine, idle: Duration) -> SingleSignOn {
    let signer = Signer::open("https://gate.example", None).unwrap();
    let lifetimes = SingleSignOnLifetimes { idle, absolute: LONG };
    SingleSignOn::new(Arc::clone(&engine.store), signer, Arc::new(Metrics::new()), lifetimes, "one")
}

fn new_secret() -> BrowserSecret {
    BrowserSecret::of(&random::binding_secret(), &random::ticket_id(), "jti")
}

/// Starts a session as the sign-in of this secret does, again if need be. Returns whether it is alive.
async fn start(sessions: &SingleSignOn, secret: &BrowserSecret) -> bool {
    let claims = serde_json::json!({ "email": "ada@example.com" }).as_object().unwrap().clone();
    let authentication = Authentication::default();
    let grant = Grant { subject: Subject("ada".into()), claims, authentication, confirmed_at: now() };
    let offered = vec!["email".to_owned()];
    let signed_in = SignedIn { grant: &grant, offered, matching: MatchPolicy::None, at: now() };
    sessions.start(secret, &signed_in, None).await.unwrap()
}

async fn is_found(sessions: &SingleSignOn, secret: &BrowserSecret) -> bool {
    let session = sessions.find(secret).await.unwrap();
    session.inspect(|session| assert_eq!(session.grant.subject, Subject("ada".into()))).is_some()
}

pub async fn a_session_of_a_browser_lasts_as_long_as_it_is_used(engine: Engine) {
    let idle = engine.short * 4;
    let (sessions, used, unused) = (sessions(&engine, idle), new_secret(), new_secret());
    assert!(start(&sessions, &unused).await && start(&sessions, &used).await);
    for _ in 0..2 {
        tokio::time::sleep(idle * 5 / 8).await;
        assert!(is_found(&sessions, &used).await);
    }
    assert!(!is_found(&sessions, &unused).await, "it was not used");
    tokio::time::sleep(idle + Duration::from_millis(10)).await;
    assert!(!is_found(&sessions, &used).await);
    assert!(!sessions.is_alive(&used.sid()).await.unwrap());
}

pub async fn a_session_of_a_browser_stays_ended_after_two_hundred_ends_among_uses(engine: Engine) {
    // Each use is to be stored.
    let sessions = sessions(&engine, engine.short * 20);
    let (secret, other) = (new_secret(), new_secret());
    assert!(start(&sessions, &secret).await && start(&sessions, &other).await);
    tokio::time::sleep(engine.short + Duration::from_millis(10)).await;
    let ends = join_all((0..200).map(|_| sessions.end(&secret)));
    let uses = join_all((0..50).map(|_| sessions.find(&secret)));
    let (ended, found) = join(ends, uses).await;
    let ended: Vec<_> = ended.into_iter().map(Result::unwrap).collect();
    assert!(ended.iter().any(Option::is_some), "nobody has ended it");
    println!("{} of 50 uses found it", found.into_iter().filter(|found| found.as_ref().unwrap().is_some()).count());
    assert!(!is_found(&sessions, &secret).await, "a use has brought it back");
    // The request that started it cannot start it again, and a late use does not revive it.
    assert!(!start(&sessions, &secret).await);
    assert!(!is_found(&sessions, &secret).await && !sessions.is_alive(&secret.sid()).await.unwrap());
    assert_eq!(sessions.end(&secret).await.unwrap(), None);
    assert!(is_found(&sessions, &other).await, "another browser's");
}

pub async fn what_the_store_has_of_a_session_of_a_browser_opens_nothing(engine: Engine) {
    let (sessions, secret) = (sessions(&engine, LONG), new_secret());
    assert!(start(&sessions, &secret).await && is_found(&sessions, &secret).await);
    let mut keys = 0;
    for redis in engine.backend.primaries() {
        for key in redis.keys().into_iter().filter(|key| key.contains(&format!("{}{{", engine.prefix))) {
            let stored = format!("{key} {:?}", redis.run::<Vec<String>>(&["HGETALL", &key]));
            assert!(!stored.contains(&secret.reveal()) && !stored.contains(&secret.sid()), "{stored}");
            keys += 1;
        }
    }
    assert!(keys > 0 || matches!(engine.backend, Backend::Memory), "the session is in no key");
}
