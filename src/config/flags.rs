//! The flags of the command line, which are also the `SCANGATE_…` variables of the environment. `--help` and the manual are
//! generated from this file and `limits`. The defaults of all settings are there and nowhere else in the program.

mod limits;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::addresses::{parse_host, parse_network};
pub use limits::LimitFlags;

/// How the settings were given, besides their values. Empty unless [`Cli::read`](super::cli::Cli::read) read the flags.
#[derive(Debug, Clone, Default)]
pub struct Provenance {
    /// The faults of the environment, each with its fix.
    pub(super) environment_faults: Vec<String>,
    /// Flags on the command line that may hold a secret, such as `redis-url`.
    pub(super) command_line_secrets: Vec<String>,
    /// Flags of an identity provider that were set, even to their default.
    pub(super) identity_flags: Vec<String>,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text, for people.
    Text,
    /// JSON, for machines.
    Json,
}

/// The settings of `serve` and `doctor`.
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Addresses to listen on: ADDRESS:PORT or unix:PATH, separated by commas
    #[arg(
        long,
        env = "SCANGATE_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1:8080",
        help_heading = "Listening"
    )]
    pub listen: Vec<String>,
    /// Address for operators: /healthz, /readyz, /metrics. Never make it public
    #[arg(
        long,
        env = "SCANGATE_ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9090",
        help_heading = "Listening"
    )]
    pub admin_listen: SocketAddr,
    /// Host names that requests to the admin address may use, besides IP addresses and localhost, separated by commas
    #[arg(
        long, env = "SCANGATE_ADMIN_HOSTS", value_name = "NAMES", value_delimiter = ',', value_parser = parse_host,
        help_heading = "Listening"
    )]
    pub admin_hosts: Vec<String>,
    /// The gateway's origin for browsers and phones
    #[arg(
        long,
        env = "SCANGATE_PUBLIC_URL",
        value_name = "URL",
        default_value = "http://localhost:8080",
        help_heading = "Listening"
    )]
    pub public_url: String,
    /// Networks whose X-Forwarded-For is trusted, separated by commas. Peers on a Unix socket are always trusted
    #[arg(
        long, env = "SCANGATE_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',',
        default_value = "127.0.0.0/8,::1/128", value_parser = parse_network, help_heading = "Listening"
    )]
    pub trusted_proxies: Vec<IpNet>,

    /// Redis that keeps the tickets: redis://USER:PASSWORD@HOST:PORT/DB, redis-sentinel://HOST,HOST/NAME,
    /// redis-cluster://HOST,HOST; rediss…:// for TLS; redis+unix:///PATH. Without it, tickets are kept in memory
    #[arg(long, env = "SCANGATE_REDIS_URL", value_name = "URL", hide_env_values = true, help_heading = "Store")]
    pub redis_url: Option<String>,
    /// A file that holds the Redis URL
    #[arg(long, env = "SCANGATE_REDIS_URL_FILE", value_name = "FILE", help_heading = "Store")]
    pub redis_url_file: Option<PathBuf>,
    /// A PEM file with the certificate authorities to trust for rediss, instead of the system's
    #[arg(long, env = "SCANGATE_REDIS_CA_FILE", value_name = "FILE", help_heading = "Store")]
    pub redis_ca_file: Option<PathBuf>,
    /// Number of replicas that must have a scan, confirmation, cancellation or claim before it is acknowledged; all
    /// connected replicas if there are fewer. Default: 1 with Sentinel and Cluster, else 0
    #[arg(
        long, env = "SCANGATE_REDIS_WAIT_REPLICAS", value_name = "N",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=16), help_heading = "Store"
    )]
    pub redis_wait_replicas: Option<usize>,
    /// Prefix of every key in Redis
    #[arg(
        long,
        env = "SCANGATE_REDIS_PREFIX",
        value_name = "TEXT",
        default_value = "scangate:",
        help_heading = "Store"
    )]
    pub redis_prefix: String,
    /// Connections to each Redis primary, shared by all commands
    #[arg(
        long, env = "SCANGATE_REDIS_POOL_SIZE", value_name = "N", default_value_t = 8,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024), help_heading = "Store"
    )]
    pub redis_pool_size: usize,
    /// Time limit of every wait for Redis
    #[arg(
        long, env = "SCANGATE_REDIS_TIMEOUT", value_name = "TIME", default_value = "2s",
        value_parser = humantime::parse_duration, help_heading = "Store"
    )]
    pub redis_timeout: Duration,
    /// Maximum number of tickets in the memory store
    #[arg(
        long, env = "SCANGATE_MEMORY_MAX_TICKETS", value_name = "N", default_value_t = 100_000,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000_000), help_heading = "Store"
    )]
    pub memory_max_tickets: usize,

    /// TOML file with the registered clients; without it, the only client is `web`
    #[arg(long, env = "SCANGATE_CONFIG", value_name = "FILE", help_heading = "Tickets and tokens")]
    pub config: Option<PathBuf>,
    /// How long a code can be scanned, 5s to 30m; each client can set its own
    #[arg(
        long, env = "SCANGATE_TICKET_TTL", value_name = "TIME", default_value = "2m",
        value_parser = humantime::parse_duration, help_heading = "Tickets and tokens"
    )]
    pub ticket_ttl: Duration,
    /// How long a code can be scanned once a phone has begun to sign in for it, counted from the code's creation, 30s to 10m
    #[arg(
        long, env = "SCANGATE_SIGN_IN_TIME", value_name = "TIME", default_value = "10m",
        value_parser = humantime::parse_duration, help_heading = "Tickets and tokens"
    )]
    pub sign_in_time: Duration,
    /// Minimum time to decide after a scan, 5s to 10m
    #[arg(
        long, env = "SCANGATE_DECISION_TTL", value_name = "TIME", default_value = "60s",
        value_parser = humantime::parse_duration, help_heading = "Tickets and tokens"
    )]
    pub decision_ttl: Duration,
    /// How long the recipient can fetch the JWT after the confirmation, 5s to 5m. Keep it longer than two heartbeats: a
    /// recipient notices a lost stream only after that time
    #[arg(
        long, env = "SCANGATE_REDEEM_TTL", value_name = "TIME", default_value = "2m",
        value_parser = humantime::parse_duration, help_heading = "Tickets and tokens"
    )]
    pub redeem_ttl: Duration,
    /// How long an issued JWT is valid, 1m to 30d
    #[arg(
        long, env = "SCANGATE_TOKEN_TTL", value_name = "TIME", default_value = "1h",
        value_parser = humantime::parse_duration, help_heading = "Tickets and tokens"
    )]
    pub token_ttl: Duration,
    /// With single sign-on, how long a browser that signed in by a code stays signed in to apps while it signs in to none, 5s to
    /// 30d
    #[arg(
        long, env = "SCANGATE_SSO_IDLE", value_name = "TIME", default_value = "8h",
        value_parser = humantime::parse_duration, help_heading = "Tickets and tokens"
    )]
    pub sso_idle: Duration,
    /// With single sign-on, how long a browser that signed in by a code stays signed in to apps at most, 5s to 30d
    #[arg(
        long, env = "SCANGATE_SSO_LIFETIME", value_name = "TIME", default_value = "24h",
        value_parser = humantime::parse_duration, help_heading = "Tickets and tokens"
    )]
    pub sso_lifetime: Duration,
    /// Directory of PEM files: the newest key signs, all are published. Without it, the gateway creates a key at start
    #[arg(long, env = "SCANGATE_KEYS_DIR", value_name = "DIR", help_heading = "Tickets and tokens")]
    pub keys_dir: Option<PathBuf>,
    /// The `iss` of issued JWTs. Default: the public URL
    #[arg(long, env = "SCANGATE_ISSUER", value_name = "TEXT", help_heading = "Tickets and tokens")]
    pub issuer: Option<String>,

    /// Issuer of the OpenID Connect provider at which people sign in, exactly as its discovery document has it
    #[arg(long, env = "SCANGATE_OIDC_ISSUER", value_name = "URL", help_heading = "Identity of approvers")]
    pub oidc_issuer: Option<String>,
    /// The gateway's client id at that provider
    #[arg(long, env = "SCANGATE_OIDC_CLIENT_ID", value_name = "TEXT", help_heading = "Identity of approvers")]
    pub oidc_client_id: Option<String>,
    /// The gateway's client secret at that provider; none for a public client
    #[arg(
        long,
        env = "SCANGATE_OIDC_CLIENT_SECRET",
        value_name = "SECRET",
        hide_env_values = true,
        help_heading = "Identity of approvers"
    )]
    pub oidc_client_secret: Option<String>,
    /// A file that holds that secret
    #[arg(long, env = "SCANGATE_OIDC_CLIENT_SECRET_FILE", value_name = "FILE", help_heading = "Identity of approvers")]
    pub oidc_client_secret_file: Option<PathBuf>,
    /// Scopes to ask for, separated by commas. Default: openid,profile
    #[arg(
        long,
        env = "SCANGATE_OIDC_SCOPES",
        value_name = "SCOPES",
        value_delimiter = ',',
        help_heading = "Identity of approvers"
    )]
    pub oidc_scopes: Vec<String>,
    /// The provider's name on the button "Continue with …". Default: the issuer's host
    #[arg(long, env = "SCANGATE_OIDC_NAME", value_name = "TEXT", help_heading = "Identity of approvers")]
    pub oidc_name: Option<String>,

    /// URL of the identity provider's keys (RFC 7517)
    #[arg(long, env = "SCANGATE_IDENTITY_JWKS_URL", value_name = "URL", help_heading = "Identity of approvers")]
    pub identity_jwks_url: Option<String>,
    /// Required `iss` of approvers' tokens
    #[arg(long, env = "SCANGATE_IDENTITY_ISSUER", value_name = "TEXT", help_heading = "Identity of approvers")]
    pub identity_issuer: Option<String>,
    /// Required `aud` of approvers' tokens
    #[arg(long, env = "SCANGATE_IDENTITY_AUDIENCE", value_name = "TEXT", help_heading = "Identity of approvers")]
    pub identity_audience: Option<String>,
    /// How long the provider's keys are trusted while they cannot be fetched again, 2s to 30d
    #[arg(
        long, env = "SCANGATE_IDENTITY_KEYS_MAX_AGE", value_name = "TIME", default_value = "24h",
        value_parser = humantime::parse_duration, help_heading = "Identity of approvers"
    )]
    pub identity_keys_max_age: Duration,
    /// A secret of at least 32 bytes shared with the identity provider (HS256), instead of published keys
    #[arg(
        long,
        env = "SCANGATE_IDENTITY_SECRET",
        value_name = "SECRET",
        hide_env_values = true,
        help_heading = "Identity of approvers"
    )]
    pub identity_secret: Option<String>,
    /// A file that holds that secret
    #[arg(long, env = "SCANGATE_IDENTITY_SECRET_FILE", value_name = "FILE", help_heading = "Identity of approvers")]
    pub identity_secret_file: Option<PathBuf>,
    /// How long a person stays signed in to the gateway in a browser that they do not use, 5s to 400d
    #[arg(
        long, env = "SCANGATE_SESSION_IDLE", value_name = "TIME", default_value = "14d",
        value_parser = humantime::parse_duration, help_heading = "Identity of approvers"
    )]
    pub session_idle: Duration,
    /// How long a person stays signed in to the gateway in a browser at most, 5s to 400d
    #[arg(
        long, env = "SCANGATE_SESSION_LIFETIME", value_name = "TIME", default_value = "90d",
        value_parser = humantime::parse_duration, help_heading = "Identity of approvers"
    )]
    pub session_lifetime: Duration,
    /// Whether demo users can sign in, for evaluation. Default: only if no other machine can reach the gateway and
    /// no identity provider, keys or issuer are set
    #[arg(
        long, env = "SCANGATE_DEMO", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
        help_heading = "Identity of approvers"
    )]
    pub demo: Option<bool>,

    /// Bounds and rate limits.
    #[command(flatten)]
    pub limits: LimitFlags,

    /// Whether idle event streams are parked without HTTP's buffers; `false` is for debugging
    #[arg(
        long, env = "SCANGATE_DETACH", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
        help_heading = "Running"
    )]
    pub detach: bool,
    /// On SIGTERM, the time over which the gateway closes the open streams
    #[arg(
        long, env = "SCANGATE_DRAIN", value_name = "TIME", default_value = "5s",
        value_parser = humantime::parse_duration, help_heading = "Running"
    )]
    pub drain: Duration,
    /// On SIGTERM, the time after which the process exits even with open connections
    #[arg(
        long, env = "SCANGATE_SHUTDOWN_TIMEOUT", value_name = "TIME", default_value = "30s",
        value_parser = humantime::parse_duration, help_heading = "Running"
    )]
    pub shutdown_timeout: Duration,
    /// Log level, or a filter such as scangate=debug,warn
    #[arg(long, env = "SCANGATE_LOG", value_name = "FILTER", default_value = "info", help_heading = "Running")]
    pub log: String,
    /// Format of log lines
    #[arg(long, env = "SCANGATE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto, help_heading = "Running")]
    pub log_format: LogFormat,

    /// How the flags were given.
    #[arg(skip)]
    pub provenance: Provenance,
}
