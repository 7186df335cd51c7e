//! State that a subscriber shares with its session and its monitor.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::store::redis::endpoint::Endpoint;
use crate::store::redis::reports::Reports;
use crate::store::redis::subscriptions::Subscriptions;
use crate::ticket::TicketId;

/// How long Redis stays subscribed to a ticket that is no longer watched. More tickets may follow in that time and share
/// the command, and no caller waits for it.
const UNSUBSCRIBE_DELAY: Duration = Duration::from_millis(50);

pub(super) struct Shared {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) reports: Reports,
    pub(super) subscriptions: Mutex<Subscriptions>,
    /// Wakes the session when there is something to subscribe to.
    pub(super) subscribe_wanted: Notify,
    /// Wakes the session when there is something to unsubscribe from.
    pub(super) unsubscribe_wanted: Notify,
    /// When the connection last answered; `None` while there is no connection.
    pub(super) last_reply_at: Mutex<Option<Instant>>,
}

impl Shared {
    pub(super) fn new(endpoint: Arc<Endpoint>, reports: Reports) -> Self {
        Self {
            endpoint,
            reports,
            subscriptions: Mutex::default(),
            subscribe_wanted: Notify::new(),
            unsubscribe_wanted: Notify::new(),
            last_reply_at: Mutex::new(None),
        }
    }

    /// Waits until there is something to unsubscribe from and [`UNSUBSCRIBE_DELAY`] has passed; returns at once if
    /// `is_more`.
    pub(super) async fn unsubscribe_due(&self, is_more: bool) {
        if is_more {
            return;
        }
        self.unsubscribe_wanted.notified().await;
        tokio::time::sleep(UNSUBSCRIBE_DELAY).await;
    }

    /// Reports tickets that may have changed without a notification.
    pub(super) fn report_missed(&self, ids: Vec<TicketId>) {
        self.reports.metrics.redis.subscriber_missed.inc_by(ids.len() as u64);
        self.reports.changes.missed(ids);
    }

    pub(super) fn report_all_missed(&self) {
        let watched = self.subscriptions.lock().watched().collect();
        self.report_missed(watched);
    }
}
