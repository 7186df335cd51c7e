//! The settings. Only this module reads the command line, the environment and the TOML file.
//!
//! [`cli`] reads the command line and the environment into [`flags`]; `file` reads the TOML file. [`Config::from_flags`] then
//! fills the settings types of the other modules with parsed and checked values, and reports all faults together. Unsafe
//! settings are faults, found before the gateway listens.

mod addresses;
mod checks;
pub mod cli;
mod environment;
mod exposure;
mod file;
pub mod flags;
mod identity;
mod providers;
pub mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use parked_streams::{ListenAddress, MAX_WRITE_TIMEOUT};
use url::Url;

use crate::clients::{Clients, TICKET_TTLS};
use crate::connections::ConnectionSettings;
use crate::connectors::ConnectorSettings;
use crate::http::limits::RateLimits;
use crate::relying_party::settings::{ProviderSettings, redirect_uri};
use crate::sessions::{MAX_LIFETIME, SessionLifetimes};
use crate::sign_in::Lifetimes;
use crate::single_sign_on::SingleSignOnLifetimes;
use crate::urls::{is_local, is_plain_http, is_private};
use crate::verifier::settings::IdentitySettings;
use crate::waiters::WaiterLimits;
use addresses::{parse_listen, parse_public_url};
use checks::Checks;
pub use checks::Faults;
use flags::{Flags, LogFormat};
use store::StoreSettings;

/// The minimum time that a shutdown leaves to requests after the drain.
const MIN_FINISH: Duration = Duration::from_secs(1);
/// The longest lifetime of a browser's session at the gateway. Unlike a phone's, it lets a person in without a confirmation.
const MAX_SSO_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// All settings, checked.
#[derive(Clone)]
pub struct Config {
    /// The public listeners.
    pub listen: Vec<ListenAddress>,
    /// The address of the admin listener.
    pub admin_listen: SocketAddr,
    /// The host names that requests to it may use, in lower case, besides IP addresses and `localhost`.
    pub admin_hosts: Vec<String>,
    /// The gateway's origin as browsers and phones see it, without a trailing slash.
    pub public_url: Url,
    /// The engine that keeps the tickets.
    pub store: StoreSettings,
    /// The networks whose `X-Forwarded-For` the gateway trusts.
    pub trusted_proxies: Vec<IpNet>,
    /// How long tickets and tokens live.
    pub lifetimes: Lifetimes,
    /// How long people stay signed in to the gateway in a browser.
    pub sessions: SessionLifetimes,
    /// How long browsers that signed in by a code stay signed in to apps.
    pub single_sign_on: SingleSignOnLifetimes,
    /// Bounds of event streams and long polls.
    pub streams: WaiterLimits,
    /// Rate limits of each caller.
    pub rate_limits: RateLimits,
    /// Bounds of the public listeners' connections.
    pub connections: ConnectionSettings,
    /// The longest time from SIGTERM to the exit of the process.
    pub shutdown_timeout: Duration,
    /// The directory of the signing keys.
    pub keys_dir: Option<PathBuf>,
    /// The `iss` of issued JWTs.
    pub issuer: String,
    /// The identity provider of approvers.
    pub identity: IdentitySettings,
    /// The identity providers at which people sign in by browser.
    pub providers: Vec<ProviderSettings>,
    /// The registered clients.
    pub clients: Clients,
    /// The connectors to other services.
    pub connectors: ConnectorSettings,
    /// Settings that are risky but not faults, for the log and the doctor.
    pub warnings: Vec<String>,
    /// The settings of the log.
    pub log: LogSettings,
}

/// The settings of the log.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// A `tracing` filter such as `info` or `scangate=debug`.
    pub filter: String,
    /// Text or JSON.
    pub format: LogFormat,
}

