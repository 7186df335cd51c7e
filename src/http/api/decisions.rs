//! The scanner's and the approver's side of the API: scan, confirm and cancel. A person's identity comes only from their
//! verified token, or from their session in this browser.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::openapi::{JSON_BODY, OF_A_PARTY, problem_responses};
use super::tickets::cancel_problem;
use crate::http::address::BrowserAddress;
use crate::http::auth::{Approver, Credentials, Role};
use crate::http::cookies::{BindingKind, NewBinding};
use crate::http::extract::{EmptyObject, JsonBody, TicketPath};
use crate::http::origin::check_origin;
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};
use crate::http::view::scan::ScanView;
use crate::http::view::ticket::TicketView;
use crate::http::{device, fields};
use crate::random;
use crate::ticket::{
    Audience, CancelReason, Decision, Flow, MatchNumber, MatchPolicy, ParseMatchNumberError, Party, Scanner, Ticket,
};
use crate::verifier::Identity;

/// The properties of a scan; an empty object in the flow `login`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// The scanner's client, which becomes the JWT's audience; the ticket's client if omitted. Only in `share`.
    client_id: Option<String>,
    /// How a scanner without a token is identified in later requests; by a cookie if omitted. With `bearer`, a person who is
    /// signed in in this browser scans as a device in which nobody is. Only in `share`.
    binding: Option<BindingKind>,
}

problem_responses!(ScanProblems: JSON_BODY, &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::FLOW_NOT_ALLOWED,
    &problem::NOT_SIGNED_IN,
    &problem::INVALID_TOKEN,
    &problem::OWN_TICKET,
    &problem::CONNECTOR_ONLY,
    &problem::SIGN_IN_TOO_OLD,
    &problem::STRONGER_SIGN_IN_NEEDED,
    &problem::ORIGIN_NOT_ALLOWED,
    &problem::TICKET_NOT_FOUND,
    &problem::ALREADY_SCANNED,
    &problem::ALREADY_CONFIRMED,
    &problem::ALREADY_CANCELLED,
    &problem::RATE_LIMITED,
    &problem::UNAVAILABLE,
    &problem::IDENTITY_UNAVAILABLE,
]);

/// Scans a ticket
///
/// Binds the ticket to the scanner, and tells the scanner which device presents it. No other party can scan it then. In the
/// flow `login`, scanners are people: they send their token, or are signed in in this browser. In `share`, they may also be
/// browsers and native apps, which get a binding like presenters. Without a valid token or session, a request for an unknown or expired ticket also gets 401.
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/scan",
    tag = "decisions",
    params(("id" = String, Path, description = "The ticket")),
    request_body = Scan,
    security(("identity" = []), ("login" = []), ("cookie" = []), ("ticket_secret" = []), ()),
    responses(
        (status = 200, body = ScanView, description = "The presenter and its request; a repeated scan gets the same response", headers(("set-cookie" = Option<String>, description = "The binding"))),
        ScanProblems,
    )
)]
pub(in crate::http) async fn scan(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Scan>,
) -> Result<Response, Problem> {
    let limits = &gateway.limits;
    let scanned = async {
        let credentials = Credentials::from_headers(&headers, &gateway).await?;
        let limit = if credentials.person.is_some() { &limits.scan } else { &limits.anonymous_scan };
        limit.take_or_problem(address)?;
        let reading = gateway.store.get(&id).await?;
        let flow = reading.as_ref().map(|reading| reading.ticket.request.flow);
        let claims = credentials.person.as_ref().map(|identity| identity.claims.clone()).unwrap_or_default();
        let (party, new_binding) = scanning_party(credentials, flow, &body, &headers)?;
        let reading = reading.ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))?;
        if reading.ticket.request.code.is_some() {
            return Err(Problem::from(&problem::CONNECTOR_ONLY));
        }
        let scanner = match reading.ticket.request.flow {
            Flow::Login if body.client_id.is_some() || body.binding.is_some() => {
                return Err(Problem::from(&problem::INVALID_REQUEST)
                    .detail("client_id and binding are for tickets of the flow \"share\"; omit them."));
            }
            Flow::Login => Scanner::of(party),
            Flow::Share => {
                let audience = audience(&body, &reading.ticket, &headers, &gateway)?;
                let device = Some(device::describe(address, &headers));
                Scanner { party, id: Some(random::scanner_id()), audience, device }
            }
        };
        let reading = gateway.sign_ins.scan_from(reading, &scanner, &claims).await?;
        Ok((reading, scanner.party, claims, new_binding))
    };
    let (reading, party, claims, new_binding) = limits.invalid_scan.charge_failures(address, scanned.await)?;
    let mut view = ScanView::new(&gateway, &reading, &party, &claims);
    view.ticket_secret = new_binding.as_ref().and_then(NewBinding::secret_for_body);
    let cookie = new_binding.and_then(|binding| binding.cookie(&gateway));
    Ok((cookie, Json(view)).into_response())
}

