//! Limits the log lines that anyone can cause without signing in: tickets created, expired or closed, and requests refused.
//!
//! Of each kind, the gateway logs the first [`FULL_LINES`] in every [`INTERVAL`] in full, and one line with the number of the
//! others. So no caller can fill a disk, every event is counted, and the log shows examples with their addresses. Events that
//! need a verified person (scanned, confirmed, claimed) do not pass through here: each is logged.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

/// How many lines of one kind are logged in full in one interval. There are some seventy kinds (each event with each reason),
/// so a gateway under attack on all of them writes at most 77 lines a second.
pub const FULL_LINES: u64 = 10;
/// How often the lines beyond that are summed up.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// An event, and its reason if it has one. Both come from tables in the source, so there are few.
type Kind = (&'static str, Option<&'static str>);

/// Counts the lines of the current interval.
#[derive(Debug, Default)]
pub struct LogLimiter(Mutex<BTreeMap<Kind, u64>>);

impl LogLimiter {
    /// Counts an event; returns whether the caller should log it in full.
    #[must_use]
    pub fn should_log(&self, event: &'static str, reason: Option<&'static str>) -> bool {
        let mut counts = self.0.lock();
        let count = counts.entry((event, reason)).or_default();
        *count += 1;
        *count <= FULL_LINES
    }

    /// Logs how many events of each kind were not logged in full, and starts a new interval.
    pub fn log_suppressed(&self) {
        for ((event, reason), count) in self.take_suppressed() {
            tracing::info!(event, reason, count, "more of the same");
        }
    }

    /// Calls [`LogLimiter::log_suppressed`] every [`INTERVAL`], forever.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.log_suppressed();
        }
    }

    fn take_suppressed(&self) -> Vec<(Kind, u64)> {
        let counts = std::mem::take(&mut *self.0.lock());
        counts
            .into_iter()
            .filter(|(_, count)| *count > FULL_LINES)
            .map(|(kind, count)| (kind, count - FULL_LINES))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_each_kind_are_whole_and_the_others_are_counted() {
        let log_limiter = LogLimiter::default();
        let whole = |event, reason, times: u64| (0..times).filter(|_| log_limiter.should_log(event, reason)).count() as u64;
        assert_eq!(whole("refused", Some("rate_create"), FULL_LINES + 7), FULL_LINES);
        assert_eq!(whole("refused", Some("not_found"), FULL_LINES), FULL_LINES);
        assert_eq!(whole("created", None, FULL_LINES + 1), FULL_LINES);
        let excess = [(("created", None), 1), (("refused", Some("rate_create")), 7)];
        assert_eq!(log_limiter.take_suppressed(), excess);
        // The next interval begins anew.
        assert_eq!(whole("refused", Some("rate_create"), 1), 1);
        assert_eq!(log_limiter.take_suppressed(), []);
    }
}
