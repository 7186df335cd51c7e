//! The messages between the coordinator and its worker processes: one line of JSON each, over standard input and output.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::Approver;
use crate::measurements::Measurements;
use crate::settings::Settings;
use crate::target::Target;

/// A message from the coordinator.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first message: open the streams of this plan.
    Begin(Box<Plan>),
    /// Do what the scenario does while streams are open.
    Run,
    /// Start nothing new, and report when everything under way has ended.
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
        /// The number of the first, over all workers.
        first: usize,
        /// Tickets without a stream.
        background: usize,
        /// Streams to open per second; 0 sets no limit.
        rate: f64,
        /// Tickets to scan and confirm per second.
        confirmations_per_second: f64,
    },
    /// Complete logins, in a process that no waiting presenter keeps busy.
    Logins {
        count: u64,
        /// With `None`, a login starts when one has ended.
        per_second: Option<f64>,
        /// How many logins run at the same time.
        concurrency: usize,
    },
}

/// A message from a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// How many streams are open, several times a second.
    Open(u64),
    /// When the tickets of newly opened streams expire, since the start of the run; only in `expiry` with a Redis.
    Deadlines(Vec<Duration>),
    /// Every presenter has a stream, or has failed to get one.
    Opened,
    /// The scenario has run to its end.
    Finished,
    /// The last message.
    Result(Box<Measurements>),
    /// The worker cannot do its work.
    Failed(String),
}
