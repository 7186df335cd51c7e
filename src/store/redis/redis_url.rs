//! What a Redis URL says: one server, a primary watched by Sentinel, or a Cluster.

#[cfg(target_os = "linux")]
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

use super::address::Address;

/// How long the system waits for Redis's to acknowledge what was sent before it gives the connection up.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// Where a Sentinel listens if its URL says nothing.
const SENTINEL_PORT: u16 = 26_379;

/// Why a Redis URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// The scheme is none that this version knows.
    #[error(
        "the Redis URL must begin with redis://, redis-sentinel:// or redis-cluster:// (with TLS: rediss://, \
         rediss-sentinel://, rediss-cluster://), or with redis+unix://"
    )]
    Scheme,
    /// The rest of it is wrong.
    #[error("the Redis URL cannot be read: {0}")]
    Malformed(String),
    /// The server is one of a Cluster.
    #[error(
        "the server is a node of a Cluster and keeps only some tickets; begin the Redis URL with redis-cluster:// (or \
         rediss-cluster://)"
    )]
    Node,
    /// The file with certificates is of no use.
    #[error("the certificates cannot be used: {0}")]
    Certificates(String),
}

/// What a URL says.
pub(super) struct RedisUrl {
    pub(super) kind: Kind,
    /// The nodes that it names; there is at least one.
    pub(super) seeds: Vec<Address>,
    /// How to connect to a node that keeps tickets; its address is replaced.
    pub(super) node: ConnectionInfo,
}

#[derive(Clone)]
pub(super) enum Kind {
    /// One server.
    Standalone,
    /// Sentinels, which know where the primary of this name is, and how to log in with them.
    Sentinel { name: String, login: Box<RedisConnectionInfo> },
    /// Primaries that share the keys.
    Cluster,
}

impl RedisUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`TopologyError`].
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
        let node = node(url)?;
        Ok(Self { kind: Kind::Standalone, seeds: vec![address(node.addr())], node })
    }

    fn sentinel(scheme: &str, rest: &str) -> Result<Self, TopologyError> {
        let Parts { login, hosts, path, query } = Parts::of(rest)?;
        let mut segments = path.split('/');
        let name = segments.next().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| malformed("it lacks the primary's name: redis-sentinel://host,host/NAME"))?;
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
        let database = segments.next().unwrap_or_default();
        if segments.next().is_some() {
            return Err(malformed("after the hosts come the primary's name and a database number, no more"));
        }
        if !database.is_empty() && database.parse::<u16>().is_err() {
            return Err(malformed("the database is not a number"));
        }
        let mut sentinel = RedisConnectionInfo::default();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            sentinel = match &*key {
                "sentinel_user" => sentinel.set_username(value),
                "sentinel_password" => sentinel.set_password(value),
                _ => return Err(malformed("the query may set sentinel_user and sentinel_password, nothing else")),
            };
        }
        let kind = Kind::Sentinel { name, login: Box::new(sentinel) };
        Self::of_many(kind, scheme, login, &hosts, database, SENTINEL_PORT)
    }

    fn cluster(scheme: &str, rest: &str) -> Result<Self, TopologyError> {
        let Parts { login, hosts, path, query } = Parts::of(rest)?;
        if !matches!(path, "" | "0") {
            return Err(malformed("a Cluster has no databases but 0: leave the path out"));
        }
        if !query.is_empty() {
            return Err(malformed("a Cluster's URL has no query"));
        }
        Self::of_many(Kind::Cluster, scheme, login, &hosts, "", 6379)
    }

    fn of_many(
        kind: Kind,
        scheme: &str,
        login: &str,
        hosts: &[&str],
        database: &str,
        default_port: u16,
    ) -> Result<Self, TopologyError> {
        let node_of = |host: &str| {
            // A port of its own is what follows the last colon, unless that is inside an IPv6 address.
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
            let port = if has_port { String::new() } else { format!(":{default_port}") };
            node(&format!("{scheme}://{login}{host}{port}/{database}"))
        };
        let nodes: Vec<_> = hosts.iter().map(|host| node_of(host)).collect::<Result<_, _>>()?;
        let seeds = nodes.iter().map(|node| address(node.addr())).collect();
        let node = nodes.into_iter().next().ok_or_else(|| malformed("it names no host"))?;
        Ok(Self { kind, seeds, node })
    }
}

/// What stands behind the scheme of a URL with several hosts.
struct Parts<'a> {
    /// `USER:PASSWORD@`, or nothing.
    login: &'a str,
    hosts: Vec<&'a str>,
    /// Without the slash before it.
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, TopologyError> {
        // Only behind an `@` do hosts, path and query begin.
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

/// Reads a URL of one server.
fn node(url: &str) -> Result<ConnectionInfo, TopologyError> {
    let info = url
        .into_connection_info()
        .map_err(|error| malformed(error.detail().unwrap_or("expected redis://host:port/db")))?;
    // Requests are small and wait for their answer: Nagle's algorithm would only delay them.
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

fn malformed(why: &str) -> TopologyError {
    TopologyError::Malformed(why.to_owned())
}
