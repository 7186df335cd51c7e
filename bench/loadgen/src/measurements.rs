//! What was counted and timed: one [`Measurements`] per process, sent to the parent and added up there.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The longest time that a histogram tells apart, in microseconds.
const MAX_MICROS: u64 = 3_600_000_000;
/// Significant digits of the histograms.
const DIGITS: u8 = 3;
/// The most kinds of errors that are told apart.
const MAX_ERRORS: usize = 50;
/// The longest text of an error, in characters.
const MAX_ERROR_CHARS: usize = 160;
/// One step of the timeline.
pub const STEP: Duration = Duration::from_millis(100);
/// The most steps of the timeline: one hour.
const MAX_STEPS: usize = 36_000;

/// Everything that one process counted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Measurements {
    /// People who got their first stream (or, in `poll`, their first answer).
    pub opened: u64,
    /// Streams that are open.
    pub open: u64,
    /// Streams that ended otherwise than by their last event, or by us.
    pub lost: u64,
    /// Attempts that got no stream.
    pub refused: u64,
    /// Tickets replaced because they were over.
    pub renewed: u64,
    /// Streams that came back after they were lost.
    pub reopened: u64,
    /// What went wrong, and how often.
    pub errors: BTreeMap<String, u64>,
    /// From connecting until the first event (with a path of one's own: until the answer's head).
    pub open_times: Times,
    /// When the first stream began to be opened and the last was open, in seconds of the run.
    pub opening: Span,
    pub heartbeats_seen: u64,
    pub heartbeats_missed: u64,
    pub login: LoginMeasurements,
    pub expiry: ExpiryMeasurements,
    pub storm: StormMeasurements,
    pub poll: PollMeasurements,
}

/// What came of logins; in `storm`, of confirmations alone.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct LoginMeasurements {
    pub count: u64,
    pub failed: u64,
    pub span: Span,
    pub confirm_to_event: Times,
    pub confirm_request: Times,
    pub whole: Times,
}

/// What came of tickets that nobody scans.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ExpiryMeasurements {
    pub delivered: u64,
    pub missing: u64,
    /// When the last of the tickets is over, in the time of the run.
    pub last_deadline: Duration,
    /// From the earliest possible deadline to the event: too long by the deadline's error at most, and never too short.
    pub lag: Times,
    /// How far the earliest and the latest possible deadline are apart.
    pub deadline_error: Times,
}

/// What happened while streams were lost and came back.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StormMeasurements {
    /// Confirmations that the gateway accepted.
    pub made: u64,
    /// Those of which the stream was told.
    pub delivered: u64,
    pub reconnect: Times,
    /// When the first stream was lost and the last was back.
    pub outage: Span,
    /// Lost streams that are not back, nor otherwise done with.
    pub away: u64,
    /// Per [`STEP`] since the start of the run.
    pub steps: Vec<Step>,
}

/// What happened to streams in one step of the timeline.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct Step {
    pub opened: u64,
    pub closed: u64,
    pub lost: u64,
}

/// What came of polling.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PollMeasurements {
    pub polls: u64,
    pub failed: u64,
    pub span: Span,
    pub latency: Times,
}

impl Measurements {
    /// Counts an error under its text.
    pub fn error(&mut self, text: &str) {
        let text: String = text.chars().take(MAX_ERROR_CHARS).collect();
        let is_known = self.errors.len() < MAX_ERRORS || self.errors.contains_key(&text);
        *self.errors.entry(if is_known { text } else { "others".to_owned() }).or_default() += 1;
    }

    /// Counts a lost stream that was noticed `at` this time of the run.
    pub fn lost(&mut self, at: Duration) {
        self.lost += 1;
        self.storm.away += 1;
        self.storm.outage.begins(at);
        self.storm.step(at).lost += 1;
    }

    /// Adds what another process counted.
    pub fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.open += other.open;
        self.lost += other.lost;
        self.refused += other.refused;
        self.renewed += other.renewed;
        self.reopened += other.reopened;
        for (text, count) in &other.errors {
            *self.errors.entry(text.clone()).or_default() += count;
        }
        self.open_times.add(&other.open_times);
        self.opening.add(other.opening);
        self.heartbeats_seen += other.heartbeats_seen;
        self.heartbeats_missed += other.heartbeats_missed;
        self.login.add(&other.login);
        self.expiry.delivered += other.expiry.delivered;
        self.expiry.missing += other.expiry.missing;
        self.expiry.lag.add(&other.expiry.lag);
        self.expiry.deadline_error.add(&other.expiry.deadline_error);
        self.storm.add(&other.storm);
        self.poll.polls += other.poll.polls;
        self.poll.failed += other.poll.failed;
        self.poll.span.add(other.poll.span);
        self.poll.latency.add(&other.poll.latency);
    }
}

impl LoginMeasurements {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.failed += other.failed;
        self.span.add(other.span);
        self.confirm_to_event.add(&other.confirm_to_event);
        self.confirm_request.add(&other.confirm_request);
        self.whole.add(&other.whole);
    }
}

