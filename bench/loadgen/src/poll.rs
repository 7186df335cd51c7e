//! One person who polls, as the systems that came before do: a request every so often, on a connection of their own.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::Full;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, sleep_until};

use crate::api::{self, Answer, Ticket};
use crate::board::Board;
use crate::connect::{Line, LineError};

/// Lives, giving `permit` back after the first poll.
pub async fn live(board: Arc<Board>, number: usize, permit: OwnedSemaphorePermit) {
    let mut poller = Poller { board, target: number, line: None, permit: Some(permit) };
    let mut due = Instant::now();
    let mut has_opened = false;
    let board = Arc::clone(&poller.board);
    loop {
        let Some(ticket) = poller.create().await else { return };
        loop {
            let began = Instant::now();
            if !has_opened {
                board.count(|tally| tally.opening.begins(board.at(began)));
            }
            let result = poller.poll(&ticket).await;
            poller.permit = None;
            let at = Instant::now();
            board.count(|tally| {
                tally.poll.span.begins(board.at(began));
                tally.poll.span.ends(board.at(at));
                tally.poll.polls += 1;
                tally.poll.latency.record(at - began);
                match &result {
                    Ok(answer) if answer.status == StatusCode::OK && !has_opened => {
                        has_opened = true;
                        tally.opened += 1;
                        tally.open += 1;
                        tally.open_times.record(at - began);
                        tally.opening.ends(board.at(at));
                    }
                    Ok(answer) if answer.status == StatusCode::OK => {}
                    Ok(answer) if answer.status == StatusCode::NOT_FOUND => tally.renewed += 1,
                    Ok(answer) => {
                        tally.poll.failed += 1;
                        tally.error(&format!("poll: {} {}", answer.status, answer.code()));
                    }
                    Err(error) => {
                        tally.poll.failed += 1;
                        tally.error(&format!("poll: {error}"));
                    }
                }
            });
            due = (due + board.settings.interval).max(at);
            sleep_until(due.into()).await;
            if result.is_ok_and(|answer| answer.status == StatusCode::NOT_FOUND) {
                break;
            }
        }
    }
}

struct Poller {
    board: Arc<Board>,
    target: usize,
    line: Option<Line>,
    /// Given back after the first attempt.
    permit: Option<OwnedSemaphorePermit>,
}

impl Poller {
    async fn create(&mut self) -> Option<Ticket> {
        loop {
            let error = match self.board.api.create().await {
                Ok(ticket) => return Some(ticket),
                Err(error) => error,
            };
            self.board.count(|tally| {
                tally.refused += 1;
                tally.error(&error.to_string());
            });
            self.permit = None;
            sleep(error.again_after()?).await;
        }
    }

    async fn poll(&mut self, ticket: &Ticket) -> Result<Answer, LineError> {
        let path = ticket.events.trim_end_matches("/events");
        let targets = &self.board.api.targets;
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
            let mut line = self.board.api.dialer.dial(target).await?;
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
