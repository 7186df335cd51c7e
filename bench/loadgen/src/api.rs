//! Requests to the gateway, as a native app and an approver send them, over kept-alive connections.
//!
//! Event streams are in `stream`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::connect::{Connection, ConnectionError, Dialer, RESPONSE_TIMEOUT};
use crate::target::{Address, Target};

/// The maximum length of a response body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The maximum number of idle connections per target.
const MAX_IDLE_CONNECTIONS: usize = 256;
/// The `User-Agent` of every request.
const USER_AGENT: &str = concat!("scangate-loadgen/", env!("CARGO_PKG_VERSION"));
/// The precision of `expires_in`. The gateway rounds it to whole milliseconds, so the remaining time may be this much
/// shorter.
const CLOCK_STEP: Duration = Duration::from_millis(1);
/// How long to wait before a retry if the response has no `Retry-After`.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The upper bound on `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request got no response.
    #[error("{action}: {error}")]
    Connection { action: &'static str, error: ConnectionError },
    /// The response has another status than expected, or lacks a field.
    #[error("{action}: {status} {code}")]
    Refused { action: &'static str, status: StatusCode, code: String, retry_after: Duration },
}

impl ApiError {
    /// Returns how long to wait before a retry; `None` if a retry cannot succeed.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Connection { .. } => Some(DEFAULT_RETRY_AFTER),
            Self::Refused { status, retry_after, .. } if status.is_server_error() => Some(*retry_after),
            Self::Refused { .. } => None,
        }
    }

    /// Returns whether the status is 404.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

/// An approver, who scans and confirms.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Approver {
    /// One token per target, because a gateway in demo mode accepts only its own tokens. Targets beyond the list use the
    /// last token.
    pub tokens: Vec<String>,
}

/// A ticket and the secret that identifies its presenter.
#[derive(Debug)]
pub struct Ticket {
    pub id: String,
    pub secret: String,
    /// The path of its event stream.
    pub events: String,
    /// The time between two heartbeats of its event stream.
    pub heartbeat: Option<Duration>,
    pub deadline: Deadline,
}

/// The range in which a ticket expires.
///
/// The gateway computes the remaining time between receiving the request and sending the response. Every further response
/// narrows the range.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    pub earliest: Instant,
    pub latest: Instant,
}

impl Deadline {
    /// Returns the range implied by a response with the remaining time `left`.
    pub fn new(sent: Instant, received: Instant, left: Duration) -> Self {
        let earliest = (sent + left).checked_sub(CLOCK_STEP).unwrap_or(sent);
        Self { earliest, latest: received + left }
    }

    /// Narrows the range to its intersection with `other`.
    pub fn narrow(&mut self, other: Self) {
        self.earliest = self.earliest.max(other.earliest);
        self.latest = self.latest.min(other.latest);
    }

    /// Returns the length of the range.
    pub fn uncertainty(self) -> Duration {
        self.latest.saturating_duration_since(self.earliest)
    }
}

/// A complete response.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    retry_after: Option<Duration>,
}

/// A client of the gateway's HTTP API.
pub struct Api {
    pub dialer: Arc<Dialer>,
    pub targets: Arc<[Target]>,
    client_id: Option<String>,
    idle: Vec<Mutex<VecDeque<Connection>>>,
    next: AtomicUsize,
}

impl Api {
    pub fn new(dialer: Arc<Dialer>, targets: Arc<[Target]>, client_id: Option<String>) -> Self {
        let idle = targets.iter().map(|_| Mutex::default()).collect();
        Self { dialer, targets, client_id, idle, next: AtomicUsize::new(0) }
    }

