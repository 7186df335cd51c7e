//! The gateway's requests as a native client and a phone make them, over kept-alive connections.
//!
//! Event streams are in `stream`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::connect::{ANSWER_TIME, Dialer, Line, LineError};
use crate::target::{Place, Target};

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How many connections per target are kept for the next request.
const MAX_IDLE_LINES: usize = 256;
/// How this tool calls itself.
const AGENT: &str = concat!("scangate-loadgen/", env!("CARGO_PKG_VERSION"));
/// The gateway counts in whole milliseconds: up to so much less may be left than it says.
const CLOCK_STEP: Duration = Duration::from_millis(1);
/// What is waited before trying again where the answer does not say.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest that an answer can make us wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer.
    #[error("{what}: {error}")]
    Line { what: &'static str, error: LineError },
    /// Another answer than hoped for.
    #[error("{what}: {status} {code}")]
    Refused { what: &'static str, status: StatusCode, code: String, retry_after: Duration },
}

impl ApiError {
    /// Returns after what time it may go better, if that is to be expected.
    pub fn again_after(&self) -> Option<Duration> {
        match self {
            Self::Line { .. } => Some(RETRY_AFTER),
            Self::Refused { status, retry_after, .. } if status.is_server_error() => Some(*retry_after),
            Self::Refused { .. } => None,
        }
    }

    /// Whether the gateway knows no such ticket (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

/// Someone who scans and confirms.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Approver {
    /// For each target, as made-up people are known only to the gateway that made them up; the last is good for the rest.
    pub tokens: Vec<String>,
}

/// A ticket and the secret by which its maker is known.
#[derive(Debug)]
pub struct Ticket {
    pub id: String,
    pub secret: String,
    /// The path of its stream.
    pub events: String,
    pub deadline: Deadline,
}

/// When a ticket expires, as far as one knows here: the gateway said how much time is left after it was asked and before
/// the answer came. All answers together say it best.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    pub earliest: Instant,
    pub latest: Instant,
}

impl Deadline {
    /// Makes it of an answer that came at `answered`.
    pub fn new(asked: Instant, answered: Instant, left: Duration) -> Self {
        let earliest = (asked + left).checked_sub(CLOCK_STEP).unwrap_or(asked);
        Self { earliest, latest: answered + left }
    }

    /// Adds what another answer says.
    pub fn narrow(&mut self, other: Self) {
        self.earliest = self.earliest.max(other.earliest);
        self.latest = self.latest.min(other.latest);
    }

    /// Returns how far apart the earliest and the latest are.
    pub fn error(self) -> Duration {
        self.latest.saturating_duration_since(self.earliest)
    }
}

/// An answer that was read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
    retry_after: Option<Duration>,
}

/// A client of the gateway's requests.
pub struct Api {
    pub dialer: Arc<Dialer>,
    pub targets: Arc<[Target]>,
    client_id: Option<String>,
    idle: Vec<Mutex<VecDeque<Line>>>,
    next: AtomicUsize,
}

impl Api {
    pub fn new(dialer: Arc<Dialer>, targets: Arc<[Target]>, client_id: Option<String>) -> Self {
        let idle = targets.iter().map(|_| Mutex::default()).collect();
        Self { dialer, targets, client_id, idle, next: AtomicUsize::new(0) }
    }

    /// Makes a ticket for a native client.
    ///
    /// # Errors
    /// When there is no answer, or another than 201.
    pub async fn create(&self) -> Result<Ticket, ApiError> {
        let what = "create";
        let mut body = json!({ "binding": "bearer" });
        if let Some(id) = &self.client_id {
            body["client_id"] = id.as_str().into();
        }
        let asked = Instant::now();
        let answer = self.call(what, "/v1/tickets", None, &body).await?;
        let answered = Instant::now();
        let answer = answer.expect(what, StatusCode::CREATED)?;
        let ticket: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |field: &str| ticket[field].as_str().map(str::to_owned);
        let (Some(id), Some(secret), Some(events)) = (text("ticket_id"), text("ticket_secret"), text("events")) else {
            return Err(answer.refused(what, "without ticket_id, ticket_secret and events"));
        };
        let left = Duration::try_from_secs_f64(ticket["expires_in"].as_f64().unwrap_or_default()).unwrap_or_default();
        Ok(Ticket { id, secret, events, deadline: Deadline::new(asked, answered, left) })
    }

    /// Scans as the person whose token it is.
    ///
    /// # Errors
    /// When there is no answer, or another than 200.
    pub async fn scan(&self, id: &str, who: &Approver) -> Result<(), ApiError> {
        self.decide("scan", id, who).await
    }

    /// Confirms as the person who scanned.
    ///
    /// # Errors
    /// When there is no answer, or another than 200.
    pub async fn confirm(&self, id: &str, who: &Approver) -> Result<(), ApiError> {
        self.decide("confirm", id, who).await
    }

    async fn decide(&self, what: &'static str, id: &str, who: &Approver) -> Result<(), ApiError> {
        let answer = self.call(what, &format!("/v1/tickets/{id}/{what}"), Some(who), &json!({})).await?;
        answer.expect(what, StatusCode::OK).map(drop)
    }

