//! Waiting for a ticket: the event stream, and the long poll for what has no `EventSource`.
//!
//! Both read once to see whether the caller is a party, then take a seat and read again, so that nothing can happen unseen
//! in between; what they send comes from reading the ticket, never from the notification that woke them. The stream is plain axum over `async_stream`.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use tokio::time::Instant;
use url::form_urlencoded;

use super::error::{self, Problem};
use super::extract::{Caller, ClientAddress, State, TicketPath};
use super::handover::{self, Shown};
use super::{Gateway, SharedGateway, fields, sse};
use crate::store::Reading;
use crate::streams::{End, Seat, Wake};
use crate::ticket::{Party, TicketId};

/// Between these a browser waits before it connects again, so that those who lost a replica together do not come back
/// together.
const RETRY_MILLIS: std::ops::Range<u64> = 1_000..4_000;
/// The same when the gateway cannot take them.
const SHED_RETRY_MILLIS: std::ops::Range<u64> = 2_000..10_000;
/// With this an edge says that it will ask another replica, or tell the browser to come back, if it is answered with 503.
const NEXT_UPSTREAM: HeaderName = HeaderName::from_static("scangate-next-upstream");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The id of the event `expired`, where the others have their revision. A client that sends it back is told by it alone that
/// there is nothing more: the ticket may be gone, and only those that knew it were sent the event.
const EXPIRED_ID: &str = "expired";

