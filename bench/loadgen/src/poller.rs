//! One person who polls, as the systems that came before do: a request every so often, on a connection of their own.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::Full;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, sleep_until};

use crate::api::{self, Answer, Ticket};
use crate::connect::{Line, LineError};
use crate::context::Context;

/// Lives, giving `permit` back after the first poll.
pub async fn live(context: Arc<Context>, number: usize, permit: OwnedSemaphorePermit) {
    let mut poller = Poller { context, target: number, line: None, permit: Some(permit) };
    let mut due = Instant::now();
    let mut has_opened = false;
    let context = Arc::clone(&poller.context);
    loop {
        let Some(ticket) = poller.create().await else { return };
        loop {
            let began = Instant::now();
            if !has_opened {
                context.count(|measured| measured.opening.begins(context.at(began)));
            }
            let result = poller.poll(&ticket).await;
            poller.permit = None;
            let at = Instant::now();
            context.count(|measured| {
                measured.poll.span.begins(context.at(began));
                measured.poll.span.ends(context.at(at));
                measured.poll.polls += 1;
                measured.poll.latency.record(at - began);
                match &result {
                    Ok(answer) if answer.status == StatusCode::OK && !has_opened => {
                        has_opened = true;
                        measured.opened += 1;
                        measured.open += 1;
                        measured.open_times.record(at - began);
                        measured.opening.ends(context.at(at));
                    }
                    Ok(answer) if answer.status == StatusCode::OK => {}
                    Ok(answer) if answer.status == StatusCode::NOT_FOUND => measured.renewed += 1,
                    Ok(answer) => {
                        measured.poll.failed += 1;
                        measured.error(&format!("poll: {} {}", answer.status, answer.code()));
                    }
                    Err(error) => {
                        measured.poll.failed += 1;
                        measured.error(&format!("poll: {error}"));
                    }
                }
            });
            due = (due + context.settings.interval).max(at);
            sleep_until(due.into()).await;
            if result.is_ok_and(|answer| answer.status == StatusCode::NOT_FOUND) {
                break;
            }
        }
    }
}

struct Poller {
    context: Arc<Context>,
    target: usize,
    line: Option<Line>,
    /// Given back after the first attempt.
    permit: Option<OwnedSemaphorePermit>,
}

impl Poller {
    async fn create(&mut self) -> Option<Ticket> {
        loop {
            let error = match self.context.api.create().await {
                Ok(ticket) => return Some(ticket),
                Err(error) => error,
            };
            self.context.count(|measured| {
                measured.refused += 1;
                measured.error(&error.to_string());
            });
            self.permit = None;
            sleep(error.again_after()?).await;
        }
    }

    async fn poll(&mut self, ticket: &Ticket) -> Result<Answer, LineError> {
        let path = ticket.events.trim_end_matches("/events");
        let targets = &self.context.api.targets;
        let target = &targets[self.target % targets.len()];
        let request = || {
            let request = api::request(Method::GET, target, path, Some(&ticket.secret));
            request.body(Full::<Bytes>::default()).map_err(|error| LineError::Request(error.to_string()))
        };
        if let Some(mut line) = self.line.take()
            && !line.is_closed()
            && let Ok(answer) = api::exchange(&mut line, request()?).await
        {
            self.line = Some(line);
            return Ok(answer);
        }
        let answer = async {
            let mut line = self.context.api.dialer.dial(target).await?;
            let answer = api::exchange(&mut line, request()?).await?;
            self.line = Some(line);
            Ok(answer)
        };
        let answer = answer.await;
        if answer.is_err() {
            self.target += 1;
        }
        answer
    }
}
