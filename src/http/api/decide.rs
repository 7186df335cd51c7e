//! Scanning and deciding: scan, confirm, cancel. Who a person is comes from their verified token alone.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::tickets::cancel_problem;
use crate::http::address::BrowserAddress;
use crate::http::auth::{Approver, Credentials};
use crate::http::cookies::{BindingKind, Fresh, set_cookie};
use crate::http::extract::{JsonBody, Nothing, TicketPath};
use crate::http::origin::check_origin;
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};
use crate::http::view::{ScanView, TicketView};
use crate::http::{device, fields};
use crate::random;
use crate::ticket::{
    Audience, CancelReason, Decision, Flow, MatchNumber, MatchPolicy, ParseMatchNumberError, Party, Scanner, Ticket,
};
use crate::verifier::Identity;

/// How a ticket is scanned; an empty object in the flow `login`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// The client that the scanner uses, for which the JWT will be; the ticket's own if left out. Only in `share`.
    client_id: Option<String>,
    /// How a scanner without a token proves itself afterwards; by a cookie if left out. Only in `share`.
    binding: Option<BindingKind>,
}

/// Scans a ticket
///
/// Binds the ticket to the scanner, who is told which browser shows it. Nobody else can scan it then. In the flow `login`
/// scanners are persons, who send their token. In `share` they may also be browsers, which get a binding like presenters.
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/scan",
    tag = "approver",
    params(("id" = String, Path, description = "The ticket")),
    request_body = Scan,
    security(("identity" = []), ("cookie" = []), ("ticket_secret" = []), ()),
    responses(
        (status = 200, body = ScanView, description = "Who asks or offers; the same again for the same scanner", headers(("set-cookie" = Option<String>, description = "The binding"))),
        (status = 400, body = problem::ProblemBody, content_type = "application/problem+json", description = "`malformed_json`, `invalid_request`, `unknown_client` or `flow_not_allowed`"),
        (status = 401, body = problem::ProblemBody, content_type = "application/problem+json", description = "`not_signed_in` or `invalid_token`: without a good token, also for a ticket that is unknown or expired"),
        (status = 403, body = problem::ProblemBody, content_type = "application/problem+json", description = "`own_ticket`, `connector_only` or `origin_not_allowed`"),
        (status = 404, body = problem::ProblemBody, content_type = "application/problem+json", description = "`ticket_not_found`: unknown or expired"),
        (status = 408, body = problem::ProblemBody, content_type = "application/problem+json", description = "`request_timeout`"),
        (status = 409, body = problem::ProblemBody, content_type = "application/problem+json", description = "`already_scanned` by somebody else, `already_confirmed`, `already_cancelled`"),
        (status = 413, body = problem::ProblemBody, content_type = "application/problem+json", description = "`too_large`"),
        (status = 415, body = problem::ProblemBody, content_type = "application/problem+json", description = "`unsupported_media_type`"),
        (status = 429, body = problem::ProblemBody, content_type = "application/problem+json", description = "`rate_limited`"),
        (status = 503, body = problem::ProblemBody, content_type = "application/problem+json", description = "`unavailable` or `identity_unavailable`"),
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
        let caller = Credentials::from_headers(&headers, &gateway).await?;
        let is_person = matches!(caller, Some(Credentials::Person(_)));
        let limit = if is_person { &limits.scan } else { &limits.guest_scan };
        limit.check(address)?;
        let reading = gateway.store.get(&id).await?;
        let flow = reading.as_ref().map(|reading| reading.ticket.request.flow);
        let (party, fresh) = scanning_party(caller, flow, &body, &headers)?;
        let reading = reading.ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))?;
        if reading.ticket.request.code.is_some() {
            return Err(Problem::from(&problem::CONNECTOR_ONLY));
        }
        let scanner = match reading.ticket.request.flow {
            Flow::Login if body.client_id.is_some() || body.binding.is_some() => {
                return Err(Problem::from(&problem::INVALID_REQUEST)
                    .detail("client_id and binding are for tickets of the flow \"share\"; leave them out."));
            }
            Flow::Login => Scanner::of(party),
            Flow::Share => {
                let audience = audience(&body, &reading.ticket, &headers, &gateway)?;
                let from = Some(device::describe(address, &headers));
                Scanner { party, id: Some(random::scanner_id()), audience, from }
            }
        };
        let reading = gateway.sign_ins.scan_from(reading, &scanner).await?;
        Ok((reading, scanner.party, fresh))
    };
    let (reading, party, fresh) = limits.invalid_scan.charge_failures(address, scanned.await)?;
    let mut view = ScanView::new(&gateway, &reading, &party);
    view.ticket_secret = fresh.as_ref().and_then(Fresh::for_the_body);
    Ok((set_cookie(&gateway, fresh.as_ref()), Json(view)).into_response())
}

/// Returns who scans, and the binding if it has to be given one. To whoever proves to be no person, a ticket of the flow
/// `login` is the same as one that never was.
fn scanning_party(
    caller: Option<Credentials>,
    flow: Option<Flow>,
    body: &Scan,
    headers: &HeaderMap,
) -> Result<(Party, Option<Fresh>), Problem> {
    let is_sent = fields::bearer(headers)?.is_some();
    match caller {
        Some(Credentials::Person(identity)) => Ok((Party::Person(identity.person), None)),
        _ if flow != Some(Flow::Share) && is_sent => Err(Problem::from(&problem::INVALID_TOKEN)),
        _ if flow != Some(Flow::Share) => Err(Problem::from(&problem::NOT_SIGNED_IN)),
        Some(Credentials::Browser(secret)) if is_sent || body.binding != Some(BindingKind::Bearer) => {
            Ok((Party::Browser(secret.hash()), None))
        }
        _ => {
            let fresh = Fresh::new(body.binding.unwrap_or_default());
            Ok((fresh.party(), Some(fresh)))
        }
    }
}

