//! Log lines that anybody can cause, as many as they like: tickets that are made, expire or are closed, and requests that are
//! refused.
//!
//! Of each kind, the first [`WHOLE_LINES`] of every [`INTERVAL`] are logged whole; of those beyond, one line says how many
//! there were. So nobody fills a disk, nothing goes uncounted, and whoever reads the log sees examples with their addresses.
//! What takes a verified person (scanned, confirmed, claimed) is logged by itself, each time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many lines of one kind are logged whole in one interval. There are some seventy kinds, each event with each reason, so
/// a gateway under attack on all of them writes at most 77 lines a second.
pub const WHOLE_LINES: u64 = 10;
/// After what time the others are summed up.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// An event, and the reason for it if it has one. Both come from tables in the source, so there are few.
type Kind = (&'static str, Option<&'static str>);

/// Counts the lines of the present interval.
#[derive(Debug, Default)]
pub struct Journal(Mutex<BTreeMap<Kind, u64>>);

impl Journal {
    /// Counts one; returns whether it is to be logged whole.
    #[must_use]
    pub fn takes(&self, event: &'static str, reason: Option<&'static str>) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((event, reason)).or_default();
        *count += 1;
        *count <= WHOLE_LINES
    }

    /// Logs how many there were beyond the whole lines, and begins a new interval.
    pub fn sum_up(&self) {
        for ((event, reason), count) in self.take_excess() {
            tracing::info!(event, reason, count, "more of the same");
        }
    }

    /// Does so every [`INTERVAL`], for ever.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.sum_up();
        }
    }

    fn take_excess(&self) -> Vec<(Kind, u64)> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        counts
            .into_iter()
            .filter(|(_, count)| *count > WHOLE_LINES)
            .map(|(kind, count)| (kind, count - WHOLE_LINES))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_each_kind_are_whole_and_the_others_are_counted() {
        let journal = Journal::default();
        let whole = |event, reason, times: u64| (0..times).filter(|_| journal.takes(event, reason)).count() as u64;
        assert_eq!(whole("refused", Some("rate_create"), WHOLE_LINES + 7), WHOLE_LINES);
        assert_eq!(whole("refused", Some("not_found"), WHOLE_LINES), WHOLE_LINES);
        assert_eq!(whole("created", None, WHOLE_LINES + 1), WHOLE_LINES);
        let excess = [(("created", None), 1), (("refused", Some("rate_create")), 7)];
        assert_eq!(journal.take_excess(), excess);
        // The next interval begins anew.
        assert_eq!(whole("refused", Some("rate_create"), 1), 1);
        assert_eq!(journal.take_excess(), []);
    }
}
