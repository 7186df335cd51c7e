//! Server-Sent Events as in axum's documentation: `axum-sse ADDRESS HEARTBEAT_SECONDS FIRST_EVENT_FILE`.
//!
//! The program neither saves nor wastes memory. Its stream is the smallest possible: one event, and then only keep-alives. A
//! real stream would need a channel or a subscription, too.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_util::stream::{self, Stream, StreamExt};

struct Settings {
    heartbeat: Duration,
    first_event: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| arguments.next().ok_or(format!("{name} is missing"));
    let address = next("ADDRESS")?;
    let heartbeat = Duration::from_secs_f64(next("HEARTBEAT_SECONDS")?.parse()?);
    let first_event = std::fs::read_to_string(next("FIRST_EVENT_FILE")?)?.trim().to_owned();

    let router = Router::new()
        .route("/events/{number}", get(events))
        .with_state(Arc::new(Settings { heartbeat, first_event }));
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, router.into_make_service()).await?;
    Ok(())
}

async fn events(State(settings): State<Arc<Settings>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let first = Event::default().event("pending").id("1").data(&settings.first_event);
    let stream = stream::iter([Ok(first)]).chain(stream::pending());
    Sse::new(stream).keep_alive(KeepAlive::new().interval(settings.heartbeat))
}