impl StormMeasurements {
    /// Returns the step of the timeline that `at` is in.
    pub fn step(&mut self, at: Duration) -> &mut Step {
        let index = usize::try_from(at.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX).min(MAX_STEPS);
        if self.steps.len() <= index {
            self.steps.resize(index + 1, Step::default());
        }
        &mut self.steps[index]
    }

    /// Notes that a lost stream is back, or that nobody waits for it any more.
    pub fn settled(&mut self, at: Duration) {
        self.away = self.away.saturating_sub(1);
        self.outage.ends(at);
    }

    fn add(&mut self, other: &Self) {
        self.made += other.made;
        self.delivered += other.delivered;
        self.reconnect.add(&other.reconnect);
        self.outage.add(other.outage);
        self.away += other.away;
        if self.steps.len() < other.steps.len() {
            self.steps.resize(other.steps.len(), Step::default());
        }
        for (step, other) in self.steps.iter_mut().zip(&other.steps) {
            step.opened += other.opened;
            step.closed += other.closed;
            step.lost += other.lost;
        }
    }
}

/// From the first beginning to the last end of something, in the time of the run.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct Span {
    pub from: Option<Duration>,
    pub to: Option<Duration>,
}

impl Span {
    /// Notes a beginning.
    pub fn begins(&mut self, at: Duration) {
        self.from = Some(self.from.map_or(at, |from| from.min(at)));
    }

    /// Notes an end.
    pub fn ends(&mut self, at: Duration) {
        self.to = self.to.max(Some(at));
    }

    /// Returns the seconds between; 0 if one of them is missing.
    pub fn seconds(self) -> f64 {
        let (Some(from), Some(to)) = (self.from, self.to) else { return 0.0 };
        to.saturating_sub(from).as_secs_f64()
    }

    fn add(&mut self, other: Self) {
        if let Some(from) = other.from {
            self.begins(from);
        }
        self.to = self.to.max(other.to);
    }
}

/// A histogram of times, kept in microseconds and shown in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Times(Option<Box<Histogram<u64>>>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_MICROS, DIGITS).ok().map(Box::new))
    }
}

impl Clone for Times {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl From<Vec<(u64, u64)>> for Times {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut times = Self::default();
        if let Some(histogram) = &mut times.0 {
            for (micros, count) in pairs {
                histogram.saturating_record_n(micros, count);
            }
        }
        times
    }
}

impl From<Times> for Vec<(u64, u64)> {
    fn from(times: Times) -> Self {
        let Some(histogram) = times.0 else { return Self::new() };
        histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }
}

impl Times {
    /// Adds one time.
    pub fn record(&mut self, time: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.len())
    }

    /// Returns the quantile `q` (0 to 1) in milliseconds.
    pub fn quantile_ms(&self, q: f64) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| millis(histogram.value_at_quantile(q)))
    }

    /// Returns the longest in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| millis(histogram.max()))
    }

    /// Returns it for the result.
    pub fn to_json(&self) -> Value {
        let Some(histogram) = &self.0 else { return Value::Null };
        let at = |q: f64| millis(histogram.value_at_quantile(q));
        json!({
            "count": histogram.len(), "min": millis(histogram.min()), "mean": round(histogram.mean() / 1e3),
            "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999), "max": millis(histogram.max()),
        })
    }

    fn add(&mut self, other: &Self) {
        if let (Some(histogram), Some(other)) = (&mut self.0, &other.0) {
            // Fails only where bounds differ; all have the same.
            let _ = histogram.add(&**other);
        }
    }
}

fn millis(micros: u64) -> f64 {
    round(Duration::from_micros(micros).as_secs_f64() * 1e3)
}

/// Returns `value` with three decimals.
pub fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Returns how many per second; 0 where no time has passed.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { round(count as f64 / seconds) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_survive_the_way_and_add_up() {
        let mut one = Measurements { opened: 2, ..Measurements::default() };
        one.open_times.record(Duration::from_millis(2));
        one.open_times.record(Duration::from_secs(4));
        one.lost(Duration::from_millis(250));
        one.error("x");
        let mut two: Measurements = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        two.storm.settled(Duration::from_millis(900));
        let mut sum = Measurements::default();
        sum.add(&one);
        sum.add(&two);
        assert_eq!((sum.opened, sum.lost, sum.storm.away, sum.errors["x"]), (4, 2, 1, 2));
        assert_eq!(sum.open_times.count(), 4);
        assert!((sum.open_times.max_ms() - 4000.0).abs() < 8.0, "{}", sum.open_times.max_ms());
        assert_eq!(sum.storm.steps[2].lost, 2);
        assert!((sum.storm.outage.seconds() - 0.65).abs() < 1e-9);
    }

    #[test]
    fn errors_are_bounded_in_kind() {
        let mut measured = Measurements::default();
        for number in 0..1000 {
            measured.error(&format!("error {number}"));
        }
        assert_eq!(measured.errors.len(), MAX_ERRORS + 1);
        assert_eq!(measured.errors["others"], 950);
    }
}
