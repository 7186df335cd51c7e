//! What can be said on the command line, and the settings that come of it. `--help` is made of this file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::primaries::RedisUrl;
use crate::target::{Sources, Target};

/// The most streams of a run.
const MAX_STREAMS: u64 = 1_000_000;
/// The most processes of a run.
const MAX_PROCESSES: u64 = 256;
/// How many streams one process takes if not said otherwise: a process may usually open 20,000 files.
const STREAMS_PER_PROCESS: usize = 15_000;
/// The longest that a run may be told to last, and the longest of every other time.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// Puts load on a scangate installation by its public HTTP, and measures what its people would see.
///
/// Simulated people are native clients: each makes a ticket, opens its event stream on a connection of its own, and
/// waits. Nothing but the named targets is ever connected to. Use it on installations that are yours.
///
/// Exit codes: 0 all as promised; 1 something was lost (streams in idle, confirmations in login and storm, events in
/// expiry) or not everything could be opened; 2 wrong options, or nothing reachable; 130 ended by Ctrl-C or SIGTERM, after
/// the summary so far.
#[derive(Debug, Parser)]
#[command(name = "scangate-loadgen", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Options {
    /// What to do
    #[arg(value_enum)]
    pub scenario: Scenario,

    /// Where to: http://HOST:PORT, https://HOST:PORT or unix:/PATH. May be repeated: streams are spread over all, and one
    /// that is lost comes back to the next
    #[arg(long, value_name = "URL", required = true, help_heading = "Where")]
    pub target: Vec<Target>,
    /// The version of HTTP; auto is what TLS agrees on, and 1.1 without TLS
    #[arg(long, value_enum, default_value_t = HttpVersion::Auto, help_heading = "Where")]
    pub http: HttpVersion,
    /// PEM file of the certificates to trust instead of the system's
    #[arg(long, value_name = "FILE", help_heading = "Where", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Take any certificate
    #[arg(long, help_heading = "Where")]
    pub insecure: bool,
    /// Addresses to connect from: a list, or how many of 127.1.0.1, 127.1.0.2, … for targets on this machine.
    /// By itself one, but for targets on this machine one for every 10,000 streams
    #[arg(long, value_name = "N|LIST", help_heading = "Where")]
    pub source_addresses: Option<Sources>,
    /// idle only: open this path as plain SSE instead of making tickets, to compare with other servers. An n in braces
    /// stands for the stream's number
    #[arg(long, value_name = "PATH", value_parser = parse_path, help_heading = "Where")]
    pub events_path: Option<String>,

    /// How many people wait (poll: poll) at the same time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=MAX_STREAMS), help_heading = "How much")]
    pub streams: u64,
    /// How many processes share them; by itself one for every 15,000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_PROCESSES), help_heading = "How much")]
    pub processes: Option<u64>,
    /// Streams to open per second, over all processes; 0 is as fast as it goes
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000), help_heading = "How much")]
    pub rate: u32,
    /// How many streams each process may be opening at the same time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "How much")]
    pub concurrency: u32,
    /// Make all tickets before the first stream is opened, so that opens per second are those of streams alone
    #[arg(long, help_heading = "How much")]
    pub tickets_first: bool,
    /// How long to stay once all is open; storm: after the kill, too
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time, help_heading = "How much")]
    pub hold: Duration,
    /// When the whole run ends at the latest
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_time, help_heading = "How much")]
    pub max_time: Duration,

    /// The client whose tickets are made; the gateway's first if not said
    #[arg(long, value_name = "ID", help_heading = "Who")]
    pub client_id: Option<String>,
    /// File with a token of the approvers' identity provider, for login and storm; without it the gateway's demo is
    /// asked for made-up people
    #[arg(long, value_name = "FILE", help_heading = "Who")]
    pub approver_token_file: Option<PathBuf>,

    /// login, storm: logins (confirmations) per second, over all processes. By itself 5 in storm; in login each begins when
    /// one has ended
    #[arg(long, value_name = "N", value_parser = parse_rate, help_heading = "Scenarios")]
    pub logins_per_second: Option<f64>,
    /// login: how many logins
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=10_000_000), help_heading = "Scenarios")]
    pub logins: u64,
    /// login: how many are under way at the same time, at most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Scenarios")]
    pub concurrency_logins: u32,
    /// expiry: further tickets without a stream
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000), help_heading = "Scenarios")]
    pub background: u64,
    /// expiry: the Redis of the gateway: redis://HOST:PORT/DB, rediss://…, or redis-cluster://HOST:PORT,HOST:PORT. For each
    /// ticket a plain key with the same deadline is made there, and its keyspace notification waited for, for comparison
    #[arg(long, value_name = "URL", help_heading = "Scenarios")]
    pub redis_url: Option<RedisUrl>,
    /// expiry: how many keys of others, with a time to live of an hour, are in that Redis meanwhile. Removed at the end;
    /// those of a run that is killed expire
    #[arg(long, value_name = "N", default_value_t = 0, requires = "redis_url", value_parser = clap::value_parser!(u64).range(0..=100_000_000), help_heading = "Scenarios")]
    pub other_keys: u64,
    /// storm: the process to signal, of this machine; may be repeated, or left out if somebody else does it
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(2..), help_heading = "Scenarios")]
    pub pid: Vec<i32>,
    /// storm: the signal
    #[arg(long, value_enum, default_value_t = Signal::Kill, help_heading = "Scenarios")]
    pub signal: Signal,
    /// storm: how long after all streams are open
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time, help_heading = "Scenarios")]
    pub after: Duration,
    /// poll: the time between two polls of one person
    #[arg(long, value_name = "TIME", default_value = "1.5s", value_parser = parse_time, help_heading = "Scenarios")]
    pub interval: Duration,
    /// The gateway's heartbeat: a stream that is silent for one and a half of it has missed one
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = parse_time, help_heading = "Scenarios")]
    pub heartbeat: Duration,

    /// Write the result as JSON; - is standard output, where the summary then is not
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// What to show meanwhile, on standard error; by itself a bar on a terminal
    #[arg(long, value_enum, help_heading = "Output")]
    pub status: Option<Status>,
}

