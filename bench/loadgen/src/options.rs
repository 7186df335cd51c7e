//! The command line: one subcommand with its own arguments per scenario. `--help` is generated from this file.

mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::primaries::RedisUrl;
use crate::settings::{Comparison, HttpVersion, OpenId, Scenario, Settings, Signal};
use crate::target::{Sources, Target};

/// The maximum number of streams in a run.
const MAX_STREAMS: u64 = 1_000_000;
/// The maximum number of processes in a run.
const MAX_PROCESSES: u64 = 256;
/// The default number of streams per process: a process may usually open 20,000 files.
const STREAMS_PER_PROCESS: usize = 15_000;

/// Puts load on a scangate installation over its public HTTP API, and measures what its users experience.
///
/// Simulated presenters are native apps: each creates a ticket, opens its event stream on a connection of its own, and waits.
/// The load generator connects only to the targets, and to Redis for expiry --redis-url. Use it only on your own
/// installations.
///
/// Exit codes: 0 nothing was lost; 1 something was lost (streams in idle, logins in login, confirmations in storm, events in
/// expiry) or not everything could be opened; 2 wrong options, or no target reachable; 130 ended by Ctrl-C or SIGTERM, after
/// the summary so far.
#[derive(Debug, Parser)]
#[command(name = "scangate-loadgen", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  scangate-loadgen idle  --target http://127.0.0.1:8080 --streams 15000 --hold 1m
  scangate-loadgen idle  --target https://localhost:8443 --insecure --source-addresses 100
  scangate-loadgen login --target unix:/run/scangate.sock --streams 1000 --logins 300
  scangate-loadgen storm --target http://127.0.0.1:8080 --target http://127.0.0.1:8081 --pid 4711
  scangate-loadgen expiry --target http://127.0.0.1:8080 --redis-url redis://127.0.0.1 --other-keys 1000000

`scangate-loadgen SCENARIO --help` lists the options of a scenario. docs/load-testing.md describes each scenario, the
bounds, and the fields of the result.";

/// The scenario to run, with its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open streams and hold them; count lost streams and missed heartbeats
    Idle(IdleArgs),
    /// Log in repeatedly while presenters wait; measure the time from confirmation to event
    Login(LoginArgs),
    /// Let tickets expire; measure how late the events arrive
    Expiry(ExpiryArgs),
    /// Kill processes; measure the time until all streams are reopened, count lost confirmations
    Storm(StormArgs),
    /// Poll instead of waiting, for comparison
    Poll(PollArgs),
}

#[derive(Debug, Args)]
pub struct IdleArgs {
    /// Number of presenters that wait at the same time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=MAX_STREAMS))]
    streams: u64,
    /// How long to hold the streams once all are open
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::time)]
    hold: Duration,
    /// Open this path as plain SSE instead of creating tickets, to compare with other servers. `{n}` is replaced by the
    /// stream's number
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    events_path: Option<String>,
    /// The heartbeat interval of the streams at that path, to count missed heartbeats: a stream misses one if it is silent
    /// for one and a half intervals. A gateway's tickets name their own interval
    #[arg(long, value_name = "TIME", requires = "events_path", value_parser = values::time)]
    heartbeat: Option<Duration>,
    #[command(flatten)]
    event_streams: EventStreamArgs,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Number of presenters that wait meanwhile
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=MAX_STREAMS))]
    streams: u64,
    /// Number of logins
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    logins: u64,
    /// Logins per second; without it, each starts as soon as another has ended
    #[arg(long, value_name = "N", value_parser = values::rate)]
    logins_per_second: Option<f64>,
    /// Maximum number of concurrent logins
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency_logins: u32,
    #[command(flatten)]
    openid: OpenIdArgs,
    #[command(flatten)]
    approvers: ApproverArgs,
    #[command(flatten)]
    event_streams: EventStreamArgs,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct ExpiryArgs {
    /// Number of presenters that wait for their ticket to expire
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=MAX_STREAMS))]
    streams: u64,
    /// Further tickets without a stream
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    background: u64,
    #[command(flatten)]
    comparison: ComparisonArgs,
    #[command(flatten)]
    event_streams: EventStreamArgs,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct StormArgs {
    /// Number of presenters that wait at the same time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=MAX_STREAMS))]
    streams: u64,
    /// A process of this machine to signal; repeatable. Without it, you stop the gateway yourself
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(2..))]
    pid: Vec<i32>,
    /// The signal
    #[arg(long, value_enum, default_value_t = Signal::Kill)]
    signal: Signal,
    /// The time from the last opened stream to the signal
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = values::time)]
    after: Duration,
    /// How long to continue after the signal
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::time)]
    hold: Duration,
    /// Tickets to scan and confirm per second, over all processes
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = values::rate)]
    logins_per_second: f64,
    #[command(flatten)]
    approvers: ApproverArgs,
    #[command(flatten)]
    event_streams: EventStreamArgs,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct PollArgs {
    /// Number of presenters that poll at the same time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=MAX_STREAMS))]
    streams: u64,
    /// The time between two polls of one presenter
    #[arg(long, value_name = "TIME", default_value = "1.5s", value_parser = values::time)]
    interval: Duration,
    /// How long to continue once every presenter has polled
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::time)]
    hold: Duration,
    #[command(flatten)]
    common: CommonArgs,
}

