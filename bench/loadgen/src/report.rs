//! The result of a run, as JSON and as a summary for people.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::baseline::{BaselineResults, GRACE};
use crate::measurements::{Latencies, Measurements, TIMELINE_STEP, per_second, round};
use crate::settings::{Scenario, Settings};

/// The number of timeline steps per second.
const STEPS_PER_SECOND: usize = 10;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As planned.
    Complete,
    /// By a signal.
    Interrupted,
    /// By `--max-time`.
    OutOfTime,
}

/// A finished run.
pub struct Run {
    pub settings: Settings,
    pub targets: Vec<String>,
    pub started_at: SystemTime,
    pub seconds: Duration,
    pub ending: Ending,
    /// When the processes were signalled, since the start of the run.
    pub signalled_at: Option<Duration>,
    pub measurements: Measurements,
    /// The results of the plain keys, if `expiry` compares with them.
    pub baseline: Option<BaselineResults>,
}

impl Run {
    /// Returns what the run lost or could not open, as text.
    pub fn failures(&self) -> Vec<String> {
        let measured = &self.measurements;
        let mut failures = Vec::new();
        let mut loss = |count: u64, what: &str| {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        };
        loss(self.wanted().saturating_sub(measured.opened), "of the wanted streams never opened");
        match self.settings.scenario {
            Scenario::Idle { .. } => loss(measured.lost, "streams lost"),
            Scenario::Login { .. } => loss(measured.login.failed, "logins failed"),
            Scenario::Expiry { .. } => loss(measured.expiry.missing, "expired events missing"),
            Scenario::Storm { .. } => {
                loss(self.confirmations_lost(), "confirmations lost");
                loss(measured.login.failed, "confirmations failed");
            }
            Scenario::Poll { .. } => {}
        }
        failures
    }

    fn wanted(&self) -> u64 {
        u64::try_from(self.settings.streams).unwrap_or(u64::MAX)
    }

    fn confirmations_lost(&self) -> u64 {
        self.measurements.storm.made.saturating_sub(self.measurements.storm.delivered)
    }

    /// Returns the result as JSON.
    pub fn to_json(&self) -> Value {
        let measured = &self.measurements;
        let scenario = &self.settings.scenario;
        let mut result = Map::new();
        let mut put = |name: &str, value: Value| drop(result.insert(name.to_owned(), value));
        put("scenario", json!(scenario.name()));
        put("version", json!(env!("CARGO_PKG_VERSION")));
        put("targets", json!(self.targets));
        put("options", json!(self.settings));
        put("started_at", json!(humantime::format_rfc3339_seconds(self.started_at).to_string()));
        put("seconds", json!(round(self.seconds.as_secs_f64())));
        put("interrupted", json!(self.ending != Ending::Complete));
        put("streams", self.streams());
        let opening = measured.opening.seconds();
        put(
            "open",
            json!({ "seconds": round(opening), "per_second": per_second(measured.opened, opening), "latency_ms": measured.open_times.to_json() }),
        );
        if scenario.has_event_streams() {
            put("heartbeats", json!({ "seen": measured.heartbeats_seen, "missed": measured.heartbeats_missed }));
        }
        match scenario {
            Scenario::Idle { .. } => {}
            Scenario::Login { .. } => put("login", self.login()),
            Scenario::Expiry { .. } => put("expiry", self.expiry()),
            Scenario::Storm { .. } => {
                put("login", self.login());
                put("storm", self.storm());
            }
            Scenario::Poll { .. } => {
                let poll = &measured.poll;
                let rate = per_second(poll.polls, poll.span.seconds());
                put(
                    "poll",
                    json!({ "polls": poll.polls, "failed": poll.failed, "per_second": rate, "latency_ms": poll.latency.to_json() }),
                );
            }
        }
        Value::Object(result)
    }

    fn streams(&self) -> Value {
        let measured = &self.measurements;
        json!({
            "wanted": self.wanted(), "opened": measured.opened, "open_at_end": measured.open, "lost": measured.lost,
            "refused": measured.refused, "renewed": measured.renewed, "reopened": measured.reopened, "errors": measured.errors,
        })
    }

