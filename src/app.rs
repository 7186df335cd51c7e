//! Puts the parts together, starts them and stops them. The only place that names an engine.

use std::io::IsTerminal as _;
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
use crate::http::drawing::Drawing;
use crate::http::limits::Limits;
use crate::http::router::{admin_router, public_router};
use crate::http::state::Gateway;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::qr;
use crate::sign_in::SignIns;
use crate::signer::Signer;
use crate::signer::keys::{self, KeyAlgorithm};
use crate::store::measured::Measured;
use crate::store::memory::MemoryStore;
use crate::store::redis::{RedisSettings, RedisStore};
use crate::store::{Put, Store};
use crate::systemd;
use crate::verifier::Verifier;
use crate::verifier::demo::DemoIdentity;
use crate::verifier::jwks::RemoteKeys;
use crate::verifier::settings::IdentitySettings;
use crate::waiters::Waiters;

/// How long a start waits for a Redis that does not answer yet, as when both are started together.
const STORE_PATIENCE: Duration = Duration::from_secs(15);
/// How long it waits between two tries.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Installs the one cryptographic library that everything uses. Safe to call again.
pub fn install_crypto() {
    // Both fail only if it was done before.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Serves until `stop` is done, and then ends in good order.
///
/// # Errors
/// What keeps it from starting: keys, the store, or an address to listen on.
pub async fn serve(mut config: Config, stop: impl Future<Output = Stop>) -> anyhow::Result<()> {
    fit_to_open_files(&mut config)?;
    let gateway = Arc::new(assemble(&config).await?);
    let patience = config.shutdown_timeout;
    let (waiters, journal) = (gateway.waiters.clone(), Arc::clone(&gateway.journal));
    let description = describe(&config, &gateway.signer);
    let proxies = config.trusted_proxies.clone();
    let server = connections::server(public_router(&gateway), config.connections, proxies, &gateway.metrics)
        .context("the server")?;
    // Operators' requests neither wait for, nor are counted with, everybody else's.
    // One bound for all of them is enough.
    let everybody = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let admin_settings = ConnectionSettings { max_connections: ADMIN_CONNECTIONS, park: false, ..config.connections };
    let admin = admin_router(&gateway, config.admin_hosts.clone());
    let admin = connections::server(admin, admin_settings, everybody.into(), &Arc::new(Metrics::new()))
        .context("the operators' server")?;
    crate::task::spawn("waiters", waiters.clone().run());
    crate::task::spawn("limits", Arc::clone(&gateway).tidy_limits());
    let kept = Arc::clone(&journal);
    crate::task::spawn("journal", async move { kept.run().await });

    let admin_listener = bind(&ListenAddress::Tcp(config.admin_listen)).await?;
    announce("admin", admin_listener.address());
    crate::task::spawn("admin", admin.clone().serve(admin_listener));
    for address in &config.listen {
        let listener = bind(address).await?;
        announce("public", listener.address());
        crate::task::spawn("accept", server.clone().serve(listener));
    }
    introduce(&config, &description);
    systemd::ready(&format!("serving {}", config.public_url));

    let stop = stop.await;
    tracing::info!(streams = waiters.count(), "stopping: streams are sent away, requests finish");
    systemd::stopping("stopping: streams are sent away, requests finish");
    let ends_at = Instant::now() + patience;
    // All this time browsers that come back are answered: they are sent on to another replica. Load balancers see that this
    // one is not ready, which takes them a while even if nobody waits here. A person at the keyboard does not care to wait.
    let _ = tokio::time::timeout_at(ends_at, waiters.drain(stop == Stop::Keyboard)).await;
    if tokio::time::timeout_at(ends_at, server.close()).await.is_err() {
        tracing::warn!("some connections did not end in time and are cut");
    }
    let _ = tokio::time::timeout_at(ends_at, admin.close()).await;
    journal.sum_up();
    tracing::info!("stopped");
    Ok(())
}

/// Files that are kept for everything but public connections: operators, Redis, keys, the identity provider.
const RESERVED_FILES: usize = 256;
/// The name of the demo's key in the store.
const DEMO_KEY: &str = "demo:key";
/// How long it is kept there: longer than anybody tries something out.
const DEMO_KEY_TTL: Duration = Duration::from_secs(365 * 24 * 3600);
/// How many connections operators may have open.
const ADMIN_CONNECTIONS: usize = 64;

async fn assemble(config: &Config) -> anyhow::Result<Gateway> {
    let metrics = Arc::new(Metrics::new());
    let waiters = Waiters::new(config.streams, Arc::clone(&metrics));
    let store = open_store(&config.store, &waiters, &metrics).await?;
    let signer = match &config.identity {
        IdentitySettings::Demo => demo_signer(&config.issuer, store.as_ref()).await.context("the demo's key")?,
        _ => Signer::open(&config.issuer, config.keys_dir.clone()).context("the signing keys")?,
    };
    crate::task::spawn("keys", signer.clone().follow());
    let (verifier, demo) = identity(&config.identity, &signer, &metrics)?;
    let journal = Arc::default();
    let sign_ins =
        SignIns::new(Arc::clone(&store), signer.clone(), Arc::clone(&metrics), Arc::clone(&journal), config.lifetimes);
    let connectors = connectors(config, &store, &sign_ins, &metrics, &journal)?;
    Ok(Gateway {
        store,
        waiters,
        signer,
        verifier,
        demo,
        clients: config.clients.clone(),
        connectors,
        public_url: config.public_url.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        sign_ins,
        limits: Limits::new(config.rate_limits, &metrics),
        drawing: Drawing::new(),
        metrics,
        journal,
    })
}

/// Takes the demo's key from the store, or puts one there: gateways on one Redis sign for the same made-up people, and nobody
/// has to give the demo keys that others rely on.
async fn demo_signer(issuer: &str, store: &dyn Store) -> anyhow::Result<Signer> {
    store.put_value(DEMO_KEY, &keys::generate(KeyAlgorithm::Es256)?, DEMO_KEY_TTL, Put::IfAbsent).await?;
    let shared = store.value(DEMO_KEY).await?.context("the store has lost it again")?;
    Ok(Signer::of_key(issuer, &shared)?)
}

fn identity(
    settings: &IdentitySettings,
    signer: &Signer,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Verifier, Option<DemoIdentity>)> {
    Ok(match settings {
        IdentitySettings::Demo => {
            let (demo, verifier) = DemoIdentity::new(&signer.derive("demo"), Arc::clone(metrics));
            (verifier, Some(demo))
        }
        IdentitySettings::Secret { secret, issuer, audience } => {
            let (issuer, audience) = (issuer.clone(), audience.clone());
            (Verifier::with_secret(secret, issuer, audience, Arc::clone(metrics)), None)
        }
        IdentitySettings::Jwks { url, issuer, audience, max_age } => {
            let keys = RemoteKeys::new(url.clone(), *max_age, Arc::clone(metrics));
            let keys = keys.context("the identity provider's client")?;
            crate::task::spawn("identity", keys.clone().refresh());
            (Verifier::with_jwks(keys, issuer.clone(), audience.clone(), Arc::clone(metrics)), None)
        }
    })
}

fn connectors(
    config: &Config,
    store: &Arc<dyn Store>,
    sign_ins: &SignIns,
    metrics: &Arc<Metrics>,
    journal: &Arc<Journal>,
) -> anyhow::Result<Connectors> {
    let open = |settings: &WechatSettings| {
        let (store, metrics, journal) = (Arc::clone(store), Arc::clone(metrics), Arc::clone(journal));
        Wechat::new(settings.clone(), store, config.clients.clone(), sign_ins.clone(), metrics, journal)
    };
    let wechat = config.connectors.wechat.as_ref().map(open).transpose().context("WeChat's API client")?;
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
            Ok(Arc::new(Measured::new(store, Arc::clone(metrics))))
        }
        StoreSettings::Redis(settings) => {
            let store = open_redis(settings, waiters, metrics).await?;
            Ok(Arc::new(Measured::new(store, Arc::clone(metrics))))
        }
    }
}

