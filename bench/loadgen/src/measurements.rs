//! Counts and latencies: one [`Measurements`] per worker, which the coordinator adds up.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The maximum time in a histogram, in microseconds.
const MAX_MICROS: u64 = 3_600_000_000;
/// The number of significant digits of a histogram.
const DIGITS: u8 = 3;
/// The maximum number of errors that are counted separately.
const MAX_ERRORS: usize = 50;
/// The maximum length of an error's text, in characters.
const MAX_ERROR_CHARS: usize = 160;
/// The length of one step of the timeline.
pub const TIMELINE_STEP: Duration = Duration::from_millis(100);
/// The maximum length of the timeline: one hour.
const MAX_TIMELINE_STEPS: usize = 36_000;

/// All measurements of one worker, or of the whole run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Measurements {
    /// Presenters with a first stream (in `poll`: a first response).
    pub opened: u64,
    /// Streams that are open now.
    pub open: u64,
    /// Streams that ended without a final event before the end of the run.
    pub lost: u64,
    /// Attempts that opened no stream.
    pub refused: u64,
    /// Tickets that were replaced after their final state.
    pub renewed: u64,
    /// Lost streams that were reopened.
    pub reopened: u64,
    /// The number of times that each error occurred.
    pub errors: BTreeMap<String, u64>,
    /// From connecting to the first event (with `--events-path`: to the head of the response).
    pub open_times: Latencies,
    /// From the first attempt to open a stream until the last stream was open.
    pub opening: Span,
    pub heartbeats_seen: u64,
    pub heartbeats_missed: u64,
    pub login: LoginMeasurements,
    pub expiry: ExpiryMeasurements,
    pub storm: StormMeasurements,
    pub poll: PollMeasurements,
}

/// The results of logins; in `storm`, only of confirmations.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct LoginMeasurements {
    pub count: u64,
    pub failed: u64,
    /// Requests of all parties.
    pub requests: u64,
    pub span: Span,
    pub confirm_to_event: Latencies,
    pub confirm_request: Latencies,
    pub whole: Latencies,
}

/// The results of tickets that are never scanned.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ExpiryMeasurements {
    pub delivered: u64,
    pub missing: u64,
    /// When the last ticket expires, since the start of the run.
    pub last_deadline: Duration,
    /// From the earliest possible deadline to the event: never too short, and at most the uncertainty too long.
    pub lag: Latencies,
    /// The uncertainty: the time between the earliest and the latest possible deadline.
    pub deadline_error: Latencies,
}

/// The results of a storm.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StormMeasurements {
    /// Confirmations that the gateway accepted.
    pub made: u64,
    /// Confirmations whose stream received the event.
    pub delivered: u64,
    pub reconnect: Latencies,
    /// From the first lost stream until the last one was reopened.
    pub outage: Span,
    /// Lost streams whose presenter is still reconnecting.
    pub disconnected: u64,
    /// Per [`TIMELINE_STEP`] since the start of the run.
    pub steps: Vec<TimelineStep>,
}

/// The streams of one step of the timeline.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct TimelineStep {
    pub opened: u64,
    pub closed: u64,
    pub lost: u64,
}

/// The results of polling.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PollMeasurements {
    pub polls: u64,
    pub failed: u64,
    pub span: Span,
    pub latency: Latencies,
}

impl Measurements {
    /// Counts an error by its text.
    pub fn count_error(&mut self, text: &str) {
        let text: String = text.chars().take(MAX_ERROR_CHARS).collect();
        let is_known = self.errors.len() < MAX_ERRORS || self.errors.contains_key(&text);
        *self.errors.entry(if is_known { text } else { "others".to_owned() }).or_default() += 1;
    }

    /// Counts a stream that was lost, `at` this time since the start of the run.
    pub fn count_lost(&mut self, at: Duration) {
        self.lost += 1;
        self.storm.disconnected += 1;
        self.storm.outage.record_start(at);
        self.storm.step(at).lost += 1;
    }

    /// Adds the measurements of another worker.
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
        self.requests += other.requests;
        self.span.add(other.span);
        self.confirm_to_event.add(&other.confirm_to_event);
        self.confirm_request.add(&other.confirm_request);
        self.whole.add(&other.whole);
    }
}

impl StormMeasurements {
    /// Returns the step of the timeline at `at`.
    pub fn step(&mut self, at: Duration) -> &mut TimelineStep {
        let index =
            usize::try_from(at.as_millis() / TIMELINE_STEP.as_millis()).unwrap_or(usize::MAX).min(MAX_TIMELINE_STEPS);
        if self.steps.len() <= index {
            self.steps.resize(index + 1, TimelineStep::default());
        }
        &mut self.steps[index]
    }

