//! Waits for the changes of a ticket, for the event stream and for the long poll.
//!
//! Both read the ticket once to check that the caller is a party, then register with [`crate::waiters`], then read again, so
//! that they miss no change in between. They send only data from the store, never the content of a notification.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::time::Instant;

use super::problem::{self, Problem};
use super::snapshot::{self, Snapshot};
use super::sse;
use super::state::{Gateway, SharedGateway};
use crate::metrics::StreamEnd;
use crate::store::Reading;
use crate::ticket::{Party, TicketId};
use crate::waiters::{Registration, Wake};

/// The longest time that a long poll may wait, in seconds.
pub const MAX_WAIT_SECS: u64 = 60;
/// The random delay before a browser reconnects, so that browsers that lost a replica together do not reconnect together.
pub(super) const RETRY_MILLIS: Range<u64> = 1_000..4_000;
/// The id of the event `expired`; the ids of all other events are revisions. A browser that sends it back gets 204 without a
/// read: the ticket may be gone, and only its parties received the event.
pub(super) const EXPIRED_ID: &str = "expired";

/// The next thing sent to a waiting party.
pub(super) enum Update {
    Snapshot(Box<Snapshot>),
    Expired,
    Heartbeat,
    Drain,
}

impl Update {
    /// Returns whether the party gets nothing after this.
    pub(super) fn is_last(&self) -> bool {
        match self {
            Self::Snapshot(snapshot) => snapshot.is_final,
            Self::Expired | Self::Drain => true,
            Self::Heartbeat => false,
        }
    }
}

/// A party that waits for the changes of its ticket.
///
/// There is one for each idle stream, so it is small, and boxes the futures that it rarely needs.
pub(super) struct Waiter {
    gateway: SharedGateway,
    registration: Registration,
    id: TicketId,
    party: Party,
    /// The revision that the party got last.
    revision: u64,
}

impl Waiter {
    /// Registers a party of the ticket and reads the ticket.
    ///
    /// # Errors
    /// 404 for a caller that is not a party, 429 or 503 at a bound, and the store's errors.
    pub(super) async fn open(
        gateway: &SharedGateway,
        id: TicketId,
        party: Party,
        address: IpAddr,
    ) -> Result<(Self, Snapshot), Problem> {
        let _permit = gateway.waiters.registration_permit().await?;
        // A caller that is not a party must not use up the ticket's registrations, detect from their number that the ticket
        // exists, or make the store watch it. So the party is checked before it registers.
        find(gateway, &id, &party).await?;
        let mut registration = gateway.waiters.register(&gateway.store, id, address).await?;
        registration.set_end(StreamEnd::Store);
        let asked = Instant::now();
        let reading = find(gateway, &id, &party).await?;
        registration.set_deadline(asked, reading.remaining());
        let snapshot = snapshot::render(gateway, reading, &party, 0).await?;
        registration.set_end(StreamEnd::Gone);
        let revision = snapshot.view.revision;
        Ok((Self { gateway: Arc::clone(gateway), registration, id, party, revision }, snapshot))
    }

    /// Waits for the next update. If the store fails, it reads the ticket again later, and the stream stays open.
    ///
    /// # Cancel safety
    /// If the call is dropped during a refresh, the refresh is lost: the caller must read the ticket itself afterwards.
    pub(super) async fn next(&mut self) -> Update {
        loop {
            match self.registration.next().await {
                Wake::Heartbeat => return Update::Heartbeat,
                Wake::Drain => return Update::Drain,
                Wake::Refresh => {
                    if let Some(update) = Box::pin(self.refresh()).await {
                        return update;
                    }
                }
            }
        }
    }

