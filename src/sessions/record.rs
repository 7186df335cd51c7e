//! A session as the store keeps it: its content, its bound on size, and its lifetimes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ticket::{Claims, Device, Person, Timestamp, remove_longest};
use crate::verifier::Identity;

/// The maximum length of a stored session, in bytes: half of what the store accepts as a value. The subject, the name and the
/// picture of a person, which are always kept, are bounded by `verifier` and need less than 6 KiB.
pub(super) const MAX_RECORD_BYTES: usize = 8 * 1024;
/// A session is touched at most once in this fraction of its idle lifetime. A lower number would make the lifetime less
/// exact; a higher one would write to the store more often.
const TOUCHES_PER_IDLE_LIFETIME: u32 = 20;

/// The longest lifetime of a session. Browsers keep no cookie longer (RFC 6265bis §5.5).
pub const MAX_LIFETIME: Duration = Duration::from_secs(400 * 24 * 3600);

/// The lifetimes of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLifetimes {
    /// The longest time without a request. It is exact to one twentieth.
    pub idle: Duration,
    /// The longest time since the sign-in.
    pub absolute: Duration,
}

/// A person who is signed in to the gateway in one browser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The person.
    pub person: Person,
    /// The claims of the identity provider that a sign-in may need.
    pub claims: Claims,
    /// The id of the identity provider.
    pub provider: String,
    /// The namespace of the provider's subjects when the person signed in.
    pub namespace: String,
    /// The browser's name, if known.
    pub browser: Option<String>,
    /// The browser's operating system, if known.
    pub os: Option<String>,
    /// When the person signed in.
    pub created_at: Timestamp,
    /// When the session was used last. It is exact to one twentieth of the idle lifetime.
    pub used_at: Timestamp,
}

impl Session {
    /// Creates a session with those claims of `identity` that are in `kept`. A provider is its id, and the namespace of its
    /// subjects.
    pub(super) fn new(
        identity: &Identity,
        (provider, namespace): (&str, &str),
        device: &Device,
        kept: &BTreeSet<String>,
        now: Timestamp,
    ) -> Self {
        let claims = identity.claims.iter().filter(|(name, _)| kept.contains(*name));
        Self {
            person: identity.person.clone(),
            claims: claims.map(|(name, value)| (name.clone(), value.clone())).collect(),
            provider: provider.to_owned(),
            namespace: namespace.to_owned(),
            browser: device.browser.clone(),
            os: device.os.clone(),
            created_at: now,
            used_at: now,
        }
    }

    /// Returns the person and their claims, as a verified token would.
    #[must_use]
    pub fn into_identity(self) -> Identity {
        Identity { person: self.person, claims: self.claims }
    }

    /// Returns when the person signed in to the identity provider, in whole seconds since 1970, if the provider says so. Some
    /// providers state fractions.
    #[must_use]
    pub fn auth_time(&self) -> Option<u64> {
        let secs = self.claims.get("auth_time").and_then(serde_json::Value::as_f64)?;
        // Some providers state zero in place of a time.
        Duration::try_from_secs_f64(secs).ok().map(|time| time.as_secs()).filter(|secs| *secs > 0)
    }

    /// Returns whether both lifetimes have time left.
    pub(super) fn is_alive(&self, lifetimes: SessionLifetimes, now: Timestamp) -> bool {
        now < self.used_at + lifetimes.idle && now < self.created_at + lifetimes.absolute
    }

    /// Returns whether the time of its last use should be stored again. A time in the future is from another clock.
    pub(super) fn is_touch_due(&self, lifetimes: SessionLifetimes, now: Timestamp) -> bool {
        now < self.used_at || now.since(self.used_at) >= lifetimes.idle / TOUCHES_PER_IDLE_LIFETIME
    }

    /// Returns how long the store keeps it if it is used at `now`.
    pub(super) fn ttl(&self, lifetimes: SessionLifetimes, now: Timestamp) -> Duration {
        lifetimes.idle.min((self.created_at + lifetimes.absolute).since(now))
    }

