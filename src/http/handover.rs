//! Shows a ticket to one of its parties, and hands the JWT to the one that it is for.
//!
//! The JWT leaves the gateway here and nowhere else: first with the claim, then again, with the same `jti` and `exp`, to
//! the same binding until the redeem time is over. What the recipient reads is called `confirmed` while it comes with the
//! JWT, though the ticket is claimed by that very reading; the other party sees `claimed`.

use super::problem::{self, Problem};
use super::state::Gateway;
use super::view::{StateName, TicketView, TokenView};
use crate::metrics::StreamEnd;
use crate::random::RandomId;
use crate::store::{Reading, TransitionError};
use crate::ticket::{Party, State, Ticket};

/// How often a ticket is read at most until it stands still. It has no more changes than that.
const MAX_READINGS: usize = 5;

/// What a party is shown.
pub(super) struct Shown {
    pub(super) view: TicketView,
    /// The name of the event that tells it.
    pub(super) event: &'static str,
    /// Whether nothing more will come for this party.
    pub(super) is_final: bool,
}

impl Shown {
    /// Returns what a stream ends with after this, if it does.
    pub(super) fn end(&self) -> Option<StreamEnd> {
        self.is_final.then_some(match self.event {
            "cancelled" => StreamEnd::Cancelled,
            "expired" => StreamEnd::Expired,
            _ => StreamEnd::Confirmed,
        })
    }
}

/// Shows `reading` to `party`, which must be one of the ticket's, and has been told of revisions up to `told`; claims the
/// ticket if that is the recipient's to do.
///
/// What is new to the party is made as safe as whoever stored it was promised, before it is told: should it be lost with its
/// primary nevertheless, the ticket would go on from before it, with revisions that the party would take for old.
pub(super) async fn show(gateway: &Gateway, reading: Reading, party: &Party, told: u64) -> Result<Shown, Problem> {
    let mut reading = reading;
    let mut readings = 1;
    let is_recipient = loop {
        let ticket = &reading.ticket;
        let is_recipient = ticket.is_recipient(party);
        if is_recipient && matches!(ticket.state, State::Confirmed { .. }) {
            reading = claim(gateway, reading, party).await?;
            break is_recipient;
        }
        if ticket.revision <= told.max(Ticket::FIRST_REVISION) || gateway.store.confirm_replicated(ticket).await? {
            break is_recipient;
        }
        // It has gone on, or was read at a primary that is none any more.
        let fresh = gateway.store.get(&ticket.id).await?.filter(|fresh| fresh.ticket.is_party(party));
        reading = fresh.ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))?;
        readings += 1;
        if readings > MAX_READINGS {
            return Err(Problem::from(&problem::UNAVAILABLE));
        }
    };
    let mut view = TicketView::new(gateway, &reading, party);
    if is_recipient && let Some(token) = token(gateway, &reading)? {
        view.state = StateName::Confirmed;
        view.token = Some(token);
        view.return_to.clone_from(&reading.ticket.request.return_to);
    }
    let event = match view.state {
        // To the other party the sign-in has succeeded; for a recipient who missed the JWT until now, it has expired.
        StateName::Claimed if is_recipient => "expired",
        StateName::Claimed => StateName::Confirmed.as_str(),
        state => state.as_str(),
    };
    let is_final = match reading.ticket.state {
        State::Pending | State::Scanned { .. } => false,
        State::Confirmed { .. } | State::Claimed { .. } | State::Cancelled { .. } => true,
    };
    Ok(Shown { view, event, is_final })
}

async fn claim(gateway: &Gateway, reading: Reading, party: &Party) -> Result<Reading, Problem> {
    // As unguessable and as unique as a ticket's id.
    let jti = RandomId::new().to_string();
    gateway.sign_ins.claim(reading, party, &jti).await.map_err(|error| match error {
        // The confirmation that was read is lost with its primary. The party is to come back, not to give up.
        TransitionError::Refused(_) => Problem::from(&problem::UNAVAILABLE),
        error => error.into(),
    })
}

fn token(gateway: &Gateway, reading: &Reading) -> Result<Option<TokenView>, Problem> {
    let State::Claimed { grant, receipt, .. } = &reading.ticket.state else { return Ok(None) };
    if reading.now >= receipt.redeem_until {
        return Ok(None);
    }
    let ticket = &reading.ticket;
    let access_token = gateway.signer.sign(ticket.request.flow, &ticket.audience().0, grant, receipt)?;
    let expires_in = receipt.expires_at.since(reading.now).as_secs();
    Ok(Some(TokenView { access_token, token_type: "Bearer", expires_in }))
}
