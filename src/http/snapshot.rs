//! Renders a ticket for one of its parties, and sends the JWT to its recipient.
//!
//! Only this module sends a JWT: first with the claim, then again, with the same `jti` and `exp`, to the same recipient until
//! the redeem time expires. The recipient sees `confirmed` together with the JWT, although that same request claims the ticket.
//! The other party sees `claimed`. A ticket of an authorization request has no JWT: its recipient sees `confirmed` and goes on to
//! `oauth2::done`, which claims the ticket.

use super::problem::{self, Problem};
use super::state::Gateway;
use super::view::ticket::{StateName, TicketView, TokenView};
use crate::metrics::StreamEnd;
use crate::random::RandomId;
use crate::store::{Reading, TransitionError};
use crate::ticket::{Party, State, Ticket};

/// The maximum number of times a ticket is read until a reading is confirmed as replicated. A ticket has no more changes than
/// that.
const MAX_READINGS: usize = 5;

/// A ticket at one revision, as one party sees it.
pub(super) struct Snapshot {
    pub(super) view: TicketView,
    /// The name of its event.
    pub(super) event: &'static str,
    /// Whether this party gets nothing further.
    pub(super) is_final: bool,
}

impl Snapshot {
    /// Returns how a stream ends after this snapshot; `None` if it continues.
    pub(super) fn end(&self) -> Option<StreamEnd> {
        self.is_final.then_some(match self.event {
            "cancelled" => StreamEnd::Cancelled,
            "expired" => StreamEnd::Expired,
            _ => StreamEnd::Confirmed,
        })
    }
}

/// Renders `reading` for `party`, a party of the ticket that has seen revisions up to `last_seen`. Claims the ticket if it is
/// confirmed and the party is its recipient.
///
/// Sends a revision that is new to the party only after the store confirms it as replicated. Otherwise a failover could lose
/// it, and the party would ignore later revisions as old.
pub(super) async fn render(
    gateway: &Gateway,
    reading: Reading,
    party: &Party,
    last_seen: u64,
) -> Result<Snapshot, Problem> {
    let mut reading = reading;
    let mut readings = 1;
    let is_recipient = loop {
        let ticket = &reading.ticket;
        let is_recipient = ticket.is_recipient(party);
        if is_recipient && ticket.request.authorization.is_none() && matches!(ticket.state, State::Confirmed { .. }) {
            reading = claim(gateway, reading, party).await?;
            break is_recipient;
        }
        if ticket.revision <= last_seen.max(Ticket::FIRST_REVISION) || gateway.store.confirm_replicated(ticket).await? {
            break is_recipient;
        }
        // The ticket has changed since, or the reading came from a node that is no longer the primary.
        let newer = gateway.store.get(&ticket.id).await?.filter(|newer| newer.ticket.is_party(party));
        reading = newer.ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))?;
        readings += 1;
        if readings > MAX_READINGS {
            return Err(Problem::from(&problem::UNAVAILABLE));
        }
    };
    let mut view = TicketView::new(gateway, &reading, party);
    if is_recipient && is_deliverable(&reading) {
        view.state = StateName::Confirmed;
        view.token = token(gateway, &reading)?;
    }
    let event = match view.state {
        StateName::Pending if view.opened => "opened",
        // For the other party the sign-in has succeeded. For a recipient that missed the JWT, it has expired.
        StateName::Claimed if is_recipient => "expired",
        StateName::Claimed => StateName::Confirmed.as_str(),
        state => state.as_str(),
    };
    let is_final = match reading.ticket.state {
        State::Pending { .. } | State::Scanned { .. } => false,
        State::Confirmed { .. } | State::Claimed { .. } | State::Cancelled { .. } => true,
    };
    Ok(Snapshot { view, event, is_final })
}

async fn claim(gateway: &Gateway, reading: Reading, party: &Party) -> Result<Reading, Problem> {
    let jti = RandomId::new().to_string();
    gateway.sign_ins.claim(reading, party, &jti).await.map_err(|error| match error {
        // A failover lost the confirmation that was read. The party should try again.
        TransitionError::Refused(_) => Problem::from(&problem::UNAVAILABLE),
        error => error.into(),
    })
}

/// Returns whether the recipient may still get its JWT or code.
fn is_deliverable(reading: &Reading) -> bool {
    matches!(&reading.ticket.state, State::Claimed { receipt, .. } if reading.now < receipt.redeem_until)
}

/// Returns the JWT of a claimed ticket; none for one of an authorization request.
fn token(gateway: &Gateway, reading: &Reading) -> Result<Option<TokenView>, Problem> {
    let ticket = &reading.ticket;
    let State::Claimed { grant, receipt, .. } = &ticket.state else { return Ok(None) };
    if ticket.request.authorization.is_some() {
        return Ok(None);
    }
    let access_token = gateway.signer.sign(ticket.request.flow, &ticket.audience().0, grant, receipt)?;
    let expires_in = receipt.expires_at.since(reading.now).as_secs();
    Ok(Some(TokenView { access_token, token_type: "Bearer", expires_in }))
}