    /// Creates a ticket as a native app.
    ///
    /// # Errors
    /// If there is no response, or its status is not 201.
    pub async fn create(&self) -> Result<Ticket, ApiError> {
        let action = "create";
        let mut body = json!({ "binding": "bearer" });
        if let Some(id) = &self.client_id {
            body["client_id"] = id.as_str().into();
        }
        let sent = Instant::now();
        let response = self.post(action, "/v1/tickets", None, &body).await?;
        let received = Instant::now();
        let response = response.expect(action, StatusCode::CREATED)?;
        let ticket: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let text = |field: &str| ticket[field].as_str().map(str::to_owned);
        let (Some(id), Some(secret), Some(events)) = (text("ticket_id"), text("ticket_secret"), text("events")) else {
            return Err(response.refused(action, "response lacks ticket_id, ticket_secret or events"));
        };
        let seconds = |field: &str| Duration::try_from_secs_f64(ticket[field].as_f64()?).ok();
        let deadline = Deadline::new(sent, received, seconds("expires_in").unwrap_or_default());
        Ok(Ticket { id, secret, events, heartbeat: seconds("heartbeat"), deadline })
    }

    /// Scans a ticket.
    ///
    /// # Errors
    /// If there is no response, or its status is not 200.
    pub async fn scan(&self, id: &str, approver: &Approver) -> Result<(), ApiError> {
        self.change_ticket("scan", id, approver).await
    }

    /// Confirms a ticket that this approver has scanned.
    ///
    /// # Errors
    /// If there is no response, or its status is not 200.
    pub async fn confirm(&self, id: &str, approver: &Approver) -> Result<(), ApiError> {
        self.change_ticket("confirm", id, approver).await
    }

    async fn change_ticket(&self, action: &'static str, id: &str, approver: &Approver) -> Result<(), ApiError> {
        let response = self.post(action, &format!("/v1/tickets/{id}/{action}"), Some(approver), &json!({})).await?;
        response.expect(action, StatusCode::OK).map(drop)
    }

    /// Signs in a demo user at every target that responds.
    ///
    /// # Errors
    /// If no target responds, or one responds with another status than 200.
    pub async fn sign_in(&self, name: &str) -> Result<Approver, ApiError> {
        let action = "demo sign-in";
        let mut approver = Approver::default();
        let mut unreachable = None;
        for index in 0..self.targets.len() {
            let response = self.post_to(index, "/demo/sign-in", None, &json!({ "name": name })).await;
            let response = match response {
                Ok(response) => response.expect(action, StatusCode::OK)?,
                Err(error) => {
                    unreachable = Some(ApiError::Connection { action, error });
                    approver.tokens.push(String::new());
                    continue;
                }
            };
            let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            let token =
                body["access_token"].as_str().ok_or_else(|| response.refused(action, "response lacks access_token"))?;
            approver.tokens.push(token.to_owned());
        }
        match unreachable {
            Some(error) if approver.tokens.iter().all(String::is_empty) => Err(error),
            _ => Ok(approver),
        }
    }

    /// Posts to the targets in turn. If one cannot be reached, tries the next.
    async fn post(
        &self,
        action: &'static str,
        path: &str,
        approver: Option<&Approver>,
        body: &Value,
    ) -> Result<Response, ApiError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut result = None;
        for step in 0..self.targets.len() {
            let index = (turn + step) % self.targets.len();
            let token = approver.and_then(|approver| approver.tokens.get(index).or(approver.tokens.last()));
            match self.post_to(index, path, token.map(String::as_str), body).await {
                Ok(response) => return Ok(response),
                Err(error) => result = Some(error),
            }
        }
        let error = result.unwrap_or_else(|| ConnectionError::Connect("no target is set".to_owned()));
        Err(ApiError::Connection { action, error })
    }

    async fn post_to(
        &self,
        index: usize,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Result<Response, ConnectionError> {
        let target = &self.targets[index];
        let body = Bytes::from(body.to_string());
        let request = || {
            let request = request(Method::POST, target, path, token).header(header::CONTENT_TYPE, "application/json");
            request.body(Full::new(body.clone())).map_err(|error| ConnectionError::Request(error.to_string()))
        };
        self.send(index, request).await
    }

    /// Sends a request to the target `index` over a kept connection, or a new one.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn send(
        &self,
        index: usize,
        request: impl Fn() -> Result<Request<Full<Bytes>>, ConnectionError>,
    ) -> Result<Response, ConnectionError> {
        let target = &self.targets[index];
        let kept = self.take_idle(index);
        if let Some(mut connection) = kept {
            // The gateway may be closing a kept connection. A request that fails on one is sent again on a new connection:
            // all of these requests are safe to repeat, except that a code which was exchanged is refused.
            if let Ok(response) = exchange(&mut connection, request()?).await {
                self.keep_idle(index, connection);
                return Ok(response);
            }
        }
        let mut connection = self.dialer.dial(target).await?;
        let response = exchange(&mut connection, request()?).await?;
        self.keep_idle(index, connection);
        Ok(response)
    }

    /// Takes the connection that has been idle for the longest time, so that all source addresses are used in turn.
    fn take_idle(&self, index: usize) -> Option<Connection> {
        let mut idle = self.idle[index].lock();
        if idle.len() < self.dialer.sources().min(MAX_IDLE_CONNECTIONS) {
            return None;
        }
        while let Some(mut connection) = idle.pop_front() {
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn keep_idle(&self, index: usize, connection: Connection) {
        let mut idle = self.idle[index].lock();
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push_back(connection);
        }
    }
}