/// Returns the party that scans, and its binding if that is new. A caller that is not a verified person gets the same response
/// for a ticket of the flow `login` as for an unknown one.
fn scanning_party(
    credentials: Credentials,
    flow: Option<Flow>,
    body: &Scan,
    headers: &HeaderMap,
) -> Result<(Party, Option<NewBinding>), Problem> {
    let has_bearer = fields::bearer(headers)?.is_some();
    let is_as_nobody = flow == Some(Flow::Share) && body.binding == Some(BindingKind::Bearer) && !has_bearer;
    match (credentials.person.filter(|_| !is_as_nobody), credentials.browser) {
        (Some(identity), _) => Ok((Party::Person(identity.person), None)),
        _ if flow != Some(Flow::Share) && has_bearer => Err(Problem::from(&problem::INVALID_TOKEN)),
        _ if flow != Some(Flow::Share) => Err(Problem::from(&problem::NOT_SIGNED_IN)),
        (None, Some(secret)) if has_bearer || body.binding != Some(BindingKind::Bearer) => {
            Ok((Party::Browser(secret.hash()), None))
        }
        _ => {
            let binding = NewBinding::new(body.binding.unwrap_or_default());
            Ok((binding.party(), Some(binding)))
        }
    }
}

/// Returns the scanner's client if it differs from the ticket's. A page may use only clients that list its origin.
fn audience(body: &Scan, ticket: &Ticket, headers: &HeaderMap, gateway: &Gateway) -> Result<Option<Audience>, Problem> {
    let id = body.client_id.as_deref().unwrap_or(&ticket.request.client_id.0);
    let client = gateway.clients.find(Some(id)).ok_or_else(|| Problem::from(&problem::UNKNOWN_CLIENT))?;
    check_origin(headers, gateway, client)?;
    if !client.allows(Flow::Share) {
        return Err(Problem::from(&problem::FLOW_NOT_ALLOWED));
    }
    if client.id == ticket.request.client_id {
        return Ok(None);
    }
    let of_ticket = ticket.request.matching.as_ref().map_or(MatchPolicy::None, |matching| matching.policy);
    let matching = if client.match_policy > of_ticket { random::matching(client.match_policy) } else { None };
    Ok(Some(Audience {
        client_id: client.id.clone(),
        claims: client.claims.clone(),
        matching,
        freshness: client.freshness.clone(),
    }))
}

/// The approver's grant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The number that the other screen shows; only for clients that require it. There is one attempt.
    #[schema(example = "42", pattern = "^[1-9][0-9]$")]
    r#match: Option<String>,
    /// The claims to release; all offered claims if omitted.
    release: Option<Vec<String>>,
    /// The id from `scanned_by`, which identifies the scanner that the presenter has seen; required in `share`.
    scanner: Option<String>,
}