const EXAMPLES: &str = "\
Examples:
  scangate-loadgen idle  --target http://127.0.0.1:8080 --streams 15000 --hold 1m
  scangate-loadgen idle  --target https://localhost:8443 --insecure --source-addresses 100
  scangate-loadgen login --target unix:/run/scangate.sock --streams 1000 --logins 300
  scangate-loadgen storm --target http://127.0.0.1:8080 --target http://127.0.0.1:8081 --pid 4711
  scangate-loadgen expiry --target http://127.0.0.1:8080 --redis-url redis://127.0.0.1 --other-keys 1000000

docs/load-testing.md says what each scenario does, what bounds it, and what the result holds.";

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// Open streams, hold them, count what is lost and every heartbeat missed
    Idle,
    /// Log in again and again while others wait; time from confirm to event
    Login,
    /// Let tickets expire; time how late the event comes
    Expiry,
    /// Kill what it is told to; time how long until all streams are back, count confirmations lost
    Storm,
    /// Poll instead of waiting, for comparison
    Poll,
}

/// The version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.1
    #[value(name = "1.1")]
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2; without TLS by prior knowledge
    #[value(name = "2")]
    #[serde(rename = "2")]
    Two,
    /// What TLS agrees on; 1.1 without TLS
    #[serde(rename = "auto")]
    Auto,
}

/// What a process is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// SIGKILL: gone at once
    Kill,
    /// SIGTERM: it may drain
    Term,
}

/// What is shown meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// A progress bar
    Bar,
    /// A line of JSON at each change of phase and each second
    Json,
    /// Nothing
    None,
}

/// The settings of a run, as every process of it has them. Times are in seconds in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    pub scenario: Scenario,
    pub http: HttpVersion,
    pub ca: Option<PathBuf>,
    pub insecure: bool,
    pub source_addresses: Vec<std::net::IpAddr>,
    pub events_path: Option<String>,
    pub streams: usize,
    pub processes: usize,
    pub rate: u32,
    pub concurrency: usize,
    pub tickets_first: bool,
    #[serde(with = "seconds")]
    pub hold: Duration,
    #[serde(with = "seconds")]
    pub max_time: Duration,
    pub client_id: Option<String>,
    pub logins_per_second: Option<f64>,
    pub logins: u64,
    pub concurrency_logins: usize,
    pub background: usize,
    /// Where it is, without credentials.
    pub redis: Option<String>,
    pub other_keys: u64,
    pub pids: Vec<i32>,
    pub signal: Signal,
    #[serde(with = "seconds")]
    pub after: Duration,
    #[serde(with = "seconds")]
    pub interval: Duration,
    #[serde(with = "seconds")]
    pub heartbeat: Duration,
}

