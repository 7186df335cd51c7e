//! Spawns tasks. Every task has a name in the log, and its panic is logged.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tracing::Instrument as _;

/// Spawns a task on the current runtime. The task's log lines carry `name`.
#[expect(clippy::disallowed_methods, reason = "this is the crate's only call to it")]
pub(crate) fn spawn(name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
    let guarded = async move {
        if AssertUnwindSafe(future).catch_unwind().await.is_err() {
            tracing::error!(task = name, "a task panicked and ended");
        }
    };
    tokio::spawn(guarded.instrument(tracing::info_span!("task", task = name)));
}
