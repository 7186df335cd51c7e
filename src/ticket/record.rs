//! A ticket: one sign-in attempt at one revision, and its derived properties.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::authorization::Authorization;
use super::freshness::Freshness;
use super::id::{ScannerId, TicketId};
use super::matching::Matching;
use super::parties::{ClientId, Device, Party, Scanner};
use super::stamp::Stamp;
use super::state::State;
use super::time::Timestamp;

/// One sign-in attempt at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticket {
    /// The public id.
    pub id: TicketId,
    /// The number of the revision, from [`Ticket::FIRST_REVISION`].
    pub revision: u64,
    /// Distinguishes this ticket from any other of the same id and revision: a failover may lose a change, and another
    /// change may get the same revision.
    pub stamp: Stamp,
    /// When it was created, in the store's time.
    pub created_at: Timestamp,
    /// When it expires and the store removes it.
    pub deadline: Timestamp,
    /// The request that created it.
    pub request: TicketRequest,
    /// The current state.
    pub state: State,
}

impl Ticket {
    /// The revision of a new ticket.
    pub const FIRST_REVISION: u64 = 1;

    /// Returns the approver: in `login` the scanner (none before the scan), in `share` the presenter.
    #[must_use]
    pub fn approver(&self) -> Option<&Party> {
        match self.request.flow {
            Flow::Login => self.scanner().map(|scanner| &scanner.party),
            Flow::Share => Some(&self.request.presenter),
        }
    }

    /// Returns whether `party` is the approver.
    #[must_use]
    pub fn is_approver(&self, party: &Party) -> bool {
        self.approver().is_some_and(|approver| approver.is(party))
    }

    /// Returns whether `party` is the recipient of the JWT.
    #[must_use]
    pub fn is_recipient(&self, party: &Party) -> bool {
        match self.request.flow {
            Flow::Login => self.request.presenter.is(party),
            Flow::Share => self.scanner().is_some_and(|scanner| scanner.is(party)),
        }
    }

    /// Returns whether `party` may read this ticket.
    #[must_use]
    pub fn is_party(&self, party: &Party) -> bool {
        self.request.presenter.is(party) || self.scanner().is_some_and(|scanner| scanner.is(party))
    }

    /// Returns the scanner, if the ticket was scanned.
    #[must_use]
    pub fn scanner(&self) -> Option<&Scanner> {
        match &self.state {
            State::Pending { .. } => None,
            State::Scanned { scanner } | State::Confirmed { scanner, .. } | State::Claimed { scanner, .. } => {
                Some(scanner)
            }
            State::Cancelled { scanner, .. } => scanner.as_ref(),
        }
    }

    /// Returns the id that names the scanner to the approver, in `share`. A repeated scan keeps it.
    #[must_use]
    pub fn scanner_id(&self) -> Option<ScannerId> {
        self.scanner().and_then(|scanner| scanner.id)
    }

    /// Returns the client that the JWT is for: the scanner's client if it named one, else the ticket's.
    #[must_use]
    pub fn audience(&self) -> &ClientId {
        let named = self.scanner().and_then(|scanner| scanner.audience.as_ref());
        named.map_or(&self.request.client_id, |audience| &audience.client_id)
    }

    /// Returns the number check, if there is one: the scanner's client decides if it requires a stronger check than the ticket's
    /// client.
    #[must_use]
    pub fn matching(&self) -> Option<&Matching> {
        let named = self.scanner().and_then(|scanner| scanner.audience.as_ref());
        named.and_then(|audience| audience.matching.as_ref()).or(self.request.matching.as_ref())
    }

    /// Returns whether a phone has opened this ticket, and nobody has scanned it yet.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        self.state == State::Pending { opened: true }
    }

    /// Returns the names of the claims that the approver may grant: those that the ticket asks for and that the JWT's client may
    /// have.
    #[must_use]
    pub fn offered(&self) -> Vec<&String> {
        let audience = self.scanner().and_then(|scanner| scanner.audience.as_ref());
        let fits = |name: &&String| audience.is_none_or(|audience| audience.claims.contains(name));
        self.request.release.iter().filter(fits).collect()
    }
}

/// Which party approves and which one receives the JWT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    /// The scanner approves, the presenter receives.
    #[default]
    Login,
    /// The presenter approves, the scanner receives.
    Share,
}

/// The request that created a ticket. It never changes afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TicketRequest {
    /// The flow.
    pub flow: Flow,
    /// The registered client that the sign-in is for.
    pub client_id: ClientId,
    /// The party that shows the QR code.
    pub presenter: Party,
    /// The presenter's device, as the approver sees it.
    pub requester: Device,
    /// The number check, if the client requires one.
    pub matching: Option<Matching>,
    /// The names of the approver's claims that the JWT may contain.
    pub release: Vec<String>,
    /// The content of the QR code, if a connector decides it.
    pub code: Option<String>,
    /// What the client requires of the approver's sign-in.
    #[serde(default, skip_serializing_if = "Freshness::is_empty")]
    pub freshness: Freshness,
    /// The authorization request of an OpenID client that this sign-in answers, if any. Its answer is a code, never a JWT for the
    /// waiting page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Box<Authorization>>,
}

/// A ticket before the store sets its time of creation.
#[derive(Debug, Clone)]
pub struct NewTicket {
    /// Its id, random.
    pub id: TicketId,
    /// The request.
    pub request: TicketRequest,
    /// How long it stays pending.
    pub ttl: Duration,
}

impl NewTicket {
    /// Creates the pending ticket at `now`, the store's time of creation.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Ticket {
        Ticket {
            id: self.id,
            revision: Ticket::FIRST_REVISION,
            stamp: Stamp::default(),
            created_at: now,
            deadline: now + self.ttl,
            request: self.request,
            state: State::NEW,
        }
    }
}
