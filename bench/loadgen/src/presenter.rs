//! One person who waits: makes a ticket, opens its stream, and does what a page would do when something happens to it.
//!
//! A stream that ends or breaks is opened again after its last `retry`, as `EventSource` does it, at the next target. A
//! ticket that is over is replaced by a fresh one, except in `expiry`, where that is the end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use crate::api::{Deadline, Ticket};
use crate::connect::{ANSWER_TIME, LineError};
use crate::context::{Context, Slot};
use crate::options::Scenario;
use crate::sse::Heard;
use crate::stream::{OpenError, Request, Stream, is_final};
use crate::target::Target;

/// What browsers wait where the server never said `retry`.
const DEFAULT_RETRY: Duration = Duration::from_secs(3);

/// A person while their task runs.
pub struct Presenter {
    context: Arc<Context>,
    /// Over all processes.
    number: usize,
    /// In this process.
    seat: usize,
    target: usize,
    /// Given back when the first stream is open, or has failed to.
    permit: Option<OwnedSemaphorePermit>,
    has_opened: bool,
}

/// What a person waits on.
struct Wait {
    /// `None` where a path of one's own is opened.
    ticket: Option<Ticket>,
    path: String,
    retry: Duration,
    last_id: String,
    lost_at: Option<Instant>,
}

/// How waiting for a ticket ended.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The ticket is over.
    Over,
    /// The stream does not open, and does not if it is tried again.
    GaveUp,
}

impl Presenter {
    pub fn new(context: &Arc<Context>, number: usize, seat: usize, permit: OwnedSemaphorePermit) -> Self {
        let target = number % context.api.targets.len();
        Self { context: Arc::clone(context), number, seat, target, permit: Some(permit), has_opened: false }
    }

    /// Lives, beginning with `ticket` if it has been made already.
    pub async fn live(mut self, mut ticket: Option<Ticket>) {
        loop {
            if ticket.is_none() && self.context.settings.events_path.is_none() {
                ticket = self.create().await;
                if ticket.is_none() {
                    return;
                }
            }
            let end = self.wait(ticket.take()).await;
            if end == End::GaveUp || self.context.settings.scenario == Scenario::Expiry {
                return;
            }
            self.context.count(|measured| measured.renewed += 1);
        }
    }

    /// Makes a ticket, however long that takes; `None` if it is refused for good.
    async fn create(&mut self) -> Option<Ticket> {
        loop {
            let error = match self.context.api.create().await {
                Ok(ticket) => return Some(ticket),
                Err(error) => error,
            };
            self.refused(&error.to_string());
            self.permit = None;
            sleep(error.again_after()?).await;
        }
    }

    /// Waits for the end of a ticket, over as many streams as it takes.
    async fn wait(&mut self, ticket: Option<Ticket>) -> End {
        let path = match (&ticket, &self.context.settings.events_path) {
            (None, Some(path)) => path.replace("{n}", &self.number.to_string()),
            (ticket, _) => ticket.as_ref().map_or_else(String::new, |ticket| ticket.events.clone()),
        };
        let mut wait = Wait { ticket, path, retry: DEFAULT_RETRY, last_id: String::new(), lost_at: None };
        loop {
            let opened = self.open(&mut wait).await;
            self.permit = None;
            match opened {
                Ok((mut stream, last_event)) => {
                    if self.hold(&mut stream, last_event, &mut wait).await {
                        return End::Over;
                    }
                }
                Err(OpenError::Refused(StatusCode::NO_CONTENT | StatusCode::NOT_FOUND, _)) if self.has_opened => {
                    self.over(&mut wait, None);
                    return End::Over;
                }
                Err(error) => {
                    self.refused(&error.to_string());
                    // `EventSource` gives up on any other status, and tries again whatever else happens.
                    if matches!(error, OpenError::Refused(..)) {
                        self.over(&mut wait, None);
                        return End::GaveUp;
                    }
                }
            }
            self.target += 1;
            sleep(wait.retry).await;
        }
    }

    /// Opens a stream and waits for its first event, which shows that it works; returns that event's name if it is final.
    async fn open(&mut self, wait: &mut Wait) -> Result<(Stream, Option<String>), OpenError> {
        let began = Instant::now();
        if !self.has_opened {
            self.context.count(|measured| measured.opening.begins(self.context.at(began)));
        }
        let request = Request {
            target: self.target(),
            path: &wait.path,
            bearer: wait.ticket.as_ref().map(|ticket| ticket.secret.as_str()),
            last_id: &wait.last_id,
        };
        let mut stream = Stream::open(&self.context.api.dialer, request).await?;
        let mut last_event = None;
        // Other servers may have nothing to say at first.
        if wait.ticket.is_some() {
            let first = timeout(ANSWER_TIME, wait.first_event(&mut stream, began)).await;
            let first = first.map_err(|_| LineError::Request("no event in time".to_owned()))?;
            last_event = first.map_err(OpenError::Broken)?;
        }
        self.opened(wait, began, &stream);
        Ok((stream, last_event))
    }

