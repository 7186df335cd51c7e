//! What the parent and its worker processes tell each other: one line of JSON each, over standard input and output.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::Approver;
use crate::measurements::Measurements;
use crate::options::Settings;
use crate::target::Target;

/// From the parent.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// First: open your streams.
    Begin(Box<Plan>),
    /// Do what the scenario does while streams are open.
    Run,
    /// Begin nothing new, and say when what was begun has ended.
    Settle,
    /// Close everything and report.
    Stop,
}

/// What one worker is to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    pub settings: Settings,
    pub targets: Vec<Target>,
    pub approvers: Vec<Approver>,
    /// How many people wait here, and the number of the first.
    pub people: usize,
    pub first: usize,
    /// Tickets without a stream to make here.
    pub background: usize,
    /// Streams to open per second here; 0 is as fast as it goes.
    pub rate: f64,
    /// Logins to make here per second; `None` if each follows another.
    pub logins_per_second: Option<f64>,
    /// How many logins to make here.
    pub logins: u64,
    /// When the run began, in seconds since 1970.
    pub began: Duration,
}

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// How many streams are open, several times a second.
    Open(u64),
    /// When further tickets expire whose streams are open, in the time of the run; `expiry` with a Redis only.
    Deadlines(Vec<Duration>),
    /// Every person has a stream, or has failed to get one.
    Opened,
    /// What the scenario does has come to its own end.
    Finished,
    /// Last.
    Result(Box<Measurements>),
    /// It cannot be done.
    Failed(String),
}
