//! What systemd is told of the gateway (sd_notify(3)): that it serves, that it is alive, that it is stopping.
//!
//! Nothing is said where nobody asked for it (`Type=notify`, `WatchdogSec=`).

use sd_notify::NotifyState;

/// Says that requests are answered, and from now on that the process is alive, as often as it is asked to.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    if let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) {
        crate::task::spawn("watchdog", async move {
            // Twice within the time, as sd_watchdog_enabled(3) asks for.
            let mut ticks = tokio::time::interval(patience / 2);
            loop {
                ticks.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        });
    }
}

/// Says that the process is about to end.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told how the gateway fares");
    }
}
