//! `scangate doctor`: checks everything that a gateway depends on, and reports each finding on a line, with its fix.

mod identity;
mod openid;
mod providers;
mod redis;
mod report;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::config::flags::Flags;
use crate::config::store::StoreSettings;
use crate::connectors::wechat::api::Api;
use crate::connectors::wechat::settings::WechatSettings;
use crate::metrics::Metrics;
use crate::outbound::root_cause;
use crate::signer::Signer;
use crate::verifier::settings::IdentitySettings;
use report::Report;
pub use report::{Finding, Severity};

/// The time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Runs all checks.
pub async fn check(flags: &Flags) -> Vec<Finding> {
    let mut report = Report::default();
    let config = match Config::from_flags(flags) {
        Ok(config) => config,
        Err(faults) => {
            for fault in faults.0 {
                report.error("settings", fault);
            }
            return report.0;
        }
    };
    report.ok("settings", format!("{} client(s), public URL {}", config.clients.iter().count(), config.public_url));
    for warning in &config.warnings {
        report.warn("settings", warning.clone());
    }
    match &config.store {
        StoreSettings::Memory { max_tickets } => report.ok("store", format!("memory, up to {max_tickets} tickets")),
        StoreSettings::Redis(settings) => redis::check(&mut report, settings).await,
    }
    keys(&mut report, &config);
    openid::check(&mut report, &config);
    identity::check(&mut report, &config.identity).await;
    providers::check(&mut report, &config).await;
    if let Some(settings) = &config.connectors.wechat {
        wechat(&mut report, settings).await;
    }
    public_url(&mut report, &config).await;
    report.0
}

fn keys(report: &mut Report, config: &Config) {
    // The demo keeps its keys in its store.
    if matches!(config.identity, IdentitySettings::Demo) {
        return;
    }
    match Signer::open(&config.issuer, config.keys_dir.clone()) {
        Ok(signer) => openid::check_keys(report, config, signer),
        Err(error) => report.error("keys", error.to_string()),
    }
}

async fn wechat(report: &mut Report, settings: &WechatSettings) {
    let result = match Api::new(settings, Arc::new(Metrics::new())) {
        Ok(api) => api.probe().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => report.ok("wechat", format!("{}: WeChat's API issues an access token", settings.app_id)),
        Err(error) => report.error("wechat", format!("{}: {error}", settings.app_id)),
    }
    if settings.keys.is_empty() {
        report.warn("wechat", "plain mode: WeChat's signatures do not cover the content of callbacks; set encoding_aes_key and choose the secure mode in WeChat's console");
    }
}

async fn public_url(report: &mut Report, config: &Config) {
    let Ok(url) = config.public_url.join("/.well-known/jwks.json") else { return };
    let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
    let result = match client {
        Ok(client) => client.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status),
        Err(error) => Err(error),
    };
    match result {
        Ok(response) if response.status().is_success() => report.ok("public URL", format!("{url} answers")),
        Ok(response) => report.warn("public URL", format!("{url} answers {}; check that it points to the gateway", response.status())),
        Err(error) => report.warn("public URL", format!(
            "cannot reach {url} from here ({}); start the gateway and the proxy in front of it, and check the proxy's certificate and DNS name",
            root_cause(&error)
        )),
    }
}

/// Checks that a running gateway's admin listener answers.
///
/// # Errors
/// The HTTP client's error, for the container's log.
pub async fn probe_live(admin: SocketAddr) -> anyhow::Result<()> {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let url = format!("http://{}/healthz", SocketAddr::new(ip, admin.port()));
    client.get(url).send().await?.error_for_status()?;
    Ok(())
}