    fn login(&self) -> Value {
        let login = &self.measurements.login;
        let mut value = json!({
            "count": login.count, "failed": login.failed, "per_second": per_second(login.count, login.span.seconds()),
            "confirm_to_event_ms": login.confirm_to_event.to_json(),
            "confirm_request_ms": login.confirm_request.to_json(),
        });
        if matches!(self.settings.scenario, Scenario::Login { .. }) {
            value["whole_ms"] = login.whole.to_json();
            value["requests"] = login.requests.into();
        }
        value
    }

    fn expiry(&self) -> Value {
        let expiry = &self.measurements.expiry;
        let mut value = json!({
            "count": expiry.delivered + expiry.missing, "delivered": expiry.delivered, "missing": expiry.missing,
            "lag_ms": expiry.lag.to_json(), "deadline_error_ms": expiry.deadline_error.to_json(),
        });
        if let (Some(plain), Some(comparison)) = (&self.baseline, self.settings.scenario.comparison()) {
            value["other_keys"] = comparison.other_keys.into();
            value["plain"] = json!({
                "count": plain.made, "delivered": plain.delivered, "missing": plain.made - plain.delivered,
                "lag_ms": plain.lag.to_json(), "clock_error_ms": round(plain.clock_error.as_secs_f64() * 1e3),
                "grace": GRACE.as_secs(), "not_made": plain.skipped, "broken_connections": plain.broken_connections,
            });
        }
        value
    }

    fn storm(&self) -> Value {
        let storm = &self.measurements.storm;
        json!({
            "event_at_s": self.storm_started_at().map(|at| round(at.as_secs_f64())),
            "lost_streams": self.measurements.lost, "back_after_s": self.back_after(),
            "peak_opens_per_second": self.peak(),
            "confirmations": { "made": storm.made, "delivered": storm.delivered, "lost": self.confirmations_lost() },
            "reconnect_ms": storm.reconnect.to_json(), "timeline": self.timeline(),
        })
    }

    /// Returns when the storm started: at the signal, or without one at the first lost stream.
    fn storm_started_at(&self) -> Option<Duration> {
        self.signalled_at.or(self.measurements.storm.outage.from)
    }

    /// Returns the seconds from the start of the storm until all streams were reopened; `None` if some never were.
    fn back_after(&self) -> Option<f64> {
        let storm = &self.measurements.storm;
        let last = storm.outage.to.unwrap_or_default();
        let at = self.storm_started_at().unwrap_or_default();
        (storm.disconnected == 0).then(|| round(last.saturating_sub(at).as_secs_f64()))
    }

    /// Returns the maximum number of streams opened in any second since the start of the storm.
    fn peak(&self) -> u64 {
        let Some(at) = self.storm_started_at() else { return 0 };
        let first = usize::try_from(at.as_millis() / TIMELINE_STEP.as_millis()).unwrap_or(usize::MAX);
        let steps = self.measurements.storm.steps.get(first..).unwrap_or_default();
        let opened: Vec<u64> = steps.iter().map(|step| step.opened).collect();
        let in_all = opened.iter().sum();
        opened.windows(STEPS_PER_SECOND).map(|second| second.iter().sum()).max().unwrap_or(in_all)
    }

    fn timeline(&self) -> Value {
        let (mut opened, mut closed, mut lost) = (0, 0, 0);
        let steps = self.measurements.storm.steps.iter().zip(1_u32..).map(|(step, number)| {
            opened += step.opened;
            closed += step.closed;
            lost += step.lost;
            let end = round((TIMELINE_STEP * number).as_secs_f64());
            json!({ "t_s": end, "open": opened - closed, "opened_total": opened, "lost_total": lost })
        });
        steps.collect()
    }

