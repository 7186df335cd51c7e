//! A ticket: one sign-in attempt at one revision, and what can be read from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::{ScannerId, TicketId};
use super::matching::Matching;
use super::parties::{ClientId, Party, Requester, Scanner};
use super::stamp::Stamp;
use super::state::State;
use super::time::Timestamp;

/// One sign-in attempt at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticket {
    /// Its public name.
    pub id: TicketId,
    /// Counts the changes, from [`Ticket::FIRST_REVISION`].
    pub revision: u64,
    /// Tells it from every other ticket of this id and revision: a failover can take a change back, and another one be made
    /// in its place.
    pub stamp: Stamp,
    /// When it was made, in the store's time.
    pub created_at: Timestamp,
    /// When its time is over and the store forgets it.
    pub deadline: Timestamp,
    /// What was asked for.
    pub request: TicketRequest,
    /// Where it stands.
    pub state: State,
}

impl Ticket {
    /// The revision of a ticket that was just made.
    pub const FIRST_REVISION: u64 = 1;

    /// Returns who decides: the scanner in `login` (nobody before the scan), the presenter in `share`.
    #[must_use]
    pub fn approver(&self) -> Option<&Party> {
        match self.request.flow {
            Flow::Login => self.scanner().map(|scanner| &scanner.party),
            Flow::Share => Some(&self.request.presenter),
        }
    }

    /// Returns whether `party` is the one that decides.
    #[must_use]
    pub fn is_approver(&self, party: &Party) -> bool {
        self.approver().is_some_and(|approver| approver.is(party))
    }

    /// Returns whether `party` is the one that receives the JWT.
    #[must_use]
    pub fn is_recipient(&self, party: &Party) -> bool {
        match self.request.flow {
            Flow::Login => self.request.presenter.is(party),
            Flow::Share => self.scanner().is_some_and(|scanner| scanner.is(party)),
        }
    }

    /// Returns whether `party` may read this ticket at all.
    #[must_use]
    pub fn is_party(&self, party: &Party) -> bool {
        self.request.presenter.is(party) || self.scanner().is_some_and(|scanner| scanner.is(party))
    }

    /// Returns who scanned, once somebody has.
    #[must_use]
    pub fn scanner(&self) -> Option<&Scanner> {
        match &self.state {
            State::Pending => None,
            State::Scanned { scanner } | State::Confirmed { scanner, .. } | State::Claimed { scanner, .. } => {
                Some(scanner)
            }
            State::Cancelled { scanner, .. } => scanner.as_ref(),
        }
    }

    /// Returns what the scanner is called towards the approver, in `share`: the same for as long as this scan stands.
    #[must_use]
    pub fn scanner_id(&self) -> Option<ScannerId> {
        self.scanner().and_then(|scanner| scanner.id)
    }

    /// Returns the client that the JWT is for: the scanner's own, if it has named one.
    #[must_use]
    pub fn audience(&self) -> &ClientId {
        let named = self.scanner().and_then(|scanner| scanner.audience.as_ref());
        named.map_or(&self.request.client_id, |audience| &audience.client_id)
    }

    /// Returns how the screens are compared, if they are: as the ticket's client wants it, or the one that the JWT is for if
    /// that wants more.
    #[must_use]
    pub fn matching(&self) -> Option<&Matching> {
        let named = self.scanner().and_then(|scanner| scanner.audience.as_ref());
        named.and_then(|audience| audience.matching.as_ref()).or(self.request.matching.as_ref())
    }

    /// Returns the names of the claims that the approver may grant: what the ticket asks for, as far as the client that the
    /// JWT is for may have it.
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

/// What was asked for when the ticket was made; never changes afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TicketRequest {
    /// Which party approves and which one receives.
    pub flow: Flow,
    /// The registered client that the sign-in is for.
    pub client_id: ClientId,
    /// Who shows the QR code.
    pub presenter: Party,
    /// What the approver is told about who asks.
    pub requester: Requester,
    /// Where the recipient goes on to; one of the client's own list.
    pub return_to: Option<String>,
    /// How the two screens are compared, if the client asks for it.
    pub matching: Option<Matching>,
    /// Names of the approver's claims that the JWT may carry.
    pub release: Vec<String>,
    /// What the QR code says, where that is not for the gateway to say.
    pub code: Option<String>,
}

/// A ticket that the store is yet to give its time.
#[derive(Debug, Clone)]
pub struct NewTicket {
    /// Its name, fresh from [`crate::random::ticket_id`].
    pub id: TicketId,
    /// What is asked for.
    pub request: TicketRequest,
    /// How long it may stay pending.
    pub ttl: Duration,
}

impl NewTicket {
    /// Returns the pending ticket as it is at `now`, the store's time of creation.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Ticket {
        Ticket {
            id: self.id,
            revision: Ticket::FIRST_REVISION,
            stamp: Stamp::default(),
            created_at: now,
            deadline: now + self.ttl,
            request: self.request,
            state: State::Pending,
        }
    }
}
