//! The messages between the coordinator and its worker processes: one line of JSON each, over standard input and output.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::Approver;
use crate::measurements::Measurements;
use crate::openid::App;
use crate::settings::Settings;
use crate::target::Target;

/// A message from the coordinator.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first message: open the streams of this plan.
    Begin(Box<Plan>),
    /// Run the scenario's action while streams are open.
    Run,
    /// Start nothing new, and report when everything in progress has ended.
    Settle,
    /// Close everything and send the measurements.
    Stop,
}

/// The work of one worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    pub settings: Settings,
    pub targets: Vec<Target>,
    pub approvers: Vec<Approver>,
    /// The app of OpenID sign-ins.
    pub app: Option<App>,
    pub role: Role,
    /// When the run started, since 1970.
    pub started: Duration,
}

/// The parties that a worker simulates.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Role {
    /// Presenters that wait or poll.
    Presenters {
        count: usize,
        /// The number of the first presenter, over all workers.
        first: usize,
        /// Tickets without a stream.
        background: usize,
        /// Streams to open per second; 0 sets no limit.
        rate: f64,
        /// Tickets to scan and confirm per second.
        confirmations_per_second: f64,
    },
    /// Complete logins, in a process without waiting presenters.
    Logins {
        count: u64,
        /// With `None`, a login starts as soon as another has ended.
        per_second: Option<f64>,
        /// The maximum number of concurrent logins.
        concurrency: usize,
    },
}

/// A message from a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The number of open streams, several times a second.
    Open(u64),
    /// The deadlines of newly opened streams' tickets, since the start of the run; only in `expiry` with a Redis.
    Deadlines(Vec<Duration>),
    /// Every presenter has opened a stream or failed to.
    Opened,
    /// The scenario has run to its end.
    Finished,
    /// The last message.
    Result(Box<Measurements>),
    /// The worker cannot continue.
    Failed(String),
}