/// The ticket's event stream
///
/// At once an event with the ticket's present state, and a `retry`; then one event for each change: `pending`, `scanned`,
/// `confirmed`, `cancelled` with the ticket as data, or `expired` with the ticket's id. The stream ends after the last of
/// the three. Ids are revisions; that of `expired` is `expired`. In between there is an event `heartbeat` every so many
/// seconds as the ticket's `heartbeat` says, with `{}` as data and without id.
#[utoipa::path(
    get,
    path = "/v1/tickets/{id}/events",
    tag = "tickets",
    params(
        ("id" = String, Path, description = "The ticket"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen; browsers send it when they reconnect"),
        ("lastEventId" = Option<String>, Query, description = "The same, from what cannot set a header; the header counts if both are there"),
    ),
    security(("cookie" = []), ("ticket_secret" = []), ("identity" = [])),
    responses(
        (status = 200, content_type = "text/event-stream", body = String, description = "The events; or, when the gateway sheds load or drains, an event `reconnect` with a `retry`, and the end"),
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
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last_id = last_event_id(&headers, &uri);
    if last_id.as_deref() == Some(EXPIRED_ID) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let party = caller_party(&headers, &gateway, address).await?;
    let (mut waiter, first) = match Waiter::open(&gateway, id, party, address).await {
        Ok(opened) => opened,
        // `EventSource` gives up for good on 503; this is the one way to make it come back. An edge that can ask another
        // replica instead is told so.
        Err(problem)
            if problem.kind().status == StatusCode::SERVICE_UNAVAILABLE && !headers.contains_key(NEXT_UPSTREAM) =>
        {
            gateway.metrics.refused(problem.reason());
            if gateway.journal.takes("a stream is sent away to come back", Some(problem.reason())) {
                tracing::warn!(
                    reason = problem.reason(),
                    cause = problem.hidden_cause(),
                    "a stream is sent away to come back"
                );
            }
            let away = sse::reconnect(rand::random_range(SHED_RETRY_MILLIS));
            return Ok(sse::response(futures_util::stream::iter([Ok(away)])));
        }
        Err(problem) => return Err(problem),
    };
    let seen = last_id.and_then(|id| id.parse::<u64>().ok());
    if first.is_final && seen.is_some_and(|seen| seen >= first.view.revision) {
        waiter.seat.closes_with(End::Seen);
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(sse::response(follow(waiter, first)))
}

/// Returns the id of the last event that the caller has seen, as far as it says so: in the header, else in the query string,
/// where libraries that stand in for `EventSource` put it. What is no event's id is left out.
fn last_event_id(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let known = |id: &str| {
        let id = id.trim();
        (id == EXPIRED_ID || id.parse::<u64>().is_ok()).then(|| id.to_owned())
    };
    let in_header = headers.get(LAST_EVENT_ID).and_then(|id| known(fields::text(id)?));
    let in_query = || {
        let mut pairs = form_urlencoded::parse(uri.query()?.as_bytes());
        // `lastEventId`, `lastEventID`, `last-event-id`, `last_event_id`, and `evs_last_event_id`.
        let is_name = |name: &str| {
            let name = name.to_ascii_lowercase().replace(['-', '_'], "");
            name.strip_prefix("evs").unwrap_or(&name) == "lasteventid"
        };
        pairs.find_map(|(name, id)| if is_name(&name) { known(&id) } else { None })
    };
    in_header.or_else(in_query)
}

/// Sends the first state, then one event for each change, until the last.
fn follow(mut waiter: Waiter, first: Shown) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let mut beginning = Vec::new();
    sse::retry(rand::random_range(RETRY_MILLIS), &mut beginning);
    let first = News::Shown(Box::new(first));
    let mut is_over = first.is_last();
    beginning.extend(waiter.tell(first));
    async_stream::stream! {
        yield Ok(Bytes::from(beginning));
        while !is_over {
            let news = waiter.next().await;
            is_over = news.is_last();
            yield Ok(waiter.tell(news));
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

impl News {
    fn is_last(&self) -> bool {
        match self {
            Self::Shown(shown) => shown.is_final,
            Self::Expired | Self::Drain => true,
            Self::Heartbeat => false,
        }
    }
}

/// A party that waits for news of its ticket.
///
/// There is one for each idle stream, so it holds little, and its futures box what they need only now and then.
struct Waiter {
    gateway: SharedGateway,
    seat: Seat,
    id: TicketId,
    party: Party,
    /// What was told last.
    revision: u64,
}

impl Waiter {
    /// Takes a seat for a party of the ticket, and reads.
    async fn open(
        gateway: &SharedGateway,
        id: TicketId,
        party: Party,
        address: IpAddr,
    ) -> Result<(Self, Shown), Problem> {
        let _turn = gateway.streams.turn().await?;
        // Before the seat: a stranger must neither fill the ticket's seats, nor learn from their number that it exists, nor
        // make the store watch.
        find(gateway, &id, &party).await?;
        let mut seat = gateway.streams.seat(&gateway.store, id, address).await?;
        seat.closes_with(End::Store);
        let asked = Instant::now();
        let reading = find(gateway, &id, &party).await?;
        seat.has_left(asked, reading.remaining());
        let shown = handover::show(gateway, reading, &party, 0).await?;
        seat.closes_with(End::Gone);
        let revision = shown.view.revision;
        Ok((Self { gateway: Arc::clone(gateway), seat, id, party, revision }, shown))
    }

    /// Waits for something to tell. A store that fails is asked again: the stream stays.
    ///
    /// # Cancel safety
    /// Dropped half-way, the look that had begun is not made up for: what comes afterwards has to read by itself.
    async fn next(&mut self) -> News {
        loop {
            match self.seat.next().await {
                Wake::Heartbeat => return News::Heartbeat,
                Wake::Drain => return News::Drain,
                Wake::Look => {
                    if let Some(news) = Box::pin(self.look()).await {
                        return news;
                    }
                }
            }
        }
    }

    /// Reads the ticket; there may be nothing new.
    async fn look(&mut self) -> Option<News> {
        let Self { gateway, seat, id, party, revision } = self;
        let asked = Instant::now();
        let reading = match gateway.store.get(id).await {
            Ok(Some(reading)) => reading,
            Ok(None) => return Some(News::Expired),
            Err(error) => {
                tracing::debug!(%error, "the ticket could not be read; it is read again in a moment");
                seat.retry_soon();
                return None;
            }
        };
        seat.has_left(asked, reading.remaining());
        if reading.ticket.revision <= *revision {
            return None;
        }
        // A scan that a failover took back: somebody else has scanned since, and what follows is theirs.
        if !reading.ticket.is_party(party) {
            return Some(News::Expired);
        }
        match handover::show(gateway, reading, party, *revision).await {
            Ok(shown) => {
                *revision = shown.view.revision;
                Some(News::Shown(Box::new(shown)))
            }
            Err(problem) => {
                let code = problem.kind().code;
                tracing::warn!(code, "the ticket could not be shown; it is tried again in a moment");
                seat.retry_soon();
                None
            }
        }
    }

    /// Returns what goes over the wire for `news`, and notes what the stream ends with if it does.
    fn tell(&mut self, news: News) -> Bytes {
        let mut buffer = Vec::new();
        match news {
            News::Heartbeat => return sse::HEARTBEAT,
            News::Drain => {
                self.seat.closes_with(End::Drain);
                // The ends themselves are spread already.
                return sse::reconnect(rand::random_range(RETRY_MILLIS));
            }
            News::Expired => {
                self.note_expiry();
                self.tell_expiry(&mut buffer);
            }
            News::Shown(shown) => {
                if let Some(end) = shown.end() {
                    self.seat.closes_with(end);
                }
                if shown.event == "expired" {
                    self.tell_expiry(&mut buffer);
                } else {
                    sse::event(shown.event, shown.view.revision, &shown.view, &mut buffer);
                }
            }
        }
        buffer.into()
    }

    fn tell_expiry(&self, buffer: &mut Vec<u8>) {
        sse::event("expired", EXPIRED_ID, &serde_json::json!({ "ticket_id": self.id.to_string() }), buffer);
    }

    fn note_expiry(&mut self) {
        if let Some(late) = self.seat.overdue() {
            self.gateway.metrics.expiry_lag(late);
        }
        self.gateway.metrics.ticket("expired");
        if self.gateway.journal.takes("expired", None) {
            tracing::info!(ticket = %self.id, "expired");
        }
        self.seat.closes_with(End::Expired);
    }
}

/// Returns who is calling; what proves nothing is told the same as for an id that never existed.
pub(super) async fn caller_party(headers: &HeaderMap, gateway: &Gateway, address: IpAddr) -> Result<Party, Problem> {
    let caller = Caller::from_headers(headers, gateway).await;
    let caller = gateway.limits.invalid_confirm.judge(address, caller)?;
    caller.map(|caller| caller.party()).ok_or_else(|| Problem::from(&error::TICKET_NOT_FOUND))
}

/// Reads the ticket for `party` as soon as its revision is above `revision`, or as it is after `wait`.
pub(super) async fn long_poll(
    gateway: &SharedGateway,
    id: TicketId,
    party: Party,
    revision: u64,
    wait: Duration,
    address: IpAddr,
) -> Result<Shown, Problem> {
    let ends_at = Instant::now() + wait;
    let (mut waiter, mut shown) = Waiter::open(gateway, id, party, address).await?;
    while !shown.is_final && shown.view.revision <= revision {
        let news = tokio::time::timeout_at(ends_at, waiter.next()).await;
        match news {
            Ok(News::Shown(news)) => shown = *news,
            Ok(News::Heartbeat) => {}
            Ok(News::Expired) => {
                waiter.note_expiry();
                return Err(Problem::from(&error::TICKET_NOT_FOUND));
            }
            Ok(News::Drain) => {
                waiter.seat.closes_with(End::Drain);
                return read(gateway, id, &waiter.party).await;
            }
            Err(_elapsed) => {
                waiter.seat.closes_with(End::Answered);
                return read(gateway, id, &waiter.party).await;
            }
        }
    }
    waiter.seat.closes_with(End::Answered);
    Ok(shown)
}

/// Reads the ticket once for `party`.
pub(super) async fn read(gateway: &Gateway, id: TicketId, party: &Party) -> Result<Shown, Problem> {
    let reading = find(gateway, &id, party).await?;
    handover::show(gateway, reading, party, 0).await
}

/// Reads the ticket; for a stranger there is none.
async fn find(gateway: &Gateway, id: &TicketId, party: &Party) -> Result<Reading, Problem> {
    let reading = gateway.store.get(id).await?.filter(|reading| reading.ticket.is_party(party));
    reading.ok_or_else(|| Problem::from(&error::TICKET_NOT_FOUND))
}