impl Config {
    /// Checks the flags and reads the files that they name.
    ///
    /// # Errors
    /// [`Faults`], which has all faults together.
    pub fn from_flags(flags: &Flags) -> Result<Self, Faults> {
        let mut checks = Checks { faults: flags.provenance.environment_faults.clone() };
        let public_url = checks.record(parse_public_url(&flags.public_url));
        let listen = checks.record(flags.listen.iter().map(|text| parse_listen(text)).collect::<Result<Vec<_>, _>>());
        let store = checks.record(store::store(flags));
        let is_https = public_url.as_ref().is_some_and(|url| url.scheme() == "https");
        let (file, tables) = file::read(flags.config.as_deref(), is_https);
        let file = checks.record_all(file);
        // A file that cannot be read may have some.
        let has_providers = tables.as_ref().is_none_or(|tables| !tables.is_empty()) || flags.oidc_issuer.is_some();
        let providers = checks.record_all(providers::providers(flags, tables.unwrap_or_default())).unwrap_or_default();
        checks.faults.extend(providers::issuer_fault(flags.identity_issuer.as_deref(), &providers));
        let exposure = identity::Exposure {
            public_url: public_url.as_ref(),
            listen: listen.as_deref(),
            store: store.as_ref(),
            has_providers,
        };
        let identity = checks.record(identity::identity(flags, &exposure));
        check_bounds(&mut checks, flags);
        let (Some(public_url), Some(identity), Some(store), Some(file), Some(listen)) =
            (public_url, identity, store, file, listen)
        else {
            return Err(Faults(checks.faults));
        };
        if !checks.faults.is_empty() {
            return Err(Faults(checks.faults));
        }
        let origin = public_url.origin().ascii_serialization();
        let faults = openid_faults(&file.clients, flags.issuer.as_deref().unwrap_or(&origin), &public_url, &identity);
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let tickets = store.tickets_per_address(flags.limits.tickets_per_address);
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
                sign_in: flags.sign_in_time,
                decision: flags.decision_ttl,
                redeem: flags.redeem_ttl,
                token: flags.token_ttl,
            },
            sessions: SessionLifetimes { idle: flags.session_idle, absolute: flags.session_lifetime },
            single_sign_on: SingleSignOnLifetimes { idle: flags.sso_idle, absolute: flags.sso_lifetime },
            streams: WaiterLimits {
                per_ticket: flags.limits.streams_per_ticket,
                per_address: flags.limits.streams_per_address,
                per_process: flags.limits.streams_per_process,
                heartbeat: flags.limits.heartbeat,
                drain_spread: flags.drain,
            },
            rate_limits: RateLimits {
                create: flags.limits.rate_create,
                connector: flags.limits.rate_connector,
                scan: flags.limits.rate_scan,
                confirm: flags.limits.rate_confirm,
                invalid_scan: flags.limits.rate_invalid_scan,
                invalid_confirm: flags.limits.rate_invalid_confirm,
                sign_in: flags.limits.rate_sign_in,
                draw: flags.limits.rate_draw,
                authorize: flags.limits.rate_authorize,
                token: flags.limits.rate_token,
                invalid_client: flags.limits.rate_invalid_client,
                tickets,
            },
            connections: ConnectionSettings {
                max_connections: flags.limits.max_connections,
                per_address: flags.limits.connections_per_address,
                park: flags.detach,
                // The gateway detects an unreachable peer within two heartbeats: it sends one, and the write times out after another.
                write_timeout: flags.limits.heartbeat.min(MAX_WRITE_TIMEOUT),
            },
            shutdown_timeout: flags.shutdown_timeout,
            keys_dir: flags.keys_dir.clone(),
            identity,
            providers,
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

