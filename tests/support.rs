//! What tests start and stop: gateways, Redis servers, people, event streams. Every process ends with its handle.

pub mod browser;
pub mod events;
pub mod gateway;
pub mod nginx;
pub mod process;
pub mod redis;

use std::time::{Duration, Instant};

pub use events::EventStream;
pub use gateway::Gateway;
pub use nginx::Edge;
pub use redis::Redis;

/// How long anything may take that should happen at once; generous, because machines are busy.
pub const SOON: Duration = Duration::from_secs(10);

/// Tries `look` again until it finds something, for as long as [`SOON`].
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < SOON, "{what} did not happen within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns a port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Installs the cryptographic library, as the binary does at its start.
pub fn crypto() {
    scangate::app::install_crypto();
}