problem_responses!(ConfirmProblems: JSON_BODY, &[
    &problem::INVALID_REQUEST,
    &problem::NOT_SIGNED_IN,
    &problem::INVALID_TOKEN,
    &problem::NOT_PERMITTED,
    &problem::SIGN_IN_TOO_OLD,
    &problem::STRONGER_SIGN_IN_NEEDED,
    &problem::ORIGIN_NOT_ALLOWED,
    &problem::TICKET_NOT_FOUND,
    &problem::NOT_SCANNED,
    &problem::ALREADY_CANCELLED,
    &problem::MISMATCH,
    &problem::SCANNER_CHANGED,
    &problem::RATE_LIMITED,
    &problem::UNAVAILABLE,
    &problem::IDENTITY_UNAVAILABLE,
]);

/// Confirms a sign-in, or grants the offered claims
///
/// A wrong number cancels the ticket. If the client requires a recent or strong sign-in at the identity provider and the token
/// states none, the request changes nothing: the person signs in again, and confirms with the new token.
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/confirm",
    tag = "decisions",
    params(("id" = String, Path, description = "The ticket")),
    request_body = Confirm,
    security(("identity" = []), ("login" = [])),
    responses(
        (status = 200, body = TicketView, description = "It is confirmed; a repeated request gets the same response"),
        ConfirmProblems,
    )
)]
pub(in crate::http) async fn confirm(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Confirm>,
) -> Result<Json<TicketView>, Problem> {
    let number =
        body.r#match.as_deref().map(str::parse::<MatchNumber>).transpose().map_err(|ParseMatchNumberError| {
            Problem::from(&problem::INVALID_REQUEST)
                .detail("match is the number on the other screen: two digits, \"10\" to \"99\".")
        })?;
    let limits = &gateway.limits;
    let confirmed = async {
        let Approver(Identity { person, claims }) = Approver::from_headers(&headers, &gateway).await?;
        limits.confirm.take_or_problem(address)?;
        let (release, scanner) = (body.release.as_deref(), body.scanner.as_deref());
        let decision = Decision { claims: &claims, release, number, scanner };
        Ok((gateway.sign_ins.confirm(&id, &person, decision).await?, Party::Person(person)))
    };
    let (reading, party) = limits.invalid_confirm.charge_failures(address, confirmed.await)?;
    Ok(Json(TicketView::new(&gateway, &reading, &party)))
}

problem_responses!(CancelProblems: JSON_BODY, OF_A_PARTY, &[&problem::ORIGIN_NOT_ALLOWED, &problem::ALREADY_CONFIRMED]);

/// Declines or closes a sign-in
///
/// The reason is `declined` when the approver calls after the scan, and `closed` otherwise.
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/cancel",
    tag = "decisions",
    params(("id" = String, Path, description = "The ticket")),
    request_body = EmptyObject,
    security(("identity" = []), ("login" = []), ("cookie" = []), ("ticket_secret" = [])),
    responses(
        (status = 200, body = TicketView, description = "It is cancelled; a repeated request gets the same response"),
        CancelProblems,
    )
)]
pub(in crate::http) async fn cancel(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
    headers: HeaderMap,
    JsonBody(EmptyObject {}): JsonBody<EmptyObject>,
) -> Result<Json<TicketView>, Problem> {
    let limits = &gateway.limits;
    let cancelled = async {
        let credentials = Credentials::from_headers(&headers, &gateway).await?;
        let party = credentials.party(&gateway, &id, Role::Approver).await?;
        let party = party.ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))?;
        limits.confirm.take_or_problem(address)?;
        let reason = |ticket: &Ticket| {
            let decides = ticket.scanner().is_some() && ticket.is_approver(&party);
            Some(if decides { CancelReason::Declined } else { CancelReason::Closed })
        };
        let cancelled = gateway.sign_ins.cancel(&id, &party, reason).await;
        Ok((cancelled.map_err(cancel_problem)?, party))
    };
    let (reading, party) = limits.invalid_confirm.charge_failures(address, cancelled.await)?;
    Ok(Json(TicketView::new(&gateway, &reading, &party)))
}
