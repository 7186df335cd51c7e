//! Tickets as answers and events show them. What a party may not see is left out here and nowhere else.

use serde::Serialize;
use utoipa::ToSchema;

use super::state::Gateway;
use crate::clients::{Client, Connector};
use crate::store::Reading;
use crate::ticket::{
    CancelReason, ClientId, Flow, MatchPolicy, Matching, Party, Person, Requester, State, Ticket, TicketId, Timestamp,
};

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
    /// The client that the JWT is for.
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
    /// Seconds between two heartbeats of its event stream. A stream that is silent for two of them is lost.
    pub heartbeat: u64,
    /// Who shows the code; in `share` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented_by: Option<PersonView>,
    /// Which claims of the presenter are offered, and once it is confirmed, which are granted; in `share` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Vec<String>>,
    /// Who scanned, once somebody has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scanned_by: Option<ScannedBy>,
    /// The number that this screen is to show while the other side decides; to the recipient alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "42")]
    pub number: Option<String>,
    /// How the screens are compared, if they are; to a presenter who has to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#match: Option<MatchPolicy>,
    /// The numbers to choose from; to a presenter who has to decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
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

/// A person, as the other screen may show them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PersonView {
    /// Their name, if their token has one.
    pub name: Option<String>,
    /// The address of their picture, if their token has one.
    pub picture: Option<String>,
}

/// Who scanned, as the other screen may show them; to a presenter who has to decide, with all that is known of them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ScannedBy {
    /// The person; without a name if it is a browser that nobody has signed in to.
    #[serde(flatten)]
    pub person: PersonView,
    /// What `confirm` must name the scanner by; to a presenter who decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether it is a person who has proved who they are; otherwise it is a browser. To a presenter who decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_in: Option<bool>,
    /// Where it scanned from; to a presenter who decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<DeviceView>,
    /// The client that it uses, for which the JWT will be; to a presenter who decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientView>,
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
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ClientView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its logo is, relative to the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo: Option<String>,
    /// Where the style sheet with its colours is, relative to the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<String>,
    /// Whose app its sign-ins are scanned with, if not that of the person's own identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "wechat")]
    pub connector: Option<&'static str>,
}

impl ClientView {
    fn find(gateway: &Gateway, id: &ClientId) -> Self {
        // A client that was taken out of the settings in the meantime still has its id.
        let unknown = || Self { id: id.0.clone(), name: id.0.clone(), logo: None, theme: None, connector: None };
        gateway.clients.find(Some(&id.0)).map_or_else(unknown, |client| Self::new(client))
    }

    pub(super) fn new(client: &Client) -> Self {
        Self {
            id: client.id.0.clone(),
            name: client.name.clone(),
            logo: client.logo.as_ref().map(|_| format!("/v1/clients/{}/logo.png", client.id)),
            theme: client.theme.map(|_| format!("/v1/clients/{}/theme.css", client.id)),
            connector: client.connector.map(Connector::as_str),
        }
    }
}

/// What somebody who has scanned is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScanView {
    /// Which application asks.
    pub client: ClientView,
    /// Which browser asks; in `login` alone, since whoever scans a share decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<RequesterView>,
    /// Which party approves.
    pub flow: Flow,
    /// How the screens are compared.
    pub r#match: MatchPolicy,
    /// The numbers of which the other screen shows one, where the scanner is to choose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
    /// Which of the approver's claims the JWT may carry.
    pub release: Vec<String>,
    /// Seconds that are left to decide.
    pub expires_in: f64,
    /// Who shows the code; in `share` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presented_by: Option<PersonView>,
    /// The ticket, which the scanner now waits for; in `share` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketView>,
    /// What proves to be this scanner, for `Authorization: Bearer`; only where `"binding": "bearer"` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket_secret: Option<String>,
}

/// A device and its browser.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeviceView {
    /// Its address.
    pub ip: String,
    /// The browser's name, if known.
    pub browser: Option<String>,
    /// Its operating system, if known.
    pub os: Option<String>,
}

