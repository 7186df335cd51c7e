//! Event streams read by a parser that is not ours (`eventsource-stream`).

use std::pin::Pin;
use std::time::Duration;

use eventsource_stream::{Event, EventStreamError, Eventsource as _};
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

use super::SOON;

/// One event as a browser would get it.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub event: String,
    pub id: String,
    pub retry: Option<Duration>,
    pub data: Value,
}

/// An open stream of events.
pub struct EventStream {
    events: Pin<Box<dyn Stream<Item = Result<Event, EventStreamError<reqwest::Error>>> + Send>>,
}

impl EventStream {
    pub fn new(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { events: Box::pin(response.bytes_stream().eventsource()) }
    }

    /// Returns the next event, or `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(SOON, self.next_ever()).await.expect("no event came in time")
    }

    /// Returns the next event, whenever it comes, or `None` at the end of the stream. What says nothing of the ticket is
    /// passed over.
    pub async fn next_ever(&mut self) -> Option<Frame> {
        let event = loop {
            let event = self.events.next().await?.expect("the stream broke");
            if !["heartbeat", "reconnect"].contains(&event.event.as_str()) {
                break event;
            }
            assert_eq!(event.data, "{}");
        };
        let data = serde_json::from_str(&event.data).expect("the data is not JSON");
        Some(Frame { event: event.event, id: event.id, retry: event.retry, data })
    }

    /// Returns the next event, which must be called `name`.
    pub async fn expect(&mut self, name: &str) -> Frame {
        let frame = self.next().await.unwrap_or_else(|| panic!("the stream ended before {name}"));
        assert_eq!(frame.event, name, "{frame:?}");
        frame
    }

    /// Asserts that the stream ends now.
    pub async fn expect_end(&mut self) {
        let next = self.next().await;
        assert_eq!(next, None);
    }
}
