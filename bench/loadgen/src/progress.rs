//! What is shown on standard error while a run goes on.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::measurements::round;
use crate::options::Status;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The keys of others are written.
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

/// Shows where a run is.
pub struct Progress {
    shown: Shown,
    began: Instant,
    phase: Phase,
}

enum Shown {
    Bar(ProgressBar),
    Json,
    Nothing,
}

impl Progress {
    /// Begins with `phase`; `said` is what the options say.
    pub fn new(said: Option<Status>, phase: Phase, streams: usize, began: Instant) -> Self {
        let by_itself = if std::io::stderr().is_terminal() { Status::Bar } else { Status::None };
        let shown = match said.unwrap_or(by_itself) {
            Status::Bar => Shown::Bar(bar(streams)),
            Status::Json => Shown::Json,
            Status::None => Shown::Nothing,
        };
        let progress = Self { shown, began, phase };
        progress.show(0);
        progress
    }

    /// Notes a change of phase.
    pub fn enter(&mut self, phase: Phase, open: u64) {
        self.phase = phase;
        self.show(open);
        if let (Shown::Bar(bar), Phase::Done) = (&self.shown, phase) {
            bar.finish_and_clear();
        }
    }

    /// Shows how many of the keys of others are there.
    pub fn show_keys(&self, made: u64, wanted: u64) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_message(format!("{} {made} of {wanted} other keys", self.phase.name())),
            Shown::Json => say(&json!({ "phase": self.phase.name(), "open": 0, "keys": made, "t": self.seconds() })),
            Shown::Nothing => {}
        }
    }

    fn seconds(&self) -> f64 {
        round(self.began.elapsed().as_secs_f64())
    }

    /// Shows how many streams are open.
    pub fn show(&self, open: u64) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_message(self.phase.name());
                bar.set_position(open);
            }
            Shown::Json => {
                say(&json!({ "phase": self.phase.name(), "open": open, "t": self.seconds() }));
            }
            Shown::Nothing => {}
        }
    }
}

fn say(line: &Value) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn bar(streams: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(streams).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{msg:8} {wide_bar} {human_pos}/{human_len} open  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
