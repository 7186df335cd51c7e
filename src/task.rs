//! Spawns all tasks, so that each has a name and a panic in one is logged rather than lost.

use std::future::Future;

use futures_util::FutureExt as _;
use tracing::Instrument as _;

/// Spawns a task whose log lines carry `name`. It ends with its future, or when the handle is aborted.
#[expect(clippy::disallowed_methods, reason = "the ban points to this function")]
pub fn spawn<F>(name: &'static str, future: F) -> tokio::task::JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let guarded = async move {
        if std::panic::AssertUnwindSafe(future).catch_unwind().await.is_err() {
            tracing::error!(task = name, "a task panicked and ended; restart the process if it does not recover");
        }
    };
    tokio::spawn(guarded.instrument(tracing::info_span!("task", task = name)))
}
