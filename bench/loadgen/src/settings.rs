//! The settings of a run. The coordinator sends them to every worker, and the result repeats them.
//!
//! Durations are seconds in JSON.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The settings of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The scenario and its own settings.
    #[serde(flatten)]
    pub scenario: Scenario,
    pub http: HttpVersion,
    /// The certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    pub insecure: bool,
    /// The addresses to connect from in turn; with none, the system chooses.
    pub source_addresses: Vec<IpAddr>,
    pub client_id: Option<String>,
    /// The number of presenters that wait or poll at the same time.
    pub streams: usize,
    pub processes: usize,
    /// Streams to open per second over all processes; 0 sets no limit.
    pub rate: u32,
    /// The number of streams that each process opens at the same time.
    pub concurrency: usize,
    #[serde(with = "seconds")]
    pub max_time: Duration,
}

/// The work of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "scenario", rename_all = "lowercase")]
pub enum Scenario {
    /// Opens streams and holds them.
    Idle {
        #[serde(with = "seconds")]
        hold: Duration,
        /// The path to open instead of a ticket's stream.
        events_path: Option<String>,
        /// The heartbeat interval of the streams at that path. A ticket names its own.
        #[serde(with = "optional_seconds")]
        heartbeat: Option<Duration>,
        tickets_first: bool,
    },
    /// Logs in repeatedly while presenters wait.
    Login {
        logins: u64,
        /// Over all processes; with `None`, a login starts as soon as another has ended.
        logins_per_second: Option<f64>,
        /// The maximum number of concurrent logins.
        concurrency_logins: usize,
        #[serde(flatten)]
        openid: Option<OpenId>,
        tickets_first: bool,
    },
    /// Lets tickets expire.
    Expiry {
        /// Further tickets without a stream.
        background: usize,
        #[serde(flatten)]
        comparison: Option<Comparison>,
        tickets_first: bool,
    },
    /// Signals processes, and confirms tickets while presenters reconnect.
    Storm {
        pids: Vec<i32>,
        signal: Signal,
        /// The time from the last opened stream to the signal.
        #[serde(with = "seconds")]
        after: Duration,
        #[serde(with = "seconds")]
        hold: Duration,
        /// Confirmations per second over all processes.
        logins_per_second: f64,
        tickets_first: bool,
    },
    /// Polls instead of waiting.
    Poll {
        #[serde(with = "seconds")]
        hold: Duration,
        #[serde(with = "seconds")]
        interval: Duration,
    },
}

/// The sign-ins by OpenID Connect that `login` makes instead of logins by the API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpenId {
    pub redirect_uri: String,
    /// Whether only the first of them uses a scan.
    pub single_sign_on: bool,
}

/// The keys that `expiry` writes to Redis for comparison with tickets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// The address of Redis, without credentials.
    pub redis: String,
    /// The number of filler keys to write.
    pub other_keys: u64,
}

impl Scenario {
    /// Returns the name of the subcommand.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle { .. } => "idle",
            Self::Login { .. } => "login",
            Self::Expiry { .. } => "expiry",
            Self::Storm { .. } => "storm",
            Self::Poll { .. } => "poll",
        }
    }

    /// Returns whether presenters wait on event streams; otherwise they poll.
    pub fn has_event_streams(&self) -> bool {
        !matches!(self, Self::Poll { .. })
    }

    /// Returns whether all tickets are created before the first stream is opened.
    pub fn creates_tickets_first(&self) -> bool {
        match *self {
            Self::Idle { tickets_first, .. }
            | Self::Login { tickets_first, .. }
            | Self::Expiry { tickets_first, .. }
            | Self::Storm { tickets_first, .. } => tickets_first,
            Self::Poll { .. } => false,
        }
    }

    /// Returns the path to open instead of a ticket's stream.
    pub fn events_path(&self) -> Option<&str> {
        if let Self::Idle { events_path, .. } = self { events_path.as_deref() } else { None }
    }

    /// Returns the heartbeat interval of streams without a ticket, if it is known.
    pub fn heartbeat(&self) -> Option<Duration> {
        if let Self::Idle { heartbeat, .. } = self { *heartbeat } else { None }
    }

    /// Returns whether approvers scan and confirm tickets.
    pub fn has_approvers(&self) -> bool {
        matches!(self, Self::Login { .. } | Self::Storm { .. })
    }

    /// Returns how to sign in by OpenID Connect.
    pub fn openid(&self) -> Option<&OpenId> {
        if let Self::Login { openid, .. } = self { openid.as_ref() } else { None }
    }

    /// Returns the comparison with plain keys.
    pub fn comparison(&self) -> Option<&Comparison> {
        if let Self::Expiry { comparison, .. } = self { comparison.as_ref() } else { None }
    }
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
    /// The version that TLS negotiates; 1.1 without TLS
    #[serde(rename = "auto")]
    Auto,
}

/// The signal that `storm` sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// SIGKILL: ends at once
    Kill,
    /// SIGTERM: drains first
    Term,
}

/// Durations as seconds with decimals.
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

/// Optional durations as seconds with decimals.
mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "serde's derive passes a reference to the field")]
    pub fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs_f64()).serialize(serializer)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(deserializer)?;
        seconds.map(Duration::try_from_secs_f64).transpose().map_err(D::Error::custom)
    }
}
