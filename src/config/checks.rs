//! Checks that continue after a fault, so that the gateway reports all faults together.

use std::time::Duration;

/// All faults of the settings, each with its fix.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|fault| format!("- {fault}")).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<String>);

/// Collects faults and continues.
pub(super) struct Checks {
    pub(super) faults: Vec<String>,
}

impl Checks {
    /// Returns the value, or records the fault.
    pub(super) fn record<T>(&mut self, result: Result<T, String>) -> Option<T> {
        self.record_all(result.map_err(|fault| vec![fault]))
    }

    /// Returns the value, or records the faults.
    pub(super) fn record_all<T>(&mut self, result: Result<T, Vec<String>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(faults) => {
                self.faults.extend(faults);
                None
            }
        }
    }

    /// Records a fault if the value is an empty text.
    pub(super) fn not_empty(&mut self, flag: &str, value: Option<&str>) {
        if value == Some("") {
            self.faults.push(format!("{flag} is empty; set a value, or omit it"));
        }
    }

    /// Records a fault if the value is out of range.
    pub(super) fn in_range(&mut self, flag: &str, value: Duration, range: std::ops::RangeInclusive<Duration>) {
        if !range.contains(&value) {
            let text = |duration: &Duration| humantime::format_duration(*duration).to_string();
            self.faults.push(format!(
                "{flag} is {}; it must be from {} to {}",
                text(&value),
                text(range.start()),
                text(range.end())
            ));
        }
    }
}
