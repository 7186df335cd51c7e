//! One presenter that waits: it creates a ticket, opens its stream, and reacts to events as a page would.
//!
//! It reopens a stream that ends or breaks, after the stream's last `retry` and at the next target, as `EventSource` does.
//! After a ticket's final state it creates the next ticket, except in `expiry`, where it stops.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use crate::api::{Deadline, Ticket};
use crate::connect::{ConnectionError, RESPONSE_TIMEOUT};
use crate::context::{Context, PresenterState};
use crate::settings::Scenario;
use crate::sse::Item;
use crate::stream::{Credential, OpenError, Request, Stream, is_final};
use crate::target::Target;

/// The time that browsers wait before they reconnect if the server never sent `retry`.
const DEFAULT_RETRY: Duration = Duration::from_secs(3);

/// A presenter while its task runs.
pub struct Presenter {
    context: Arc<Context>,
    /// Its number over all processes.
    number: usize,
    /// Its index in [`Context::presenters`].
    index: usize,
    target: usize,
    /// Released when the first stream is open, or has failed to open.
    permit: Option<OwnedSemaphorePermit>,
    has_opened: bool,
}

/// The wait for one ticket, over all its streams.
struct Wait {
    /// `None` with `--events-path`.
    ticket: Option<Ticket>,
    path: String,
    retry: Duration,
    last_id: String,
    lost_at: Option<Instant>,
}

/// How the wait for a ticket ended.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The ticket has reached its final state.
    Final,
    /// The stream was refused permanently.
    Refused,
}

impl Presenter {
    pub fn new(context: &Arc<Context>, number: usize, index: usize, permit: OwnedSemaphorePermit) -> Self {
        let target = number % context.api.targets.len();
        Self { context: Arc::clone(context), number, index, target, permit: Some(permit), has_opened: false }
    }

    /// Waits for one ticket after the other. The first one is `ticket`, if it was created beforehand.
    pub async fn run(mut self, mut ticket: Option<Ticket>) {
        loop {
            if ticket.is_none() && self.context.settings.scenario.events_path().is_none() {
                ticket = self.create().await;
                if ticket.is_none() {
                    return;
                }
            }
            let end = self.wait(ticket.take()).await;
            if end == End::Refused || self.is_expiry() {
                return;
            }
            self.context.measure(|measured| measured.renewed += 1);
        }
    }

    /// Creates a ticket, and retries while a retry may succeed; `None` if it is refused.
    async fn create(&mut self) -> Option<Ticket> {
        loop {
            let error = match self.context.api.create().await {
                Ok(ticket) => return Some(ticket),
                Err(error) => error,
            };
            self.count_refusal(&error.to_string());
            self.permit = None;
            sleep(error.retry_after()?).await;
        }
    }

    /// Waits for the final state of a ticket, and reconnects as often as needed.
    async fn wait(&mut self, ticket: Option<Ticket>) -> End {
        let path = match (&ticket, self.context.settings.scenario.events_path()) {
            (None, Some(path)) => path.replace("{n}", &self.number.to_string()),
            (ticket, _) => ticket.as_ref().map_or_else(String::new, |ticket| ticket.events.clone()),
        };
        let mut wait = Wait { ticket, path, retry: DEFAULT_RETRY, last_id: String::new(), lost_at: None };
        loop {
            let opened = self.open(&mut wait).await;
            self.permit = None;
            match opened {
                Ok((mut stream, final_event)) => {
                    if self.hold(&mut stream, final_event, &mut wait).await {
                        return End::Final;
                    }
                }
                Err(OpenError::Refused(StatusCode::NO_CONTENT | StatusCode::NOT_FOUND, _)) if self.has_opened => {
                    self.finish(&mut wait, None);
                    return End::Final;
                }
                Err(error) => {
                    self.count_refusal(&error.to_string());
                    // `EventSource` does not retry after any other status, and retries after every other failure.
                    if matches!(error, OpenError::Refused(..)) {
                        self.finish(&mut wait, None);
                        return End::Refused;
                    }
                }
            }
            self.target += 1;
            sleep(wait.retry).await;
        }
    }

    /// Opens a stream and waits for its first event. Returns the event's name if it is final.
    async fn open(&mut self, wait: &mut Wait) -> Result<(Stream, Option<String>), OpenError> {
        let started = Instant::now();
        if !self.has_opened {
            self.context.measure(|measured| measured.opening.record_start(self.context.since_start(started)));
        }
        let request = Request {
            target: self.target(),
            path: &wait.path,
            credential: wait.ticket.as_ref().map_or(Credential::None, |ticket| Credential::Bearer(&ticket.secret)),
            last_id: &wait.last_id,
        };
        let mut stream = Stream::open(&self.context.api.dialer, request).await?;
        let mut final_event = None;
        // Other servers may send nothing at first.
        if wait.ticket.is_some() {
            let first = timeout(RESPONSE_TIMEOUT, wait.first_event(&mut stream, started)).await;
            let first = first.map_err(|_| ConnectionError::Request("no event arrived in time".to_owned()))?;
            final_event = first.map_err(OpenError::Broken)?;
        }
        self.count_opened(wait, started, &stream);
        Ok((stream, final_event))
    }

