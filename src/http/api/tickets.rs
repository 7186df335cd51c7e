//! The presenter's side of the API: make a ticket, read it, close it. Its code is drawn by `codes`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::codes::{self, Picture};
use crate::callers::Caller;
use crate::clients::Client;
use crate::http::address::BrowserAddress;
use crate::http::auth::{Approver, caller_party, cookie_secret};
use crate::http::cookies::{BindingKind, Fresh, set_cookie};
use crate::http::device;
use crate::http::extract::{JsonBody, TicketPath, ValidQuery};
use crate::http::origin::check_origin;
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};
use crate::http::view::{ClientView, CreatedTicket, TicketView, scan_url};
use crate::http::wait::{self, MAX_WAIT_SECS};
use crate::random;
use crate::store::TransitionError;
use crate::ticket::{CancelReason, Flow, NewTicket, Party, Refusal, TicketRequest};
use crate::verifier::Identity;

/// How much of a name that is not known is said back, in characters.
const MAX_QUOTED_CHARS: usize = 32;

/// What a new ticket is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTicket {
    /// The client that the sign-in is for; the default one if left out.
    client_id: Option<String>,
    /// Which party approves. In `share` it is the presenter, who must be signed in.
    #[serde(default)]
    flow: Flow,
    /// Where the recipient goes on to; one of the client's own list, exactly.
    return_to: Option<String>,
    /// How the presenter proves itself afterwards.
    #[serde(default)]
    binding: BindingKind,
    /// Claims that the presenter offers, of those that the client may have; all of them if left out. Only in `share`.
    release: Option<Vec<String>>,
}

/// What to add to the answer.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CreateQuery {
    /// Adds the QR code as a data URI: `svg` or `png`.
    #[param(inline)]
    qr: Option<Picture>,
}

/// Makes a ticket
///
/// In the flow `login`, sets the binding cookie unless the browser has one or `"binding": "bearer"` is asked for. In the
/// flow `share`, the presenter proves itself by the person's token, now and afterwards.
#[utoipa::path(
    post,
    path = "/v1/tickets",
    tag = "tickets",
    params(CreateQuery),
    request_body = CreateTicket,
    security((), ("identity" = [])),
    responses(
        (status = 201, body = CreatedTicket, description = "The ticket", headers(("set-cookie" = Option<String>, description = "The binding"))),
        (status = 400, body = problem::ProblemBody, content_type = "application/problem+json", description = "`malformed_json`, `invalid_request`, `unknown_client`, `flow_not_allowed` or `return_to_not_allowed`"),
        (status = 401, body = problem::ProblemBody, content_type = "application/problem+json", description = "`not_signed_in` or `invalid_token`, in `share`"),
        (status = 403, body = problem::ProblemBody, content_type = "application/problem+json", description = "`origin_not_allowed`"),
        (status = 408, body = problem::ProblemBody, content_type = "application/problem+json", description = "`request_timeout`"),
        (status = 413, body = problem::ProblemBody, content_type = "application/problem+json", description = "`too_large`"),
        (status = 415, body = problem::ProblemBody, content_type = "application/problem+json", description = "`unsupported_media_type`"),
        (status = 429, body = problem::ProblemBody, content_type = "application/problem+json", description = "`rate_limited` or `too_many_tickets`"),
        (status = 503, body = problem::ProblemBody, content_type = "application/problem+json", description = "`unavailable`, `store_full`, `connector_unavailable` or `connector_quota`"),
    )
)]
pub(in crate::http) async fn create(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    ValidQuery(query): ValidQuery<CreateQuery>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<CreateTicket>,
) -> Result<Response, Problem> {
    gateway.limits.create.check(address)?;
    if query.qr.is_some() {
        gateway.limits.draw.check(address)?;
    }
    // Before the ticket is made: it would be of no use without its code.
    let drawing = query.qr.map(|picture| gateway.drawing.place().map(|place| (picture, place))).transpose()?;
    let client =
        gateway.clients.find(body.client_id.as_deref()).ok_or_else(|| Problem::from(&problem::UNKNOWN_CLIENT))?;
    check_origin(&headers, &gateway, client)?;
    if !client.allows(body.flow) {
        return Err(Problem::from(&problem::FLOW_NOT_ALLOWED));
    }
    let (presenter, fresh) = match body.flow {
        Flow::Login => browser(&body, client, &headers, &gateway)?,
        Flow::Share => {
            let approver = Approver::from_headers(&headers, &gateway).await;
            let Approver(identity) = gateway.limits.invalid_confirm.charge_failures(address, approver)?;
            (sharer(&body, client, identity)?, None)
        }
    };
    let place = gateway.limits.tickets.place(address)?;
    let (id, ttl) = (random::ticket_id(), client.ticket_ttl.unwrap_or(gateway.sign_ins.lifetimes().ticket));
    let code = match client.connector {
        Some(connector) if body.flow == Flow::Login => {
            gateway.limits.connector.check(address)?;
            Some(gateway.connectors.code(connector, &id, ttl, Caller::of(address)).await?)
        }
        _ => None,
    };
    let new = NewTicket {
        id,
        request: TicketRequest {
            flow: body.flow,
            client_id: client.id.clone(),
            presenter: presenter.party,
            requester: device::describe(address, &headers),
            return_to: body.return_to,
            matching: random::matching(client.match_policy),
            release: presenter.release,
            code,
        },
        ttl,
    };
    let reading = gateway.sign_ins.create(new).await?;
    place.keep(ttl);
    let ticket = &reading.ticket;
    let qr = match drawing {
        Some((picture, place)) => Some(codes::data_uri(place, scan_url(&gateway, ticket), picture).await?),
        None => None,
    };
    let created = CreatedTicket {
        ticket: TicketView::new(&gateway, &reading, &ticket.request.presenter),
        client: ClientView::new(client),
        ticket_secret: fresh.as_ref().and_then(Fresh::for_the_body),
        qr,
    };
    let location = [(header::LOCATION, created.ticket.poll.clone())];
    Ok((StatusCode::CREATED, location, set_cookie(&gateway, fresh.as_ref()), Json(created)).into_response())
}