async fn open_redis(settings: &RedisSettings, waiters: &Waiters, metrics: &Arc<Metrics>) -> anyhow::Result<RedisStore> {
    use crate::store::redis::OpenError;

    let patience_ends = Instant::now() + STORE_PATIENCE;
    loop {
        match RedisStore::open(settings, waiters.changes(), Arc::clone(metrics)).await {
            Ok(store) => return Ok(store),
            Err(OpenError::Unreachable(error)) if Instant::now() < patience_ends => {
                tracing::warn!(%error, redis = settings.topology.address(), "Redis does not answer yet; trying again");
                tokio::time::sleep(STORE_RETRY).await;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("Redis at {}", settings.topology.address()));
            }
        }
    }
}

async fn bind(address: &ListenAddress) -> anyhow::Result<Listener> {
    Listener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}; choose another address with --listen or --admin-listen, or stop what is there"
        )
    })
}

fn announce(listener: &'static str, address: &ListenAddress) {
    tracing::info!(listener, %address, "listening");
}

/// What the gateway runs with, for people to read.
struct Description {
    store: String,
    identity: String,
    keys: String,
}

fn describe(config: &Config, signer: &Signer) -> Description {
    let store = match &config.store {
        StoreSettings::Memory { max_tickets } => format!("memory, up to {max_tickets} tickets"),
        StoreSettings::Redis(settings) => format!("Redis at {}", settings.topology.address()),
    };
    let identity = match &config.identity {
        IdentitySettings::Demo => "demo (made-up people)".to_owned(),
        IdentitySettings::Secret { issuer, .. } => format!("{issuer}, by shared secret"),
        IdentitySettings::Jwks { issuer, url, .. } => format!("{issuer}, keys from {url}"),
    };
    Description { store, identity, keys: signer.describe() }
}