    /// Returns a made-up person, who signs in at every target that answers.
    ///
    /// # Errors
    /// When none answers, or one answers otherwise than with 200.
    pub async fn sign_in(&self, name: &str) -> Result<Approver, ApiError> {
        let what = "demo sign-in";
        let mut who = Approver::default();
        let mut silence = None;
        for index in 0..self.targets.len() {
            let answer = self.post(index, "/demo/sign-in", None, &json!({ "name": name })).await;
            let answer = match answer {
                Ok(answer) => answer.expect(what, StatusCode::OK)?,
                Err(error) => {
                    silence = Some(ApiError::Line { what, error });
                    who.tokens.push(String::new());
                    continue;
                }
            };
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let token = body["access_token"].as_str().ok_or_else(|| answer.refused(what, "without access_token"))?;
            who.tokens.push(token.to_owned());
        }
        match silence {
            Some(error) if who.tokens.iter().all(String::is_empty) => Err(error),
            _ => Ok(who),
        }
    }

    /// Posts to one of the targets, to the next if one cannot be reached.
    async fn call(
        &self,
        what: &'static str,
        path: &str,
        who: Option<&Approver>,
        body: &Value,
    ) -> Result<Answer, ApiError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut result = None;
        for step in 0..self.targets.len() {
            let index = (turn + step) % self.targets.len();
            let token = who.and_then(|who| who.tokens.get(index).or(who.tokens.last()));
            match self.post(index, path, token.map(String::as_str), body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => result = Some(error),
            }
        }
        let error = result.unwrap_or_else(|| LineError::Connect("there is no target".to_owned()));
        Err(ApiError::Line { what, error })
    }

    async fn post(&self, index: usize, path: &str, token: Option<&str>, body: &Value) -> Result<Answer, LineError> {
        let target = &self.targets[index];
        let body = Bytes::from(body.to_string());
        let request = || {
            let request = request(Method::POST, target, path, token).header(header::CONTENT_TYPE, "application/json");
            request.body(Full::new(body.clone())).map_err(|error| LineError::Request(error.to_string()))
        };
        let kept = self.take(index);
        if let Some(mut line) = kept {
            // The gateway may close a kept connection just now. All that is posted here may be posted twice.
            if let Ok(answer) = exchange(&mut line, request()?).await {
                self.keep(index, line);
                return Ok(answer);
            }
        }
        let mut line = self.dialer.dial(target).await?;
        let answer = exchange(&mut line, request()?).await?;
        self.keep(index, line);
        Ok(answer)
    }

    /// Takes the connection that has been kept longest, so that all source addresses get their turn.
    fn take(&self, index: usize) -> Option<Line> {
        let mut idle = self.idle[index].lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.dialer.sources().min(MAX_IDLE_LINES) {
            return None;
        }
        while let Some(mut line) = idle.pop_front() {
            if !line.is_closed() {
                return Some(line);
            }
        }
        None
    }

    fn keep(&self, index: usize, line: Line) {
        let mut idle = self.idle[index].lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE_LINES {
            idle.push_back(line);
        }
    }
}

impl Answer {
    fn expect(self, what: &'static str, status: StatusCode) -> Result<Self, ApiError> {
        if self.status == status { Ok(self) } else { Err(self.refused(what, &self.code())) }
    }

    /// Returns the problem's code, or nothing where there is none.
    pub fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    fn refused(&self, what: &'static str, code: &str) -> ApiError {
        let retry_after = self.retry_after.unwrap_or(RETRY_AFTER).min(MAX_RETRY_AFTER);
        ApiError::Refused { what, status: self.status, code: code.to_owned(), retry_after }
    }
}

/// Returns the beginning of a request to `target`.
pub fn request(method: Method, target: &Target, path: &str, bearer: Option<&str>) -> http::request::Builder {
    let scheme = if matches!(target.place, Place::Tcp { tls: true, .. }) { "https" } else { "http" };
    let request = Request::builder().method(method).uri(format!("{scheme}://{}{path}", target.authority));
    let request = request.header(header::USER_AGENT, AGENT);
    match bearer {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    }
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// When the connection fails, or the answer is too large or too slow.
pub async fn exchange(line: &mut Line, request: Request<Full<Bytes>>) -> Result<Answer, LineError> {
    let answer = line.send(request).await?;
    let status = answer.status();
    let seconds =
        answer.headers().get(header::RETRY_AFTER).and_then(|value| str::from_utf8(value.as_bytes()).ok()?.parse().ok());
    let body = line.driver().until(Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect());
    let body = timeout(ANSWER_TIME, body).await;
    let body = body.map_err(|_| LineError::Request("the answer did not end in time".to_owned()))?;
    let body = body.map_err(|error| LineError::Request(error.to_string()))?.to_bytes();
    Ok(Answer { status, body, retry_after: seconds.map(Duration::from_secs) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_narrows_the_deadline() {
        let now = Instant::now();
        let millis = Duration::from_millis;
        let mut deadline = Deadline::new(now, now + millis(40), millis(5_000));
        assert_eq!(deadline.error(), millis(41));
        // Asked 100 ms later, in the middle of an answer of 10 ms: 4,905 ms before the same deadline.
        deadline.narrow(Deadline::new(now + millis(100), now + millis(110), millis(4_905)));
        assert_eq!((deadline.earliest, deadline.latest), (now + millis(5_004), now + millis(5_015)));
        deadline.narrow(Deadline::new(now, now + millis(500), millis(5_000)));
        assert_eq!(deadline.error(), millis(11));
    }
}
