//! Requests for a refresh of the primaries, and waiting for its result.
//!
//! All waiting callers share the next refresh. A call does not use a refresh that began before it: the result may be
//! older than the caller's information.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::store::redis::address::Address;
use crate::store::redis::slots::Confidence;

/// The interval between refreshes that nothing has requested.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// The refreshes, requested and finished.
pub(super) struct Refreshes {
    next: Mutex<RefreshRequest>,
    finished: watch::Sender<Finished>,
    requested: Arc<Notify>,
}

/// The parameters of the next refresh.
#[derive(Default)]
pub(super) struct RefreshRequest {
    /// The number of the refresh.
    pub(super) number: u64,
    /// A node that probably has a newer map than others.
    pub(super) hint: Option<Address>,
    /// Nodes that may no longer be primaries. Other nodes are asked first.
    pub(super) suspects: Vec<Address>,
}

/// The last finished refresh.
struct Finished {
    number: u64,
    confidence: Confidence,
}

impl Refreshes {
    /// Creates the state. `requested` wakes [`Refreshes::next`].
    pub(super) fn new(requested: Arc<Notify>) -> Self {
        let next = Mutex::new(RefreshRequest { number: 1, ..RefreshRequest::default() });
        let finished = watch::Sender::new(Finished { number: 0, confidence: Confidence::Unconfirmed });
        Self { next, finished, requested }
    }

    /// Requests a refresh soon.
    pub(super) fn request(&self, hint: Option<Address>) {
        if hint.is_some() {
            self.next.lock().hint = hint;
        }
        self.requested.notify_one();
    }

    /// Waits for a refresh that begins after the call, and returns the confidence in its result. The refresh asks other
    /// nodes before `suspect`.
    pub(super) async fn refresh(&self, suspect: Option<&Address>) -> Confidence {
        let number = {
            let mut next = self.next.lock();
            if let Some(suspect) = suspect
                && !next.suspects.contains(suspect)
            {
                next.suspects.push(suspect.clone());
            }
            next.number
        };
        self.requested.notify_one();
        let mut finished = self.finished.subscribe();
        let finished = finished.wait_for(|finished| finished.number >= number).await;
        finished.map_or(Confidence::Unconfirmed, |finished| finished.confidence)
    }

    /// Waits until the next refresh is due, and begins it.
    pub(super) async fn next(&self) -> RefreshRequest {
        tokio::select! {
            () = tokio::time::sleep(REFRESH_INTERVAL) => {}
            () = self.requested.notified() => {}
        }
        let mut next = self.next.lock();
        let following = RefreshRequest { number: next.number + 1, ..RefreshRequest::default() };
        std::mem::replace(&mut *next, following)
    }

    /// Finishes the refresh of this number.
    pub(super) fn finish(&self, number: u64, confidence: Confidence) {
        self.finished.send_replace(Finished { number, confidence });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caller_waits_for_a_refresh_that_begins_after_the_call() {
        let refreshes = Refreshes::new(Arc::new(Notify::new()));
        refreshes.request(None);
        let begun = refreshes.next().await;
        let node = Address::new("a", 1);
        let caller = refreshes.refresh(Some(&node));
        let rounds = async {
            refreshes.finish(begun.number, Confidence::Changing);
            let next = refreshes.next().await;
            assert_eq!((next.number, next.suspects), (begun.number + 1, vec![node.clone()]));
            refreshes.finish(next.number, Confidence::Confirmed);
        };
        let (confidence, ()) = tokio::join!(biased; caller, rounds);
        assert_eq!(confidence, Confidence::Confirmed);
    }
}
