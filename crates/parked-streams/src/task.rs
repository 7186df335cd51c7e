//! The one place where tasks are spawned, so that none goes unnamed and a panic in one is logged rather than lost.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tracing::Instrument as _;

/// Spawns a task whose log lines carry `name`. It ends with its future.
#[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
pub(crate) fn spawn(name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
    let guarded = async move {
        if AssertUnwindSafe(future).catch_unwind().await.is_err() {
            tracing::error!(task = name, "a task panicked and has ended");
        }
    };
    tokio::spawn(guarded.instrument(tracing::info_span!("task", task = name)));
}
