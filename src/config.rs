//! The settings: the only reader of flags, environment and the TOML file.
//!
//! [`flags`] lists what may be said, `given` reads the command line and the environment, `file` the TOML; this file turns it
//! into a [`Config`] of parsed, checked values, and reports every fault at once. What is not safe is a fault here, before
//! anything listens.

mod exposure;
mod file;
pub mod flags;
mod given;
mod identity;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use parked_streams::{ListenAddress, MAX_WRITE_TIMEOUT};
use url::Url;

use crate::callers::Tier;
use crate::clients::{Clients, TICKET_TTLS};
use crate::connections::ConnectionSettings;
use crate::connectors::ConnectorSettings;
use crate::http::limits::RateLimits;
use crate::net::{is_local, is_plain_http, parse_origin};
use crate::secret::direct_or_file;
use crate::sign_in::Lifetimes;
use crate::store::redis::{RedisSettings, Topology};
use crate::streams::StreamLimits;
use crate::verifier::settings::IdentitySettings;
use flags::{Flags, LogFormat};
pub use given::{Given, Unread};

/// What the shutdown leaves requests at least after the streams were sent away.
const MIN_FINISH: Duration = Duration::from_secs(1);

/// Which engine keeps the tickets.
#[derive(Debug, Clone)]
pub enum StoreSettings {
    /// The in-process engine.
    Memory {
        /// Its bound.
        max_tickets: usize,
    },
    /// Redis.
    Redis(RedisSettings),
}

/// Of a memory store that is smaller than the default one, one network may fill this part …
const NETWORK_SHARE: usize = 8;
/// … but each address may have this many tickets, however small the store is.
const MIN_TICKETS_PER_ADDRESS: usize = 50;

impl StoreSettings {
    /// Returns how many tickets one address may have waiting: `wanted`, or less where its network could fill too much of the
    /// memory store.
    fn share(&self, wanted: usize) -> usize {
        match self {
            Self::Memory { max_tickets } => {
                let share = max_tickets / NETWORK_SHARE / Tier::Network.factor() as usize;
                wanted.min(share.max(MIN_TICKETS_PER_ADDRESS))
            }
            Self::Redis(_) => wanted,
        }
    }
}

/// Bounds of the server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Of the public listeners.
    pub connections: ConnectionSettings,
    /// From SIGTERM to the end of the process, at most.
    pub shutdown: Duration,
}

/// All settings, checked.
#[derive(Clone)]
pub struct Config {
    /// Public listeners.
    pub listen: Vec<ListenAddress>,
    /// The operators' listener.
    pub admin_listen: SocketAddr,
    /// The names by which it may be asked, in lower case, beside IP addresses and `localhost`.
    pub admin_hosts: Vec<String>,
    /// The gateway's origin as browsers and phones see it, without a slash at the end.
    pub public_url: Url,
    /// The tickets' engine.
    pub store: StoreSettings,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// Bounds of streams.
    pub streams: StreamLimits,
    /// What each caller may do.
    pub callers: RateLimits,
    /// Bounds of the server.
    pub server: ServerLimits,
    /// Where the signing keys are.
    pub keys_dir: Option<PathBuf>,
    /// The `iss` of issued JWTs.
    pub issuer: String,
    /// Who approvers are.
    pub identity: IdentitySettings,
    /// Who may use the gateway.
    pub clients: Clients,
    /// Whose codes are shown in the place of the gateway's own.
    pub connectors: ConnectorSettings,
    /// What is worth heeding but no fault.
    pub warnings: Vec<String>,
    /// How to log.
    pub log: LogSettings,
}

/// How to log.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// A `tracing` filter such as `info` or `scangate=debug`.
    pub filter: String,
    /// Text or JSON.
    pub format: LogFormat,
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|fault| format!("- {fault}")).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<String>);

