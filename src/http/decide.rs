//! The approver's side of the API: scan, confirm, decline. Identity comes from the verified token alone.

use axum::Json;
use axum::http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;

use super::error::{self, Problem};
use super::extract::{Approver, Caller, ClientAddress, JsonBody, State, TicketPath};
use super::tickets::cancel_as_party;
use super::view::{ScanView, TicketView};
use crate::store::{self, Transition};
use crate::ticket::{CancelReason, Party, Ticket};
use crate::verifier::Identity;

/// An empty object.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Scans a ticket
///
/// Binds the ticket to the person whose token is sent, who is told which browser asks. Nobody else can scan it then.
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/scan",
    tag = "approver",
    params(("id" = String, Path, description = "The ticket")),
    request_body(content = Option<Nothing>),
    security(("identity" = [])),
    responses(
        (status = 200, body = ScanView, description = "Who asks; the same again for the same person"),
        (status = 400, body = error::ProblemBody, content_type = "application/problem+json", description = "`malformed_json`"),
        (status = 401, body = error::ProblemBody, content_type = "application/problem+json", description = "`not_signed_in` or `invalid_token`"),
        (status = 403, body = error::ProblemBody, content_type = "application/problem+json", description = "`origin_not_allowed`"),
        (status = 404, body = error::ProblemBody, content_type = "application/problem+json", description = "`ticket_not_found`: unknown or expired"),
        (status = 408, body = error::ProblemBody, content_type = "application/problem+json", description = "`request_timeout`"),
        (status = 409, body = error::ProblemBody, content_type = "application/problem+json", description = "`already_scanned` by somebody else, `already_confirmed`, `already_cancelled`"),
        (status = 413, body = error::ProblemBody, content_type = "application/problem+json", description = "`too_large`"),
        (status = 415, body = error::ProblemBody, content_type = "application/problem+json", description = "`unsupported_media_type`"),
        (status = 429, body = error::ProblemBody, content_type = "application/problem+json", description = "`rate_limited`"),
        (status = 503, body = error::ProblemBody, content_type = "application/problem+json", description = "`unavailable` or `identity_unavailable`"),
    )
)]
pub(super) async fn scan(
    axum::extract::State(gateway): State,
    TicketPath(id): TicketPath,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    JsonBody(Nothing {}): JsonBody<Nothing>,
) -> Result<Json<ScanView>, Problem> {
    let limits = &gateway.limits;
    let scanned = async {
        let Approver(identity) = Approver::from_headers(&headers, &gateway).await?;
        limits.scan.check(address)?;
        let (party, decision) = (Party::Person(identity.person), gateway.lifetimes.decision);
        Ok(store::transition(&gateway.store, &id, |ticket, now| ticket.scan(&party, now, decision)).await?)
    };
    let Transition { reading, changed } = limits.invalid_scan.judge(address, scanned.await)?;
    if changed {
        gateway.metrics.ticket("scanned");
        tracing::info!(ticket = %id, client = %reading.ticket.request.client_id, "scanned");
    }
    Ok(Json(ScanView::new(&gateway, &reading)))
}

/// What the approver grants.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The number that the other screen shows; only for clients that ask for it.
    r#match: Option<String>,
    /// The claims to hand over; all that the scan named if left out.
    release: Option<Vec<String>>,
}

