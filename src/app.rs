//! The composition root: builds all parts, starts and stops them. Only this module opens a store engine.

mod keys;
mod report;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use parked_streams::{ListenAddress, Listener};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::time::Instant;

use crate::config::Config;
use crate::config::store::StoreSettings;
use crate::connections::{self, ConnectionSettings};
use crate::connectors::Connectors;
use crate::connectors::wechat::Wechat;
use crate::connectors::wechat::settings::WechatSettings;
use crate::http::drawing::DrawingQueue;
use crate::http::limits::Limits;
use crate::http::router::{admin_router, public_router};
use crate::http::state::Gateway;
use crate::log_limit::LogLimiter;
use crate::metrics::Metrics;
use crate::openid_provider::OpenIdProvider;
use crate::relying_party::settings::ProviderSettings;
use crate::relying_party::{Provider, RelyingParty};
use crate::sessions::Sessions;
use crate::sign_in::SignIns;
use crate::signer::Signer;
use crate::single_sign_on::SingleSignOn;
use crate::store::Store;
use crate::store::instrumented::Instrumented;
use crate::store::memory::MemoryStore;
use crate::store::redis::{RedisSettings, RedisStore};
use crate::systemd;
use crate::verifier::demo::{self, DemoIdentity};
use crate::verifier::jwks::RemoteKeys;
use crate::verifier::settings::IdentitySettings;
use crate::verifier::{Source, Verifier};
use crate::waiters::Waiters;

