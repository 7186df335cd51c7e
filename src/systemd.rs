//! Notifications to systemd (sd_notify(3)): the gateway is ready, alive, stopping.
//!
//! The gateway sends nothing unless the unit asks for it (`Type=notify`, `WatchdogSec=`).

use sd_notify::NotifyState;

/// Reports that the gateway serves requests. If the unit has a watchdog, starts a task that notifies it.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    if let Some(timeout) = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero()) {
        crate::task::spawn("watchdog", async move {
            // sd_watchdog_enabled(3) recommends half of the timeout.
            let mut ticks = tokio::time::interval(timeout / 2);
            loop {
                ticks.tick().await;
                notify(&[NotifyState::Watchdog]);
            }
        });
    }
}

/// Reports that the gateway is stopping.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
