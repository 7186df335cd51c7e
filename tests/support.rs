//! What tests start and stop: gateways, Redis servers, people, event streams. Every process ends with its handle.

pub mod browser;
pub mod events;
pub mod gateway;
pub mod guest;
pub mod netns;
pub mod nginx;
pub mod process;
pub mod redis;
pub mod wire;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use events::EventStream;
pub use gateway::Gateway;
pub use guest::Guest;
pub use nginx::Edge;
pub use redis::Redis;
pub use wire::Wire;

/// How long anything may take that should happen at once; generous, because machines are busy.
pub const SOON: Duration = Duration::from_secs(10);

/// Tries `look` again until it finds something, for as long as [`SOON`].
pub async fn eventually<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    within(SOON, what, look).await
}

/// Tries `look` again until it finds something, for as long as `time`.
pub async fn within<T, F>(time: Duration, what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < time, "{what} did not happen within {time:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns a port that was free a moment ago, and that no other call is given.
///
/// Below those that the system hands out: no connection can take it in the meantime, or find itself at its other end.
pub fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + u16::try_from((std::process::id() * 97 + count) % 20_000).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Installs the cryptographic library, as the binary does at its start.
pub fn crypto() {
    scangate::app::install_crypto();
}