/// Returns the client that the scanner names, if that is another than the ticket's; pages may name only what lists them.
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
    let asked = ticket.request.matching.as_ref().map_or(MatchPolicy::None, |matching| matching.policy);
    let matching = if client.match_policy > asked { random::matching(client.match_policy) } else { None };
    Ok(Some(Audience { client_id: client.id.clone(), claims: client.claims.clone(), matching }))
}

/// What the approver grants.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The number that the other screen shows; only for clients that ask for it. There is one attempt.
    #[schema(example = "42", pattern = "^[1-9][0-9]$")]
    r#match: Option<String>,
    /// The claims to hand over; all that are offered if left out.
    release: Option<Vec<String>>,
    /// The id of the scanner that the presenter was shown (`scanned_by`); needed in `share`.
    scanner: Option<String>,
}

/// Confirms a sign-in, or grants what is shared
///
/// A wrong number cancels the ticket.
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/confirm",
    tag = "approver",
    params(("id" = String, Path, description = "The ticket")),
    request_body = Confirm,
    security(("identity" = [])),
    responses(
        (status = 200, body = TicketView, description = "It is confirmed; the same again for the same person"),
        (status = 400, body = problem::ProblemBody, content_type = "application/problem+json", description = "`malformed_json` or `invalid_request`"),
        (status = 401, body = problem::ProblemBody, content_type = "application/problem+json", description = "`not_signed_in` or `invalid_token`"),
        (status = 403, body = problem::ProblemBody, content_type = "application/problem+json", description = "`not_permitted` for anybody but the approver; `origin_not_allowed`"),
        (status = 404, body = problem::ProblemBody, content_type = "application/problem+json", description = "`ticket_not_found`: unknown or expired"),
        (status = 408, body = problem::ProblemBody, content_type = "application/problem+json", description = "`request_timeout`"),
        (status = 409, body = problem::ProblemBody, content_type = "application/problem+json", description = "`not_scanned`, `already_cancelled`, `mismatch` or `scanner_changed`"),
        (status = 413, body = problem::ProblemBody, content_type = "application/problem+json", description = "`too_large`"),
        (status = 415, body = problem::ProblemBody, content_type = "application/problem+json", description = "`unsupported_media_type`"),
        (status = 429, body = problem::ProblemBody, content_type = "application/problem+json", description = "`rate_limited`"),
        (status = 503, body = problem::ProblemBody, content_type = "application/problem+json", description = "`unavailable` or `identity_unavailable`"),
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
        limits.confirm.check(address)?;
        let (release, scanner) = (body.release.as_deref(), body.scanner.as_deref());
        let decision = Decision { claims: &claims, release, number, scanner };
        Ok((gateway.sign_ins.confirm(&id, &person, decision).await?, Party::Person(person)))
    };
    let (reading, party) = limits.invalid_confirm.charge_failures(address, confirmed.await)?;
    Ok(Json(TicketView::new(&gateway, &reading, &party)))
}

/// Declines or closes a sign-in
///
/// The reason is `declined` when the approver calls after the scan, and `closed` otherwise.
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/cancel",
    tag = "approver",
    params(("id" = String, Path, description = "The ticket")),
    request_body = Nothing,
    security(("identity" = []), ("cookie" = []), ("ticket_secret" = [])),
    responses(
        (status = 200, body = TicketView, description = "It is cancelled; the same again for either party"),
        (status = 400, body = problem::ProblemBody, content_type = "application/problem+json", description = "`malformed_json`"),
        (status = 401, body = problem::ProblemBody, content_type = "application/problem+json", description = "`invalid_token`"),
        (status = 403, body = problem::ProblemBody, content_type = "application/problem+json", description = "`origin_not_allowed`"),
        (status = 404, body = problem::ProblemBody, content_type = "application/problem+json", description = "`ticket_not_found`: unknown, expired, or not the caller's"),
        (status = 408, body = problem::ProblemBody, content_type = "application/problem+json", description = "`request_timeout`"),
        (status = 409, body = problem::ProblemBody, content_type = "application/problem+json", description = "`already_confirmed`"),
        (status = 413, body = problem::ProblemBody, content_type = "application/problem+json", description = "`too_large`"),
        (status = 415, body = problem::ProblemBody, content_type = "application/problem+json", description = "`unsupported_media_type`"),
        (status = 429, body = problem::ProblemBody, content_type = "application/problem+json", description = "`rate_limited`"),
        (status = 503, body = problem::ProblemBody, content_type = "application/problem+json", description = "`unavailable` or `identity_unavailable`"),
    )
)]
pub(in crate::http) async fn cancel(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
    headers: HeaderMap,
    JsonBody(Nothing {}): JsonBody<Nothing>,
) -> Result<Json<TicketView>, Problem> {
    let limits = &gateway.limits;
    let cancelled = async {
        let caller = Credentials::from_headers(&headers, &gateway).await?;
        let party = caller.ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))?.party();
        limits.confirm.check(address)?;
        let reason = |ticket: &Ticket| {
            let decides = ticket.scanner().is_some() && ticket.is_approver(&party);
            Some(if decides { CancelReason::Declined } else { CancelReason::Closed })
        };
        Ok((gateway.sign_ins.cancel(&id, &party, reason).await.map_err(cancel_problem)?, party))
    };
    let (reading, party) = limits.invalid_confirm.charge_failures(address, cancelled.await)?;
    Ok(Json(TicketView::new(&gateway, &reading, &party)))
}
