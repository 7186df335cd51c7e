//! The transitions between the states of a ticket: the permitted actors, the states, and the effects of each action.

use std::time::Duration;

use super::authentication::Authentication;
use super::outcome::{Decision, Outcome};
use super::parties::{Claims, Party, Person, Scanner};
use super::record::{Flow, Ticket};
use super::refusal::Refusal;
use super::state::{CancelReason, Grant, Receipt, State};
use super::time::Timestamp;

/// How long the parties can still read a cancelled or claimed ticket.
pub const FINAL_STATE_TTL: Duration = Duration::from_secs(30);

impl Ticket {
    /// `open`: a phone begins to sign in to its identity provider. The ticket then expires at the earliest `sign_in` after its
    /// creation. Anyone who knows the id may open it, once. This binds no one, and reveals nothing.
    ///
    /// # Errors
    /// [`Refusal::NotPermitted`] if scanners need no sign-in here: in `share`, and if a connector decides the code;
    /// [`Refusal::AlreadyScanned`] and [`Refusal::AlreadyCancelled`] in a later state.
    pub fn open(&self, now: Timestamp, sign_in: Duration) -> Result<Outcome, Refusal> {
        self.check_deadline(now)?;
        if self.request.flow != Flow::Login || self.request.code.is_some() {
            return Err(Refusal::NotPermitted);
        }
        match &self.state {
            State::Pending { opened: false } => {
                Ok(self.next(State::Pending { opened: true }, self.deadline.max(self.created_at + sign_in)))
            }
            State::Pending { opened: true } => Ok(Outcome::Unchanged(self.clone())),
            State::Scanned { .. } | State::Confirmed { .. } | State::Claimed { .. } => Err(Refusal::AlreadyScanned),
            State::Cancelled { .. } => Err(Refusal::AlreadyCancelled),
        }
    }

    /// `scan`: binds a pending ticket to the party that scanned it. At least `decision` remains until the deadline.
    ///
    /// # Errors
    /// [`Refusal::AlreadyScanned`] to any party but the first scanner; [`Refusal::OwnTicket`] to the presenter;
    /// [`Refusal::NotPermitted`] if the flow requires a signed-in person and the scanner is not one;
    /// [`Refusal::AlreadyConfirmed`] and [`Refusal::AlreadyCancelled`] in a later state.
    pub fn scan(&self, actor: &Scanner, now: Timestamp, decision: Duration) -> Result<Outcome, Refusal> {
        self.check_deadline(now)?;
        if self.request.presenter.is(&actor.party) {
            return Err(Refusal::OwnTicket);
        }
        if self.request.flow == Flow::Login && !actor.party.is_person() {
            return Err(Refusal::NotPermitted);
        }
        match &self.state {
            State::Pending { .. } => {
                Ok(self.next(State::Scanned { scanner: actor.clone() }, self.deadline.max(now + decision)))
            }
            State::Scanned { scanner } if scanner.is(&actor.party) => Ok(Outcome::Unchanged(self.clone())),
            State::Confirmed { scanner, .. } | State::Claimed { scanner, .. } if scanner.is(&actor.party) => {
                Err(Refusal::AlreadyConfirmed)
            }
            State::Scanned { .. } | State::Confirmed { .. } | State::Claimed { .. } => Err(Refusal::AlreadyScanned),
            State::Cancelled { .. } => Err(Refusal::AlreadyCancelled),
        }
    }

    /// Checks that the sign-in of a person who would scan a pending ticket is what the ticket's client requires, so that the
    /// person signs in again while the ticket waits, not after they have compared numbers. `confirm` checks it again. In
    /// `share`, the scanner decides nothing.
    ///
    /// # Errors
    /// [`Refusal::SignInTooOld`] and [`Refusal::StrongerSignInNeeded`].
    pub fn check_scanner(&self, claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
        if self.request.flow != Flow::Login || !matches!(self.state, State::Pending { .. }) {
            return Ok(());
        }
        self.check_freshness(&Authentication::of(claims, now), now)
    }

