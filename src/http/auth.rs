//! Identifies the caller from the credentials of a request.
//!
//! A bearer token, if there is one, is the only credential: cookies are not read then. Without one, a browser may have two:
//! the cookie of its binding, and the cookie of the session of a person who is signed in there. One browser can present a
//! ticket and be the phone that scans it, so both may be parties of the same ticket. [`Role`] says which one a route means.

use std::net::IpAddr;

use axum::http::header::HeaderMap;

use super::cookies;
use super::fields::bearer;
use super::origin::{is_navigation, is_own_fetch};
use super::problem::{self, Problem};
use super::state::Gateway;
use crate::sessions::Session;
use crate::ticket::{BindingSecret, Party, Ticket, TicketId};
use crate::verifier::{Fault, Identity, VerifyError};

/// The credentials of a request, valid in themselves but not yet compared with any ticket.
pub(super) struct Credentials {
    /// The binding of a browser or native app.
    pub(super) browser: Option<BindingSecret>,
    /// The person of a verified token, or of the browser's session.
    pub(super) person: Option<Box<Identity>>,
}

/// The part in which a caller with two credentials acts on a ticket, if both are parties of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The party that shows the code, and waits.
    Presenter,
    /// The party that decides.
    Approver,
}

impl Credentials {
    /// Reads the bearer token or, without one, the cookies. Cookies do not count if a page of another origin made the browser
    /// send them, nor do sessions that have ended.
    ///
    /// # Errors
    /// 401 for a bearer token that is neither a binding nor a valid token; 503 if the session cannot be read.
    pub(super) async fn from_headers(headers: &HeaderMap, gateway: &Gateway) -> Result<Self, Problem> {
        let Some(bearer) = bearer(headers)? else {
            let person = session(headers, gateway).await?.map(|session| Box::new(session.into_identity()));
            return Ok(Self { browser: cookie_secret(headers, gateway), person });
        };
        if let Ok(secret) = bearer.parse() {
            return Ok(Self { browser: Some(secret), person: None });
        }
        Ok(Self { browser: None, person: Some(Box::new(verify(bearer, gateway).await?)) })
    }

    /// Returns the party that these credentials identify. If there are two, it reads the ticket and chooses the party that
    /// has this role in it or, without one, the one that is a party of it at all. Returns `None` without credentials.
    ///
    /// # Errors
    /// The store's errors.
    pub(super) async fn party(self, gateway: &Gateway, id: &TicketId, role: Role) -> Result<Option<Party>, Problem> {
        let browser = self.browser.map(|secret| Party::Browser(secret.hash()));
        let person = self.person.map(|identity| Party::Person(identity.person));
        match (browser, person) {
            (Some(browser), Some(person)) => {
                let reading = gateway.store.get(id).await?;
                Ok(Some(choose(browser, person, reading.as_ref().map(|reading| &reading.ticket), role)))
            }
            (browser, person) => Ok(person.or(browser)),
        }
    }
}

impl Role {
    fn is_of(self, ticket: &Ticket, party: &Party) -> bool {
        match self {
            Self::Presenter => ticket.request.presenter.is(party),
            Self::Approver => ticket.is_approver(party),
        }
    }
}

fn choose(browser: Party, person: Party, ticket: Option<&Ticket>, role: Role) -> Party {
    let Some(ticket) = ticket else { return person };
    // The person comes first: a page that a signed-in person opens acts for that person.
    if role.is_of(ticket, &person) {
        person
    } else if role.is_of(ticket, &browser) || !ticket.is_party(&person) {
        browser
    } else {
        person
    }
}

/// Returns the secret in the cookie, unless a page of another origin made the browser send it.
pub(super) fn cookie_secret(headers: &HeaderMap, gateway: &Gateway) -> Option<BindingSecret> {
    if is_own_fetch(headers, gateway) { cookies::binding(headers, gateway) } else { None }
}

/// Returns the session of the person who is signed in in this browser, unless a page of another origin made the browser send
/// the cookie.
///
/// # Errors
/// 503 if it cannot be read.
pub(super) async fn session(headers: &HeaderMap, gateway: &Gateway) -> Result<Option<Session>, Problem> {
    if !is_own_fetch(headers, gateway) {
        return Ok(None);
    }
    let Some(secret) = cookies::login(headers, gateway) else { return Ok(None) };
    let session = gateway.sessions.find(&secret).await?;
    // A connector may have been set up since the sign-in. Its subjects are never the provider's.
    Ok(session.filter(|session| !gateway.connectors.owns(&session.person.subject)))
}