/// Who presents a new ticket, and which of the approver's claims it is about.
struct Presenter {
    party: Party,
    release: Vec<String>,
}

/// Returns the browser or native client as a presenter, and the binding if it has to be given one.
fn browser(
    body: &CreateTicket,
    client: &Client,
    headers: &HeaderMap,
    gateway: &Gateway,
) -> Result<(Presenter, Option<Fresh>), Problem> {
    if body.release.is_some() {
        return Err(Problem::from(&problem::INVALID_REQUEST).detail(
            "release is for the flow \"share\"; in \"login\" the approver is asked for what the client may have.",
        ));
    }
    if body.return_to.as_ref().is_some_and(|url| !client.return_to.contains(url)) {
        return Err(Problem::from(&problem::RETURN_TO_NOT_ALLOWED));
    }
    let known = match body.binding {
        BindingKind::Cookie => cookie_secret(headers, gateway),
        BindingKind::Bearer => None,
    };
    let (party, fresh) = known.map_or_else(
        || {
            let fresh = Fresh::new(body.binding);
            (fresh.party(), Some(fresh))
        },
        |secret| (Party::Browser(secret.hash()), None),
    );
    Ok((Presenter { party, release: client.claims.clone() }, fresh))
}

/// Returns the signed-in person as a presenter who offers some of their claims.
fn sharer(body: &CreateTicket, client: &Client, identity: Identity) -> Result<Presenter, Problem> {
    let refuse = |detail: String| Err(Problem::from(&problem::INVALID_REQUEST).detail(detail));
    if body.return_to.is_some() || body.binding != BindingKind::Cookie {
        return refuse("return_to and binding are for the flow \"login\"; leave them out of \"share\".".to_owned());
    }
    let has = |name: &String| identity.claims.contains_key(name);
    let release = match &body.release {
        None => client.claims.iter().filter(|name| has(name)).cloned().collect(),
        Some(wanted) => {
            if let Some(name) = wanted.iter().find(|name| !client.claims.contains(name)) {
                let quoted: String = name.chars().take(MAX_QUOTED_CHARS).collect();
                return refuse(format!("release names {quoted:?}, which this client may not have."));
            }
            if let Some(name) = wanted.iter().find(|name| !has(name)) {
                return refuse(format!("release names {name:?}, which your token does not have."));
            }
            // In the client's order, each once.
            client.claims.iter().filter(|name| wanted.contains(name)).cloned().collect()
        }
    };
    Ok(Presenter { party: Party::Person(identity.person), release })
}

/// How to read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ReadQuery {
    /// Seconds to wait for something newer than `revision`, up to 60; without it the answer comes at once.
    #[param(maximum = 60)]
    wait: Option<u64>,
    /// The revision that the caller knows.
    #[serde(default)]
    revision: u64,
}

