//! Tickets, their states and the transitions between them: the one state machine of scangate.
//!
//! A [`Ticket`] is one sign-in attempt. Transitions are pure: they take the ticket, who acts and what time it is in the
//! store, and return the next revision, or why not. No I/O, no clock and no randomness live here; storing the next
//! revision atomically is the caller's part (`store::transition`).
//!
//! Invariant: every [`Outcome::Changed`] has a revision one above the ticket it came from, and a deadline after `now`.

#![deny(clippy::disallowed_types, reason = "a ticket has no clock: the store passes in the time")]

mod authentication;
mod id;
mod matching;
mod outcome;
mod stamp;
mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use authentication::{Authentication, MAX_DATE};
pub use id::{BindingHash, BindingSecret, ParseIdError, ScannerId, TicketId};
pub use matching::{MatchNumber, Matching, ParseMatchNumberError};
pub use outcome::{Decision, Outcome, Refusal};
pub use stamp::Stamp;
pub use words::{
    Audience, CancelReason, Claims, ClientId, Flow, MatchPolicy, Party, Person, Requester, Scanner, Subject, Timestamp,
    millis,
};

/// How long a cancelled or claimed ticket stays readable to its parties.
pub const AFTERLIFE: Duration = Duration::from_secs(30);

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

/// Where a ticket stands, with what is known there. `expired` is no state: an expired ticket is not there any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// The code is shown; nobody has scanned it.
    Pending,
    /// Somebody scanned; the approver is deciding.
    Scanned {
        /// Who scanned, and is the only one that may go on.
        scanner: Scanner,
    },
    /// The approver said yes; the recipient has not yet fetched the JWT.
    Confirmed {
        /// Who scanned.
        scanner: Scanner,
        /// What the JWT will say.
        grant: Grant,
    },
    /// The recipient was handed the JWT.
    Claimed {
        /// Who scanned.
        scanner: Scanner,
        /// What the JWT says.
        grant: Grant,
        /// The JWT's fixed parts, the same for every redelivery.
        receipt: Receipt,
    },
    /// One party ended it.
    Cancelled {
        /// Who scanned, if anybody had.
        scanner: Option<Scanner>,
        /// Why it ended.
        reason: CancelReason,
    },
}

/// What the approver granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The person whom the JWT is about.
    pub subject: Subject,
    /// The released claims, exactly as they go into the JWT.
    pub claims: Claims,
    /// How and when the person signed in to their identity provider.
    #[serde(default, skip_serializing_if = "Authentication::is_empty")]
    pub authentication: Authentication,
    /// When the approver confirmed.
    pub confirmed_at: Timestamp,
}

/// What the claim fixes, so that a redelivered JWT is the same one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The JWT's id (`jti`).
    pub jti: String,
    /// When the JWT was issued (`iat`, `nbf`).
    pub issued_at: Timestamp,
    /// When the JWT ends (`exp`).
    pub expires_at: Timestamp,
    /// Until when the same binding may be handed it again.
    pub redeem_until: Timestamp,
}

impl Ticket {
    /// The revision of a ticket that was just made.
    pub const FIRST_REVISION: u64 = 1;

    /// `scan`: binds a pending ticket to the party that scanned it and leaves it at least `decision` to decide.
    ///
    /// # Errors
    /// [`Refusal::AlreadyScanned`] by anybody but the first scanner; [`Refusal::OwnTicket`] by the presenter itself;
    /// [`Refusal::NotPermitted`] where the flow wants a signed-in person and it is none; the refusals of a ticket that is
    /// past scanning.
    pub fn scan(&self, by: &Scanner, now: Timestamp, decision: Duration) -> Result<Outcome, Refusal> {
        self.alive(now)?;
        if self.request.presenter.is(&by.party) {
            return Err(Refusal::OwnTicket);
        }
        if self.request.flow == Flow::Login && !by.party.is_person() {
            return Err(Refusal::NotPermitted);
        }
        match &self.state {
            State::Pending => Ok(self.next(State::Scanned { scanner: by.clone() }, self.deadline.max(now + decision))),
            State::Scanned { scanner } if scanner.is(&by.party) => Ok(Outcome::Unchanged(self.clone())),
            State::Confirmed { scanner, .. } | State::Claimed { scanner, .. } if scanner.is(&by.party) => {
                Err(Refusal::AlreadyConfirmed)
            }
            State::Scanned { .. } | State::Confirmed { .. } | State::Claimed { .. } => Err(Refusal::AlreadyScanned),
            State::Cancelled { .. } => Err(Refusal::AlreadyCancelled),
        }
    }