    fn opened(&mut self, wait: &mut Wait, began: Instant, stream: &Stream) {
        let context = &self.context;
        self.seat().opened(wait.ticket.as_ref().map_or("", |ticket| &ticket.id));
        context.heard(self.seat(), stream.heard_at);
        let at = context.at(stream.heard_at);
        let lost_at = wait.lost_at.take();
        context.count(|measured| {
            measured.open += 1;
            measured.open_times.record(stream.heard_at - began);
            measured.storm.step(at).opened += 1;
            if !self.has_opened {
                measured.opened += 1;
                measured.opening.ends(at);
                let deadline = wait.ticket.as_ref().map_or(at, |ticket| context.at(ticket.deadline.latest));
                measured.expiry.last_deadline = measured.expiry.last_deadline.max(deadline);
                if context.settings.redis.is_some() {
                    context.deadline(deadline);
                }
            }
            if let Some(lost_at) = lost_at {
                measured.reopened += 1;
                measured.storm.settled(at);
                measured.storm.reconnect.record(stream.heard_at.saturating_duration_since(lost_at));
            }
        });
        self.has_opened = true;
    }

    /// Holds an open stream to its end; returns whether that was the ticket's, too.
    async fn hold(&self, stream: &mut Stream, last_event: Option<String>, wait: &mut Wait) -> bool {
        let end = match last_event {
            Some(event) => Ok(Some(event)),
            None => self.read(stream, wait).await,
        };
        let at = Instant::now();
        self.seat().closed();
        let is_over = matches!(end, Ok(Some(_)));
        self.context.count(|measured| {
            measured.open -= 1;
            measured.storm.step(self.context.at(at)).closed += 1;
            if !is_over {
                measured.lost(self.context.at(at));
                let error = end.as_ref().err().map_or("ended by the server", String::as_str);
                measured.error(&format!("stream: {error}"));
            }
        });
        if let Ok(Some(event)) = end {
            self.over(wait, Some((&event, stream.heard_at)));
        } else {
            wait.lost_at = Some(at);
            stream.last_id().clone_into(&mut wait.last_id);
        }
        is_over
    }

    /// Reads to the last event (its name), or the end of the stream (`None`).
    async fn read(&self, stream: &mut Stream, wait: &mut Wait) -> Result<Option<String>, String> {
        loop {
            let heard = stream.next().await?;
            self.context.heard(self.seat(), stream.heard_at);
            match heard {
                Some(heard) if heard.is_heartbeat() => self.context.count(|measured| measured.heartbeats_seen += 1),
                Some(Heard::Retry(time)) => wait.retry = time,
                Some(Heard::Event { name, .. }) if wait.ticket.is_some() && is_final(&name) => return Ok(Some(name)),
                Some(Heard::Event { .. } | Heard::Comment) => {}
                None => return Ok(None),
            }
        }
    }

    /// Notes that the ticket is over: by its last event, or because the gateway does not know it any more.
    fn over(&self, wait: &mut Wait, event: Option<(&str, Instant)>) {
        let confirmation = self.seat().leave();
        self.context.count(|measured| {
            if wait.lost_at.take().is_some() {
                measured.storm.settled(self.context.now());
            }
            if let (Some(confirmation), Some(("confirmed", at))) = (confirmation, event) {
                confirmation.is_delivered.store(true, Ordering::Relaxed);
                measured.storm.delivered += 1;
                let asked_at = *confirmation.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(asked_at) = asked_at {
                    measured.login.confirm_to_event.record(at.saturating_duration_since(asked_at));
                }
            }
            if self.context.settings.scenario == Scenario::Expiry {
                match (event, &wait.ticket) {
                    (Some(("expired", at)), Some(ticket)) => {
                        measured.expiry.delivered += 1;
                        measured.expiry.lag.record(at.saturating_duration_since(ticket.deadline.earliest));
                        measured.expiry.deadline_error.record(ticket.deadline.error());
                    }
                    _ => measured.expiry.missing += 1,
                }
            }
        });
    }

    fn refused(&self, error: &str) {
        self.context.count(|measured| {
            measured.refused += 1;
            measured.error(error);
        });
    }

    fn seat(&self) -> &Slot {
        &self.context.seats[self.seat]
    }

    fn target(&self) -> &Target {
        let targets = &self.context.api.targets;
        &targets[self.target % targets.len()]
    }
}

impl Wait {
    /// Waits for the first event of a stream that was `asked` for; returns its name if it is also the last.
    async fn first_event(&mut self, stream: &mut Stream, asked: Instant) -> Result<Option<String>, String> {
        loop {
            match stream.next().await? {
                Some(Heard::Event { name, .. }) if name == "heartbeat" || name == "reconnect" => {}
                Some(Heard::Event { name, data }) => {
                    self.narrow_deadline(asked, stream.heard_at, &data);
                    return Ok(is_final(&name).then_some(name));
                }
                Some(Heard::Retry(time)) => self.retry = time,
                Some(Heard::Comment) => {}
                None => return Err("sent away to come back".to_owned()),
            }
        }
    }

    fn narrow_deadline(&mut self, asked: Instant, answered: Instant, data: &str) {
        let left = serde_json::from_str::<Value>(data).ok().and_then(|ticket| ticket["expires_in"].as_f64());
        if let (Some(ticket), Some(Ok(left))) = (&mut self.ticket, left.map(Duration::try_from_secs_f64)) {
            ticket.deadline.narrow(Deadline::new(asked, answered, left));
        }
    }
}
