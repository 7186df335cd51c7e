//! The presenter's side of the API: create, read and close a ticket.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::codes::{self, Picture};
use super::openapi::{JSON_BODY, OF_A_PARTY, problem_responses};
use crate::callers::Caller;
use crate::clients::Client;
use crate::http::address::BrowserAddress;
use crate::http::auth::{Approver, caller_party, cookie_secret};
use crate::http::cookies::{BindingKind, NewBinding};
use crate::http::device;
use crate::http::extract::{JsonBody, TicketPath, ValidQuery};
use crate::http::origin::{check_origin, is_own_fetch};
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};
use crate::http::view::client::ClientView;
use crate::http::view::ticket::{CreatedTicket, TicketView, scan_url};
use crate::http::wait::{self, MAX_WAIT_SECS};
use crate::openid_provider::request::{AuthorizationRequest, Refused};
use crate::random;
use crate::store::TransitionError;
use crate::ticket::{CancelReason, Flow, NewTicket, Party, Refusal, TicketRequest};
use crate::verifier::Identity;

/// The maximum length to which a response quotes an unknown name, in characters.
const MAX_QUOTED_CHARS: usize = 32;

/// The properties of a new ticket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTicket {
    /// The client that the sign-in is for; the default client if omitted.
    client_id: Option<String>,
    /// Which party approves. In `share` it is the presenter, who must be signed in.
    #[serde(default)]
    flow: Flow,
    /// The query of an authorization request of an OpenID client, as it was sent to `/oauth2/authorize`; only on the gateway's
    /// own page, with the cookie as the binding. Its client and its claims are those of the ticket. The recipient gets a code at
    /// the client's redirect URI, and never a JWT.
    #[schema(max_length = 6144)]
    authorization: Option<String>,
    /// How the presenter is identified in later requests.
    #[serde(default)]
    binding: BindingKind,
    /// The claims that the presenter offers, among those that the client may have; all of them if omitted. Only in `share`.
    release: Option<Vec<String>>,
}

/// The parts to add to the response.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CreateQuery {
    /// Adds the QR code as a data URI: `svg` or `png`.
    #[param(inline)]
    qr: Option<Picture>,
}

problem_responses!(CreateProblems: JSON_BODY, &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::FLOW_NOT_ALLOWED,
    &problem::NOT_SIGNED_IN,
    &problem::INVALID_TOKEN,
    &problem::ORIGIN_NOT_ALLOWED,
    &problem::RATE_LIMITED,
    &problem::TOO_MANY_TICKETS,
    &problem::UNAVAILABLE,
    &problem::STORE_FULL,
    &problem::CONNECTOR_UNAVAILABLE,
    &problem::CONNECTOR_QUOTA,
]);

