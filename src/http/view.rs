//! Tickets as answers and events show them. What a party may not see is left out here and nowhere else.

use serde::Serialize;
use utoipa::ToSchema;

use super::Gateway;
use crate::clients::Client;
use crate::store::Reading;
use crate::ticket::{CancelReason, Flow, MatchPolicy, Party, State, TicketId, Timestamp};

/// Seconds that a party which polls without `wait` should leave between two polls.
const POLL_INTERVAL_SECS: u64 = 2;

/// A ticket, as every answer shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Ticket)]
pub struct TicketView {
    /// Its public name, which stands in the QR code.
    #[schema(example = "q2Jh5l0fT1m7o4dXb3YVwA")]
    pub ticket_id: String,
    /// Where it stands.
    pub state: StateName,
    /// Counts its changes, from 1.
    pub revision: u64,
    /// Which party approves.
    pub flow: Flow,
    /// The client that the sign-in is for.
    pub client_id: String,
    /// Seconds that are left of its time.
    pub expires_in: f64,
    /// What the QR code says.
    pub scan_url: String,
    /// Where its event stream is, relative to the gateway.
    pub events: String,
    /// Where it can be polled, relative to the gateway.
    pub poll: String,
    /// Seconds to leave between two polls without `wait`.
    pub interval: u64,
    /// Who scanned, once somebody has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scanned_by: Option<ScannedBy>,
    /// Why it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<CancelReason>,
    /// The JWT; for the recipient alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenView>,
    /// Where the recipient goes on to; with the JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_to: Option<String>,
}

/// The names of the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateName {
    /// Waits to be scanned.
    Pending,
    /// Waits for the decision.
    Scanned,
    /// The approver said yes. To the recipient this comes with the JWT.
    Confirmed,
    /// The recipient has fetched the JWT.
    Claimed,
    /// One party ended it.
    Cancelled,
}

impl StateName {
    /// Returns the word, which is also the event's name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scanned => "scanned",
            Self::Confirmed => "confirmed",
            Self::Claimed => "claimed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Who scanned, as the other screen may show them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ScannedBy {
    /// Their name, if their token has one.
    pub name: Option<String>,
    /// The address of their picture, if their token has one.
    pub picture: Option<String>,
}

/// The JWT, as OAuth 2.0 hands tokens over (RFC 6749 §5.1).
#[derive(Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// The JWT itself.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds until it ends.
    pub expires_in: u64,
}

impl std::fmt::Debug for TokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenView(…)")
    }
}

/// A ticket that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedTicket {
    /// The ticket.
    #[serde(flatten)]
    pub ticket: TicketView,
    /// The client that it is for.
    pub client: ClientView,
    /// What proves to be its presenter, for `Authorization: Bearer`; only where `"binding": "bearer"` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket_secret: Option<String>,
    /// The QR code, where `?qr=` asked for it.
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

/// A client, as pages show it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClientView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its logo is, relative to the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo: Option<String>,
}

impl ClientView {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            id: client.id.0.clone(),
            name: client.name.clone(),
            logo: client.logo.as_ref().map(|_| format!("/v1/clients/{}/logo.png", client.id)),
        }
    }
}

/// What the approver is told before deciding.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScanView {
    /// Which application asks.
    pub client: ClientView,
    /// Which browser asks.
    pub requester: RequesterView,
    /// Which party approves.
    pub flow: Flow,
    /// How the screens are compared.
    pub r#match: MatchPolicy,
    /// Which claims of the approver the JWT will carry.
    pub release: Vec<String>,
    /// Seconds that are left to decide.
    pub expires_in: f64,
}

/// The browser that asks.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequesterView {
    /// Its address.
    pub ip: String,
    /// Its name, if known.
    pub browser: Option<String>,
    /// Its operating system, if known.
    pub os: Option<String>,
    /// When it asked (RFC 3339, UTC).
    #[schema(example = "2026-11-20T09:30:00Z")]
    pub created_at: String,
}

impl ScanView {
    pub(super) fn new(gateway: &Gateway, reading: &Reading) -> Self {
        let ticket = &reading.ticket;
        let client = gateway.clients.find(Some(&ticket.request.client_id.0));
        Self {
            // A client that was taken out of the settings in the meantime still has its id.
            client: client.map_or_else(
                || ClientView {
                    id: ticket.request.client_id.0.clone(),
                    name: ticket.request.client_id.0.clone(),
                    logo: None,
                },
                |client| ClientView::new(client),
            ),
            requester: RequesterView {
                ip: ticket.request.requester.ip.to_string(),
                browser: ticket.request.requester.browser.clone(),
                os: ticket.request.requester.os.clone(),
                created_at: rfc3339(ticket.created_at),
            },
            flow: ticket.request.flow,
            r#match: ticket.request.match_policy,
            release: ticket.request.release.clone(),
            expires_in: reading.remaining().as_secs_f64(),
        }
    }
}

impl TicketView {
    /// Shows a ticket without its JWT.
    pub(super) fn new(gateway: &Gateway, reading: &Reading) -> Self {
        let ticket = &reading.ticket;
        let (state, reason) = match &ticket.state {
            State::Pending => (StateName::Pending, None),
            State::Scanned { .. } => (StateName::Scanned, None),
            State::Confirmed { .. } => (StateName::Confirmed, None),
            State::Claimed { .. } => (StateName::Claimed, None),
            State::Cancelled { reason, .. } => (StateName::Cancelled, Some(*reason)),
        };
        let poll = format!("/v1/tickets/{}", ticket.id);
        Self {
            ticket_id: ticket.id.to_string(),
            state,
            revision: ticket.revision,
            flow: ticket.request.flow,
            client_id: ticket.request.client_id.0.clone(),
            expires_in: reading.remaining().as_secs_f64(),
            scan_url: scan_url(gateway, &ticket.id),
            events: format!("{poll}/events"),
            poll,
            interval: POLL_INTERVAL_SECS,
            scanned_by: ticket.scanner().map(ScannedBy::new),
            reason,
            token: None,
            return_to: None,
        }
    }
}

impl ScannedBy {
    fn new(party: &Party) -> Self {
        match party {
            Party::Person(person) => Self { name: person.name.clone(), picture: person.picture.clone() },
            Party::Browser(_) => Self { name: None, picture: None },
        }
    }
}

/// Returns what the QR code of a ticket says.
pub(super) fn scan_url(gateway: &Gateway, id: &TicketId) -> String {
    format!("{}/s/{id}", gateway.origin())
}

fn rfc3339(at: Timestamp) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(at.0);
    humantime::format_rfc3339_seconds(at).to_string()
}