impl Options {
    /// Returns the settings of a run against `targets`, which are resolved.
    ///
    /// # Errors
    /// When options do not go together.
    pub fn settings(&self, targets: &[Target]) -> Result<Settings, String> {
        let streams = usize::try_from(self.streams).unwrap_or(usize::MAX);
        if self.events_path.is_some() && self.scenario != Scenario::Idle {
            return Err("--events-path is for idle only".to_owned());
        }
        if streams == 0 && self.scenario != Scenario::Login {
            return Err("--streams must be at least 1 here; only login goes without".to_owned());
        }
        if !self.pid.is_empty() && self.scenario != Scenario::Storm {
            return Err("--pid is for storm only".to_owned());
        }
        if self.redis_url.is_some() && self.scenario != Scenario::Expiry {
            return Err("--redis-url is for expiry only".to_owned());
        }
        let by_itself = streams.div_ceil(STREAMS_PER_PROCESS).max(1);
        let processes = self.processes.map_or(by_itself, |said| usize::try_from(said).unwrap_or(1));
        let storm_rate = (self.scenario == Scenario::Storm).then_some(5.0);
        Ok(Settings {
            scenario: self.scenario,
            http: self.http,
            ca: self.ca.clone(),
            insecure: self.insecure,
            source_addresses: Sources::choose(self.source_addresses.as_ref(), targets, streams)?,
            events_path: self.events_path.clone(),
            streams,
            processes: processes.min(streams.max(1)),
            rate: self.rate,
            concurrency: usize::try_from(self.concurrency).unwrap_or(1),
            tickets_first: self.tickets_first,
            hold: self.hold,
            max_time: self.max_time,
            client_id: self.client_id.clone(),
            logins_per_second: self.logins_per_second.or(storm_rate),
            logins: self.logins,
            concurrency_logins: usize::try_from(self.concurrency_logins).unwrap_or(1),
            background: usize::try_from(self.background).unwrap_or(usize::MAX),
            redis: self.redis_url.as_ref().map(RedisUrl::address),
            other_keys: self.other_keys,
            pids: self.pid.clone(),
            signal: self.signal,
            after: self.after,
            interval: self.interval,
            heartbeat: self.heartbeat,
        })
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time = parse_fraction(text).map_or_else(|| humantime::parse_duration(text), Ok);
    match time {
        Ok(time) if (Duration::from_millis(1)..=MAX_TIME).contains(&time) => Ok(time),
        Ok(_) => Err("from 1ms to 24h is possible".to_owned()),
        Err(error) => Err(format!("{error}; write 500ms, 30s, 5m")),
    }
}

/// Reads what humantime does not: seconds with decimals.
fn parse_fraction(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s').filter(|number| number.contains('.'))?;
    Duration::try_from_secs_f64(number.parse().ok()?).ok()
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=100_000.0).contains(rate));
    rate.ok_or_else(|| "a number from 0.001 to 100000 is possible".to_owned())
}

fn parse_path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && http::Uri::try_from(text.replace("{n}", "0")).is_ok();
    if is_path { Ok(text.to_owned()) } else { Err("it must be a path that begins with / and may hold {n}".to_owned()) }
}

/// Times as seconds with decimals.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }

    #[test]
    fn times_may_have_decimals() {
        assert_eq!(parse_time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        for text in ["0s", "25h", "1", "-1s", "x.5s"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_of_another_scenario_are_refused() {
        let settings = |more: &[&str]| {
            let words = ["scangate-loadgen"].iter().chain(more).chain(&["--target", "http://127.0.0.1:1"]);
            Options::try_parse_from(words).unwrap().settings(&[])
        };
        assert!(settings(&["login", "--events-path", "/x"]).is_err());
        assert!(settings(&["idle", "--pid", "77"]).is_err());
        assert!(settings(&["idle", "--streams", "0"]).is_err());
        assert!(settings(&["idle", "--redis-url", "redis://127.0.0.1"]).is_err());
        assert_eq!(settings(&["idle", "--streams", "40000"]).unwrap().processes, 3);
        assert_eq!(settings(&["storm"]).unwrap().logins_per_second, Some(5.0));
    }
}
