//! The flags that bound what callers may do.

use std::time::Duration;

use clap::Args;

/// The settings of the group `Limits`.
#[derive(Debug, Clone, Args)]
pub struct LimitFlags {
    /// Time between the heartbeats of a silent stream, 1s to 5m; keep it below every proxy's read timeout
    #[arg(
        long, env = "SCANGATE_HEARTBEAT", value_name = "TIME", default_value = "25s",
        value_parser = humantime::parse_duration, help_heading = "Limits"
    )]
    pub heartbeat: Duration,
    /// Maximum number of streams and long polls per ticket
    #[arg(long, env = "SCANGATE_STREAMS_PER_TICKET", value_name = "N", default_value_t = 8, value_parser = positive(), help_heading = "Limits")]
    pub streams_per_ticket: usize,
    /// Maximum number of streams and long polls per address (or IPv6 /64); wider networks may have 4 and 16 times as many
    #[arg(
        long,
        env = "SCANGATE_STREAMS_PER_ADDRESS",
        value_name = "N",
        default_value_t = 256, value_parser = positive(),
        help_heading = "Limits"
    )]
    pub streams_per_address: usize,
    /// Maximum number of streams and long polls in this process
    #[arg(
        long,
        env = "SCANGATE_STREAMS_PER_PROCESS",
        value_name = "N",
        default_value_t = 100_000, value_parser = positive(),
        help_heading = "Limits"
    )]
    pub streams_per_process: usize,
    /// Maximum number of pending tickets per address (or IPv6 /64); its /56 may have 4 times as many, its /48 or IPv4 /24 16
    /// times
    #[arg(
        long,
        env = "SCANGATE_TICKETS_PER_ADDRESS",
        value_name = "N",
        default_value_t = 500, value_parser = positive(),
        help_heading = "Limits"
    )]
    pub tickets_per_address: usize,
    /// Maximum number of open connections; further ones wait to be accepted
    #[arg(
        long,
        env = "SCANGATE_MAX_CONNECTIONS",
        value_name = "N",
        default_value_t = 120_000, value_parser = positive(),
        help_heading = "Limits"
    )]
    pub max_connections: usize,
    /// Maximum number of open connections per address (or IPv6 /64), except trusted proxies; wider networks may have 4 and 16
    /// times as many. Further connections are closed
    #[arg(
        long,
        env = "SCANGATE_CONNECTIONS_PER_ADDRESS",
        value_name = "N",
        default_value_t = 1024, value_parser = positive(),
        help_heading = "Limits"
    )]
    pub connections_per_address: usize,
    /// New tickets per minute and address; here and below, wider networks may have 4 and 16 times as many
    #[arg(
        long, env = "SCANGATE_RATE_CREATE", value_name = "N", default_value_t = 240, value_parser = at_least_one(),
        help_heading = "Limits"
    )]
    pub rate_create: u32,
    /// New tickets per minute and address with a code of another service, which may have a quota
    #[arg(
        long, env = "SCANGATE_RATE_CONNECTOR", value_name = "N", default_value_t = 20, value_parser = at_least_one(),
        help_heading = "Limits"
    )]
    pub rate_connector: u32,
    /// QR codes drawn per minute and address, including those in the response to a new ticket
    #[arg(
        long, env = "SCANGATE_RATE_DRAW", value_name = "N", default_value_t = 480, value_parser = at_least_one(),
        help_heading = "Limits"
    )]
    pub rate_draw: u32,
    /// Scans with a valid token per minute and address; scans without a token, and openings, have separate
    /// limits of the same size
    #[arg(
        long, env = "SCANGATE_RATE_SCAN", value_name = "N", default_value_t = 240, value_parser = at_least_one(),
        help_heading = "Limits"
    )]
    pub rate_scan: u32,
    /// Confirms and declines with a valid token per minute and address
    #[arg(
        long, env = "SCANGATE_RATE_CONFIRM", value_name = "N", default_value_t = 240, value_parser = at_least_one(),
        help_heading = "Limits"
    )]
    pub rate_confirm: u32,
    /// Scans without a valid token, or of an unknown ticket, per minute and address
    #[arg(
        long, env = "SCANGATE_RATE_INVALID_SCAN", value_name = "N", default_value_t = 20, value_parser = at_least_one(),
        help_heading = "Limits"
    )]
    pub rate_invalid_scan: u32,
    /// Sign-ins at an identity provider that begin, per minute and address
    #[arg(
        long, env = "SCANGATE_RATE_SIGN_IN", value_name = "N", default_value_t = 60, value_parser = at_least_one(),
        help_heading = "Limits"
    )]
    pub rate_sign_in: u32,
    /// Confirms and declines without a valid token, or of an unknown ticket, per minute and address
    #[arg(
        long, env = "SCANGATE_RATE_INVALID_CONFIRM", value_name = "N", default_value_t = 20,
        value_parser = at_least_one(), help_heading = "Limits"
    )]
    pub rate_invalid_confirm: u32,
    /// Authorization requests of OpenID clients and requests to sign out, per minute and address; answers after a confirmation
    /// may be as many
    #[arg(
        long, env = "SCANGATE_RATE_AUTHORIZE", value_name = "N", default_value_t = 240, value_parser = at_least_one(),
        help_heading = "Limits"
    )]
    pub rate_authorize: u32,
    /// Requests of OpenID clients to the token, revocation and introspection endpoints, and to /v1/callback, per minute and
    /// address, which is usually that of an app's server; userinfo requests may be as many
    #[arg(
        long, env = "SCANGATE_RATE_TOKEN", value_name = "N", default_value_t = 6000, value_parser = at_least_one(),
        help_heading = "Limits"
    )]
    pub rate_token: u32,
    /// Requests of unknown OpenID clients or with a wrong secret, and with a text that is no access token, per minute and address
    #[arg(
        long, env = "SCANGATE_RATE_INVALID_CLIENT", value_name = "N", default_value_t = 20,
        value_parser = at_least_one(), help_heading = "Limits"
    )]
    pub rate_invalid_client: u32,
}

fn positive() -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(1..=100_000_000)
}

fn at_least_one() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1_000_000)
}