/// Tells what runs: to a person at a terminal in words, to everything else in log lines.
fn introduce(config: &Config, description: &Description) {
    let Description { store, identity, keys } = description;
    tracing::info!(public_url = %config.public_url, store, identity, keys, "serving");
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if !std::io::stdout().is_terminal() {
        return;
    }
    let url = config.public_url.origin().ascii_serialization();
    #[expect(clippy::print_stdout, reason = "this is what a person at the terminal reads")]
    {
        println!("\n  scangate {}\n", env!("CARGO_PKG_VERSION"));
        println!("  sign in at  {url}/");
        println!("  store       {store}\n  identity    {identity}\n  keys        {keys}");
        println!("  operators   http://{}/metrics\n", config.admin_listen);
        if matches!(config.identity, IdentitySettings::Demo)
            && let Ok(code) = qr::terminal(&format!("{url}/"))
        {
            // White on black whatever the terminal's own colours are: an inverted code confuses some scanners.
            for line in code.lines() {
                println!("  \x1b[97;40m{line}\x1b[0m");
            }
            println!();
            println!("  Open {url}/ and follow the page; a second browser window can play the phone.");
            println!(
                "  With a real phone: --demo --listen 0.0.0.0:8080 --public-url http://THIS-MACHINE'S-ADDRESS:8080\n"
            );
        }
    }
}

/// Why the gateway is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: something that manages processes wants it.
    Signal,
    /// Ctrl-C: a person wants it.
    Keyboard,
}

/// Waits for SIGTERM or Ctrl-C.
///
/// # Errors
/// The system's, if signals cannot be received.
pub async fn stop_signal() -> std::io::Result<Stop> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.map(|()| Stop::Keyboard),
        _ = terminate.recv() => Ok(Stop::Signal),
    }
}

/// Raises the soft limit on open files to the hard one, and returns it.
fn raise_open_files() -> std::io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// Raises the limit on open files, and lowers the bound on connections where it is not enough: at the limit, operators,
/// Redis and new keys would be refused along with everybody else.
fn fit_to_open_files(config: &mut Config) -> anyhow::Result<()> {
    // More connections than the soft limit's usual 1,024 are the point of this program.
    let limit = raise_open_files().context("the open-files limit")?;
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(RESERVED_FILES).max(1);
    let connections = &mut config.connections.max_connections;
    if *connections > room {
        config.warnings.push(format!(
            "{limit} files may be open, so no more than {room} connections are taken; raise the limit (ulimit -n, LimitNOFILE=) \
             for more, or lower --max-connections"
        ));
        *connections = room;
    }
    Ok(())
}