    /// Returns the summary for people.
    fn summary(&self) -> String {
        let measured = &self.measurements;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:>17}  {value}");
        };
        line("scenario", format!("{} against {}", self.settings.scenario.name(), self.targets.join(", ")));
        let ending = match self.ending {
            Ending::Complete => "",
            Ending::Interrupted => ", interrupted",
            Ending::OutOfTime => ", ended by --max-time before it was complete",
        };
        line("time", format!("{:.1} s{ending}", self.seconds.as_secs_f64()));
        let is_polling = !self.settings.scenario.has_event_streams();
        line(
            if is_polling { "presenters" } else { "streams" },
            format!("{} of {} opened, {} open at the end", measured.opened, self.wanted(), measured.open),
        );
        line(
            "",
            format!(
                "{} lost, {} reopened, {} renewed, {} refused",
                measured.lost, measured.reopened, measured.renewed, measured.refused
            ),
        );
        line("opens per second", format!("{:.0}", per_second(measured.opened, measured.opening.seconds())));
        line("open", spread(&measured.open_times));
        if !is_polling {
            line("heartbeats", format!("{} seen, {} missed", measured.heartbeats_seen, measured.heartbeats_missed));
        }
        self.summarise_scenario(&mut line);
        for (error, count) in &measured.errors {
            line("error", format!("{count} × {error}"));
        }
        for loss in self.failures() {
            line("LOST", loss);
        }
        text
    }

    fn summarise_scenario(&self, line: &mut impl FnMut(&str, String)) {
        let Measurements { login, expiry, storm, poll, .. } = &self.measurements;
        match self.settings.scenario {
            Scenario::Idle { .. } => {}
            Scenario::Login { .. } => {
                let rate = per_second(login.count, login.span.seconds());
                line("logins", format!("{}, {} failed, {rate:.1} per second", login.count, login.failed));
                line("confirm to event", spread(&login.confirm_to_event));
                line("confirm request", spread(&login.confirm_request));
                line("whole login", spread(&login.whole));
            }
            Scenario::Expiry { .. } => {
                line("expired events", format!("{} delivered, {} missing", expiry.delivered, expiry.missing));
                line("late by", spread(&expiry.lag));
                if let Some(baseline) = &self.baseline {
                    self.summarise_baseline(baseline, line);
                }
            }
            Scenario::Storm { .. } => {
                let back = self
                    .back_after()
                    .map_or_else(|| "never all back".to_owned(), |after| format!("all back after {after} s"));
                line(
                    "storm",
                    format!(
                        "{} streams lost, {back}, {} opens per second at the peak",
                        self.measurements.lost,
                        self.peak()
                    ),
                );
                line("reconnect", spread(&storm.reconnect));
                let lost = self.confirmations_lost();
                line("confirmations", format!("{} made, {} delivered, {lost} lost", storm.made, storm.delivered));
                line("confirm to event", spread(&login.confirm_to_event));
            }
            Scenario::Poll { .. } => {
                let rate = per_second(poll.polls, poll.span.seconds());
                line("polls", format!("{}, {} failed, {rate:.0} per second", poll.polls, poll.failed));
                line("poll", spread(&poll.latency));
            }
        }
    }

    fn summarise_baseline(&self, baseline: &BaselineResults, line: &mut impl FnMut(&str, String)) {
        let BaselineResults { made, delivered, .. } = baseline;
        let missing = made - delivered;
        line("plain keys", format!("{delivered} delivered, {missing} missing {} s after the last", GRACE.as_secs()));
        line("late by", spread(&baseline.lag));
        if let Some(comparison) = self.settings.scenario.comparison() {
            let (keys, redis) = (comparison.other_keys, &comparison.redis);
            line("in Redis", format!("{keys} filler keys with a time to live, at {redis}"));
        }
        if baseline.skipped > 0 {
            line("", format!("{} plain keys not written: they were about to expire", baseline.skipped));
        }
        if baseline.broken_connections > 0 {
            line("", format!("{} subscriber connections broke", baseline.broken_connections));
        }
    }
}

fn spread(times: &Latencies) -> String {
    if times.count() == 0 {
        return "-".to_owned();
    }
    let at = |q| times.quantile_ms(q);
    format!("p50 {:.2} ms, p90 {:.2}, p99 {:.2}, max {:.2}", at(0.5), at(0.9), at(0.99), times.max_ms())
}

/// Writes the summary, and the result as JSON to `json`.
///
/// # Errors
/// If the file or standard output cannot be written.
pub fn publish(run: &Run, json: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = json else {
        return write(&run.summary());
    };
    let text = serde_json::to_string_pretty(&run.to_json())? + "\n";
    if path == Path::new("-") {
        print_error(run.summary().trim_end());
        return write(&text);
    }
    write(&run.summary())?;
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

fn write(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output cannot be written")
}

/// Writes a line to standard error.
pub fn print_error(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
