//! Opening a ticket: a phone whose person is not signed in yet announces the scan, so that the ticket outlives the sign-in at
//! the identity provider.

use axum::extract::State;
use axum::http::StatusCode;

use super::openapi::{JSON_BODY, problem_responses};
use crate::http::address::BrowserAddress;
use crate::http::extract::{EmptyObject, JsonBody, TicketPath};
use crate::http::problem::{self, Problem};
use crate::http::state::SharedGateway;

problem_responses!(OpenProblems: JSON_BODY, &[
    &problem::ORIGIN_NOT_ALLOWED,
    &problem::TICKET_NOT_FOUND,
    &problem::RATE_LIMITED,
    &problem::TOO_MANY_TICKETS,
    &problem::UNAVAILABLE,
]);

/// Opens a ticket
///
/// A phone that begins to sign in to its identity provider opens the ticket, once. The ticket then lives for the sign-in time
/// (10 minutes) after its creation, and the presenter is told. It is bound to nobody: anyone who knows the id may open it, and
/// any signed-in person may scan it afterwards. The response is the same for every id, so a caller learns nothing about the
/// ticket.
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/open",
    tag = "decisions",
    params(("id" = String, Path, description = "The ticket")),
    request_body = EmptyObject,
    responses(
        (status = 204, description = "It is opened, if it was pending, of the flow `login`, and had no code of another service"),
        OpenProblems,
    )
)]
pub(in crate::http) async fn open(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
    JsonBody(EmptyObject {}): JsonBody<EmptyObject>,
) -> Result<StatusCode, Problem> {
    let limits = &gateway.limits;
    limits.open.take_or_problem(address)?;
    // An opened ticket stays in the store for longer than its creator's count covers, so the opener's count covers it as well.
    // It is reserved before the ticket is read, so that the response does not depend on the ticket.
    let slot = limits.tickets.reserve(address)?;
    if let Some(reading) = gateway.sign_ins.open(&id).await? {
        slot.keep(reading.remaining());
    }
    Ok(StatusCode::NO_CONTENT)
}