    /// Removes the longest claims until the session fits into [`MAX_RECORD_BYTES`], and logs their names. The names come from
    /// the settings, so they reveal nothing about the person.
    pub(super) fn shorten(&mut self) -> Result<(), serde_json::Error> {
        while serde_json::to_string(self)?.len() > MAX_RECORD_BYTES {
            let Some(name) = remove_longest(&mut self.claims) else { break };
            tracing::warn!(claim = name, max_bytes = MAX_RECORD_BYTES, "a claim is too long for a session; left out");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::ticket::Subject;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const LIFETIMES: SessionLifetimes = SessionLifetimes { idle: DAY, absolute: Duration::from_secs(3 * 24 * 3600) };
    const START: Timestamp = Timestamp(1_700_000_000_000);

    fn identity(claims: serde_json::Value) -> Identity {
        let person = Person { subject: Subject("ada".to_owned()), name: Some("Ada".to_owned()), picture: None };
        let serde_json::Value::Object(claims) = claims else { panic!("not an object") };
        Identity { person, claims }
    }

    fn session(claims: serde_json::Value, kept: &[&str]) -> Session {
        let device = Device { ip: [192, 0, 2, 1].into(), browser: Some("Safari".to_owned()), os: None };
        let kept = kept.iter().map(|name| (*name).to_owned()).collect();
        Session::new(&identity(claims), ("acme", "https://id.example"), &device, &kept, START)
    }

    #[test]
    fn only_claims_that_a_sign_in_may_need_are_kept() {
        let session =
            session(json!({"name": "Ada", "email": "a@example.com", "ssn": "078-05-1120"}), &["name", "email"]);
        assert_eq!(json!(session.claims), json!({"name": "Ada", "email": "a@example.com"}));
        let stored = serde_json::to_string(&session).unwrap();
        assert!(!stored.contains("078-05") && !stored.contains("192.0.2.1"), "{stored}");
        assert_eq!(serde_json::from_str::<Session>(&stored).unwrap(), session);
    }

    #[test]
    fn a_session_ends_with_the_first_of_its_lifetimes() {
        let mut session = session(json!({}), &[]);
        assert!(session.is_alive(LIFETIMES, START));
        assert!(!session.is_alive(LIFETIMES, START + DAY));
        assert_eq!(session.ttl(LIFETIMES, START), DAY);
        session.used_at = START + DAY * 5 / 2;
        assert!(session.is_alive(LIFETIMES, session.used_at));
        assert_eq!(session.ttl(LIFETIMES, session.used_at), DAY / 2);
        assert!(!session.is_alive(LIFETIMES, START + DAY * 3));
        assert_eq!(session.ttl(LIFETIMES, START + DAY * 4), Duration::ZERO);
    }

    #[test]
    fn a_touch_is_due_after_a_twentieth_of_the_idle_lifetime() {
        let session = session(json!({}), &[]);
        assert!(!session.is_touch_due(LIFETIMES, START));
        assert!(!session.is_touch_due(LIFETIMES, START + (DAY / 20).saturating_sub(Duration::from_millis(1))));
        assert!(session.is_touch_due(LIFETIMES, START + DAY / 20));
        assert!(session.is_touch_due(LIFETIMES, Timestamp(START.0 - 1)), "the clock was set back");
    }

    #[test]
    fn the_longest_claims_are_left_out_of_a_session_that_is_too_long() {
        let claims = json!({"groups": vec!["x".repeat(100); 100], "note": "x".repeat(5000), "name": "Ada"});
        let mut session = session(claims, &["groups", "note", "name"]);
        session.shorten().unwrap();
        assert!(!session.claims.contains_key("groups") && session.claims.len() == 2, "{:?}", session.claims.keys());
        assert!(serde_json::to_string(&session).unwrap().len() <= MAX_RECORD_BYTES);
    }

    #[test]
    fn the_time_of_the_sign_in_is_in_whole_seconds() {
        let of = |value: serde_json::Value| session(json!({"auth_time": value}), &["auth_time"]).auth_time();
        for stated in [json!(1_700_000_000_u64), json!(1_700_000_000.975_429)] {
            assert_eq!(of(stated.clone()), Some(1_700_000_000), "{stated}");
        }
        for nothing in [json!(null), json!("1700000000"), json!(-1), json!(1e300)] {
            assert_eq!(of(nothing.clone()), None, "{nothing}");
        }
        assert_eq!(session(json!({}), &[]).auth_time(), None);
    }

    #[test]
    fn the_longest_possible_person_fits() {
        let mut session = session(json!({}), &[]);
        // Every character is four bytes long, and quotation marks double in JSON.
        session.person = Person {
            subject: Subject("😀".repeat(255)),
            name: Some("😀".repeat(128)),
            picture: Some(format!("https://{}", "\"".repeat(2040))),
        };
        assert!(serde_json::to_string(&session).unwrap().len() <= MAX_RECORD_BYTES);
    }

    proptest! {
        #[test]
        fn any_stored_text_is_read_or_refused(text in ".{0,200}") {
            let _ = serde_json::from_str::<Session>(&text);
        }

        #[test]
        fn a_touched_session_never_lives_beyond_its_absolute_lifetime(used in 0_u64..300_000_000) {
            let session = session(json!({}), &[]);
            let now = START + Duration::from_millis(used);
            prop_assert!(now + session.ttl(LIFETIMES, now) <= (START + LIFETIMES.absolute).max(now));
        }
    }
}