/// Returns the session of the person to whom a page is rendered, and changes nothing. Unlike for [`session`], the navigation may
/// come from anywhere: from a camera app, or from the identity provider's redirect. Only the person sees the page: no other page
/// can read or frame it. Every other kind of request gets a page without a person.
///
/// # Errors
/// 503 if it cannot be read.
pub(super) async fn reader_of_page(headers: &HeaderMap, gateway: &Gateway) -> Result<Option<Session>, Problem> {
    if !is_navigation(headers) {
        return Ok(None);
    }
    let Some(secret) = cookies::login(headers, gateway) else { return Ok(None) };
    let session = gateway.sessions.peek(&secret).await?;
    Ok(session.filter(|session| !gateway.connectors.owns(&session.person.subject)))
}

/// A verified person, who may approve. Any other caller gets 401.
pub(super) struct Approver(pub(super) Identity);

impl Approver {
    /// Verifies the bearer token or, without one, reads the browser's session.
    ///
    /// # Errors
    /// 401 without a valid token and without a session; 503 while the identity provider's keys are unknown, or if the session
    /// cannot be read.
    pub(super) async fn from_headers(headers: &HeaderMap, gateway: &Gateway) -> Result<Self, Problem> {
        if let Some(token) = bearer(headers)? {
            return Ok(Self(verify(token, gateway).await?));
        }
        let session = session(headers, gateway).await?;
        session.map(|session| Self(session.into_identity())).ok_or_else(|| Problem::from(&problem::NOT_SIGNED_IN))
    }
}

/// Returns the party that calls, in the role of the presenter if it has two. A request without credentials gets the same
/// response as one for an unknown ticket.
///
/// # Errors
/// 401 for an invalid bearer token, 404 without credentials, 429 after too many of either; the store's errors.
pub(super) async fn caller_party(
    headers: &HeaderMap,
    gateway: &Gateway,
    address: IpAddr,
    id: &TicketId,
) -> Result<Party, Problem> {
    let credentials = Credentials::from_headers(headers, gateway).await;
    let credentials = gateway.limits.invalid_confirm.charge_failures(address, credentials)?;
    let party = credentials.party(gateway, id, Role::Presenter).await?;
    party.ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))
}

/// Verifies a token and returns its owner. Refuses a subject that belongs to a connector.
async fn verify(token: &str, gateway: &Gateway) -> Result<Identity, Problem> {
    let identity = gateway.verifier.verify(token).await?;
    if gateway.connectors.owns(&identity.person.subject) {
        return Err(gateway.verifier.refuse(VerifyError::Invalid(Fault::ConnectorSubject)).into());
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::random;
    use crate::ticket::{
        ClientId, Device, Flow, Freshness, NewTicket, Person, Scanner, Subject, TicketRequest, Timestamp,
    };

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn person(subject: &str) -> Party {
        Party::Person(Person { subject: Subject(subject.to_owned()), name: None, picture: None })
    }

    fn ticket(flow: Flow, presenter: &Party) -> Ticket {
        let request = TicketRequest {
            flow,
            client_id: ClientId("web".to_owned()),
            presenter: presenter.clone(),
            requester: Device { ip: [192, 0, 2, 1].into(), browser: None, os: None },
            matching: None,
            release: Vec::new(),
            freshness: Freshness::default(),
            authorization: None,
            code: None,
        };
        NewTicket { id: random::ticket_id(), request, ttl: MINUTE }.at(NOW)
    }

    #[test]
    fn of_two_parties_the_one_with_the_role_acts() {
        let (browser, ada) = (Party::Browser(random::binding_secret().hash()), person("ada"));
        let chosen = |ticket: Option<&Ticket>, role| choose(browser.clone(), ada.clone(), ticket, role);
        // The same browser shows the code and scans it.
        let pending = ticket(Flow::Login, &browser);
        let scanned = pending.scan(&Scanner::of(ada.clone()), NOW, MINUTE).unwrap().into_ticket();
        assert!(chosen(Some(&scanned), Role::Presenter).is(&browser));
        assert!(chosen(Some(&scanned), Role::Approver).is(&ada));
        // Before the scan, only the browser is a party.
        assert!(chosen(Some(&pending), Role::Presenter).is(&browser));
        assert!(chosen(Some(&pending), Role::Approver).is(&browser));
        // Another browser shows it: only the person is a party.
        let other = ticket(Flow::Login, &Party::Browser(random::binding_secret().hash()));
        let other = other.scan(&Scanner::of(ada.clone()), NOW, MINUTE).unwrap().into_ticket();
        assert!(chosen(Some(&other), Role::Presenter).is(&ada));
        let shared = ticket(Flow::Share, &ada);
        assert!(chosen(Some(&shared), Role::Presenter).is(&ada));
        assert!(chosen(None, Role::Presenter).is(&ada));
    }
}
