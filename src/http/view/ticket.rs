//! A ticket, as every response and event shows it.

use std::ops::Not;

use serde::Serialize;
use utoipa::ToSchema;

use super::client::ClientView;
use super::party::{DeviceView, PersonView, ScannedBy};
use crate::http::state::Gateway;
use crate::store::Reading;
use crate::ticket::{CancelReason, Flow, MatchPolicy, Matching, Party, State, Ticket, TicketId};

/// Seconds that a party should leave between two polls without `wait`.
const POLL_INTERVAL_SECS: u64 = 2;

/// A ticket, as every response shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Ticket)]
pub struct TicketView {
    /// Its public id, which the QR code contains.
    #[schema(example = "q2Jh5l0fT1m7o4dXb3YVwA")]
    pub ticket_id: String,
    /// Its state.
    pub state: StateName,
    /// Whether a phone has begun to sign in, to scan afterwards; while pending only, and omitted if false.
    #[serde(skip_serializing_if = "Not::not")]
    pub opened: bool,
    /// The number of its revision, from 1; each change adds one.
    pub revision: u64,
    /// Which party approves.
    pub flow: Flow,
    /// The client that the JWT is for.
    pub client_id: String,
    /// Seconds until it expires.
    pub expires_in: f64,
    /// The content of the QR code.
    pub scan_url: String,
    /// The path of its event stream, relative to the gateway.
    pub events: String,
    /// The path for polling it, relative to the gateway.
    pub poll: String,
    /// Seconds to leave between two polls without `wait`.
    pub interval: u64,
    /// Seconds between two heartbeats of its event stream. A stream that is silent for two of them is lost.
    pub heartbeat: u64,
    /// The presenter; in `share` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented_by: Option<PersonView>,
    /// The claims that the presenter offers or, once confirmed, has granted; in `share` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Vec<String>>,
    /// The scanner, once the ticket is scanned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scanned_by: Option<ScannedBy>,
    /// The number that this screen shows while the approver decides; for the recipient only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "42")]
    pub number: Option<String>,
    /// How the screens are compared, if they are; for a presenter that must decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#match: Option<MatchPolicy>,
    /// The numbers to choose from; for a presenter that must decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
    /// Why it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<CancelReason>,
    /// The JWT; for the recipient only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenView>,
}

/// The names of the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateName {
    /// Waits to be scanned.
    Pending,
    /// Waits for the decision.
    Scanned,
    /// The approver confirmed. The recipient gets it together with the JWT.
    Confirmed,
    /// The recipient has fetched the JWT.
    Claimed,
    /// A party ended it.
    Cancelled,
}

impl StateName {
    /// Returns the state's name, which is also the event's name.
    pub(in crate::http) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scanned => "scanned",
            Self::Confirmed => "confirmed",
            Self::Claimed => "claimed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The JWT, in the format of OAuth 2.0 token responses (RFC 6749 §5.1).
#[derive(Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// The JWT itself.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds until it expires.
    pub expires_in: u64,
}

impl std::fmt::Debug for TokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenView(…)")
    }
}

/// A ticket that was just created.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedTicket {
    /// The ticket.
    #[serde(flatten)]
    pub ticket: TicketView,
    /// The client that it is for.
    pub client: ClientView,
    /// The presenter's secret, for `Authorization: Bearer`; only if the request said `"binding": "bearer"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket_secret: Option<String>,
    /// The QR code, if the request said `?qr=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qr: Option<QrView>,
}

/// The QR code as a data URI.
#[derive(Debug, Serialize, ToSchema)]
pub struct QrView {
    /// As SVG.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub svg: Option<String>,
    /// As PNG.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub png: Option<String>,
}

