//! The parent's side of the worker processes: starts them, gives them orders, hears their reports.
//!
//! They end with the parent: it kills them where it ends in order, and otherwise they find their input closed.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::measurements::Measurements;
use crate::messages::{Order, Plan, Report};
use crate::options::Scenario;
use crate::spawn;

/// The argument that makes this program a worker.
pub const WORKER: &str = "__worker";
/// How many reports may wait.
const REPORTS: usize = 1024;
/// How long workers may take to close everything and report.
const CLOSE_TIME: Duration = Duration::from_secs(30);

/// The worker processes of a run.
pub struct Workers {
    members: Vec<Member>,
    sender: mpsc::Sender<(usize, Option<Report>)>,
    reports: mpsc::Receiver<(usize, Option<Report>)>,
    /// When tickets expire, in the time of the run, of which nobody has asked yet.
    deadlines: Vec<Duration>,
}

struct Member {
    /// Killed when this is dropped.
    _child: Child,
    input: ChildStdin,
    open: u64,
    has_opened: bool,
    has_finished: bool,
    result: Option<Measurements>,
}

impl Workers {
    /// Has no members yet.
    pub fn new() -> Self {
        let (sender, reports) = mpsc::channel(REPORTS);
        Self { members: Vec::new(), sender, reports, deadlines: Vec::new() }
    }

    /// Starts one worker for each plan.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub async fn start(&mut self, plans: Vec<Plan>) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("this program's file cannot be found")?;
        for (index, plan) in plans.into_iter().enumerate() {
            let mut command = Command::new(&program);
            command.arg(WORKER).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            // Ctrl-C in a terminal is for the parent, which has the workers close in order.
            command.process_group(0);
            let mut child = command.spawn().context("a worker process cannot be started")?;
            let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(anyhow!("a worker process has no input or output"));
            };
            spawn(listen(index, output, self.sender.clone()));
            // Only those with something of their own to do will say that they have finished.
            let has_finished = plan.settings.scenario == Scenario::Login && plan.logins == 0;
            let mut member = Member { _child: child, input, open: 0, has_opened: false, has_finished, result: None };
            member.tell(&Order::Begin(Box::new(plan))).await?;
            self.members.push(member);
        }
        Ok(())
    }

    /// Gives all of them an order.
    ///
    /// # Errors
    /// When one is gone.
    pub async fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.tell(order).await?;
        }
        Ok(())
    }

    /// Waits for the next report.
    ///
    /// # Errors
    /// When a worker has failed or gone.
    ///
    /// # Cancel safety
    /// No report is lost.
    pub async fn hear(&mut self) -> anyhow::Result<()> {
        let Some((index, report)) = self.reports.recv().await else { return Err(anyhow!("all workers are gone")) };
        let member = &mut self.members[index];
        match report {
            Some(Report::Open(open)) => member.open = open,
            Some(Report::Deadlines(deadlines)) => self.deadlines.extend(deadlines),
            Some(Report::Opened) => member.has_opened = true,
            Some(Report::Finished) => member.has_finished = true,
            Some(Report::Result(measured)) => member.result = Some(*measured),
            Some(Report::Failed(error)) => return Err(anyhow!("worker {index}: {error}")),
            None if member.result.is_some() => {}
            None => return Err(anyhow!("worker {index} has ended early; was it killed for want of memory?")),
        }
        Ok(())
    }

    /// Has them close everything; returns what all of them counted.
    ///
    /// # Errors
    /// When one is gone or takes too long.
    pub async fn close(mut self) -> anyhow::Result<Measurements> {
        self.order(&Order::Stop).await?;
        let all = async {
            while self.members.iter().any(|member| member.result.is_none()) {
                self.hear().await?;
            }
            anyhow::Ok(())
        };
        timeout(CLOSE_TIME, all).await.context("the workers did not end in time")??;
        let mut sum = Measurements::default();
        for measured in self.members.iter().filter_map(|member| member.result.as_ref()) {
            sum.add(measured);
        }
        Ok(sum)
    }

    /// Returns when tickets expire, in the time of the run, as was reported since the last call.
    pub fn take_deadlines(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.deadlines)
    }

    /// Returns how many streams are open.
    pub fn open(&self) -> u64 {
        self.members.iter().map(|member| member.open).sum()
    }

    pub fn all_opened(&self) -> bool {
        self.members.iter().all(|member| member.has_opened)
    }

    pub fn all_finished(&self) -> bool {
        self.members.iter().all(|member| member.has_finished)
    }
}

impl Member {
    async fn tell(&mut self, order: &Order) -> anyhow::Result<()> {
        let line = serde_json::to_string(order)? + "\n";
        self.input.write_all(line.as_bytes()).await.context("a worker process has ended early")?;
        self.input.flush().await.context("a worker process has ended early")
    }
}

/// Passes a worker's reports on, and `None` after the last.
async fn listen(index: usize, output: ChildStdout, reports: mpsc::Sender<(usize, Option<Report>)>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let report = serde_json::from_str(&line).unwrap_or_else(|error| Report::Failed(format!("{error}: {line:.80}")));
        if reports.send((index, Some(report))).await.is_err() {
            return;
        }
    }
    let _ = reports.send((index, None)).await;
}