/// The arguments of every scenario.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// http://HOST:PORT, https://HOST:PORT or unix:/PATH; repeatable. Streams are spread over all targets, and a lost stream
    /// reconnects to the next one
    #[arg(long, value_name = "URL", required = true, help_heading = "Targets")]
    pub target: Vec<Target>,
    /// The version of HTTP; with auto, the version that TLS negotiates, or 1.1 without TLS
    #[arg(long, value_enum, default_value_t = HttpVersion::Auto, help_heading = "Targets")]
    http: HttpVersion,
    /// PEM file of the certificates to trust instead of the system's
    #[arg(long, value_name = "FILE", help_heading = "Targets", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long, help_heading = "Targets")]
    insecure: bool,
    /// Addresses to connect from: a list, or, for targets on this machine, the number of addresses from 127.1.0.1 on.
    /// [default: one; for targets on this machine, one for every 10,000 streams]
    #[arg(long, value_name = "N|LIST", help_heading = "Targets")]
    source_addresses: Option<Sources>,
    /// The client whose tickets are created [default: the gateway's first]
    #[arg(long, value_name = "ID", help_heading = "Targets")]
    client_id: Option<String>,

    /// Number of processes that share the streams [default: one for every 15,000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_PROCESSES), help_heading = "Load")]
    processes: Option<u64>,
    /// Streams to open per second, over all processes; 0 sets no limit
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000), help_heading = "Load")]
    rate: u32,
    /// Number of streams that each process opens at the same time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Load")]
    concurrency: u32,
    /// The upper bound on the duration of the whole run
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = values::time, help_heading = "Load")]
    max_time: Duration,

    /// Write the result as JSON to this file; with -, to standard output, and the summary to standard error
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Progress on standard error [default: bar on a terminal, otherwise none]
    #[arg(long, value_enum, help_heading = "Output")]
    pub status: Option<Status>,
}

/// The arguments of the scenarios that hold event streams.
#[derive(Debug, Args)]
pub struct EventStreamArgs {
    /// Create all tickets before the first stream is opened, so that opens per second count only streams
    #[arg(long, help_heading = "Streams")]
    tickets_first: bool,
}

/// The arguments of the scenarios in which tickets are scanned and confirmed.
#[derive(Debug, Args)]
pub struct ApproverArgs {
    /// File with a token of the approvers' identity provider. Without it, the gateway's demo users approve
    #[arg(long, value_name = "FILE", help_heading = "Approvers")]
    approver_token_file: Option<PathBuf>,
}

/// The arguments of `login` for sign-ins by OpenID Connect.
#[derive(Debug, Args)]
pub struct OpenIdArgs {
    /// Sign in by OpenID Connect to the client --client-id, at this redirect URI: the browser's requests, those of the app up
    /// to the claims from userinfo, scan and confirmation
    #[arg(long, value_name = "URI", requires_all = ["client_id", "client_secret_file"], help_heading = "OpenID Connect")]
    redirect_uri: Option<String>,
    /// File with the client's secret
    #[arg(long, value_name = "FILE", requires = "redirect_uri", help_heading = "OpenID Connect")]
    client_secret_file: Option<PathBuf>,
    /// Scan only once, before the first login. All logins are by the browser's session; they do not ask userinfo
    #[arg(long, requires = "redirect_uri", help_heading = "OpenID Connect")]
    single_sign_on: bool,
}

/// The arguments of `expiry` that compare tickets with plain keys.
#[derive(Debug, Args)]
pub struct ComparisonArgs {
    /// The Redis of the gateway: redis://HOST:PORT/DB, rediss://…, or redis-cluster://HOST:PORT,HOST:PORT. For
    /// comparison, the load generator writes a plain key with the deadline of each ticket there, and waits for its
    /// keyspace notification
    #[arg(long, value_name = "URL", help_heading = "Comparison")]
    redis_url: Option<RedisUrl>,
    /// Number of filler keys to write to Redis first, each with a time to live of 60 to 70 minutes. They are removed at the
    /// end; after SIGKILL they expire
    #[arg(long, value_name = "N", default_value_t = 0, requires = "redis_url", value_parser = clap::value_parser!(u64).range(0..=100_000_000), help_heading = "Comparison")]
    other_keys: u64,
}

