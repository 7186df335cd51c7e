//! The values of options: durations, rates and paths.

use std::time::Duration;

/// The upper bound of every duration.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// Parses a duration, for example `500ms`, `1.5s` or `5m`.
pub fn time(text: &str) -> Result<Duration, String> {
    let time = decimal_seconds(text).map_or_else(|| humantime::parse_duration(text), Ok);
    match time {
        Ok(time) if (Duration::from_millis(1)..=MAX_TIME).contains(&time) => Ok(time),
        Ok(_) => Err("must be from 1ms to 24h".to_owned()),
        Err(error) => Err(format!("{error}; write 500ms, 30s, 5m")),
    }
}

/// Parses seconds with decimals, which `humantime` does not accept.
fn decimal_seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s').filter(|number| number.contains('.'))?;
    Duration::try_from_secs_f64(number.parse().ok()?).ok()
}

/// Parses a number per second.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=100_000.0).contains(rate));
    rate.ok_or_else(|| "must be a number from 0.001 to 100000".to_owned())
}

/// Parses the path of an event stream, which may contain `{n}`.
pub fn path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && http::Uri::try_from(text.replace("{n}", "0")).is_ok();
    if is_path { Ok(text.to_owned()) } else { Err("must be a path that begins with /; it may contain {n}".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_have_decimals() {
        assert_eq!(time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        for text in ["0s", "25h", "1", "-1s", "x.5s"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
