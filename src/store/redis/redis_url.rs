//! The Redis URL: one server, a primary watched by Sentinels, or a Cluster.

#[cfg(target_os = "linux")]
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

use super::address::Address;

/// How long the operating system waits for Redis to acknowledge data before it closes the connection.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// The port of a Sentinel whose URL names none.
const SENTINEL_PORT: u16 = 26_379;
/// The port of a Cluster's node whose URL names none.
const CLUSTER_PORT: u16 = 6379;

/// The parts of a URL.
pub(super) struct RedisUrl {
    pub(super) kind: InstallationKind,
    /// The servers that the URL names, at least one.
    pub(super) seeds: Vec<Address>,
    /// The connection settings of nodes that store tickets; each node's address replaces the one in them.
    pub(super) node: ConnectionInfo,
}

/// The kind of an installation.
#[derive(Clone)]
pub(super) enum InstallationKind {
    /// One server.
    Standalone,
    /// Sentinels, which know the primary of this name, and how to log in to them.
    Sentinel { name: String, login: Box<RedisConnectionInfo> },
    /// Primaries that share the slots.
    Cluster,
}

/// The reason why a Redis URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// This version does not know the scheme.
    #[error(
        "the Redis URL must begin with redis://, redis-sentinel:// or redis-cluster:// (with TLS: rediss://, \
         rediss-sentinel://, rediss-cluster://), or with redis+unix://"
    )]
    Scheme,
    /// The rest of the URL is wrong.
    #[error("invalid Redis URL: {0}")]
    Malformed(String),
    /// The URL names one server, which is a node of a Cluster.
    #[error(
        "the server is a node of a Cluster and stores only some tickets; begin the Redis URL with redis-cluster:// (or \
         rediss-cluster://)"
    )]
    Node,
    /// The file with certificates cannot be used.
    #[error("invalid certificates: {0}")]
    Certificates(String),
}

impl RedisUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// [`TopologyError`], whose message never repeats the URL, which may contain a password.
    pub(super) fn parse(url: &str) -> Result<Self, TopologyError> {
        let (scheme, rest) = url.split_once("://").ok_or(TopologyError::Scheme)?;
        match scheme {
            "redis" | "rediss" | "redis+unix" => Self::standalone(url),
            "redis-sentinel" => Self::sentinel("redis", rest),
            "rediss-sentinel" => Self::sentinel("rediss", rest),
            "redis-cluster" => Self::cluster("redis", rest),
            "rediss-cluster" => Self::cluster("rediss", rest),
            _ => Err(TopologyError::Scheme),
        }
    }

    fn standalone(url: &str) -> Result<Self, TopologyError> {
        let node = connection_info(url)?;
        Ok(Self { kind: InstallationKind::Standalone, seeds: vec![address(node.addr())], node })
    }

    fn sentinel(scheme: &str, rest: &str) -> Result<Self, TopologyError> {
        let Parts { login, hosts, path, query } = Parts::of(rest)?;
        let mut segments = path.split('/');
        let name = segments.next().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| malformed("the primary's name is missing: redis-sentinel://host,host/NAME"))?;
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
        let database = segments.next().unwrap_or_default();
        if segments.next().is_some() {
            return Err(malformed("only the primary's name and a database number may follow the hosts"));
        }
        if !database.is_empty() && database.parse::<u16>().is_err() {
            return Err(malformed("the database is not a number"));
        }
        let mut sentinel = RedisConnectionInfo::default();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            sentinel = match &*key {
                "sentinel_user" => sentinel.set_username(value),
                "sentinel_password" => sentinel.set_password(value),
                _ => return Err(malformed("the query may only set sentinel_user and sentinel_password")),
            };
        }
        let kind = InstallationKind::Sentinel { name, login: Box::new(sentinel) };
        Self::of_many(kind, scheme, login, &hosts, database, SENTINEL_PORT)
    }

    fn cluster(scheme: &str, rest: &str) -> Result<Self, TopologyError> {
        let Parts { login, hosts, path, query } = Parts::of(rest)?;
        if !matches!(path, "" | "0") {
            return Err(malformed("a Cluster has no databases but 0: remove the path"));
        }
        if !query.is_empty() {
            return Err(malformed("the URL of a Cluster has no query"));
        }
        Self::of_many(InstallationKind::Cluster, scheme, login, &hosts, "", CLUSTER_PORT)
    }

    fn of_many(
        kind: InstallationKind,
        scheme: &str,
        login: &str,
        hosts: &[&str],
        database: &str,
        default_port: u16,
    ) -> Result<Self, TopologyError> {
        let node_of = |host: &str| {
            // A port follows the last colon, unless that colon is inside an IPv6 address.
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
            let port = if has_port { String::new() } else { format!(":{default_port}") };
            connection_info(&format!("{scheme}://{login}{host}{port}/{database}"))
        };
        let nodes: Vec<_> = hosts.iter().map(|host| node_of(host)).collect::<Result<_, _>>()?;
        let seeds = nodes.iter().map(|node| address(node.addr())).collect();
        let node = nodes.into_iter().next().ok_or_else(|| malformed("the URL has no host"))?;
        Ok(Self { kind, seeds, node })
    }
}

/// The part after the scheme in a URL with several hosts.
struct Parts<'a> {
    /// `USER:PASSWORD@`, or nothing.
    login: &'a str,
    hosts: Vec<&'a str>,
    /// Without the leading slash.
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, TopologyError> {
        // Hosts, path and query begin only after an `@`.
        let login_end = rest.split_once('/').map_or(rest, |(before, _)| before).rfind('@').or(rest.rfind('@'));
        let (login, rest) = rest.split_at(login_end.map_or(0, |at| at + 1));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if login.contains(['/', '#', '?']) {
            return Err(malformed("write %2F for /, %23 for # and %3F for ? in the login"));
        }
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts: Vec<_> = hosts.split(',').collect();
        if hosts.iter().any(|host| host.is_empty()) {
            return Err(malformed("a host is empty: write host:port,host:port"));
        }
        Ok(Self { login, hosts, path: path.trim_end_matches('/'), query })
    }
}

/// Parses a URL of one server.
fn connection_info(url: &str) -> Result<ConnectionInfo, TopologyError> {
    let info = url
        .into_connection_info()
        .map_err(|error| malformed(error.detail().unwrap_or("expected redis://host:port/db")))?;
    // Commands are small and wait for their replies, so Nagle's algorithm would only delay them.
    let tcp = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(USER_TIMEOUT);
    Ok(info.set_tcp_settings(tcp))
}

fn address(addr: &ConnectionAddr) -> Address {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Address::new(host, *port),
        other => Address::new(&other.to_string(), 0),
    }
}

fn malformed(reason: &str) -> TopologyError {
    TopologyError::Malformed(reason.to_owned())
}