/// How long the gateway waits at startup for a Redis that does not answer yet, for example when both start together.
const STORE_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause between two attempts to reach Redis.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Installs the cryptographic library that all parts use. Calling it again has no effect.
pub fn install_crypto() {
    // Both fail only if a provider is installed already.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Serves until `stop` completes, then drains the streams, lets requests finish and returns.
///
/// # Errors
/// If keys, the store or a listener prevent the start.
pub async fn serve(mut config: Config, stop: impl Future<Output = Stop>) -> anyhow::Result<()> {
    limit_to_open_files(&mut config)?;
    let gateway = Arc::new(assemble(&config).await?);
    let shutdown_timeout = config.shutdown_timeout;
    let (waiters, log_limiter) = (gateway.waiters.clone(), Arc::clone(&gateway.log_limiter));
    let description = report::describe(&config, &gateway.signer);
    let proxies = config.trusted_proxies.clone();
    let server = connections::server(public_router(&gateway), config.connections, proxies, &gateway.metrics)
        .context("cannot start the public server")?;
    // A separate server, so that operators' requests neither queue behind public ones nor count against their bound. All operators
    // share one bound.
    let all_addresses = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let admin_settings = ConnectionSettings { max_connections: ADMIN_CONNECTIONS, park: false, ..config.connections };
    let admin = admin_router(&gateway, config.admin_hosts.clone());
    let admin = connections::server(admin, admin_settings, all_addresses.into(), &Arc::new(Metrics::new()))
        .context("cannot start the admin server")?;
    crate::task::spawn("waiters", waiters.clone().run());
    crate::task::spawn("limits", Arc::clone(&gateway).prune_limits());
    let summaries = Arc::clone(&log_limiter);
    crate::task::spawn("log-limiter", async move { summaries.run().await });

    let admin_listener = bind(&ListenAddress::Tcp(config.admin_listen)).await?;
    log_listener("admin", admin_listener.address());
    crate::task::spawn("admin", admin.clone().serve(admin_listener));
    for address in &config.listen {
        let listener = bind(address).await?;
        log_listener("public", listener.address());
        crate::task::spawn("accept", server.clone().serve(listener));
    }
    report::report_start(&config, &description);
    systemd::ready(&format!("serving {}", config.public_url));

    let stop = stop.await;
    tracing::info!(streams = waiters.count(), "stopping: closing the streams, finishing requests");
    systemd::stopping("stopping: closing the streams, finishing requests");
    let ends_at = Instant::now() + shutdown_timeout;
    // During the drain, the gateway tells reconnecting browsers to use another replica. It waits even without streams, because
    // load balancers need a while to see that this replica is not ready. After Ctrl-C it does not wait.
    let _ = tokio::time::timeout_at(ends_at, waiters.drain(stop == Stop::Interrupt)).await;
    if tokio::time::timeout_at(ends_at, server.close()).await.is_err() {
        tracing::warn!("closing connections that did not finish in time");
    }
    let _ = tokio::time::timeout_at(ends_at, admin.close()).await;
    log_limiter.log_suppressed();
    tracing::info!("stopped");
    Ok(())
}

/// Files reserved for everything but public connections: operators, Redis, keys, the identity provider.
const RESERVED_FILES: usize = 256;
/// The maximum number of open connections of the admin listener.
const ADMIN_CONNECTIONS: usize = 64;

async fn assemble(config: &Config) -> anyhow::Result<Gateway> {
    let metrics = Arc::new(Metrics::new());
    let waiters = Waiters::new(config.streams, Arc::clone(&metrics));
    let store = open_store(&config.store, &waiters, &metrics).await?;
    let signer = keys::signer(config, store.as_ref()).await?;
    crate::task::spawn("keys", signer.clone().reload());
    let log_limiter = Arc::default();
    let relying_party = relying_party(config, &store, &metrics, &log_limiter)?;
    let (verifier, demo) = identity(&config.identity, &relying_party, &signer, &metrics)?;
    let sign_ins = SignIns::new(
        Arc::clone(&store),
        signer.clone(),
        Arc::clone(&metrics),
        Arc::clone(&log_limiter),
        config.lifetimes,
    );
    let connectors = connectors(config, &store, &sign_ins, &metrics, &log_limiter)?;
    let sessions = Sessions::new(
        Arc::clone(&store),
        signer.clone(),
        Arc::clone(&metrics),
        config.sessions,
        &config.clients,
        providers(config),
    );
    let single_sign_on = SingleSignOn::new(
        Arc::clone(&store),
        signer.clone(),
        Arc::clone(&metrics),
        config.single_sign_on,
        &namespace(config),
    );
    let openid_provider = OpenIdProvider::new(
        Arc::clone(&store),
        signer.clone(),
        config.clients.clone(),
        &config.issuer,
        single_sign_on,
        Arc::clone(&metrics),
        Arc::clone(&log_limiter),
    );
    Ok(Gateway {
        store,
        openid_provider,
        waiters,
        sessions,
        signer,
        verifier,
        relying_party,
        demo,
        clients: config.clients.clone(),
        connectors,
        public_url: config.public_url.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        sign_ins,
        limits: Limits::new(config.rate_limits, &metrics),
        drawing: DrawingQueue::default(),
        metrics,
        log_limiter,
    })
}

/// Sets the identity providers up, and keeps their discovery documents and keys current.
fn relying_party(
    config: &Config,
    store: &Arc<dyn Store>,
    metrics: &Arc<Metrics>,
    log_limiter: &Arc<LogLimiter>,
) -> anyhow::Result<RelyingParty> {
    let mut providers = Vec::new();
    for settings in &config.providers {
        let provider = Provider::new(settings.clone(), Arc::clone(metrics));
        let provider = provider.with_context(|| format!("cannot set up the identity provider {}", settings.id))?;
        let provider = Arc::new(provider);
        crate::task::spawn("identity-provider", Arc::clone(&provider).refresh());
        providers.push(provider);
    }
    let released = config.clients.iter().flat_map(|client| client.claims.clone());
    let (store, metrics, log_limiter) = (Arc::clone(store), Arc::clone(metrics), Arc::clone(log_limiter));
    Ok(RelyingParty::new(providers, store, config.redirect_uri(), released, metrics, log_limiter))
}

fn identity(
    settings: &IdentitySettings,
    relying_party: &RelyingParty,
    signer: &Signer,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Verifier, Option<DemoIdentity>)> {
    let own = match settings {
        IdentitySettings::Demo => {
            let (demo, verifier) = DemoIdentity::new(&signer.derive("demo"), Arc::clone(metrics));
            return Ok((verifier, Some(demo)));
        }
        IdentitySettings::Providers => None,
        IdentitySettings::Secret { secret, issuer, audience } => {
            Some((issuer, Source::with_secret(secret, issuer.clone(), audience.clone())))
        }
        IdentitySettings::Jwks { url, issuer, audience, max_age } => {
            let keys = RemoteKeys::new(url.clone(), *max_age, Arc::clone(metrics));
            let keys = keys.context("cannot set up the client of the identity provider")?;
            crate::task::spawn("identity", keys.clone().refresh());
            Some((issuer, Source::with_jwks(keys, issuer.clone(), audience.clone())))
        }
    };
    let providers = relying_party.providers();
    // The same person by a browser and by a native app has one subject.
    let own = own.map(|(issuer, source)| {
        let same = providers.iter().find(|provider| provider.settings.issuer == *issuer);
        source.prefixed(same.and_then(|provider| relying_party.prefix_of(provider)))
    });
    let of_providers = providers.iter().map(|provider| provider.bearer_source(relying_party.prefix_of(provider)));
    Ok((Verifier::new(own.into_iter().chain(of_providers).collect(), Arc::clone(metrics)), None))
}

/// Returns the ids of the identity providers whose people may have sessions, each with the namespace of its subjects: its issuer,
/// and whether the subjects begin with the id. People of `--identity-*` send bearer tokens.
fn providers(config: &Config) -> Vec<(String, String)> {
    let of_demo = matches!(config.identity, IdentitySettings::Demo).then(|| (demo::PROVIDER.to_owned(), String::new()));
    let has_prefix = config.providers.len() > 1;
    let namespace = |ProviderSettings { id, issuer, .. }: &ProviderSettings| {
        if has_prefix { format!("{id}: {issuer}") } else { issuer.clone() }
    };
    config.providers.iter().map(|provider| (provider.id.clone(), namespace(provider))).chain(of_demo).collect()
}

/// Returns a text that differs whenever equal subjects may be different people: all identity providers.
fn namespace(config: &Config) -> String {
    let own = match &config.identity {
        IdentitySettings::Secret { issuer, .. } | IdentitySettings::Jwks { issuer, .. } => Some(issuer.clone()),
        IdentitySettings::Demo | IdentitySettings::Providers => None,
    };
    let of_providers = providers(config).into_iter().map(|(id, namespace)| format!("{id}={namespace}"));
    of_providers.chain(own).collect::<Vec<_>>().join("\n")
}

fn connectors(
    config: &Config,
    store: &Arc<dyn Store>,
    sign_ins: &SignIns,
    metrics: &Arc<Metrics>,
    log_limiter: &Arc<LogLimiter>,
) -> anyhow::Result<Connectors> {
    let open = |settings: &WechatSettings| {
        let (store, metrics, log_limiter) = (Arc::clone(store), Arc::clone(metrics), Arc::clone(log_limiter));
        Wechat::new(settings.clone(), store, config.clients.clone(), sign_ins.clone(), metrics, log_limiter)
    };
    let wechat =
        config.connectors.wechat.as_ref().map(open).transpose().context("cannot set up WeChat's API client")?;
    Ok(Connectors { wechat: wechat.map(Arc::new) })
}

async fn open_store(
    settings: &StoreSettings,
    waiters: &Waiters,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Arc<dyn Store>> {
    match settings {
        StoreSettings::Memory { max_tickets } => {
            let store = MemoryStore::open(*max_tickets, waiters.changes());
            Ok(Arc::new(Instrumented::new(store, Arc::clone(metrics))))
        }
        StoreSettings::Redis(settings) => {
            let store = open_redis(settings, waiters, metrics).await?;
            Ok(Arc::new(Instrumented::new(store, Arc::clone(metrics))))
        }
    }
}

async fn open_redis(settings: &RedisSettings, waiters: &Waiters, metrics: &Arc<Metrics>) -> anyhow::Result<RedisStore> {
    use crate::store::redis::OpenError;

    let give_up_at = Instant::now() + STORE_TIMEOUT;
    loop {
        match RedisStore::open(settings, waiters.changes(), Arc::clone(metrics)).await {
            Ok(store) => return Ok(store),
            Err(OpenError::Unreachable(error)) if Instant::now() < give_up_at => {
                tracing::warn!(%error, redis = settings.topology.address(), "Redis does not answer yet; retrying");
                tokio::time::sleep(STORE_RETRY).await;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot use Redis at {}", settings.topology.address()));
            }
        }
    }
}

async fn bind(address: &ListenAddress) -> anyhow::Result<Listener> {
    Listener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}; choose another address with --listen or --admin-listen, or stop the program that uses it"
        )
    })
}

