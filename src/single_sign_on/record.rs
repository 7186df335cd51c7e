//! A browser's session as the store keeps it: its content, its bound on size, its lifetimes, and the requests that it may answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clients::Client;
use crate::ticket::{Freshness, Grant, MatchPolicy, Refusal, Subject, Timestamp, remove_longest};

/// The maximum length of a stored session, in bytes: half of what the store accepts as a value.
const MAX_RECORD_BYTES: usize = 8 * 1024;
/// A session is touched at most once in this fraction of its idle lifetime, as the sessions of phones are.
const TOUCHES_PER_IDLE_LIFETIME: u32 = 20;

/// How long sessions of browsers last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SingleSignOnLifetimes {
    /// Without use. It is exact to one twentieth.
    pub idle: Duration,
    /// Altogether.
    pub absolute: Duration,
}

/// A browser's session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrowserSession {
    /// The person's grant, with the claims that the client of the sign-in could have.
    pub grant: Grant,
    /// The names of the claims that the person could grant at the sign-in, whether the provider gave them or not.
    pub offered: Vec<String>,
    /// The number check of the sign-in.
    pub matching: MatchPolicy,
    /// When it started.
    pub created_at: Timestamp,
    /// The id of the session of the same person that it has replaced in this browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) earlier: Option<String>,
    /// When it was used last.
    pub(super) used_at: Timestamp,
    /// The identity providers at the time of the sign-in.
    pub(super) namespace: String,
}

/// The sign-in that starts a session.
#[derive(Debug, Clone)]
pub struct SignedIn<'a> {
    /// The person's grant.
    pub grant: &'a Grant,
    /// The names of the claims that the person could grant: [`Ticket::offered`](crate::ticket::Ticket::offered).
    pub offered: Vec<String>,
    /// The number check: the policy of [`Ticket::matching`](crate::ticket::Ticket::matching).
    pub matching: MatchPolicy,
    /// When the ticket was claimed. A repeated request states the same time.
    pub at: Timestamp,
}

/// The requirements of an authorization request for a session that answers it without a scan.
#[derive(Debug, Clone, Copy)]
pub struct Required<'a> {
    /// The client of the request.
    pub client: &'a Client,
    /// The requirements of the client and of the request, as a ticket would store them.
    pub freshness: &'a Freshness,
    /// The names of the claims that the client would get.
    pub claims: &'a [String],
    /// The only person who may sign in.
    pub subject: Option<&'a Subject>,
}

/// The reason why a session does not answer a request. The first three mean that the person must sign in again. The
/// others mean that the person must do something that the sign-in of the session did not include (OpenID Connect Core
/// §3.1.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The client has no single sign-on.
    NotAllowed,
    /// The request is for another person.
    OtherPerson,
    /// The person signed in to the identity provider too long ago, or the provider does not say when.
    TooOld,
    /// The client wants another authentication context class.
    OtherContext,
    /// The client wants a stronger number check.
    WeakerMatching,
    /// The client would get a claim that the person was not asked for.
    MissingClaims,
}

impl BrowserSession {
    /// Creates a session whose record fits the bound: without its longest claims, for which another app then needs a
    /// scan. Logs the names of those claims, which come from the settings.
    pub(super) fn new(
        signed_in: &SignedIn<'_>,
        earlier: Option<String>,
        namespace: &str,
    ) -> Result<Self, serde_json::Error> {
        let mut session = Self {
            grant: signed_in.grant.clone(),
            offered: signed_in.offered.clone(),
            matching: signed_in.matching,
            created_at: signed_in.at,
            earlier,
            used_at: signed_in.at,
            namespace: namespace.to_owned(),
        };
        while serde_json::to_string(&session)?.len() > MAX_RECORD_BYTES {
            let Some(name) = remove_longest(&mut session.grant.claims) else { break };
            session.offered.retain(|offered| *offered != name);
            tracing::warn!(claim = name, max_bytes = MAX_RECORD_BYTES, "a claim is too long for a session; left out");
        }
        Ok(session)
    }

    /// Compares the session with a request. `now` is the time of the request.
    ///
    /// # Errors
    /// [`Unfit`]: the first requirement that it does not meet.
    pub fn check(&self, required: &Required<'_>, now: Timestamp) -> Result<(), Unfit> {
        let Required { client, freshness, claims, subject } = *required;
        if !client.has_single_sign_on() {
            return Err(Unfit::NotAllowed);
        }
        if subject.is_some_and(|subject| *subject != self.grant.subject) {
            return Err(Unfit::OtherPerson);
        }
        // The request came now, so both are ages as of now.
        let of_request = freshness.request_max_age_secs;
        let freshness = Freshness {
            max_auth_age_secs: freshness.max_auth_age_secs.into_iter().chain(of_request).min(),
            acr_values: freshness.acr_values.clone(),
            request_max_age_secs: None,
        };
        match self.grant.authentication.check(&freshness, now) {
            Err(Refusal::SignInTooOld) => return Err(Unfit::TooOld),
            Err(_) => return Err(Unfit::OtherContext),
            Ok(()) => {}
        }
        if self.matching < client.match_policy {
            return Err(Unfit::WeakerMatching);
        }
        if claims.iter().any(|name| !self.offered.contains(name)) {
            return Err(Unfit::MissingClaims);
        }
        Ok(())
    }

    /// Returns whether both lifetimes have time left.
    pub(super) fn is_alive(&self, lifetimes: SingleSignOnLifetimes, now: Timestamp) -> bool {
        now < self.used_at + lifetimes.idle && now < self.created_at + lifetimes.absolute
    }

