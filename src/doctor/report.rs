//! The doctor's report: findings, each with a severity.

use std::fmt;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// No problem.
    Ok,
    /// Works now, but may break at the next fault.
    Warning,
    /// The gateway does not work.
    Error,
}

/// One line of the report.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// The part that was checked, such as `redis`.
    pub subject: &'static str,
    /// The finding and its fix.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.severity {
            Severity::Ok => "ok  ",
            Severity::Warning => "WARN",
            Severity::Error => "FAIL",
        };
        write!(f, "{mark}  {:<10} {}", self.subject, self.text)
    }
}

#[derive(Default)]
pub(super) struct Report(pub(super) Vec<Finding>);

impl Report {
    pub(super) fn add(&mut self, severity: Severity, subject: &'static str, text: impl Into<String>) {
        self.0.push(Finding { severity, subject, text: text.into() });
    }

    pub(super) fn ok(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Severity::Ok, subject, text);
    }

    pub(super) fn warn(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Severity::Warning, subject, text);
    }

    pub(super) fn error(&mut self, subject: &'static str, text: impl Into<String>) {
        self.add(Severity::Error, subject, text);
    }
}
