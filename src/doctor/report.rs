//! The doctor's report: findings, each with a verdict.

use std::fmt;

/// The verdict of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is as it should be.
    Good,
    /// It works now, but may break at the next fault.
    Warning,
    /// The gateway does not work.
    Bad,
}

/// One line of the report.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// The part that was checked, such as `redis`.
    pub subject: &'static str,
    /// The finding and its remedy.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Good => "ok  ",
            Verdict::Warning => "WARN",
            Verdict::Bad => "FAIL",
        };
        write!(f, "{mark}  {:<10} {}", self.subject, self.text)
    }
}

#[derive(Default)]
pub(super) struct Report(pub(super) Vec<Finding>);

impl Report {
    pub(super) fn add(&mut self, verdict: Verdict, subject: &'static str, text: impl Into<String>) {
        self.0.push(Finding { verdict, subject, text: text.into() });
    }

    pub(super) fn good(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Verdict::Good, subject, text);
    }

    pub(super) fn warn(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Verdict::Warning, subject, text);
    }

    pub(super) fn bad(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Verdict::Bad, subject, text);
    }
}
