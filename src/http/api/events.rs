//! The event stream of a ticket. `wait` decides what to send, `sse` writes it.

use std::convert::Infallible;
use std::ops::Range;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio_stream::Stream;
use url::form_urlencoded;

use super::openapi::{OF_A_PARTY, problem_responses};
use crate::http::address::BrowserAddress;
use crate::http::auth::caller_party;
use crate::http::extract::TicketPath;
use crate::http::problem::{self, Problem};
use crate::http::snapshot::Snapshot;
use crate::http::state::SharedGateway;
use crate::http::wait::{EXPIRED_ID, RETRY_MILLIS, Update, Waiter};
use crate::http::{fields, sse};
use crate::metrics::StreamEnd;

/// The random delay before a browser reconnects if the gateway cannot accept its stream.
const SHED_RETRY_MILLIS: Range<u64> = 2_000..10_000;
/// A proxy sends this header if it handles 503 itself: it asks another replica, or makes the browser reconnect.
const NEXT_UPSTREAM: HeaderName = HeaderName::from_static("scangate-next-upstream");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

problem_responses!(StreamProblems: &[&problem::TOO_MANY_STREAMS], OF_A_PARTY);

/// The ticket's event stream
///
/// Sends immediately an event with the ticket's current state, and a `retry`; then one event for each change: `pending`,
/// `opened`, `scanned`, `confirmed`, `cancelled` with the ticket as data, or `expired` with the ticket's id. The stream ends
/// after one of the last three. Ids are revisions; the id of `expired` is `expired`. In between, an event `heartbeat` with
/// `{}` as data and without id follows every `heartbeat` seconds, a field of the ticket.
#[utoipa::path(
    get,
    path = "/v1/tickets/{id}/events",
    tag = "tickets",
    params(
        ("id" = String, Path, description = "The ticket"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event received; browsers send it when they reconnect"),
        ("lastEventId" = Option<String>, Query, description = "The same, for programs that cannot set a header; the header has precedence"),
    ),
    security(("cookie" = []), ("ticket_secret" = []), ("identity" = []), ("login" = [])),
    responses(
        (status = 200, content_type = "text/event-stream", body = String, description = "The events; or, when the gateway sheds load or drains, an event `reconnect` with a `retry`, and the end"),
        (status = 204, description = "The ticket has ended and its last event was received; `EventSource` stops"),
        StreamProblems,
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
    let opened = async {
        let party = caller_party(&headers, &gateway, address, &id).await?;
        Waiter::open(&gateway, id, party, address).await
    };
    let (mut waiter, first) = match opened.await {
        Ok(opened) => opened,
        // `EventSource` stops permanently on 503; only an event `reconnect` makes it reconnect. A proxy that can ask another
        // replica gets the 503.
        Err(problem)
            if problem.problem_type().status == StatusCode::SERVICE_UNAVAILABLE
                && problem.problem_type().code != problem::IDENTITY_UNAVAILABLE.code
                && !headers.contains_key(NEXT_UPSTREAM) =>
        {
            gateway.metrics.refused(problem.reason());
            if gateway.log_limiter.should_log("refused a stream; the browser will reconnect", Some(problem.reason())) {
                let (reason, cause) = (problem.reason(), problem.hidden_cause());
                tracing::warn!(reason, cause, "refused a stream; the browser will reconnect");
            }
            let reconnect = sse::reconnect(crate::random::within(SHED_RETRY_MILLIS));
            return Ok(sse::response(tokio_stream::once(Ok(reconnect))));
        }
        Err(problem) => return Err(problem),
    };
    let seen = last_id.and_then(|id| id.parse::<u64>().ok());
    if first.is_final && seen.is_some_and(|seen| seen >= first.view.revision) {
        waiter.set_end(StreamEnd::Seen);
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(sse::response(follow(waiter, first)))
}

/// Returns the id of the last event that the caller has received: from the header, otherwise from the query string, which
/// libraries that replace `EventSource` use. Ignores anything that is not the id of an event.
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

/// Sends the first snapshot, then one event for each update, until the last.
fn follow(mut waiter: Waiter, first: Snapshot) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let mut beginning = Vec::new();
    sse::retry(crate::random::within(RETRY_MILLIS), &mut beginning);
    let first = Update::Snapshot(Box::new(first));
    let mut is_over = first.is_last();
    beginning.extend(waiter.encode(first));
    async_stream::stream! {
        yield Ok(Bytes::from(beginning));
        while !is_over {
            let update = waiter.next().await;
            is_over = update.is_last();
            yield Ok(waiter.encode(update));
        }
    }
}
