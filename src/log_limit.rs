//! Limits the log lines that anyone can cause without signing in: tickets created, expired or closed, requests refused, sign-ins
//! at an identity provider that fail.
//!
//! Per kind and interval, the gateway logs the first events in full, then one line with the number of the rest. So no caller can
//! fill the disk, and every event is counted. Events that need a verified person (scanned, confirmed, claimed) are not limited.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

/// The number of events of one kind that are logged in full in one interval. There are about seventy kinds (each event with
/// each reason), so a gateway under attack on all of them writes at most 77 lines a second.
const FULL_LINES: u64 = 10;
/// The interval after which the suppressed lines are reported.
const INTERVAL: Duration = Duration::from_secs(10);

/// The kind of an event: its name, and its reason if it has one. Both come from tables in the source, so there are few.
type EventKey = (&'static str, Option<&'static str>);

/// Counts the events of the current interval, by kind.
#[derive(Debug, Default)]
pub struct LogLimiter(Mutex<BTreeMap<EventKey, u64>>);

impl LogLimiter {
    /// Counts an event; returns whether the caller should log it in full.
    #[must_use]
    pub fn should_log(&self, event: &'static str, reason: Option<&'static str>) -> bool {
        let mut counts = self.0.lock();
        let count = counts.entry((event, reason)).or_default();
        *count += 1;
        *count <= FULL_LINES
    }

    /// Logs the number of suppressed lines of each kind, and starts a new interval.
    pub fn log_suppressed(&self) {
        for ((event, reason), count) in self.take_suppressed() {
            tracing::info!(event, reason, count, "more of the same");
        }
    }

    /// Calls [`LogLimiter::log_suppressed`] every ten seconds. Never returns.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.log_suppressed();
        }
    }

    fn take_suppressed(&self) -> Vec<(EventKey, u64)> {
        let counts = std::mem::take(&mut *self.0.lock());
        counts
            .into_iter()
            .filter(|(_, count)| *count > FULL_LINES)
            .map(|(key, count)| (key, count - FULL_LINES))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_kind_are_logged_in_full_and_the_rest_are_counted() {
        let limiter = LogLimiter::default();
        let logged =
            |event, reason, times: u64| (0..times).filter(|_| limiter.should_log(event, reason)).count() as u64;
        assert_eq!(logged("refused", Some("rate_create"), FULL_LINES + 7), FULL_LINES);
        assert_eq!(logged("refused", Some("not_found"), FULL_LINES), FULL_LINES);
        assert_eq!(logged("created", None, FULL_LINES + 1), FULL_LINES);
        let suppressed = [(("created", None), 1), (("refused", Some("rate_create")), 7)];
        assert_eq!(limiter.take_suppressed(), suppressed);
        // The next interval starts now.
        assert_eq!(logged("refused", Some("rate_create"), 1), 1);
        assert_eq!(limiter.take_suppressed(), []);
    }
}