/// The form of the progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// A progress bar
    Bar,
    /// A line of JSON at each change of phase and each second
    Json,
    /// Nothing
    None,
}

impl Command {
    /// Returns the arguments of every scenario.
    pub fn common(&self) -> &CommonArgs {
        match self {
            Self::Idle(IdleArgs { common, .. })
            | Self::Login(LoginArgs { common, .. })
            | Self::Expiry(ExpiryArgs { common, .. })
            | Self::Storm(StormArgs { common, .. })
            | Self::Poll(PollArgs { common, .. }) => common,
        }
    }

    /// Returns the file with the approvers' token.
    pub fn approver_token_file(&self) -> Option<&Path> {
        match self {
            Self::Login(LoginArgs { approvers, .. }) | Self::Storm(StormArgs { approvers, .. }) => {
                approvers.approver_token_file.as_deref()
            }
            Self::Idle(_) | Self::Expiry(_) | Self::Poll(_) => None,
        }
    }

    /// Returns the file with the secret of the OpenID client.
    pub fn client_secret_file(&self) -> Option<&Path> {
        if let Self::Login(args) = self { args.openid.client_secret_file.as_deref() } else { None }
    }

    /// Returns the Redis that holds the keys to compare with.
    pub fn redis_url(&self) -> Option<&RedisUrl> {
        if let Self::Expiry(args) = self { args.comparison.redis_url.as_ref() } else { None }
    }

    /// Returns the settings of a run against the resolved `targets`.
    ///
    /// # Errors
    /// If source addresses are to be generated and a target is not on this machine.
    pub fn settings(&self, targets: &[Target]) -> Result<Settings, String> {
        let common = self.common();
        let streams = to_usize(self.streams());
        let processes = common.processes.map_or_else(|| streams.div_ceil(STREAMS_PER_PROCESS), to_usize);
        Ok(Settings {
            scenario: self.scenario(),
            http: common.http,
            ca: common.ca.clone(),
            insecure: common.insecure,
            source_addresses: Sources::choose(common.source_addresses.as_ref(), targets, streams)?,
            client_id: common.client_id.clone(),
            streams,
            processes: processes.clamp(1, streams.max(1)),
            rate: common.rate,
            concurrency: usize::try_from(common.concurrency).unwrap_or(1),
            max_time: common.max_time,
        })
    }

    fn streams(&self) -> u64 {
        match self {
            Self::Idle(IdleArgs { streams, .. })
            | Self::Login(LoginArgs { streams, .. })
            | Self::Expiry(ExpiryArgs { streams, .. })
            | Self::Storm(StormArgs { streams, .. })
            | Self::Poll(PollArgs { streams, .. }) => *streams,
        }
    }

    fn scenario(&self) -> Scenario {
        match self {
            Self::Idle(args) => Scenario::Idle {
                hold: args.hold,
                events_path: args.events_path.clone(),
                heartbeat: args.heartbeat,
                tickets_first: args.event_streams.tickets_first,
            },
            Self::Login(args) => Scenario::Login {
                logins: args.logins,
                logins_per_second: args.logins_per_second,
                concurrency_logins: usize::try_from(args.concurrency_logins).unwrap_or(1),
                openid: args.openid.settings(),
                tickets_first: args.event_streams.tickets_first,
            },
            Self::Expiry(args) => Scenario::Expiry {
                background: to_usize(args.background),
                comparison: args.comparison.settings(),
                tickets_first: args.event_streams.tickets_first,
            },
            Self::Storm(args) => Scenario::Storm {
                pids: args.pid.clone(),
                signal: args.signal,
                after: args.after,
                hold: args.hold,
                logins_per_second: args.logins_per_second,
                tickets_first: args.event_streams.tickets_first,
            },
            Self::Poll(args) => Scenario::Poll { hold: args.hold, interval: args.interval },
        }
    }
}

impl OpenIdArgs {
    fn settings(&self) -> Option<OpenId> {
        let redirect_uri = self.redirect_uri.clone()?;
        Some(OpenId { redirect_uri, single_sign_on: self.single_sign_on })
    }
}

impl ComparisonArgs {
    fn settings(&self) -> Option<Comparison> {
        let redis = self.redis_url.as_ref()?.address();
        Some(Comparison { redis, other_keys: self.other_keys })
    }
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