fn log_listener(listener: &'static str, address: &ListenAddress) {
    tracing::info!(listener, %address, "listening");
}

/// The reason for stopping the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM, from a process manager.
    Terminate,
    /// Ctrl-C, from a person.
    Interrupt,
}

/// Waits for SIGTERM or Ctrl-C.
///
/// # Errors
/// The system's error if signals cannot be received.
pub async fn stop_signal() -> std::io::Result<Stop> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.map(|()| Stop::Interrupt),
        _ = terminate.recv() => Ok(Stop::Terminate),
    }
}

/// Raises the soft limit on open files to the hard one, and returns it.
fn raise_open_files() -> std::io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// Raises the limit on open files, and lowers the bound on connections if the limit is too low. At the limit, the gateway could
/// open neither connections of operators and to Redis nor key files.
fn limit_to_open_files(config: &mut Config) -> anyhow::Result<()> {
    // The usual soft limit of 1,024 files is far too low for this program.
    let limit = raise_open_files().context("cannot raise the open-files limit")?;
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(RESERVED_FILES).max(1);
    let connections = &mut config.connections.max_connections;
    if *connections > room {
        config.warnings.push(format!(
            "{limit} files may be open, so the gateway accepts {room} connections at most; raise the limit (ulimit -n, \
             LimitNOFILE=), or lower --max-connections"
        ));
        *connections = room;
    }
    Ok(())
}