impl TicketView {
    /// Renders a ticket for `party`, without its JWT.
    pub(in crate::http) fn new(gateway: &Gateway, reading: &Reading, party: &Party) -> Self {
        let ticket = &reading.ticket;
        let request = &ticket.request;
        let (state, reason) = match &ticket.state {
            State::Pending { .. } => (StateName::Pending, None),
            State::Scanned { .. } => (StateName::Scanned, None),
            State::Confirmed { .. } => (StateName::Confirmed, None),
            State::Claimed { .. } => (StateName::Claimed, None),
            State::Cancelled { reason, .. } => (StateName::Cancelled, Some(*reason)),
        };
        let poll = format!("/v1/tickets/{}", ticket.id);
        let is_share = request.flow == Flow::Share;
        let choices = choices(ticket, party).filter(|_| is_share);
        let matching = matching(ticket);
        Self {
            ticket_id: ticket.id.to_string(),
            state,
            opened: ticket.is_opened(),
            revision: ticket.revision,
            flow: request.flow,
            client_id: ticket.audience().0.clone(),
            expires_in: reading.remaining().as_secs_f64(),
            scan_url: scan_url(gateway, ticket),
            events: format!("{poll}/events"),
            poll,
            interval: POLL_INTERVAL_SECS,
            heartbeat: gateway.waiters.heartbeat_secs(),
            presented_by: is_share.then(|| PersonView::new(&request.presenter)),
            release: is_share.then(|| released(ticket)),
            scanned_by: scanned_by(gateway, ticket, party),
            number: matching.filter(|_| ticket.is_recipient(party)).map(|matching| matching.number.to_string()),
            r#match: matching.filter(|_| is_share && ticket.is_approver(party)).map(|matching| matching.policy),
            choices,
            reason,
            token: None,
        }
    }
}

/// Returns how the screens are compared, while the approver must decide.
fn matching(ticket: &Ticket) -> Option<&Matching> {
    ticket.matching().filter(|_| matches!(ticket.state, State::Scanned { .. }))
}

/// Returns the numbers to choose from, for the approver. The view does not show which one is right.
pub(super) fn choices(ticket: &Ticket, party: &Party) -> Option<Vec<String>> {
    let matching = matching(ticket)?;
    let is_asked = matching.policy == MatchPolicy::Choose && ticket.is_approver(party);
    is_asked.then(|| matching.choices.iter().map(ToString::to_string).collect())
}

/// Returns the names of the claims that are granted or, before that, offered.
fn released(ticket: &Ticket) -> Vec<String> {
    match &ticket.state {
        State::Confirmed { grant, .. } | State::Claimed { grant, .. } => grant.claims.keys().cloned().collect(),
        State::Pending { .. } | State::Scanned { .. } | State::Cancelled { .. } => {
            ticket.offered().into_iter().cloned().collect()
        }
    }
}

fn scanned_by(gateway: &Gateway, ticket: &Ticket, party: &Party) -> Option<ScannedBy> {
    let scanner = ticket.scanner()?;
    let decides = ticket.request.flow == Flow::Share && ticket.is_approver(party);
    Some(ScannedBy {
        person: PersonView::new(&scanner.party),
        id: ticket.scanner_id().filter(|_| decides).map(|id| id.to_string()),
        signed_in: decides.then(|| scanner.party.is_person()),
        from: scanner.device.as_ref().filter(|_| decides).map(DeviceView::new),
        client: decides.then(|| ClientView::find(gateway, ticket.audience())),
    })
}

/// Returns the content of a ticket's QR code: the URL of the scanner's page, or the code that a connector created.
pub(in crate::http) fn scan_url(gateway: &Gateway, ticket: &Ticket) -> String {
    let Ticket { id, request, .. } = ticket;
    match (&request.code, request.flow) {
        (Some(code), _) => code.clone(),
        (None, Flow::Login) => login_url(gateway, id),
        (None, Flow::Share) => format!("{}/share/{id}", gateway.origin()),
    }
}

/// Returns the content of the QR code of a ticket in the flow `login`.
pub(in crate::http) fn login_url(gateway: &Gateway, id: &TicketId) -> String {
    format!("{}/s/{id}", gateway.origin())
}
