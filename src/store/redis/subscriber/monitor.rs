//! Checks, beside the session, that Redis still reports changes, and reports tickets as missed while it does not.
//!
//! It is a separate task, so that its waits do not delay pings.

use std::sync::Arc;
use std::time::Duration;

use super::state::Shared;
use crate::store::redis::error::FlagsError;
use crate::store::redis::notify_flags;

/// The interval at which the task checks the notification flags, which other clients may change, and reports tickets
/// with an interrupted subscription as missed.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// If this user may not read the flags, every third check tests their effect.
const CHECKS_PER_PROBE: u64 = 3;

/// Runs the checks. Never returns.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut are_flags_missing = false;
    for check in 0_u64.. {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let interrupted = shared.subscriptions.lock().interrupted_ids();
        if !interrupted.is_empty() {
            let node = &shared.endpoint.address;
            tracing::debug!(tickets = interrupted.len(), %node, "reading tickets whose changes Redis does not report");
            shared.reports.changes.missed(interrupted);
        }
        let were_flags_missing = are_flags_missing;
        let may_probe = were_flags_missing || check % CHECKS_PER_PROBE == 0;
        match notify_flags::repair(&shared.endpoint, may_probe).await {
            Ok(was_repaired) => {
                are_flags_missing = false;
                if was_repaired || were_flags_missing {
                    tracing::warn!("another client had changed notify-keyspace-events; re-reading every ticket");
                    shared.report_all_missed();
                }
            }
            Err(error @ FlagsError::Missing(_)) => {
                are_flags_missing = true;
                tracing::error!(%error, "changes arrive late: every ticket is re-read every few seconds");
                shared.report_all_missed();
            }
            // The session notices that Redis does not answer.
            Err(FlagsError::Unreachable(_) | FlagsError::Refused(_)) => {}
        }
    }
}
