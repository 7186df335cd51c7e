//! The response to a scan.

use std::ops::Not;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use utoipa::ToSchema;

use super::client::ClientView;
use super::party::{DeviceView, PersonView};
use super::ticket::{TicketView, choices};
use crate::http::state::Gateway;
use crate::store::Reading;
use crate::ticket::{Claims, Flow, MatchPolicy, Party, Ticket, Timestamp};

/// The response to a scan.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScanView {
    /// The client that the sign-in is for.
    pub client: ClientView,
    /// The presenter's device; in `login` only, because the scanner of a share decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<RequesterView>,
    /// The person who scanned and whose sign-in it will be; in `login` only. A page shows this name: its browser may have
    /// another session by now than when the page was rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scanned_by: Option<PersonView>,
    /// Which party approves.
    pub flow: Flow,
    /// How the screens are compared.
    pub r#match: MatchPolicy,
    /// The numbers to choose from, one of which the other screen shows; for a scanner that must choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
    /// The claims of the approver that the JWT may carry: in `login`, those of the client's list that the scanner has.
    pub release: Vec<String>,
    /// Whether the sign-in is also valid for other apps in the presenter's browser, by single sign-on; omitted if
    /// false.
    #[serde(skip_serializing_if = "Not::not")]
    pub single_sign_on: bool,
    /// Seconds left to decide.
    pub expires_in: f64,
    /// The presenter; in `share` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented_by: Option<PersonView>,
    /// The ticket, whose outcome the scanner now waits for; in `share` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketView>,
    /// The scanner's secret, for `Authorization: Bearer`; only if the request said `"binding": "bearer"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket_secret: Option<String>,
}

/// The presenter's device.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequesterView {
    /// The device.
    #[serde(flatten)]
    pub device: DeviceView,
    /// When it created the ticket (RFC 3339, UTC).
    #[schema(example = "2026-11-20T09:30:00Z")]
    pub created_at: String,
}

impl ScanView {
    /// Renders a ticket for `party`, which has scanned it, and has these claims if it is a person.
    pub(in crate::http) fn new(gateway: &Gateway, reading: &Reading, party: &Party, claims: &Claims) -> Self {
        let ticket = &reading.ticket;
        let request = &ticket.request;
        let is_share = request.flow == Flow::Share;
        // What the presenter of a share offers was compared with their claims at creation.
        let is_there = |name: &&String| is_share || claims.contains_key(*name);
        Self {
            client: ClientView::find(gateway, ticket.audience()),
            requester: (!is_share).then(|| RequesterView {
                device: DeviceView::new(&request.requester),
                created_at: rfc3339(ticket.created_at),
            }),
            scanned_by: (!is_share).then(|| PersonView::new(party)),
            flow: request.flow,
            r#match: ticket.matching().map_or(MatchPolicy::None, |matching| matching.policy),
            choices: choices(ticket, party),
            release: ticket.offered().into_iter().filter(is_there).cloned().collect(),
            single_sign_on: request.authorization.is_some() && has_single_sign_on(gateway, ticket),
            expires_in: reading.remaining().as_secs_f64(),
            presented_by: is_share.then(|| PersonView::new(&request.presenter)),
            ticket: is_share.then(|| TicketView::new(gateway, reading, party)),
            ticket_secret: None,
        }
    }
}

fn has_single_sign_on(gateway: &Gateway, ticket: &Ticket) -> bool {
    let client = gateway.clients.find(Some(&ticket.request.client_id.0));
    client.is_some_and(|client| client.has_single_sign_on())
}

fn rfc3339(at: Timestamp) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at.0)).to_string()
}