    /// Returns the redirect URI to register at every identity provider.
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        redirect_uri(&self.public_url)
    }

    fn warn(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.connectors.wechat.as_ref().is_some_and(|wechat| wechat.keys.is_empty()) {
            warnings.push(
                "connectors.wechat has no encoding_aes_key: in plain mode WeChat's signatures do not cover the content of \
                 callbacks; choose the secure mode in WeChat's console, and set the key"
                    .to_owned(),
            );
        }
        if matches!(self.identity, IdentitySettings::Demo) {
            warnings.push(
                "demo identity: anyone can sign in under any name; set --identity-jwks-url or --identity-secret-file for real people"
                    .to_owned(),
            );
        }
        // The demo's key is in Redis, where all gateways find it.
        let is_shared = matches!((&self.identity, &self.store), (IdentitySettings::Demo, StoreSettings::Redis(_)));
        if self.keys_dir.is_none() && !is_shared {
            warnings.push(
                "no --keys-dir: the key that signs JWTs is lost at a restart and differs between replicas; \
                 create one with `scangate keys new --dir DIR`"
                    .to_owned(),
            );
        }
        if matches!(self.store, StoreSettings::Memory { .. }) && !is_local(&self.public_url) {
            warnings.push(
                "memory store: tickets are lost at a restart and not shared between replicas; set --redis-url"
                    .to_owned(),
            );
        }
        if !self.is_https() && !is_local(&self.public_url) {
            warnings.push(format!(
                "the public URL {} is not https: anyone who can read the traffic can take over sign-ins",
                self.public_url
            ));
        }
        if let IdentitySettings::Jwks { url, .. } = &self.identity
            && is_plain_http(url)
        {
            warnings.push(
                "--identity-jwks-url is not https: anyone who can change its responses can sign in under any name"
                    .to_owned(),
            );
        }
        if self.is_https() && Url::parse(&self.issuer).is_ok_and(|issuer| is_plain_http(&issuer)) {
            warnings.push(format!(
                "--issuer {} is not https: an attacker can substitute the keys that sites fetch from it; use the public URL",
                self.issuer
            ));
        }
        for proxy in &self.trusted_proxies {
            if proxy.prefix_len() == 0 {
                warnings
                    .push(format!("--trusted-proxies {proxy}: anyone can forge their address; list only your proxies"));
            }
        }
        warnings
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Checks the bounds of the values that no other check reads.
fn check_bounds(checks: &mut Checks, flags: &Flags) {
    checks.not_empty("--issuer", flags.issuer.as_deref());
    checks.not_empty("--oidc-issuer", flags.oidc_issuer.as_deref());
    checks.not_empty("--oidc-client-id", flags.oidc_client_id.as_deref());
    checks.not_empty("--identity-issuer", flags.identity_issuer.as_deref());
    checks.not_empty("--identity-audience", flags.identity_audience.as_deref());
    checks.in_range("--ticket-ttl", flags.ticket_ttl, TICKET_TTLS);
    checks.in_range("--sign-in-time", flags.sign_in_time, secs(30)..=secs(600));
    checks.in_range("--decision-ttl", flags.decision_ttl, secs(5)..=secs(600));
    checks.in_range("--redeem-ttl", flags.redeem_ttl, secs(5)..=secs(300));
    checks.in_range("--token-ttl", flags.token_ttl, secs(60)..=secs(30 * 24 * 3600));
    checks.in_range("--identity-keys-max-age", flags.identity_keys_max_age, secs(2)..=secs(30 * 24 * 3600));
    checks.in_range("--session-idle", flags.session_idle, secs(5)..=MAX_LIFETIME);
    checks.in_range("--session-lifetime", flags.session_lifetime, secs(5)..=MAX_LIFETIME);
    checks.in_range("--sso-idle", flags.sso_idle, secs(5)..=MAX_SSO_LIFETIME);
    checks.in_range("--sso-lifetime", flags.sso_lifetime, secs(5)..=MAX_SSO_LIFETIME);
    checks.in_range("--heartbeat", flags.limits.heartbeat, secs(1)..=secs(300));
    checks.in_range("--drain", flags.drain, secs(0)..=secs(600));
    checks.in_range("--shutdown-timeout", flags.shutdown_timeout, secs(1)..=secs(900));
    checks.in_range("--redis-timeout", flags.redis_timeout, Duration::from_millis(50)..=secs(30));
    if flags.shutdown_timeout < flags.drain + MIN_FINISH {
        checks.faults.push(format!(
            "--shutdown-timeout must be at least {} longer than --drain, so that requests can finish after the streams",
            humantime::format_duration(MIN_FINISH)
        ));
    }
    if flags.session_lifetime < flags.session_idle {
        checks.faults.push(
            "--session-lifetime must be at least --session-idle: a session ends with the shorter of the two".to_owned(),
        );
    }
    if flags.sso_lifetime < flags.sso_idle {
        checks
            .faults
            .push("--sso-lifetime must be at least --sso-idle: a session ends with the shorter of the two".to_owned());
    }
    if flags.limits.max_connections < flags.listen.len() {
        checks.faults.push("--max-connections must be at least the number of addresses in --listen".to_owned());
    }
}

/// Returns the faults of the settings that clients of the OpenID Provider depend on. Clients compare the issuer byte
/// for byte, and fetch the discovery document from that address.
fn openid_faults(clients: &Clients, issuer: &str, public_url: &Url, identity: &IdentitySettings) -> Vec<String> {
    let Some(client) = clients.iter().find(|client| client.openid.is_some()) else { return Vec::new() };
    let mut faults = Vec::new();
    let origin = public_url.origin().ascii_serialization();
    if issuer != origin {
        faults.push(format!(
            "--issuer {issuer} is not the public URL {origin}, from which clients with redirect_uris (client {:?}) read the \
             provider's description; omit --issuer, or give those clients another gateway",
            client.id.0
        ));
    }
    // For a test on the local network, such as the demo with a real phone.
    let is_evaluation = matches!(identity, IdentitySettings::Demo) && is_private(public_url);
    if is_plain_http(public_url) && !is_evaluation {
        faults.push(format!(
            "--public-url {origin} is not https, which clients with redirect_uris (client {:?}) require; http is for localhost \
             only, and for the demo on a private address",
            client.id.0
        ));
    }
    let userinfo = format!("{origin}/oauth2/userinfo");
    for client in clients.iter() {
        let audiences = client.openid.iter().flat_map(|openid| &openid.audiences);
        if audiences.into_iter().any(|audience| *audience == userinfo) {
            faults.push(format!("client {:?}: audiences: {userinfo} is always there; remove it", client.id.0));
        }
    }
    faults
}

#[cfg(test)]
mod tests;
