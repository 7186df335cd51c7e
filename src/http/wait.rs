//! Waiting for a ticket.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::time::Instant;

use super::handover::{self, Shown};
use super::problem::{self, Problem};
use super::sse;
use super::state::{Gateway, SharedGateway};
use crate::metrics::StreamEnd;
use crate::store::Reading;
use crate::ticket::{Party, TicketId};
use crate::waiters::{Registration, Wake};

/// The longest that a long poll may wait, in seconds.
pub const MAX_WAIT_SECS: u64 = 60;

/// Between these a browser waits before it connects again, so that those who lost a replica together do not come back
/// together.
pub(super) const RETRY_MILLIS: std::ops::Range<u64> = 1_000..4_000;

/// The id of the event `expired`, where the others have their revision. A client that sends it back is told by it alone that
/// there is nothing more: the ticket may be gone, and only those that knew it were sent the event.
pub(super) const EXPIRED_ID: &str = "expired";

/// What a waiting party is to be told.
pub(super) enum News {
    Shown(Box<Shown>),
    Expired,
    Heartbeat,
    Drain,
}

impl News {
    pub(super) fn is_last(&self) -> bool {
        match self {
            Self::Shown(shown) => shown.is_final,
            Self::Expired | Self::Drain => true,
            Self::Heartbeat => false,
        }
    }
}

/// A party that waits for news of its ticket.
///
/// There is one for each idle stream, so it holds little, and its futures box what they need only now and then.
pub(super) struct Waiter {
    gateway: SharedGateway,
    pub(super) seat: Registration,
    id: TicketId,
    party: Party,
    /// What was told last.
    revision: u64,
}

impl Waiter {
    /// Takes a seat for a party of the ticket, and reads.
    pub(super) async fn open(
        gateway: &SharedGateway,
        id: TicketId,
        party: Party,
        address: IpAddr,
    ) -> Result<(Self, Shown), Problem> {
        let _turn = gateway.waiters.opening_permit().await?;
        // Before the seat: a stranger must neither fill the ticket's seats, nor learn from their number that it exists, nor
        // make the store watch.
        find(gateway, &id, &party).await?;
        let mut seat = gateway.waiters.register(&gateway.store, id, address).await?;
        seat.set_end(StreamEnd::Store);
        let asked = Instant::now();
        let reading = find(gateway, &id, &party).await?;
        seat.set_deadline(asked, reading.remaining());
        let shown = handover::show(gateway, reading, &party, 0).await?;
        seat.set_end(StreamEnd::Gone);
        let revision = shown.view.revision;
        Ok((Self { gateway: Arc::clone(gateway), seat, id, party, revision }, shown))
    }

    /// Waits for something to tell. A store that fails is asked again: the stream stays.
    ///
    /// # Cancel safety
    /// Dropped half-way, the look that had begun is not made up for: what comes afterwards has to read by itself.
    pub(super) async fn next(&mut self) -> News {
        loop {
            match self.seat.next().await {
                Wake::Heartbeat => return News::Heartbeat,
                Wake::Drain => return News::Drain,
                Wake::Refresh => {
                    if let Some(news) = Box::pin(self.look()).await {
                        return news;
                    }
                }
            }
        }
    }

    /// Reads the ticket; there may be nothing new.
    async fn look(&mut self) -> Option<News> {
        let Self { gateway, seat, id, party, revision } = self;
        let asked = Instant::now();
        let reading = match gateway.store.get(id).await {
            Ok(Some(reading)) => reading,
            Ok(None) => return Some(News::Expired),
            Err(error) => {
                tracing::debug!(%error, "the ticket could not be read; it is read again in a moment");
                seat.refresh_soon();
                return None;
            }
        };
        seat.set_deadline(asked, reading.remaining());
        if reading.ticket.revision <= *revision {
            return None;
        }
        // A scan that a failover took back: somebody else has scanned since, and what follows is theirs.
        if !reading.ticket.is_party(party) {
            return Some(News::Expired);
        }
        match handover::show(gateway, reading, party, *revision).await {
            Ok(shown) => {
                *revision = shown.view.revision;
                Some(News::Shown(Box::new(shown)))
            }
            Err(problem) => {
                let code = problem.kind().code;
                tracing::warn!(code, "the ticket could not be shown; it is tried again in a moment");
                seat.refresh_soon();
                None
            }
        }
    }

    /// Returns what goes over the wire for `news`, and notes what the stream ends with if it does.
    pub(super) fn tell(&mut self, news: News) -> Bytes {
        let mut buffer = Vec::new();
        match news {
            News::Heartbeat => return sse::HEARTBEAT,
            News::Drain => {
                self.seat.set_end(StreamEnd::Drain);
                // The ends themselves are spread already.
                return sse::reconnect(crate::random::within(RETRY_MILLIS));
            }
            News::Expired => {
                self.note_expiry();
                self.tell_expiry(&mut buffer);
            }
            News::Shown(shown) => {
                if let Some(end) = shown.end() {
                    self.seat.set_end(end);
                }
                if shown.event == "expired" {
                    self.tell_expiry(&mut buffer);
                } else {
                    sse::event(shown.event, shown.view.revision, &shown.view, &mut buffer);
                }
            }
        }
        buffer.into()
    }

    fn tell_expiry(&self, buffer: &mut Vec<u8>) {
        sse::event("expired", EXPIRED_ID, &serde_json::json!({ "ticket_id": self.id.to_string() }), buffer);
    }

    fn note_expiry(&mut self) {
        self.gateway.sign_ins.expire(&self.id, self.seat.overdue());
        self.seat.set_end(StreamEnd::Expired);
    }
}

/// Reads the ticket for `party` as soon as its revision is above `revision`, or as it is after `wait`.
pub(super) async fn long_poll(
    gateway: &SharedGateway,
    id: TicketId,
    party: Party,
    revision: u64,
    wait: Duration,
    address: IpAddr,
) -> Result<Shown, Problem> {
    let ends_at = Instant::now() + wait;
    let (mut waiter, mut shown) = Waiter::open(gateway, id, party, address).await?;
    while !shown.is_final && shown.view.revision <= revision {
        let news = tokio::time::timeout_at(ends_at, waiter.next()).await;
        match news {
            Ok(News::Shown(news)) => shown = *news,
            Ok(News::Heartbeat) => {}
            Ok(News::Expired) => {
                waiter.note_expiry();
                return Err(Problem::from(&problem::TICKET_NOT_FOUND));
            }
            Ok(News::Drain) => {
                waiter.seat.set_end(StreamEnd::Drain);
                return read(gateway, id, &waiter.party).await;
            }
            Err(_elapsed) => {
                waiter.seat.set_end(StreamEnd::Answered);
                return read(gateway, id, &waiter.party).await;
            }
        }
    }
    waiter.seat.set_end(StreamEnd::Answered);
    Ok(shown)
}

/// Reads the ticket once for `party`.
pub(super) async fn read(gateway: &Gateway, id: TicketId, party: &Party) -> Result<Shown, Problem> {
    let reading = find(gateway, &id, party).await?;
    handover::show(gateway, reading, party, 0).await
}

/// Reads the ticket; for a stranger there is none.
async fn find(gateway: &Gateway, id: &TicketId, party: &Party) -> Result<Reading, Problem> {
    let reading = gateway.store.get(id).await?.filter(|reading| reading.ticket.is_party(party));
    reading.ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))
}
