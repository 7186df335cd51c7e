//! The progress of a run on standard error.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::measurements::round;
use crate::options::Status;

/// A phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The filler keys are written.
    Filling,
    Opening,
    Holding,
    Running,
    Closing,
    Done,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Opening => "opening",
            Self::Holding => "holding",
            Self::Running => "running",
            Self::Closing => "closing",
            Self::Done => "done",
        }
    }
}

/// Shows the phase of a run and the number of open streams.
pub struct Progress {
    display: Display,
    started: Instant,
    phase: Phase,
}

enum Display {
    Bar(ProgressBar),
    Json,
    Nothing,
}

impl Progress {
    /// Starts with `phase`. Without a `status`, it shows a bar on a terminal, and otherwise nothing.
    pub fn new(status: Option<Status>, phase: Phase, streams: usize, started: Instant) -> Self {
        let default = if std::io::stderr().is_terminal() { Status::Bar } else { Status::None };
        let display = match status.unwrap_or(default) {
            Status::Bar => Display::Bar(bar(streams)),
            Status::Json => Display::Json,
            Status::None => Display::Nothing,
        };
        let progress = Self { display, started, phase };
        progress.show(0);
        progress
    }

    /// Changes the phase.
    pub fn enter(&mut self, phase: Phase, open: u64) {
        self.phase = phase;
        self.show(open);
        if let (Display::Bar(bar), Phase::Done) = (&self.display, phase) {
            bar.finish_and_clear();
        }
    }

    /// Shows the number of filler keys written so far.
    pub fn show_keys(&self, written: u64, wanted: u64) {
        match &self.display {
            Display::Bar(bar) => bar.set_message(format!("{} {written} of {wanted} filler keys", self.phase.name())),
            Display::Json => {
                print_line(&json!({ "phase": self.phase.name(), "open": 0, "keys": written, "t": self.seconds() }));
            }
            Display::Nothing => {}
        }
    }

    fn seconds(&self) -> f64 {
        round(self.started.elapsed().as_secs_f64())
    }

    /// Shows the number of open streams.
    pub fn show(&self, open: u64) {
        match &self.display {
            Display::Bar(bar) => {
                bar.set_message(self.phase.name());
                bar.set_position(open);
            }
            Display::Json => {
                print_line(&json!({ "phase": self.phase.name(), "open": open, "t": self.seconds() }));
            }
            Display::Nothing => {}
        }
    }
}

fn print_line(line: &Value) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn bar(streams: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(streams).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{msg:8} {wide_bar} {human_pos}/{human_len} open  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