    /// `confirm`: the approver grants those claims that the ticket asks for and the decision names; the recipient has
    /// `redeem` to fetch the JWT. A wrong number ends the ticket instead: there is one attempt.
    ///
    /// # Errors
    /// [`Refusal::NotScanned`] while pending; [`Refusal::NotPermitted`] by anybody but the approver;
    /// [`Refusal::ScannerUnnamed`] in `share` if the decision does not say whom it is for, [`Refusal::ScannerChanged`] if
    /// that is not who has scanned; [`Refusal::NumberMissing`] and [`Refusal::NumberUnasked`];
    /// [`Refusal::NotOffered`] if `release` names what the ticket does not ask for; [`Refusal::Mismatch`] after a wrong
    /// number; [`Refusal::AlreadyCancelled`].
    pub fn confirm(
        &self,
        by: &Person,
        decision: Decision<'_>,
        now: Timestamp,
        redeem: Duration,
    ) -> Result<Outcome, Refusal> {
        self.alive(now)?;
        if self.state == State::Pending {
            return Err(Refusal::NotScanned);
        }
        if !self.approver().is_some_and(|approver| approver.is_subject(&by.subject)) {
            return Err(Refusal::NotPermitted);
        }
        match (&self.state, decision.scanner) {
            (State::Cancelled { reason: CancelReason::Mismatch, .. }, _) => return Err(Refusal::Mismatch),
            (State::Cancelled { .. }, _) => return Err(Refusal::AlreadyCancelled),
            (_, Some(seen)) if self.scanner_id().is_none_or(|id| !id.is(seen)) => return Err(Refusal::ScannerChanged),
            (_, None) if self.request.flow == Flow::Share => return Err(Refusal::ScannerUnnamed),
            _ => {}
        }
        let State::Scanned { scanner } = &self.state else { return Ok(Outcome::Unchanged(self.clone())) };
        let claims = self.granted(decision.claims, decision.release)?;
        match (self.matching(), decision.number) {
            (Some(_), None) => return Err(Refusal::NumberMissing),
            (None, Some(_)) => return Err(Refusal::NumberUnasked),
            (Some(matching), Some(number)) if number != matching.number => {
                let state = State::Cancelled { scanner: Some(scanner.clone()), reason: CancelReason::Mismatch };
                return Ok(self.next(state, now + AFTERLIFE));
            }
            _ => {}
        }
        let authentication = Authentication::of(decision.claims, now);
        let grant = Grant { subject: by.subject.clone(), claims, authentication, confirmed_at: now };
        Ok(self.next(State::Confirmed { scanner: scanner.clone(), grant }, now + redeem))
    }

    /// `cancel`: either party ends a ticket that is not confirmed yet.
    ///
    /// # Errors
    /// [`Refusal::NotPermitted`] by a stranger; [`Refusal::AlreadyConfirmed`] once confirmed.
    pub fn cancel(&self, by: &Party, reason: CancelReason, now: Timestamp) -> Result<Outcome, Refusal> {
        self.alive(now)?;
        if !self.request.presenter.is(by) && !self.scanner().is_some_and(|scanner| scanner.is(by)) {
            return Err(Refusal::NotPermitted);
        }
        match &self.state {
            State::Pending | State::Scanned { .. } => {
                Ok(self.next(State::Cancelled { scanner: self.scanner().cloned(), reason }, now + AFTERLIFE))
            }
            State::Cancelled { .. } => Ok(Outcome::Unchanged(self.clone())),
            State::Confirmed { .. } | State::Claimed { .. } => Err(Refusal::AlreadyConfirmed),
        }
    }

    /// `claim`: the recipient is handed the JWT, whose `jti` and lifetime are fixed here, once.
    ///
    /// # Errors
    /// [`Refusal::NotPermitted`] by anybody but the recipient; [`Refusal::NotConfirmed`] before the approver confirmed;
    /// [`Refusal::AlreadyCancelled`].
    pub fn claim(&self, by: &Party, jti: &str, token_ttl: Duration, now: Timestamp) -> Result<Outcome, Refusal> {
        self.alive(now)?;
        if !self.is_recipient(by) {
            return Err(Refusal::NotPermitted);
        }
        match &self.state {
            State::Pending | State::Scanned { .. } => Err(Refusal::NotConfirmed),
            State::Confirmed { scanner, grant } => {
                let receipt = Receipt {
                    jti: jti.to_owned(),
                    issued_at: now,
                    expires_at: now + token_ttl,
                    redeem_until: self.deadline,
                };
                let state = State::Claimed { scanner: scanner.clone(), grant: grant.clone(), receipt };
                Ok(self.next(state, self.deadline.max(now + AFTERLIFE)))
            }
            State::Claimed { .. } => Ok(Outcome::Unchanged(self.clone())),
            State::Cancelled { .. } => Err(Refusal::AlreadyCancelled),
        }
    }

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

    fn granted(&self, claims: &Claims, release: Option<&[String]>) -> Result<Claims, Refusal> {
        let offered = self.offered();
        if release.is_some_and(|wanted| wanted.iter().any(|name| !offered.contains(&name))) {
            return Err(Refusal::NotOffered);
        }
        let is_granted = |name: &&String| release.is_none_or(|wanted| wanted.contains(name));
        let granted = offered.into_iter().filter(is_granted);
        Ok(granted.filter_map(|name| Some((name.clone(), claims.get(name)?.clone()))).collect())
    }

    fn alive(&self, now: Timestamp) -> Result<(), Refusal> {
        if now < self.deadline { Ok(()) } else { Err(Refusal::Expired) }
    }

    fn next(&self, state: State, deadline: Timestamp) -> Outcome {
        let stamp = self.stamp.after(&state, deadline);
        Outcome::Changed(Self { revision: self.revision + 1, stamp, deadline, state, ..self.clone() })
    }
}

#[cfg(test)]
mod tests;
