//! Waiting for a ticket: the event stream, and the long poll for what has no `EventSource`.
//!
//! Both read once to see whether the caller is a party, then take a seat and read again, so that nothing can happen unseen
//! in between; what they send comes from reading the ticket, never from the notification that woke them. The stream is plain axum over `async_stream`.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use url::form_urlencoded;

use crate::http::address::BrowserAddress;
use crate::http::auth::caller_party;
use crate::http::extract::TicketPath;
use crate::http::fields;
use crate::http::handover::Shown;
use crate::http::problem::{self, Problem};
use crate::http::sse;
use crate::http::state::SharedGateway;
use crate::http::wait::{EXPIRED_ID, News, RETRY_MILLIS, Waiter};
use crate::metrics::StreamEnd;

/// The same when the gateway cannot take them.
const SHED_RETRY_MILLIS: std::ops::Range<u64> = 2_000..10_000;
/// With this an edge says that it will ask another replica, or tell the browser to come back, if it is answered with 503.
const NEXT_UPSTREAM: HeaderName = HeaderName::from_static("scangate-next-upstream");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

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
        (status = 401, body = problem::ProblemBody, content_type = "application/problem+json", description = "The bearer token is not good"),
        (status = 404, body = problem::ProblemBody, content_type = "application/problem+json", description = "No such ticket for this caller"),
        (status = 429, body = problem::ProblemBody, content_type = "application/problem+json", description = "Too many streams for this ticket or address, or too many bad tokens"),
        (status = 503, body = problem::ProblemBody, content_type = "application/problem+json", description = "The identity provider's keys are not known yet, for a person's token"),
    )
)]
pub(in crate::http) async fn events(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
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
            if gateway.journal.admits("a stream is sent away to come back", Some(problem.reason())) {
                tracing::warn!(
                    reason = problem.reason(),
                    cause = problem.hidden_cause(),
                    "a stream is sent away to come back"
                );
            }
            let away = sse::reconnect(crate::random::within(SHED_RETRY_MILLIS));
            return Ok(sse::response(futures_util::stream::iter([Ok(away)])));
        }
        Err(problem) => return Err(problem),
    };
    let seen = last_id.and_then(|id| id.parse::<u64>().ok());
    if first.is_final && seen.is_some_and(|seen| seen >= first.view.revision) {
        waiter.seat.set_end(StreamEnd::Seen);
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
    sse::retry(crate::random::within(RETRY_MILLIS), &mut beginning);
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