    /// `confirm`: the approver grants the claims that the ticket asks for and the decision releases. The recipient then
    /// has `redeem` to fetch the JWT. A wrong number cancels the ticket: there is one attempt.
    ///
    /// # Errors
    /// [`Refusal::NotScanned`] while pending; [`Refusal::NotPermitted`] to any party but the approver;
    /// [`Refusal::ScannerMissing`] in `share` if the decision has no scanner, [`Refusal::ScannerChanged`] if it has
    /// another one; [`Refusal::SignInTooOld`] and [`Refusal::StrongerSignInNeeded`], which use up no attempt at the number;
    /// [`Refusal::NumberMissing`] and [`Refusal::UnexpectedNumber`]; [`Refusal::NotOffered`] if `release`
    /// contains a claim that the ticket does not ask for; [`Refusal::Mismatch`] after a wrong number;
    /// [`Refusal::AlreadyCancelled`].
    pub fn confirm(
        &self,
        actor: &Person,
        decision: Decision<'_>,
        now: Timestamp,
        redeem: Duration,
    ) -> Result<Outcome, Refusal> {
        self.check_deadline(now)?;
        if matches!(self.state, State::Pending { .. }) {
            return Err(Refusal::NotScanned);
        }
        if !self.approver().is_some_and(|approver| approver.is_subject(&actor.subject)) {
            return Err(Refusal::NotPermitted);
        }
        match (&self.state, decision.scanner) {
            (State::Cancelled { reason: CancelReason::Mismatch, .. }, _) => return Err(Refusal::Mismatch),
            (State::Cancelled { .. }, _) => return Err(Refusal::AlreadyCancelled),
            (_, Some(seen)) if self.scanner_id().is_none_or(|id| !id.is(seen)) => return Err(Refusal::ScannerChanged),
            (_, None) if self.request.flow == Flow::Share => return Err(Refusal::ScannerMissing),
            _ => {}
        }
        let State::Scanned { scanner } = &self.state else { return Ok(Outcome::Unchanged(self.clone())) };
        let authentication = Authentication::of(decision.claims, now);
        self.check_freshness(&authentication, now)?;
        let claims = self.granted(decision.claims, decision.release)?;
        match (self.matching(), decision.number) {
            (Some(_), None) => return Err(Refusal::NumberMissing),
            (None, Some(_)) => return Err(Refusal::UnexpectedNumber),
            (Some(matching), Some(number)) if number != matching.number => {
                let state = State::Cancelled { scanner: Some(scanner.clone()), reason: CancelReason::Mismatch };
                return Ok(self.next(state, now + FINAL_STATE_TTL));
            }
            _ => {}
        }
        let grant = Grant { subject: actor.subject.clone(), claims, authentication, confirmed_at: now };
        Ok(self.next(State::Confirmed { scanner: scanner.clone(), grant }, now + redeem))
    }

    /// `cancel`: the presenter or the scanner cancels a ticket that is not confirmed yet.
    ///
    /// # Errors
    /// [`Refusal::NotPermitted`] to any other party; [`Refusal::AlreadyConfirmed`] once confirmed.
    pub fn cancel(&self, actor: &Party, reason: CancelReason, now: Timestamp) -> Result<Outcome, Refusal> {
        self.check_deadline(now)?;
        if !self.request.presenter.is(actor) && !self.scanner().is_some_and(|scanner| scanner.is(actor)) {
            return Err(Refusal::NotPermitted);
        }
        match &self.state {
            State::Pending { .. } | State::Scanned { .. } => {
                Ok(self.next(State::Cancelled { scanner: self.scanner().cloned(), reason }, now + FINAL_STATE_TTL))
            }
            State::Cancelled { .. } => Ok(Outcome::Unchanged(self.clone())),
            State::Confirmed { .. } | State::Claimed { .. } => Err(Refusal::AlreadyConfirmed),
        }
    }

    /// `claim`: the recipient gets the JWT. The first claim fixes its `jti` and lifetime.
    ///
    /// # Errors
    /// [`Refusal::NotPermitted`] to any party but the recipient; [`Refusal::NotConfirmed`] before the approver confirmed;
    /// [`Refusal::AlreadyCancelled`].
    pub fn claim(&self, actor: &Party, jti: &str, token_ttl: Duration, now: Timestamp) -> Result<Outcome, Refusal> {
        self.check_deadline(now)?;
        if !self.is_recipient(actor) {
            return Err(Refusal::NotPermitted);
        }
        match &self.state {
            State::Pending { .. } | State::Scanned { .. } => Err(Refusal::NotConfirmed),
            State::Confirmed { scanner, grant } => {
                let receipt = Receipt {
                    jti: jti.to_owned(),
                    issued_at: now,
                    expires_at: now + token_ttl,
                    redeem_until: self.deadline,
                };
                let state = State::Claimed { scanner: scanner.clone(), grant: grant.clone(), receipt };
                Ok(self.next(state, self.deadline.max(now + FINAL_STATE_TTL)))
            }
            State::Claimed { .. } => Ok(Outcome::Unchanged(self.clone())),
            State::Cancelled { .. } => Err(Refusal::AlreadyCancelled),
        }
    }

    /// Checks that the approver's sign-in is what the ticket's client and the scanner's client require.
    fn check_freshness(&self, authentication: &Authentication, now: Timestamp) -> Result<(), Refusal> {
        authentication.check(&self.request.freshness, now)?;
        authentication.check_request(&self.request.freshness, self.created_at)?;
        let named = self.scanner().and_then(|scanner| scanner.audience.as_ref());
        named.map_or(Ok(()), |audience| authentication.check(&audience.freshness, now))
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

    fn check_deadline(&self, now: Timestamp) -> Result<(), Refusal> {
        if now < self.deadline { Ok(()) } else { Err(Refusal::Expired) }
    }

    fn next(&self, state: State, deadline: Timestamp) -> Outcome {
        let stamp = self.stamp.after(&state, deadline);
        Outcome::Changed(Self { revision: self.revision + 1, stamp, deadline, state, ..self.clone() })
    }
}
