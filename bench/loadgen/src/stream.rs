//! One event stream on a connection of its own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::api;
use crate::connect::{ConnectionError, Dialer, Driver, with_causes};
use crate::sse::{Item, Parser};
use crate::target::Target;

/// How long to wait for the body of a refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(100);

/// The reason why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The request got no response.
    #[error("stream: {0}")]
    Connection(#[from] ConnectionError),
    /// The response is not a stream: its status, and the problem's code.
    #[error("stream: {0} {1}")]
    Refused(StatusCode, String),
    /// The stream broke before its first event.
    #[error("stream: {0}")]
    Broken(String),
}

/// The stream to open.
pub struct Request<'a> {
    pub target: &'a Target,
    pub path: &'a str,
    pub credential: Credential<'a>,
    /// The id of the last event received; empty if there is none.
    pub last_id: &'a str,
}

/// The credential of the presenter.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    /// Nothing: the stream of another server.
    None,
    /// The secret of a ticket.
    Bearer(&'a str),
    /// The value of a browser's `Cookie`.
    Cookies(&'a str),
}

/// An open stream. It reads only while a caller waits for the next item.
pub struct Stream {
    driver: Driver,
    body: Incoming,
    parser: Parser,
    /// When the last bytes arrived.
    pub received_at: Instant,
}

impl Stream {
    /// Opens a connection, sends the request, and waits for the head of the response.
    ///
    /// # Errors
    /// If there is no connection, or the response is not a 200 with an event stream.
    pub async fn open(dialer: &Dialer, stream: Request<'_>) -> Result<Self, OpenError> {
        let mut connection = dialer.dial(stream.target).await?;
        let bearer = if let Credential::Bearer(secret) = stream.credential { Some(secret) } else { None };
        let mut request = api::request(Method::GET, stream.target, stream.path, bearer)
            .header(header::ACCEPT, "text/event-stream")
            .header(header::CACHE_CONTROL, "no-store");
        if let Credential::Cookies(cookies) = stream.credential {
            request = request.header(header::COOKIE, cookies).header("sec-fetch-site", "same-origin");
        }
        if !stream.last_id.is_empty() {
            request = request.header("last-event-id", stream.last_id);
        }
        let request = request.body(Full::<Bytes>::default());
        let request = request.map_err(|error| ConnectionError::Request(error.to_string()))?;
        let response = connection.send(request).await?;
        let status = response.status();
        let is_stream = response.headers().get(header::CONTENT_TYPE).is_some_and(is_event_stream);
        let mut driver = connection.into_driver();
        if status != StatusCode::OK || !is_stream {
            let code = problem_code(&mut driver, response.into_body()).await;
            return Err(OpenError::Refused(status, code));
        }
        Ok(Self { driver, body: response.into_body(), parser: Parser::default(), received_at: Instant::now() })
    }

    /// Waits for the next item; returns `None` at the end of the stream.
    ///
    /// # Errors
    /// If the connection breaks, or an event is too long.
    ///
    /// # Cancel safety
    /// No item is lost.
    pub async fn next(&mut self) -> Result<Option<Item>, String> {
        loop {
            if let Some(item) = self.parser.next_item() {
                return Ok(Some(item));
            }
            match self.driver.until(self.body.frame()).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(with_causes(&error)),
                Some(Ok(frame)) => {
                    self.received_at = Instant::now();
                    if let Some(bytes) = frame.data_ref() {
                        self.parser.feed(bytes).map_err(|error| error.to_string())?;
                    }
                }
            }
        }
    }

    /// Waits for the event `name`; returns when its last byte arrived, and its data.
    ///
    /// # Errors
    /// If the stream ends, or another final event comes first.
    pub async fn until(&mut self, name: &str) -> Result<(Instant, String), String> {
        loop {
            match self.next().await? {
                Some(Item::Event { name: found, data }) if found == name => return Ok((self.received_at, data)),
                Some(Item::Event { name: found, .. }) if is_final(&found) => {
                    return Err(format!("{found} instead of {name}"));
                }
                Some(_) => {}
                None => return Err(format!("ended before {name}")),
            }
        }
    }

    /// Returns the id of the last event received; empty if there is none.
    pub fn last_id(&self) -> &str {
        self.parser.last_id()
    }
}

/// Returns whether no event follows this one.
pub fn is_final(event: &str) -> bool {
    matches!(event, "confirmed" | "cancelled" | "expired")
}

fn is_event_stream(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(b"text/event-stream")
}

/// Returns the code of the problem in `body`; empty if the body is not a problem or takes too long.
async fn problem_code(driver: &mut Driver, body: Incoming) -> String {
    let body = timeout(REFUSAL_TIMEOUT, driver.until(body.collect())).await;
    let bytes = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    problem["code"].as_str().unwrap_or_default().to_owned()
}