/// Confirms a sign-in
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/confirm",
    tag = "approver",
    params(("id" = String, Path, description = "The ticket")),
    request_body = Confirm,
    security(("identity" = [])),
    responses(
        (status = 200, body = TicketView, description = "It is confirmed; the same again for the same person"),
        (status = 400, body = error::ProblemBody, content_type = "application/problem+json", description = "`malformed_json` or `invalid_request`"),
        (status = 401, body = error::ProblemBody, content_type = "application/problem+json", description = "`not_signed_in` or `invalid_token`"),
        (status = 403, body = error::ProblemBody, content_type = "application/problem+json", description = "`not_permitted` for anybody but the person who scanned; `origin_not_allowed`"),
        (status = 404, body = error::ProblemBody, content_type = "application/problem+json", description = "`ticket_not_found`: unknown or expired"),
        (status = 408, body = error::ProblemBody, content_type = "application/problem+json", description = "`request_timeout`"),
        (status = 409, body = error::ProblemBody, content_type = "application/problem+json", description = "`not_scanned` or `already_cancelled`"),
        (status = 413, body = error::ProblemBody, content_type = "application/problem+json", description = "`too_large`"),
        (status = 415, body = error::ProblemBody, content_type = "application/problem+json", description = "`unsupported_media_type`"),
        (status = 429, body = error::ProblemBody, content_type = "application/problem+json", description = "`rate_limited`"),
        (status = 503, body = error::ProblemBody, content_type = "application/problem+json", description = "`unavailable` or `identity_unavailable`"),
    )
)]
pub(super) async fn confirm(
    axum::extract::State(gateway): State,
    TicketPath(id): TicketPath,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Confirm>,
) -> Result<Json<TicketView>, Problem> {
    if body.r#match.is_some() {
        return Err(Problem::from(&error::INVALID_REQUEST).detail("This client asks for no number; leave match out."));
    }
    let limits = &gateway.limits;
    let confirmed = async {
        let Approver(Identity { person, claims }) = Approver::from_headers(&headers, &gateway).await?;
        limits.confirm.check(address)?;
        let (release, redeem) = (body.release.as_deref(), gateway.lifetimes.redeem);
        let step = |ticket: &Ticket, now| ticket.confirm(&person, &claims, release, now, redeem);
        Ok(store::transition(&gateway.store, &id, step).await?)
    };
    let Transition { reading, changed } = limits.invalid_confirm.judge(address, confirmed.await)?;
    if changed {
        gateway.metrics.ticket("confirmed");
        tracing::info!(ticket = %id, client = %reading.ticket.request.client_id, "confirmed");
    }
    Ok(Json(TicketView::new(&gateway, &reading)))
}

/// Declines or closes a sign-in
///
/// The reason is `declined` when the approver calls and `closed` when the presenter does.
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/cancel",
    tag = "approver",
    params(("id" = String, Path, description = "The ticket")),
    request_body(content = Option<Nothing>),
    security(("identity" = []), ("cookie" = []), ("ticket_secret" = [])),
    responses(
        (status = 200, body = TicketView, description = "It is cancelled; the same again for either party"),
        (status = 400, body = error::ProblemBody, content_type = "application/problem+json", description = "`malformed_json`"),
        (status = 401, body = error::ProblemBody, content_type = "application/problem+json", description = "`invalid_token`"),
        (status = 403, body = error::ProblemBody, content_type = "application/problem+json", description = "`origin_not_allowed`"),
        (status = 404, body = error::ProblemBody, content_type = "application/problem+json", description = "`ticket_not_found`: unknown, expired, or not the caller's"),
        (status = 408, body = error::ProblemBody, content_type = "application/problem+json", description = "`request_timeout`"),
        (status = 409, body = error::ProblemBody, content_type = "application/problem+json", description = "`already_confirmed`"),
        (status = 413, body = error::ProblemBody, content_type = "application/problem+json", description = "`too_large`"),
        (status = 415, body = error::ProblemBody, content_type = "application/problem+json", description = "`unsupported_media_type`"),
        (status = 429, body = error::ProblemBody, content_type = "application/problem+json", description = "`rate_limited`"),
        (status = 503, body = error::ProblemBody, content_type = "application/problem+json", description = "`unavailable` or `identity_unavailable`"),
    )
)]
pub(super) async fn cancel(
    axum::extract::State(gateway): State,
    TicketPath(id): TicketPath,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    JsonBody(Nothing {}): JsonBody<Nothing>,
) -> Result<Json<TicketView>, Problem> {
    let limits = &gateway.limits;
    let cancelled = async {
        let caller = Caller::from_headers(&headers, &gateway).await?;
        let party = caller.ok_or_else(|| Problem::from(&error::TICKET_NOT_FOUND))?.party();
        limits.confirm.check(address)?;
        let reason = |is_presenter| Some(if is_presenter { CancelReason::Closed } else { CancelReason::Declined });
        cancel_as_party(&gateway, &id, &party, reason).await
    };
    let reading = limits.invalid_confirm.judge(address, cancelled.await)?;
    Ok(Json(TicketView::new(&gateway, &reading)))
}