    /// Returns whether the time of its last use should be stored again. A time in the future is from another clock.
    pub(super) fn is_touch_due(&self, lifetimes: SingleSignOnLifetimes, now: Timestamp) -> bool {
        now < self.used_at || now.since(self.used_at) >= lifetimes.idle / TOUCHES_PER_IDLE_LIFETIME
    }

    /// Returns how long the store keeps it if it is used at `now`.
    pub(super) fn ttl(&self, lifetimes: SingleSignOnLifetimes, now: Timestamp) -> Duration {
        lifetimes.idle.min((self.created_at + lifetimes.absolute).since(now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::clients::Clients;
    use crate::clients::openid::{OpenIdClient, RefreshTokens, TokenAuth};
    use crate::signer::keys::KeyAlgorithm;
    use crate::ticket::Authentication;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const HOUR: u32 = 3600;

    /// A session of someone who signed in to the provider an hour ago.
    fn session() -> BrowserSession {
        let authentication = Authentication {
            auth_time: Some((NOW.unix_seconds() - u64::from(HOUR)).into()),
            acr: Some("mfa".to_owned()),
            amr: None,
        };
        let claims = json!({"name": "Ada"}).as_object().unwrap().clone();
        let grant = Grant { subject: Subject("ada".to_owned()), claims, authentication, confirmed_at: NOW };
        let offered = ["name", "email"].map(str::to_owned).to_vec();
        let signed_in = SignedIn { grant: &grant, offered, matching: MatchPolicy::Choose, at: NOW };
        BrowserSession::new(&signed_in, None, "acme").unwrap()
    }

    fn client(single_sign_on: bool, match_policy: MatchPolicy) -> Client {
        let openid = OpenIdClient {
            redirect_uris: vec!["https://app.example/cb".to_owned()],
            secrets: Vec::new(),
            token_auth: TokenAuth::None,
            signing_alg: KeyAlgorithm::Rs256,
            scopes: vec!["openid".to_owned()],
            requires_pkce: true,
            refresh_tokens: RefreshTokens::Never,
            access_token_ttl: Duration::from_secs(600),
            id_token_ttl: Duration::from_secs(600),
            refresh_token_ttl: Duration::from_secs(600),
            refresh_token_max: Duration::from_secs(600),
            audiences: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            single_sign_on,
        };
        let web = Clients::web_only().find(None).unwrap().as_ref().clone();
        Client { match_policy, openid: Some(Arc::new(openid)), ..web }
    }

    struct Request {
        client: Client,
        freshness: Freshness,
        claims: &'static [&'static str],
        subject: Option<&'static str>,
    }

    impl Request {
        fn new() -> Self {
            let client = client(true, MatchPolicy::Choose);
            Self { client, freshness: Freshness::default(), claims: &["name", "email"], subject: Some("ada") }
        }

        fn check(&self, session: &BrowserSession) -> Result<(), Unfit> {
            let claims: Vec<String> = self.claims.iter().map(|&name| name.to_owned()).collect();
            let subject = self.subject.map(|subject| Subject(subject.to_owned()));
            let (freshness, subject) = (&self.freshness, subject.as_ref());
            session.check(&Required { client: &self.client, freshness, claims: &claims, subject }, NOW)
        }
    }

    #[test]
    fn a_session_answers_a_request_only_if_every_requirement_is_met() {
        let of_age = |max_auth_age_secs, request_max_age_secs| Freshness {
            max_auth_age_secs,
            request_max_age_secs,
            acr_values: vec!["mfa".to_owned()],
        };
        let met = Request { freshness: of_age(Some(HOUR), Some(HOUR)), ..Request::new() };
        assert_eq!(met.check(&session()), Ok(()));
        let other_acr = Freshness { acr_values: vec!["phr".to_owned()], ..Freshness::default() };
        // Each request fails by one requirement alone.
        let unmet = [
            (Request { client: client(false, MatchPolicy::None), ..Request::new() }, Unfit::NotAllowed),
            (
                Request { client: Clients::web_only().find(None).unwrap().as_ref().clone(), ..Request::new() },
                Unfit::NotAllowed,
            ),
            (Request { subject: Some("eve"), ..Request::new() }, Unfit::OtherPerson),
            (Request { freshness: of_age(Some(HOUR - 31), None), ..Request::new() }, Unfit::TooOld),
            (Request { freshness: of_age(None, Some(HOUR - 31)), ..Request::new() }, Unfit::TooOld),
            (Request { freshness: of_age(Some(2 * HOUR), Some(0)), ..Request::new() }, Unfit::TooOld),
            (Request { freshness: other_acr, ..Request::new() }, Unfit::OtherContext),
            (Request { client: client(true, MatchPolicy::Type), ..Request::new() }, Unfit::WeakerMatching),
            (Request { claims: &["name", "phone_number"], ..Request::new() }, Unfit::MissingClaims),
        ];
        for (request, unfit) in unmet {
            assert_eq!(request.check(&session()), Err(unfit));
        }
    }

    #[test]
    fn a_sign_in_without_a_time_or_a_context_satisfies_no_requirement_of_one() {
        let mut session = session();
        session.grant.authentication = Authentication::default();
        assert_eq!(Request::new().check(&session), Ok(()));
        let aged = Freshness { request_max_age_secs: Some(u32::MAX), ..Freshness::default() };
        assert_eq!(Request { freshness: aged, ..Request::new() }.check(&session), Err(Unfit::TooOld));
        let strong = Freshness { acr_values: vec!["mfa".to_owned()], ..Freshness::default() };
        assert_eq!(Request { freshness: strong, ..Request::new() }.check(&session), Err(Unfit::OtherContext));
    }
}