    /// Records that a lost stream was reopened, or that its presenter has stopped waiting.
    pub fn stream_settled(&mut self, at: Duration) {
        self.disconnected = self.disconnected.saturating_sub(1);
        self.outage.record_end(at);
    }

    fn add(&mut self, other: &Self) {
        self.made += other.made;
        self.delivered += other.delivered;
        self.reconnect.add(&other.reconnect);
        self.outage.add(other.outage);
        self.disconnected += other.disconnected;
        if self.steps.len() < other.steps.len() {
            self.steps.resize(other.steps.len(), TimelineStep::default());
        }
        for (step, other) in self.steps.iter_mut().zip(&other.steps) {
            step.opened += other.opened;
            step.closed += other.closed;
            step.lost += other.lost;
        }
    }
}

/// The time from the first start to the last end, since the start of the run.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct Span {
    pub from: Option<Duration>,
    pub to: Option<Duration>,
}

impl Span {
    /// Records a start.
    pub fn record_start(&mut self, at: Duration) {
        self.from = Some(self.from.map_or(at, |from| from.min(at)));
    }

    /// Records an end.
    pub fn record_end(&mut self, at: Duration) {
        self.to = self.to.max(Some(at));
    }

    /// Returns the length in seconds; 0 without a start or an end.
    pub fn seconds(self) -> f64 {
        let (Some(from), Some(to)) = (self.from, self.to) else { return 0.0 };
        to.saturating_sub(from).as_secs_f64()
    }

    fn add(&mut self, other: Self) {
        if let Some(from) = other.from {
            self.record_start(from);
        }
        self.to = self.to.max(other.to);
    }
}

/// A histogram of latencies: in microseconds internally, in milliseconds in the result.
#[derive(Debug, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Latencies(Option<Box<Histogram<u64>>>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_MICROS, DIGITS).ok().map(Box::new))
    }
}

impl Clone for Latencies {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl From<Vec<(u64, u64)>> for Latencies {
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

impl From<Latencies> for Vec<(u64, u64)> {
    fn from(times: Latencies) -> Self {
        let Some(histogram) = times.0 else { return Self::new() };
        histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }
}

impl Latencies {
    /// Adds one latency.
    pub fn record(&mut self, time: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Returns the number of latencies.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.len())
    }

    /// Returns the quantile `q` (0 to 1) in milliseconds.
    pub fn quantile_ms(&self, q: f64) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| millis(histogram.value_at_quantile(q)))
    }

    /// Returns the maximum in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| millis(histogram.max()))
    }

    /// Returns the histogram as JSON.
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
            // Fails only if the bounds differ, and all histograms have the same.
            let _ = histogram.add(&**other);
        }
    }
}

fn millis(micros: u64) -> f64 {
    round(Duration::from_micros(micros).as_secs_f64() * 1e3)
}

/// Rounds to three decimals.
pub fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Returns the rate per second; 0 if no time has passed.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { round(count as f64 / seconds) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_survive_serialization_and_add_up() {
        let mut one = Measurements { opened: 2, ..Measurements::default() };
        one.open_times.record(Duration::from_millis(2));
        one.open_times.record(Duration::from_secs(4));
        one.count_lost(Duration::from_millis(250));
        one.count_error("x");
        let mut two: Measurements = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        two.storm.stream_settled(Duration::from_millis(900));
        let mut sum = Measurements::default();
        sum.add(&one);
        sum.add(&two);
        assert_eq!((sum.opened, sum.lost, sum.storm.disconnected, sum.errors["x"]), (4, 2, 1, 2));
        assert_eq!(sum.open_times.count(), 4);
        assert!((sum.open_times.max_ms() - 4000.0).abs() < 8.0, "{}", sum.open_times.max_ms());
        assert_eq!(sum.storm.steps[2].lost, 2);
        assert!((sum.storm.outage.seconds() - 0.65).abs() < 1e-9);
    }

    #[test]
    fn the_number_of_different_errors_is_bounded() {
        let mut measured = Measurements::default();
        for number in 0..1000 {
            measured.count_error(&format!("error {number}"));
        }
        assert_eq!(measured.errors.len(), MAX_ERRORS + 1);
        assert_eq!(measured.errors["others"], 950);
    }
}
