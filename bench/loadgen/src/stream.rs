//! One event stream, from its opening on a connection of its own to its end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::api;
use crate::connect::{ANSWER_TIME, Dialer, Driver, LineError, chain};
use crate::sse::{Heard, Parser};
use crate::target::Target;

/// How long closing one's own side may take where the other has ended the stream.
const GOODBYE_TIME: Duration = Duration::from_millis(100);

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No answer.
    #[error("stream: {0}")]
    Line(#[from] LineError),
    /// Another answer than a stream.
    #[error("stream: {0} {1}")]
    Refused(StatusCode, String),
    /// A stream that broke before its first event.
    #[error("stream: {0}")]
    Broken(String),
}

/// What to open.
pub struct Request<'a> {
    pub target: &'a Target,
    pub path: &'a str,
    pub bearer: Option<&'a str>,
    /// Empty if nothing has been seen.
    pub last_id: &'a str,
}

/// An open stream. Nothing is read while nobody waits.
pub struct Stream {
    driver: Driver,
    body: Incoming,
    parser: Parser,
    /// When the last bytes came.
    pub heard_at: Instant,
}

impl Stream {
    /// Connects and waits for the head of the answer.
    ///
    /// # Errors
    /// When there is no connection, or another answer than 200 with an event stream.
    pub async fn open(dialer: &Dialer, wanted: Request<'_>) -> Result<Self, OpenError> {
        let mut line = dialer.dial(wanted.target).await?;
        let mut request = api::request(Method::GET, wanted.target, wanted.path, wanted.bearer)
            .header(header::ACCEPT, "text/event-stream")
            .header(header::CACHE_CONTROL, "no-store");
        if !wanted.last_id.is_empty() {
            request = request.header("last-event-id", wanted.last_id);
        }
        let request = request.body(Full::<Bytes>::default()).map_err(|error| LineError::Request(error.to_string()))?;
        let answer = line.send(request).await?;
        let status = answer.status();
        let is_stream = answer.headers().get(header::CONTENT_TYPE).is_some_and(is_event_stream);
        let mut driver = line.into_driver();
        if status != StatusCode::OK || !is_stream {
            let text = refusal(&mut driver, answer.into_body()).await;
            return Err(OpenError::Refused(status, text));
        }
        Ok(Self { driver, body: answer.into_body(), parser: Parser::default(), heard_at: Instant::now() })
    }

    /// Waits for the next thing that the stream says; `None` is its end.
    ///
    /// # Errors
    /// When it breaks off, or an event is too long.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Heard>, String> {
        loop {
            if let Some(heard) = self.parser.heard() {
                return Ok(Some(heard));
            }
            match self.driver.until(self.body.frame()).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(chain(&error)),
                Some(Ok(frame)) => {
                    self.heard_at = Instant::now();
                    if let Some(bytes) = frame.data_ref() {
                        self.parser.feed(bytes).map_err(|error| error.to_string())?;
                    }
                }
            }
        }
    }

    /// Waits for the event `name`; returns its data and when its last byte came.
    ///
    /// # Errors
    /// When the stream ends or says something final before.
    pub async fn until(&mut self, name: &str) -> Result<(Instant, String), String> {
        loop {
            match self.next().await? {
                Some(Heard::Event { name: found, data }) if found == name => return Ok((self.heard_at, data)),
                Some(Heard::Event { name: found, .. }) if is_final(&found) => {
                    return Err(format!("{found} instead of {name}"));
                }
                Some(_) => {}
                None => return Err(format!("ended before {name}")),
            }
        }
    }

    /// Returns the id of the last event.
    pub fn last_id(&self) -> &str {
        self.parser.last_id()
    }
}

/// Whether nothing comes after this event.
pub fn is_final(event: &str) -> bool {
    matches!(event, "confirmed" | "cancelled" | "expired")
}

fn is_event_stream(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(b"text/event-stream")
}

/// Returns what a refusal says: its problem's code, as far as it comes soon.
async fn refusal(driver: &mut Driver, body: Incoming) -> String {
    let body = timeout(GOODBYE_TIME.min(ANSWER_TIME), driver.until(body.collect())).await;
    let bytes = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    problem["code"].as_str().unwrap_or_default().to_owned()
}