impl Config {
    /// Checks what was said and reads the files it names.
    ///
    /// # Errors
    /// [`Faults`], all of them together.
    pub fn from_flags(flags: &Flags) -> Result<Self, Faults> {
        let mut checks = Checks { faults: flags.given.faults.clone() };
        let public_url = checks.take(parse_public_url(&flags.public_url));
        let listen = checks.take(flags.listen.iter().map(|text| parse_listen(text)).collect::<Result<Vec<_>, _>>());
        let store = checks.take(store(flags));
        let place =
            identity::Place { public_url: public_url.as_ref(), listen: listen.as_deref(), store: store.as_ref() };
        let identity = checks.take(identity::identity(flags, &place));
        let is_https = public_url.as_ref().is_some_and(|url| url.scheme() == "https");
        let file = checks.take_all(file::read(flags.config.as_deref(), is_https));
        checks.not_empty("--issuer", flags.issuer.as_deref());
        checks.not_empty("--identity-issuer", flags.identity_issuer.as_deref());
        checks.not_empty("--identity-audience", flags.identity_audience.as_deref());
        checks.range("--ticket-ttl", flags.ticket_ttl, TICKET_TTLS);
        checks.range("--decision-ttl", flags.decision_ttl, secs(5)..=secs(600));
        checks.range("--redeem-ttl", flags.redeem_ttl, secs(5)..=secs(300));
        checks.range("--token-ttl", flags.token_ttl, secs(60)..=secs(30 * 24 * 3600));
        checks.range("--identity-keys-max-age", flags.identity_keys_max_age, secs(2)..=secs(30 * 24 * 3600));
        checks.range("--heartbeat", flags.heartbeat, secs(1)..=secs(300));
        checks.range("--drain", flags.drain, secs(0)..=secs(600));
        checks.range("--shutdown-timeout", flags.shutdown_timeout, secs(1)..=secs(900));
        checks.range("--redis-timeout", flags.redis_timeout, Duration::from_millis(50)..=secs(30));
        if flags.shutdown_timeout < flags.drain + MIN_FINISH {
            checks.faults.push(format!(
                "--shutdown-timeout must be at least {} longer than --drain, so that requests can finish when the streams have",
                humantime::format_duration(MIN_FINISH)
            ));
        }
        if flags.max_connections < flags.listen.len() {
            checks.faults.push("--max-connections must be at least the number of addresses in --listen".to_owned());
        }
        let (Some(public_url), Some(identity), Some(store), Some(file), Some(listen)) =
            (public_url, identity, store, file, listen)
        else {
            return Err(Faults(checks.faults));
        };
        if !checks.faults.is_empty() {
            return Err(Faults(checks.faults));
        }
        let origin = public_url.origin().ascii_serialization();
        let tickets = store.share(flags.tickets_per_address);
        let mut config = Self {
            listen,
            admin_listen: flags.admin_listen,
            admin_hosts: flags.admin_hosts.clone(),
            issuer: flags.issuer.clone().unwrap_or(origin),
            public_url,
            store,
            trusted_proxies: flags.trusted_proxies.clone(),
            lifetimes: Lifetimes {
                ticket: flags.ticket_ttl,
                decision: flags.decision_ttl,
                redeem: flags.redeem_ttl,
                token: flags.token_ttl,
            },
            streams: StreamLimits {
                per_ticket: flags.streams_per_ticket,
                per_address: flags.streams_per_address,
                per_process: flags.streams_per_process,
                heartbeat: flags.heartbeat,
                drain_spread: flags.drain,
            },
            callers: RateLimits {
                create: flags.rate_create,
                connector: flags.rate_connector,
                scan: flags.rate_scan,
                confirm: flags.rate_confirm,
                invalid_scan: flags.rate_invalid_scan,
                invalid_confirm: flags.rate_invalid_confirm,
                draw: flags.rate_draw,
                tickets,
            },
            server: ServerLimits {
                connections: ConnectionSettings {
                    max_connections: flags.max_connections,
                    per_address: flags.connections_per_address,
                    park: flags.detach,
                    // So that one who vanished is noticed within two heartbeats: one is sent, one is waited.
                    write_timeout: flags.heartbeat.min(MAX_WRITE_TIMEOUT),
                },
                shutdown: flags.shutdown_timeout,
            },
            keys_dir: flags.keys_dir.clone(),
            identity,
            clients: file.clients,
            connectors: file.connectors,
            warnings: Vec::new(),
            log: LogSettings { filter: flags.log.clone(), format: flags.log_format },
        };
        config.warnings = config.warn();
        config.warnings.extend(exposure::warnings(flags, &file.secret_files));
        Ok(config)
    }

    /// Returns whether browsers reach the gateway over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }

    fn warn(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.connectors.wechat.as_ref().is_some_and(|wechat| wechat.keys.is_empty()) {
            warnings.push(
                "connectors.wechat has no encoding_aes_key: in plain mode WeChat's signatures do not cover what they come \
                 with; choose the secure mode in WeChat's console, and set the key"
                    .to_owned(),
            );
        }
        if matches!(self.identity, IdentitySettings::Demo) {
            warnings.push(
                "demo identity: anybody can sign in under any name; set --identity-jwks-url or --identity-secret-file for real people"
                    .to_owned(),
            );
        }
        // The made-up people's key is in the store, where all gateways find it.
        let is_shared = matches!((&self.identity, &self.store), (IdentitySettings::Demo, StoreSettings::Redis(_)));
        if self.keys_dir.is_none() && !is_shared {
            warnings.push(
                "no --keys-dir: JWTs are signed with a key that is gone after a restart, and differs between replicas; \
                 make one with `scangate keys new --dir DIR`"
                    .to_owned(),
            );
        }
        if matches!(self.store, StoreSettings::Memory { .. }) && !is_local(&self.public_url) {
            warnings.push(
                "memory store: tickets are lost on a restart and not shared between replicas; set --redis-url"
                    .to_owned(),
            );
        }
        if !self.is_https() && !is_local(&self.public_url) {
            warnings.push(format!(
                "the public URL {} is not https: whoever can read the traffic can take over sign-ins",
                self.public_url
            ));
        }
        if let IdentitySettings::Jwks { url, .. } = &self.identity
            && is_plain_http(url)
        {
            warnings.push(
                "--identity-jwks-url is not https: whoever can change its answers can sign in as anybody".to_owned(),
            );
        }
        if self.is_https() && Url::parse(&self.issuer).is_ok_and(|issuer| is_plain_http(&issuer)) {
            warnings.push(format!(
                "--issuer {} is not https: sites that find the keys by it can be given others; use the public URL",
                self.issuer
            ));
        }
        for proxy in &self.trusted_proxies {
            if proxy.prefix_len() == 0 {
                warnings.push(format!(
                    "--trusted-proxies {proxy}: everybody can claim any address; name your proxies only"
                ));
            }
        }
        warnings
    }
}

/// Collects faults while going on.
struct Checks {
    faults: Vec<String>,
}

impl Checks {
    fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        self.take_all(result.map_err(|fault| vec![fault]))
    }

    fn take_all<T>(&mut self, result: Result<T, Vec<String>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(faults) => {
                self.faults.extend(faults);
                None
            }
        }
    }

    fn not_empty(&mut self, flag: &str, value: Option<&str>) {
        if value == Some("") {
            self.faults.push(format!("{flag} is empty; give it a value, or leave it out"));
        }
    }

    fn range(&mut self, flag: &str, value: Duration, range: std::ops::RangeInclusive<Duration>) {
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

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn parse_listen(text: &str) -> Result<ListenAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.is_empty() {
            Err("--listen unix: lacks the path; write unix:/run/scangate/scangate.sock".to_owned())
        } else {
            Ok(ListenAddress::Unix(PathBuf::from(path)))
        };
    }
    text.parse().map(ListenAddress::Tcp).map_err(|_error| {
        format!("--listen {text:?} is neither ADDRESS:PORT (such as 127.0.0.1:8080 or [::]:8080) nor unix:PATH")
    })
}

fn parse_public_url(text: &str) -> Result<Url, String> {
    parse_origin(text).ok_or_else(|| {
        format!("--public-url {text:?} must be an origin such as https://login.example.com, without a path")
    })
}

fn store(flags: &Flags) -> Result<StoreSettings, String> {
    let Some(url) = secret("redis-url", flags.redis_url.as_ref(), flags.redis_url_file.as_deref())? else {
        return Ok(StoreSettings::Memory { max_tickets: flags.memory_max_tickets });
    };
    let mut topology = Topology::parse(&url).map_err(|error| format!("--redis-url: {error}"))?;
    if let Some(path) = &flags.redis_ca_file {
        let fault = |error: &dyn std::fmt::Display| format!("--redis-ca-file {}: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| fault(&error))?;
        topology = topology.trusting(&pem).map_err(|error| fault(&error))?;
    }
    // Where another node takes over, it must have what was acknowledged.
    let wait_replicas = flags.redis_wait_replicas.unwrap_or(usize::from(topology.has_replicas()));
    if flags.redis_prefix.contains(['{', '}']) {
        return Err("--redis-prefix must not contain braces: they decide where a Cluster keeps the key".to_owned());
    }
    Ok(StoreSettings::Redis(RedisSettings {
        topology,
        prefix: flags.redis_prefix.clone(),
        connections: flags.redis_pool_size,
        wait_replicas,
        timeout: flags.redis_timeout,
    }))
}

/// Returns the secret of `--NAME` or `--NAME-file`.
fn secret(name: &str, direct: Option<&String>, file: Option<&Path>) -> Result<Option<String>, String> {
    direct_or_file((&format!("--{name}"), &format!("--{name}-file")), direct.map(String::as_str), file)
}

#[cfg(test)]
mod tests;