/// Creates a ticket
///
/// In the flow `login`, the response sets the binding cookie unless the browser has one or the request says
/// `"binding": "bearer"`. In the flow `share`, the person's token or session identifies the presenter, now and in later requests.
#[utoipa::path(
    post,
    path = "/v1/tickets",
    tag = "tickets",
    params(CreateQuery),
    request_body = CreateTicket,
    security((), ("identity" = []), ("login" = [])),
    responses(
        (status = 201, body = CreatedTicket, description = "The ticket", headers(("set-cookie" = Option<String>, description = "The binding"))),
        CreateProblems,
    )
)]
pub(in crate::http) async fn create(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    ValidQuery(query): ValidQuery<CreateQuery>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<CreateTicket>,
) -> Result<Response, Problem> {
    gateway.limits.create.take_or_problem(address)?;
    if query.qr.is_some() {
        gateway.limits.draw.take_or_problem(address)?;
    }
    // Enter the queue before creating the ticket, which would be useless without its code.
    let drawing = query.qr.map(|picture| gateway.drawing.enter().map(|place| (picture, place))).transpose()?;
    let request =
        body.authorization.as_deref().map(|query| authorization(query, &body, &headers, &gateway)).transpose()?;
    let client = match &request {
        Some(request) => &request.client,
        None => {
            gateway.clients.find(body.client_id.as_deref()).ok_or_else(|| Problem::from(&problem::UNKNOWN_CLIENT))?
        }
    };
    check_origin(&headers, &gateway, client)?;
    if !client.allows(body.flow) {
        return Err(Problem::from(&problem::FLOW_NOT_ALLOWED));
    }
    let (presenter, new_binding) = match body.flow {
        Flow::Login => browser_presenter(&body, client, &headers, &gateway)?,
        Flow::Share => {
            let approver = Approver::from_headers(&headers, &gateway).await;
            let Approver(identity) = gateway.limits.invalid_confirm.charge_failures(address, approver)?;
            (sharing_presenter(&body, client, identity)?, None)
        }
    };
    let slot = gateway.limits.tickets.reserve(address)?;
    let (id, ttl) = (random::ticket_id(), client.ticket_ttl.unwrap_or(gateway.sign_ins.lifetimes().ticket));
    let code = match client.connector {
        Some(connector) if body.flow == Flow::Login => {
            gateway.limits.connector.take_or_problem(address)?;
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
            matching: random::matching(client.match_policy),
            release: request.as_ref().map_or(presenter.release, AuthorizationRequest::release),
            code,
            freshness: request.as_ref().map_or_else(|| client.freshness.clone(), AuthorizationRequest::freshness),
            authorization: request.as_ref().map(|request| Box::new(request.authorization.clone())),
        },
        ttl,
    };
    let reading = gateway.sign_ins.create(new).await?;
    slot.keep(ttl);
    let ticket = &reading.ticket;
    let qr = match drawing {
        Some((picture, place)) => Some(codes::data_uri(place, scan_url(&gateway, ticket), picture).await?),
        None => None,
    };
    let created = CreatedTicket {
        ticket: TicketView::new(&gateway, &reading, &ticket.request.presenter),
        client: ClientView::new(client),
        ticket_secret: new_binding.as_ref().and_then(NewBinding::secret_for_body),
        qr,
    };
    let location = [(header::LOCATION, created.ticket.poll.clone())];
    let cookie = new_binding.and_then(|binding| binding.cookie(&gateway));
    Ok((StatusCode::CREATED, location, cookie, Json(created)).into_response())
}

/// Reads the authorization request of a new ticket. The gateway accepted the same text when it served the page. A
/// refusal therefore means that the settings have changed since, or that a program sent the request.
fn authorization(
    query: &str,
    body: &CreateTicket,
    headers: &HeaderMap,
    gateway: &Gateway,
) -> Result<AuthorizationRequest, Problem> {
    let refuse = |detail: &'static str| Err(Problem::from(&problem::INVALID_REQUEST).detail(detail));
    let has_others = body.client_id.is_some() || body.release.is_some();
    if body.flow != Flow::Login || body.binding != BindingKind::Cookie || has_others {
        return refuse(
            "authorization is for the flow \"login\" and the binding \"cookie\", without client_id and release.",
        );
    }
    // The answer leaves from the gateway's own page, in the browser that has the cookie.
    if !is_own_fetch(headers, gateway) {
        return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
    }
    match gateway.openid_provider.read_request(query) {
        Ok(request) => Ok(request),
        Err(Refused::Page) => refuse("authorization names no registered client and redirect URI."),
        Err(Refused::Back { error, .. }) => refuse(error.description()),
    }
}

/// The presenter of a new ticket, and the claims that the approver may grant.
struct Presenter {
    party: Party,
    release: Vec<String>,
}

/// Returns the browser or native app as the presenter, and its binding if that is new.
fn browser_presenter(
    body: &CreateTicket,
    client: &Client,
    headers: &HeaderMap,
    gateway: &Gateway,
) -> Result<(Presenter, Option<NewBinding>), Problem> {
    if body.release.is_some() {
        return Err(Problem::from(&problem::INVALID_REQUEST)
            .detail("release is for the flow \"share\"; in \"login\" the client's list decides."));
    }
    let existing = match body.binding {
        BindingKind::Cookie => cookie_secret(headers, gateway),
        BindingKind::Bearer => None,
    };
    let (party, new_binding) = existing.map_or_else(
        || {
            let binding = NewBinding::new(body.binding);
            (binding.party(), Some(binding))
        },
        |secret| (Party::Browser(secret.hash()), None),
    );
    Ok((Presenter { party, release: client.claims.clone() }, new_binding))
}