/// Reads a ticket, or polls it
///
/// With `wait` the answer comes as soon as the ticket's revision is above `revision`. To the recipient, `confirmed` comes
/// with the token. An expired ticket is answered like one that never was.
#[utoipa::path(
    get,
    path = "/v1/tickets/{id}",
    tag = "tickets",
    params(("id" = String, Path, description = "The ticket"), ReadQuery),
    security(("cookie" = []), ("ticket_secret" = []), ("identity" = [])),
    responses(
        (status = 200, body = TicketView, description = "The ticket"),
        (status = 400, body = problem::ProblemBody, content_type = "application/problem+json", description = "`invalid_request`"),
        (status = 401, body = problem::ProblemBody, content_type = "application/problem+json", description = "`invalid_token`"),
        (status = 404, body = problem::ProblemBody, content_type = "application/problem+json", description = "`ticket_not_found`: unknown, expired, or not the caller's"),
        (status = 429, body = problem::ProblemBody, content_type = "application/problem+json", description = "`too_many_streams`, or `rate_limited` after too many bad tokens"),
        (status = 503, body = problem::ProblemBody, content_type = "application/problem+json", description = "`unavailable` or `identity_unavailable`"),
    )
)]
pub(in crate::http) async fn read(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
    ValidQuery(query): ValidQuery<ReadQuery>,
    headers: HeaderMap,
) -> Result<Json<TicketView>, Problem> {
    let wait = query.wait.unwrap_or(0);
    if wait > MAX_WAIT_SECS {
        return Err(Problem::from(&problem::INVALID_REQUEST).detail("wait must be at most 60 seconds."));
    }
    let party = caller_party(&headers, &gateway, address).await?;
    let shown = if wait == 0 {
        wait::read(&gateway, id, &party).await?
    } else {
        wait::long_poll(&gateway, id, party, query.revision, Duration::from_secs(wait), address).await?
    };
    Ok(Json(shown.view))
}

/// Why a presenter closes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CloseQuery {
    /// `closed` (the default), or `superseded` when a fresh ticket takes its place.
    #[serde(default)]
    #[param(inline)]
    reason: CloseReason,
}

/// A presenter's reason.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CloseReason {
    /// The page goes away.
    #[default]
    Closed,
    /// The page has a fresh ticket.
    Superseded,
}

/// Closes a ticket that is no longer waited for
#[utoipa::path(
    delete,
    path = "/v1/tickets/{id}",
    tag = "tickets",
    params(("id" = String, Path, description = "The ticket"), CloseQuery),
    security(("cookie" = []), ("ticket_secret" = []), ("identity" = [])),
    responses(
        (status = 204, description = "It is cancelled"),
        (status = 400, body = problem::ProblemBody, content_type = "application/problem+json", description = "`invalid_request`"),
        (status = 401, body = problem::ProblemBody, content_type = "application/problem+json", description = "`invalid_token`"),
        (status = 403, body = problem::ProblemBody, content_type = "application/problem+json", description = "`origin_not_allowed`"),
        (status = 404, body = problem::ProblemBody, content_type = "application/problem+json", description = "`ticket_not_found`: unknown, expired, or not the caller's"),
        (status = 409, body = problem::ProblemBody, content_type = "application/problem+json", description = "`already_confirmed`"),
        (status = 429, body = problem::ProblemBody, content_type = "application/problem+json", description = "`rate_limited` after too many bad tokens"),
        (status = 503, body = problem::ProblemBody, content_type = "application/problem+json", description = "`unavailable` or `identity_unavailable`"),
    )
)]
pub(in crate::http) async fn close(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
    ValidQuery(query): ValidQuery<CloseQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let party = caller_party(&headers, &gateway, address).await?;
    let reason = match query.reason {
        CloseReason::Closed => CancelReason::Closed,
        CloseReason::Superseded => CancelReason::Superseded,
    };
    // The approver has `cancel`, and reasons of its own.
    let cancelled =
        gateway.sign_ins.cancel(&id, &party, |ticket| ticket.request.presenter.is(&party).then_some(reason));
    cancelled.await.map_err(cancel_problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers a stranger who cancels a ticket as if there were no such ticket.
pub(super) fn cancel_problem(error: TransitionError) -> Problem {
    match error {
        TransitionError::Refused(Refusal::NotPermitted) => Problem::from(&problem::TICKET_NOT_FOUND),
        other => other.into(),
    }
}