    /// Reads the ticket. Returns `None` if nothing has changed.
    async fn refresh(&mut self) -> Option<Update> {
        let Self { gateway, registration, id, party, revision } = self;
        let asked = Instant::now();
        let reading = match gateway.store.get(id).await {
            Ok(Some(reading)) => reading,
            Ok(None) => return Some(Update::Expired),
            Err(error) => {
                tracing::debug!(%error, "failed to read a ticket; trying again");
                registration.refresh_soon();
                return None;
            }
        };
        registration.set_deadline(asked, reading.remaining());
        if reading.ticket.revision <= *revision {
            return None;
        }
        // A failover undid this party's scan, and another party has scanned since.
        if !reading.ticket.is_party(party) {
            return Some(Update::Expired);
        }
        match snapshot::render(gateway, reading, party, *revision).await {
            Ok(snapshot) => {
                *revision = snapshot.view.revision;
                Some(Update::Snapshot(Box::new(snapshot)))
            }
            Err(problem) => {
                let code = problem.problem_type().code;
                tracing::warn!(code, "failed to render a ticket; trying again");
                registration.refresh_soon();
                None
            }
        }
    }

    /// Encodes an update as events, and records how the stream ends if this update ends it.
    pub(super) fn encode(&mut self, update: Update) -> Bytes {
        let mut buffer = Vec::new();
        match update {
            Update::Heartbeat => return sse::HEARTBEAT,
            Update::Drain => {
                self.set_end(StreamEnd::Drain);
                // No long delay is needed: a drain already spreads the ends of streams.
                return sse::reconnect(crate::random::within(RETRY_MILLIS));
            }
            Update::Expired => {
                self.expire();
                self.encode_expiry(&mut buffer);
            }
            Update::Snapshot(snapshot) => {
                if let Some(end) = snapshot.end() {
                    self.set_end(end);
                }
                if snapshot.event == "expired" {
                    self.encode_expiry(&mut buffer);
                } else {
                    sse::event(snapshot.event, snapshot.view.revision, &snapshot.view, &mut buffer);
                }
            }
        }
        buffer.into()
    }

    /// Records how the stream ends, for the metrics.
    pub(super) fn set_end(&mut self, end: StreamEnd) {
        self.registration.set_end(end);
    }

    fn encode_expiry(&self, buffer: &mut Vec<u8>) {
        sse::event("expired", EXPIRED_ID, &serde_json::json!({ "ticket_id": self.id.to_string() }), buffer);
    }

    fn expire(&mut self) {
        self.gateway.sign_ins.expire(&self.id, self.registration.overdue());
        self.set_end(StreamEnd::Expired);
    }
}

/// Reads the ticket for `party` as soon as its revision is above `revision`, or after `wait`.
///
/// # Errors
/// As [`Waiter::open`], and 404 if the ticket expires.
pub(super) async fn long_poll(
    gateway: &SharedGateway,
    id: TicketId,
    party: Party,
    revision: u64,
    wait: Duration,
    address: IpAddr,
) -> Result<Snapshot, Problem> {
    let ends_at = Instant::now() + wait;
    let (mut waiter, mut snapshot) = Waiter::open(gateway, id, party, address).await?;
    while !snapshot.is_final && snapshot.view.revision <= revision {
        match tokio::time::timeout_at(ends_at, waiter.next()).await {
            Ok(Update::Snapshot(next)) => snapshot = *next,
            Ok(Update::Heartbeat) => {}
            Ok(Update::Expired) => {
                waiter.expire();
                return Err(Problem::from(&problem::TICKET_NOT_FOUND));
            }
            Ok(Update::Drain) => {
                waiter.set_end(StreamEnd::Drain);
                return read(gateway, id, &waiter.party).await;
            }
            Err(_elapsed) => {
                waiter.set_end(StreamEnd::Answered);
                return read(gateway, id, &waiter.party).await;
            }
        }
    }
    waiter.set_end(StreamEnd::Answered);
    Ok(snapshot)
}

/// Reads the ticket once for `party`.
///
/// # Errors
/// 404 for a caller that is not a party, and the store's errors.
pub(super) async fn read(gateway: &Gateway, id: TicketId, party: &Party) -> Result<Snapshot, Problem> {
    let reading = find(gateway, &id, party).await?;
    snapshot::render(gateway, reading, party, 0).await
}

/// Reads the ticket. A caller that is not a party gets the same response as for an unknown ticket.
async fn find(gateway: &Gateway, id: &TicketId, party: &Party) -> Result<Reading, Problem> {
    let reading = gateway.store.get(id).await?.filter(|reading| reading.ticket.is_party(party));
    reading.ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))
}