/// Returns the signed-in person as the presenter, with the claims that they offer.
fn sharing_presenter(body: &CreateTicket, client: &Client, identity: Identity) -> Result<Presenter, Problem> {
    let refuse = |detail: String| Err(Problem::from(&problem::INVALID_REQUEST).detail(detail));
    if body.binding != BindingKind::Cookie {
        return refuse("binding is for the flow \"login\"; omit it in \"share\".".to_owned());
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

/// The parameters of a long poll.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ReadQuery {
    /// Seconds to wait for a revision above `revision`, up to 60; if omitted, the response is immediate.
    #[param(maximum = 60)]
    wait: Option<u64>,
    /// The revision that the caller has.
    #[serde(default)]
    revision: u64,
}

problem_responses!(ReadProblems: &[&problem::INVALID_REQUEST, &problem::TOO_MANY_STREAMS], OF_A_PARTY);

/// Reads a ticket, or polls it
///
/// With `wait`, the response comes as soon as the ticket's revision is above `revision`. The recipient gets the token together
/// with `confirmed`. An expired ticket, and a ticket of other parties, get the same response as an unknown one.
#[utoipa::path(
    get,
    path = "/v1/tickets/{id}",
    tag = "tickets",
    params(("id" = String, Path, description = "The ticket"), ReadQuery),
    security(("cookie" = []), ("ticket_secret" = []), ("identity" = []), ("login" = [])),
    responses((status = 200, body = TicketView, description = "The ticket"), ReadProblems)
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
    let party = caller_party(&headers, &gateway, address, &id).await?;
    let snapshot = if wait == 0 {
        wait::read(&gateway, id, &party).await?
    } else {
        wait::long_poll(&gateway, id, party, query.revision, Duration::from_secs(wait), address).await?
    };
    Ok(Json(snapshot.view))
}

/// The reason for closing a ticket.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CloseQuery {
    /// `closed` (the default), or `superseded` if a new ticket replaces this one.
    #[serde(default)]
    #[param(inline)]
    reason: CloseReason,
}

/// A presenter's reason.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CloseReason {
    /// The page is closed.
    #[default]
    Closed,
    /// The page has a new ticket.
    Superseded,
}

problem_responses!(CloseProblems: OF_A_PARTY, &[
    &problem::INVALID_REQUEST,
    &problem::ORIGIN_NOT_ALLOWED,
    &problem::ALREADY_CONFIRMED,
]);

/// Closes a ticket
#[utoipa::path(
    delete,
    path = "/v1/tickets/{id}",
    tag = "tickets",
    params(("id" = String, Path, description = "The ticket"), CloseQuery),
    security(("cookie" = []), ("ticket_secret" = []), ("identity" = []), ("login" = [])),
    responses((status = 204, description = "It is cancelled"), CloseProblems)
)]
pub(in crate::http) async fn close(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
    ValidQuery(query): ValidQuery<CloseQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let party = caller_party(&headers, &gateway, address, &id).await?;
    let reason = match query.reason {
        CloseReason::Closed => CancelReason::Closed,
        CloseReason::Superseded => CancelReason::Superseded,
    };
    // Only for presenters: the approver uses `cancel`, with other reasons.
    let cancelled =
        gateway.sign_ins.cancel(&id, &party, |ticket| ticket.request.presenter.is(&party).then_some(reason));
    cancelled.await.map_err(cancel_problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the problem of a failed cancellation. A caller that is not a party gets the same response as for an unknown ticket.
pub(super) fn cancel_problem(error: TransitionError) -> Problem {
    match error {
        TransitionError::Refused(Refusal::NotPermitted) => Problem::from(&problem::TICKET_NOT_FOUND),
        other => other.into(),
    }
}