    fn count_opened(&mut self, wait: &mut Wait, started: Instant, stream: &Stream) {
        let context = &self.context;
        match &wait.ticket {
            Some(ticket) => self.state().set_open(&ticket.id, ticket.heartbeat),
            None => self.state().set_open("", context.settings.scenario.heartbeat()),
        }
        context.received(self.state(), stream.received_at);
        let at = context.since_start(stream.received_at);
        let lost_at = wait.lost_at.take();
        context.measure(|measured| {
            measured.open += 1;
            measured.open_times.record(stream.received_at - started);
            measured.storm.step(at).opened += 1;
            if !self.has_opened {
                measured.opened += 1;
                measured.opening.record_end(at);
                let deadline = wait.ticket.as_ref().map_or(at, |ticket| context.since_start(ticket.deadline.latest));
                measured.expiry.last_deadline = measured.expiry.last_deadline.max(deadline);
                if context.settings.scenario.comparison().is_some() {
                    context.add_deadline(deadline);
                }
            }
            if let Some(lost_at) = lost_at {
                measured.reopened += 1;
                measured.storm.stream_settled(at);
                measured.storm.reconnect.record(stream.received_at.saturating_duration_since(lost_at));
            }
        });
        self.has_opened = true;
    }

    /// Reads an open stream to its end; returns whether the ticket has reached its final state.
    async fn hold(&self, stream: &mut Stream, final_event: Option<String>, wait: &mut Wait) -> bool {
        let end = match final_event {
            Some(event) => Ok(Some(event)),
            None => self.read(stream, wait).await,
        };
        let at = Instant::now();
        self.state().set_closed();
        let is_final = matches!(end, Ok(Some(_)));
        self.context.measure(|measured| {
            let at = self.context.since_start(at);
            measured.open -= 1;
            measured.storm.step(at).closed += 1;
            if !is_final {
                measured.count_lost(at);
                let error = end.as_ref().err().map_or("ended by the server", String::as_str);
                measured.count_error(&format!("stream: {error}"));
            }
        });
        if let Ok(Some(event)) = end {
            self.finish(wait, Some((&event, stream.received_at)));
        } else {
            wait.lost_at = Some(at);
            stream.last_id().clone_into(&mut wait.last_id);
        }
        is_final
    }

    /// Reads until the final event and returns its name; `None` if the stream ends without one.
    async fn read(&self, stream: &mut Stream, wait: &mut Wait) -> Result<Option<String>, String> {
        loop {
            let item = stream.next().await?;
            self.context.received(self.state(), stream.received_at);
            match item {
                Some(item) if item.is_heartbeat() => self.context.measure(|measured| measured.heartbeats_seen += 1),
                Some(Item::Retry(time)) => wait.retry = time,
                Some(Item::Event { name, .. }) if wait.ticket.is_some() && is_final(&name) => return Ok(Some(name)),
                Some(Item::Event { .. } | Item::Comment) => {}
                None => return Ok(None),
            }
        }
    }

    /// Records the end of the ticket: by its final event, or because the gateway no longer has it.
    fn finish(&self, wait: &mut Wait, event: Option<(&str, Instant)>) {
        let confirmation = self.state().end_wait();
        self.context.measure(|measured| {
            if wait.lost_at.take().is_some() {
                measured.storm.stream_settled(self.context.elapsed());
            }
            if let (Some(confirmation), Some(("confirmed", at))) = (confirmation, event) {
                confirmation.is_delivered.store(true, Ordering::Relaxed);
                measured.storm.delivered += 1;
                if let Some(requested_at) = *confirmation.requested_at.lock() {
                    measured.login.confirm_to_event.record(at.saturating_duration_since(requested_at));
                }
            }
            if self.is_expiry() {
                match (event, &wait.ticket) {
                    (Some(("expired", at)), Some(ticket)) => {
                        measured.expiry.delivered += 1;
                        measured.expiry.lag.record(at.saturating_duration_since(ticket.deadline.earliest));
                        measured.expiry.deadline_error.record(ticket.deadline.uncertainty());
                    }
                    _ => measured.expiry.missing += 1,
                }
            }
        });
    }

    fn count_refusal(&self, error: &str) {
        self.context.measure(|measured| {
            measured.refused += 1;
            measured.count_error(error);
        });
    }

    fn is_expiry(&self) -> bool {
        matches!(self.context.settings.scenario, Scenario::Expiry { .. })
    }

    fn state(&self) -> &PresenterState {
        &self.context.presenters[self.index]
    }

    fn target(&self) -> &Target {
        let targets = &self.context.api.targets;
        &targets[self.target % targets.len()]
    }
}

impl Wait {
    /// Waits for the first event of a stream whose request was `sent`; returns its name if it is final.
    async fn first_event(&mut self, stream: &mut Stream, sent: Instant) -> Result<Option<String>, String> {
        loop {
            match stream.next().await? {
                Some(Item::Event { name, .. }) if name == "heartbeat" || name == "reconnect" => {}
                Some(Item::Event { name, data }) => {
                    self.narrow_deadline(sent, stream.received_at, &data);
                    return Ok(is_final(&name).then_some(name));
                }
                Some(Item::Retry(time)) => self.retry = time,
                Some(Item::Comment) => {}
                None => return Err("the server asked to reconnect".to_owned()),
            }
        }
    }

    fn narrow_deadline(&mut self, sent: Instant, received: Instant, data: &str) {
        let left = serde_json::from_str::<Value>(data).ok().and_then(|ticket| ticket["expires_in"].as_f64());
        if let (Some(ticket), Some(Ok(left))) = (&mut self.ticket, left.map(Duration::try_from_secs_f64)) {
            ticket.deadline.narrow(Deadline::new(sent, received, left));
        }
    }
}
