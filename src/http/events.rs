//! Waiting for a ticket: the event stream, and the long poll for what has no `EventSource`.
//!
//! Both read once to see whether the caller is a party, then take a seat and read again, so that nothing can happen unseen
//! in between; what they send comes from reading the ticket, never from the notification that woke them. The stream is
//! plain axum over `async_stream`.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use tokio::time::Instant;

use super::error::{self, Problem};
use super::extract::{Caller, ClientAddress, State, TicketPath};
use super::handover::{self, Shown};
use super::{Gateway, SharedGateway};
use crate::store::Reading;
use crate::streams::{Seat, Wake};
use crate::ticket::{Party, TicketId};

/// Between these a browser waits before it connects again, so that those who lost a replica together do not come back
/// together.
const RETRY_MILLIS: std::ops::Range<u64> = 1_000..4_000;
/// The same when the gateway itself sends them away.
const SHED_RETRY_MILLIS: std::ops::Range<u64> = 2_000..10_000;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The ticket's event stream
///
/// First a `retry`, then at once an event with the ticket's present state, then one event for each change: `pending`,
/// `scanned`, `confirmed`, `cancelled` with the ticket as data, or `expired` with the ticket's id. The stream ends after
/// the last of the three. Ids are revisions. A comment is sent every heartbeat.
#[utoipa::path(
    get,
    path = "/v1/tickets/{id}/events",
    tag = "tickets",
    params(
        ("id" = String, Path, description = "The ticket"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen; browsers send it when they reconnect"),
    ),
    security(("cookie" = []), ("ticket_secret" = []), ("identity" = [])),
    responses(
        (status = 200, content_type = "text/event-stream", body = String, description = "The events; or, when the gateway sheds load, a `retry` alone"),
        (status = 204, description = "The ticket is over and its last event was seen; `EventSource` stops"),
        (status = 401, body = error::ProblemBody, content_type = "application/problem+json", description = "The bearer token is not good"),
        (status = 404, body = error::ProblemBody, content_type = "application/problem+json", description = "No such ticket for this caller"),
        (status = 429, body = error::ProblemBody, content_type = "application/problem+json", description = "Too many streams for this ticket or address, or too many bad tokens"),
        (status = 503, body = error::ProblemBody, content_type = "application/problem+json", description = "The identity provider's keys are not known yet, for a person's token"),
    )
)]
pub(super) async fn events(
    axum::extract::State(gateway): State,
    TicketPath(id): TicketPath,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let party = caller_party(&headers, &gateway, address).await?;
    let (mut seat, first) = match open(&gateway, id, &party, address).await {
        Ok(opened) => opened,
        // `EventSource` gives up for good on 503; this is the one way to make it come back.
        Err(problem) if problem.kind().status == StatusCode::SERVICE_UNAVAILABLE => {
            gateway.metrics.refused(problem.reason());
            tracing::warn!(
                reason = problem.reason(),
                cause = problem.hidden_cause(),
                "a stream is sent away to come back"
            );
            return Ok(event_stream(futures_util::stream::iter([Ok(retry(SHED_RETRY_MILLIS))])));
        }
        Err(problem) => return Err(problem),
    };
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    if first.is_final && seen.is_some_and(|seen| seen >= first.view.revision) {
        seat.closes_with("seen");
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(event_stream(follow(gateway, seat, id, party, first)))
}

/// Takes a seat for a party of the ticket, and reads.
async fn open(gateway: &Gateway, id: TicketId, party: &Party, address: IpAddr) -> Result<(Seat, Shown), Problem> {
    // Before the seat: a stranger must neither fill the ticket's seats nor learn from their number that it exists.
    find(gateway, &id, party).await?;
    let mut seat = gateway.streams.seat(&gateway.store, id, address).await?;
    seat.closes_with("store");
    let reading = find(gateway, &id, party).await?;
    seat.has_left(reading.remaining());
    let shown = handover::show(gateway, reading, party).await?;
    seat.closes_with("gone");
    Ok((seat, shown))
}

/// Sends the first state, then one event for each change, until the last.
fn follow(
    gateway: SharedGateway,
    mut seat: Seat,
    id: TicketId,
    party: Party,
    first: Shown,
) -> impl Stream<Item = Result<Event, Infallible>> {
    async_stream::stream! {
        yield Ok(retry(RETRY_MILLIS));
        let mut revision = first.view.revision;
        let mut news = News::Shown(Box::new(first));
        loop {
            match &news {
                News::Shown(shown) => {
                    revision = shown.view.revision;
                    if shown.is_final {
                        seat.closes_with(shown.event);
                    }
                    yield Ok(if shown.event == "expired" { expired(&id) } else { event(shown) });
                    if shown.is_final {
                        return;
                    }
                }
                News::Expired => {
                    tell_expiry(&gateway, &mut seat);
                    yield Ok(expired(&id));
                    return;
                }
                News::Heartbeat => yield Ok(Event::default().comment("")),
                News::Drain => {
                    seat.closes_with("drain");
                    yield Ok(retry(SHED_RETRY_MILLIS));
                    return;
                }
            }
            news = next(&gateway, &mut seat, &id, &party, revision).await;
        }
    }
}

/// What a waiting party is to be told.
enum News {
    Shown(Box<Shown>),
    Expired,
    Heartbeat,
    Drain,
}

/// Waits for something to tell that is newer than `revision`. A store that fails is asked again: the stream stays.
async fn next(gateway: &Gateway, seat: &mut Seat, id: &TicketId, party: &Party, revision: u64) -> News {
    loop {
        match seat.next().await {
            Wake::Heartbeat => return News::Heartbeat,
            Wake::Drain => return News::Drain,
            Wake::Look => {}
        }
        let reading = match gateway.store.get(id).await {
            Ok(Some(reading)) => reading,
            Ok(None) => return News::Expired,
            Err(error) => {
                tracing::debug!(%error, "the ticket could not be read; it is read again in a moment");
                seat.retry_soon();
                continue;
            }
        };
        seat.has_left(reading.remaining());
        if reading.ticket.revision <= revision {
            continue;
        }
        match show(gateway, reading, party).await {
            Some(shown) => return News::Shown(Box::new(shown)),
            None => seat.retry_soon(),
        }
    }
}

async fn show(gateway: &Gateway, reading: Reading, party: &Party) -> Option<Shown> {
    match handover::show(gateway, reading, party).await {
        Ok(shown) => Some(shown),
        Err(problem) => {
            tracing::warn!(code = problem.kind().code, "the ticket could not be shown; it is tried again in a moment");
            None
        }
    }
}

fn event(shown: &Shown) -> Event {
    let data = serde_json::to_string(&shown.view).unwrap_or_default();
    Event::default().event(shown.event).id(shown.view.revision.to_string()).data(data)
}

fn expired(id: &TicketId) -> Event {
    Event::default().event("expired").data(serde_json::json!({ "ticket_id": id.to_string() }).to_string())
}

fn retry(millis: std::ops::Range<u64>) -> Event {
    Event::default().retry(Duration::from_millis(rand::random_range(millis)))
}

fn event_stream(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Tells nginx to pass each event on at once.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let mut response = Sse::new(events).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Returns who is calling; what proves nothing is told the same as for an id that never existed.
pub(super) async fn caller_party(headers: &HeaderMap, gateway: &Gateway, address: IpAddr) -> Result<Party, Problem> {
    let caller = Caller::from_headers(headers, gateway).await;
    let caller = gateway.limits.invalid_confirm.judge(address, caller)?;
    caller.map(|caller| caller.party()).ok_or_else(|| Problem::from(&error::TICKET_NOT_FOUND))
}

/// Reads the ticket for `party` as soon as its revision is above `revision`, or as it is after `wait`.
pub(super) async fn long_poll(
    gateway: &Gateway,
    id: TicketId,
    party: &Party,
    revision: u64,
    wait: Duration,
    address: IpAddr,
) -> Result<Shown, Problem> {
    let ends_at = Instant::now() + wait;
    let (mut seat, mut shown) = open(gateway, id, party, address).await?;
    while !shown.is_final && shown.view.revision <= revision {
        let news = tokio::select! {
            news = next(gateway, &mut seat, &id, party, revision) => news,
            () = tokio::time::sleep_until(ends_at) => {
                seat.closes_with("answered");
                return read(gateway, id, party).await;
            }
        };
        match news {
            News::Shown(news) => shown = *news,
            News::Expired => {
                tell_expiry(gateway, &mut seat);
                return Err(Problem::from(&error::TICKET_NOT_FOUND));
            }
            News::Heartbeat => {}
            News::Drain => {
                seat.closes_with("drain");
                return read(gateway, id, party).await;
            }
        }
    }
    seat.closes_with("answered");
    Ok(shown)
}

/// Reads the ticket once for `party`.
pub(super) async fn read(gateway: &Gateway, id: TicketId, party: &Party) -> Result<Shown, Problem> {
    let reading = find(gateway, &id, party).await?;
    handover::show(gateway, reading, party).await
}

/// Reads the ticket; for a stranger there is none.
async fn find(gateway: &Gateway, id: &TicketId, party: &Party) -> Result<Reading, Problem> {
    let reading = gateway.store.get(id).await?.filter(|reading| reading.ticket.is_party(party));
    reading.ok_or_else(|| Problem::from(&error::TICKET_NOT_FOUND))
}

fn tell_expiry(gateway: &Gateway, seat: &mut Seat) {
    if let Some(late) = seat.overdue() {
        gateway.metrics.expiry_lag(late);
    }
    gateway.metrics.ticket("expired");
    seat.closes_with("expired");
}
