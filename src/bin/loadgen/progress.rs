//! What is shown on standard error while a run goes on.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::options::Status;
use crate::tally::round;

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Opening,
    Holding,
    Running,
    Closing,
    Done,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
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
    /// Begins with [`Phase::Opening`]; `said` is what the options say.
    pub fn new(said: Option<Status>, streams: usize, began: Instant) -> Self {
        let by_itself = if std::io::stderr().is_terminal() { Status::Bar } else { Status::None };
        let shown = match said.unwrap_or(by_itself) {
            Status::Bar => Shown::Bar(bar(streams)),
            Status::Json => Shown::Json,
            Status::None => Shown::Nothing,
        };
        let progress = Self { shown, began, phase: Phase::Opening };
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

    /// Shows how many streams are open.
    pub fn show(&self, open: u64) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_message(self.phase.name());
                bar.set_position(open);
            }
            Shown::Json => {
                let seconds = self.began.elapsed().max(Duration::ZERO).as_secs_f64();
                let line = json!({ "phase": self.phase.name(), "open": open, "t": round(seconds) });
                let _ = writeln!(std::io::stderr(), "{line}");
            }
            Shown::Nothing => {}
        }
    }
}

fn bar(streams: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(streams).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{msg:8} {wide_bar} {human_pos}/{human_len} open  {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