impl Response {
    /// Returns the response if it has this status.
    ///
    /// # Errors
    /// If it has another.
    pub fn expect(self, action: &'static str, status: StatusCode) -> Result<Self, ApiError> {
        if self.status == status { Ok(self) } else { Err(self.refused(action, &self.problem_code())) }
    }

    /// Returns the problem's code, or the error of an OAuth endpoint (RFC 6749 §5.2); empty if there is none.
    pub fn problem_code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().or(problem["error"].as_str()).unwrap_or_default().to_owned()
    }

    fn refused(&self, action: &'static str, code: &str) -> ApiError {
        let retry_after = self.retry_after.unwrap_or(DEFAULT_RETRY_AFTER).min(MAX_RETRY_AFTER);
        ApiError::Refused { action, status: self.status, code: code.to_owned(), retry_after }
    }
}

/// Returns the builder of a request to `target`, with the headers that every request has.
pub fn request(method: Method, target: &Target, path: &str, bearer: Option<&str>) -> http::request::Builder {
    let scheme = if matches!(target.address, Address::Tcp { tls: true, .. }) { "https" } else { "http" };
    let request = Request::builder().method(method).uri(format!("{scheme}://{}{path}", target.authority));
    let request = request.header(header::USER_AGENT, USER_AGENT);
    match bearer {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    }
}

/// Sends a request and reads the whole response.
///
/// # Errors
/// If the connection fails, or the response is too large or too slow.
pub async fn exchange(connection: &mut Connection, request: Request<Full<Bytes>>) -> Result<Response, ConnectionError> {
    let response = connection.send(request).await?;
    let (head, body) = response.into_parts();
    let retry_after = head.headers.get(header::RETRY_AFTER);
    let seconds = retry_after.and_then(|value| str::from_utf8(value.as_bytes()).ok()?.parse().ok());
    let body = connection.driver().until(Limited::new(body, MAX_BODY_BYTES).collect());
    let body = timeout(RESPONSE_TIMEOUT, body).await;
    let body = body.map_err(|_| ConnectionError::Request("the response did not end in time".to_owned()))?;
    let body = body.map_err(|error| ConnectionError::Request(error.to_string()))?.to_bytes();
    Ok(Response { status: head.status, headers: head.headers, body, retry_after: seconds.map(Duration::from_secs) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_response_narrows_the_deadline() {
        let now = Instant::now();
        let millis = Duration::from_millis;
        let mut deadline = Deadline::new(now, now + millis(40), millis(5_000));
        assert_eq!(deadline.uncertainty(), millis(41));
        // Sent 100 ms later, with a response within 10 ms: 4,905 ms before the same deadline.
        deadline.narrow(Deadline::new(now + millis(100), now + millis(110), millis(4_905)));
        assert_eq!((deadline.earliest, deadline.latest), (now + millis(5_004), now + millis(5_015)));
        deadline.narrow(Deadline::new(now, now + millis(500), millis(5_000)));
        assert_eq!(deadline.uncertainty(), millis(11));
    }
}
