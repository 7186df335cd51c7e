//! The coordinator's side of the worker processes: starts them, sends orders, receives reports.
//!
//! Workers end with the coordinator: it kills them on a regular exit. If it is killed, each worker's input is closed, and
//! the worker exits.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::measurements::Measurements;
use crate::messages::{Order, Plan, Report, Role};
use crate::settings::Scenario;
use crate::spawn;

/// The argument that starts this program as a worker.
pub const WORKER: &str = "__worker";
/// The capacity of the report queue.
const MAX_REPORTS: usize = 1024;
/// How long workers may take to close everything and to report.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The worker processes of a run.
pub struct Workers {
    all: Vec<Worker>,
    sender: mpsc::Sender<(usize, Option<Report>)>,
    reports: mpsc::Receiver<(usize, Option<Report>)>,
    /// The reported deadlines of tickets, since the start of the run, that were not taken yet.
    deadlines: Vec<Duration>,
}

struct Worker {
    /// Killed on drop.
    _child: Child,
    input: ChildStdin,
    open: u64,
    has_opened: bool,
    has_finished: bool,
    result: Option<Measurements>,
}

impl Workers {
    /// Returns an empty set of workers.
    pub fn new() -> Self {
        let (sender, reports) = mpsc::channel(MAX_REPORTS);
        Self { all: Vec::new(), sender, reports, deadlines: Vec::new() }
    }

    /// Starts one worker for each plan.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub async fn start(&mut self, plans: Vec<Plan>) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("the path of this program is unknown")?;
        for (index, plan) in plans.into_iter().enumerate() {
            let mut command = Command::new(&program);
            command.arg(WORKER).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            // Ctrl-C in a terminal reaches only the coordinator, which stops the workers in order.
            command.process_group(0);
            let mut child = command.spawn().context("a worker process could not be started")?;
            let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(anyhow!("a worker process has no input or output"));
            };
            spawn(forward_reports(index, output, self.sender.clone()));
            // In `login`, workers that only hold streams never report that they have finished.
            let has_finished = matches!(plan.settings.scenario, Scenario::Login { .. })
                && matches!(plan.role, Role::Presenters { .. });
            let mut worker = Worker { _child: child, input, open: 0, has_opened: false, has_finished, result: None };
            worker.send(&Order::Begin(Box::new(plan))).await?;
            self.all.push(worker);
        }
        Ok(())
    }

    /// Sends an order to all workers.
    ///
    /// # Errors
    /// If a worker has ended.
    pub async fn send(&mut self, order: &Order) -> anyhow::Result<()> {
        for worker in &mut self.all {
            worker.send(order).await?;
        }
        Ok(())
    }

    /// Waits for the next report.
    ///
    /// # Errors
    /// If a worker has failed or ended.
    ///
    /// # Cancel safety
    /// No report is lost.
    pub async fn receive(&mut self) -> anyhow::Result<()> {
        let Some((index, report)) = self.reports.recv().await else { return Err(anyhow!("all workers have ended")) };
        let worker = &mut self.all[index];
        match report {
            Some(Report::Open(open)) => worker.open = open,
            Some(Report::Deadlines(deadlines)) => self.deadlines.extend(deadlines),
            Some(Report::Opened) => worker.has_opened = true,
            Some(Report::Finished) => worker.has_finished = true,
            Some(Report::Result(measurements)) => worker.result = Some(*measurements),
            Some(Report::Failed(error)) => return Err(anyhow!("worker {index}: {error}")),
            None if worker.result.is_some() => {}
            None => {
                return Err(anyhow!("worker {index} ended early; check whether it was killed because memory ran out"));
            }
        }
        Ok(())
    }

    /// Stops all workers, and returns the sum of their measurements.
    ///
    /// # Errors
    /// If a worker has ended or takes too long.
    pub async fn stop(mut self) -> anyhow::Result<Measurements> {
        self.send(&Order::Stop).await?;
        let all = async {
            while self.all.iter().any(|worker| worker.result.is_none()) {
                self.receive().await?;
            }
            anyhow::Ok(())
        };
        timeout(CLOSE_TIMEOUT, all).await.context("the workers did not end in time")??;
        let mut sum = Measurements::default();
        for measurements in self.all.iter().filter_map(|worker| worker.result.as_ref()) {
            sum.add(measurements);
        }
        Ok(sum)
    }

    /// Returns the deadlines that were reported since the last call.
    pub fn take_deadlines(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.deadlines)
    }

    /// Returns the number of open streams.
    pub fn open(&self) -> u64 {
        self.all.iter().map(|worker| worker.open).sum()
    }

    pub fn all_opened(&self) -> bool {
        self.all.iter().all(|worker| worker.has_opened)
    }

    pub fn all_finished(&self) -> bool {
        self.all.iter().all(|worker| worker.has_finished)
    }
}

impl Worker {
    async fn send(&mut self, order: &Order) -> anyhow::Result<()> {
        let line = serde_json::to_string(order)? + "\n";
        self.input.write_all(line.as_bytes()).await.context("a worker process ended early")?;
        self.input.flush().await.context("a worker process ended early")
    }
}

/// Forwards a worker's reports, and `None` after the last one.
async fn forward_reports(index: usize, output: ChildStdout, reports: mpsc::Sender<(usize, Option<Report>)>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let report = serde_json::from_str(&line).unwrap_or_else(|error| Report::Failed(format!("{error}: {line:.80}")));
        if reports.send((index, Some(report))).await.is_err() {
            return;
        }
    }
    let _ = reports.send((index, None)).await;
}
