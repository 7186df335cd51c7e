//! One presenter that polls, as in systems without event streams: one request per interval, on a connection of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::Full;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, sleep_until};

use crate::api::{self, Response, Ticket};
use crate::connect::{Connection, ConnectionError};
use crate::context::Context;

/// Polls one ticket after the other, and releases `permit` after the first poll. Ends only if a ticket is refused.
pub async fn run(context: Arc<Context>, number: usize, interval: Duration, permit: OwnedSemaphorePermit) {
    let mut poller = Poller { context, target: number, connection: None, permit: Some(permit) };
    let mut due = Instant::now();
    let mut has_opened = false;
    let context = Arc::clone(&poller.context);
    loop {
        let Some(ticket) = poller.create().await else { return };
        loop {
            let started = Instant::now();
            if !has_opened {
                context.measure(|measured| measured.opening.record_start(context.since_start(started)));
            }
            let result = poller.poll(&ticket).await;
            poller.permit = None;
            let ended = Instant::now();
            context.measure(|measured| {
                measured.poll.span.record_start(context.since_start(started));
                measured.poll.span.record_end(context.since_start(ended));
                measured.poll.polls += 1;
                measured.poll.latency.record(ended - started);
                match &result {
                    Ok(response) if response.status == StatusCode::OK && !has_opened => {
                        has_opened = true;
                        measured.opened += 1;
                        measured.open += 1;
                        measured.open_times.record(ended - started);
                        measured.opening.record_end(context.since_start(ended));
                    }
                    Ok(response) if response.status == StatusCode::OK => {}
                    Ok(response) if response.status == StatusCode::NOT_FOUND => measured.renewed += 1,
                    Ok(response) => {
                        measured.poll.failed += 1;
                        measured.count_error(&format!("poll: {} {}", response.status, response.problem_code()));
                    }
                    Err(error) => {
                        measured.poll.failed += 1;
                        measured.count_error(&format!("poll: {error}"));
                    }
                }
            });
            due = (due + interval).max(ended);
            sleep_until(due.into()).await;
            if result.is_ok_and(|response| response.status == StatusCode::NOT_FOUND) {
                break;
            }
        }
    }
}

struct Poller {
    context: Arc<Context>,
    target: usize,
    connection: Option<Connection>,
    /// Released after the first attempt.
    permit: Option<OwnedSemaphorePermit>,
}

impl Poller {
    async fn create(&mut self) -> Option<Ticket> {
        loop {
            let error = match self.context.api.create().await {
                Ok(ticket) => return Some(ticket),
                Err(error) => error,
            };
            self.context.measure(|measured| {
                measured.refused += 1;
                measured.count_error(&error.to_string());
            });
            self.permit = None;
            sleep(error.retry_after()?).await;
        }
    }

    async fn poll(&mut self, ticket: &Ticket) -> Result<Response, ConnectionError> {
        let path = ticket.events.trim_end_matches("/events");
        let targets = &self.context.api.targets;
        let target = &targets[self.target % targets.len()];
        let request = || {
            let request = api::request(Method::GET, target, path, Some(&ticket.secret));
            request.body(Full::<Bytes>::default()).map_err(|error| ConnectionError::Request(error.to_string()))
        };
        if let Some(mut connection) = self.connection.take()
            && !connection.is_closed()
            && let Ok(response) = api::exchange(&mut connection, request()?).await
        {
            self.connection = Some(connection);
            return Ok(response);
        }
        let response = async {
            let mut connection = self.context.api.dialer.dial(target).await?;
            let response = api::exchange(&mut connection, request()?).await?;
            self.connection = Some(connection);
            Ok(response)
        };
        let response = response.await;
        if response.is_err() {
            self.target += 1;
        }
        response
    }
}