/// The browser that asks.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequesterView {
    /// Which device it is.
    #[serde(flatten)]
    pub device: DeviceView,
    /// When it asked (RFC 3339, UTC).
    #[schema(example = "2026-11-20T09:30:00Z")]
    pub created_at: String,
}

impl DeviceView {
    fn new(requester: &Requester) -> Self {
        Self { ip: requester.ip.to_string(), browser: requester.browser.clone(), os: requester.os.clone() }
    }
}

impl PersonView {
    fn new(party: &Party) -> Self {
        match party {
            Party::Person(Person { name, picture, .. }) => Self { name: name.clone(), picture: picture.clone() },
            Party::Browser(_) => Self { name: None, picture: None },
        }
    }
}

impl ScanView {
    /// Shows a ticket to `party`, which has scanned it.
    pub(super) fn new(gateway: &Gateway, reading: &Reading, party: &Party) -> Self {
        let ticket = &reading.ticket;
        let request = &ticket.request;
        let is_share = request.flow == Flow::Share;
        Self {
            client: ClientView::find(gateway, ticket.audience()),
            requester: (!is_share).then(|| RequesterView {
                device: DeviceView::new(&request.requester),
                created_at: rfc3339(ticket.created_at),
            }),
            flow: request.flow,
            r#match: ticket.matching().map_or(MatchPolicy::None, |matching| matching.policy),
            choices: choices(ticket, party),
            release: ticket.offered().into_iter().cloned().collect(),
            expires_in: reading.remaining().as_secs_f64(),
            presented_by: is_share.then(|| PersonView::new(&request.presenter)),
            ticket: is_share.then(|| TicketView::new(gateway, reading, party)),
            ticket_secret: None,
        }
    }
}

impl TicketView {
    /// Shows a ticket to `party`, without its JWT.
    pub(super) fn new(gateway: &Gateway, reading: &Reading, party: &Party) -> Self {
        let ticket = &reading.ticket;
        let request = &ticket.request;
        let (state, reason) = match &ticket.state {
            State::Pending => (StateName::Pending, None),
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
            return_to: None,
        }
    }
}

/// Returns how the screens are compared, while somebody has to decide.
fn matching(ticket: &Ticket) -> Option<&Matching> {
    ticket.matching().filter(|_| matches!(ticket.state, State::Scanned { .. }))
}

/// Returns the numbers to choose from, for the party that decides. Which is the right one is not told to it.
fn choices(ticket: &Ticket, party: &Party) -> Option<Vec<String>> {
    let matching = matching(ticket)?;
    let is_asked = matching.policy == MatchPolicy::Choose && ticket.is_approver(party);
    is_asked.then(|| matching.choices.iter().map(ToString::to_string).collect())
}

/// Returns the names of the claims that are granted or, before that, offered.
fn released(ticket: &Ticket) -> Vec<String> {
    match &ticket.state {
        State::Confirmed { grant, .. } | State::Claimed { grant, .. } => grant.claims.keys().cloned().collect(),
        State::Pending | State::Scanned { .. } | State::Cancelled { .. } => {
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
        from: scanner.from.as_ref().filter(|_| decides).map(DeviceView::new),
        client: decides.then(|| ClientView::find(gateway, ticket.audience())),
    })
}

/// Returns what the QR code of a ticket says: the address of the page for whoever scans it, unless it is another's code.
pub(super) fn scan_url(gateway: &Gateway, ticket: &Ticket) -> String {
    let Ticket { id, request, .. } = ticket;
    match (&request.code, request.flow) {
        (Some(code), _) => code.clone(),
        (None, Flow::Login) => login_url(gateway, id),
        (None, Flow::Share) => format!("{}/share/{id}", gateway.origin()),
    }
}

/// Returns what the QR code of a ticket of the flow `login` says.
pub(super) fn login_url(gateway: &Gateway, id: &TicketId) -> String {
    format!("{}/s/{id}", gateway.origin())
}

fn rfc3339(at: Timestamp) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(at.0);
    humantime::format_rfc3339_seconds(at).to_string()
}
