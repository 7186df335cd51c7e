//! What a Redis URL says: one server, a primary watched by Sentinel, or a Cluster; and how to connect to any node of it.
//!
//! Who is primary at the moment is `discovery`'s to find out; who keeps which ticket stands in `slots`. Nothing but these two
//! asks which kind of installation it is.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, TlsCertificates,
};

/// How long the system waits for Redis's to acknowledge what was sent before it gives the connection up.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// Where a Sentinel listens if its URL says nothing.
const SENTINEL_PORT: u16 = 26_379;

/// A Redis installation, as its URL names it. `Debug` hides the passwords.
#[derive(Clone)]
pub struct Topology {
    kind: Kind,
    /// The nodes that the URL names; there is at least one.
    seeds: Vec<Address>,
    /// How to connect to a node that keeps tickets; its address is replaced.
    node: Box<ConnectionInfo>,
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

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    /// A name or an IP address; for a Unix socket its path.
    host: Arc<str>,
    port: u16,
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Reads what Redis writes into its redirections, such as `127.0.0.1:6379`; IPv6 addresses stand there without brackets.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        (!host.is_empty()).then_some(Self::new(host, port.parse().ok()?))
    }

    /// Returns the same port of another host.
    pub(super) fn renamed(&self, host: &str) -> Self {
        Self::new(host, self.port)
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            0 => write!(f, "{}", self.host),
            port if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

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

impl Topology {
    /// Reads a URL: `redis://USER:PASSWORD@HOST:PORT/DB`, `redis-sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB` or
    /// `redis-cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`; with `rediss` for TLS. Sentinels that want a login are given
    /// `?sentinel_user=…&sentinel_password=…`.
    ///
    /// # Errors
    /// [`TopologyError`], whose message never repeats the URL, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, TopologyError> {
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
        Ok(Self { kind: Kind::Standalone, seeds: vec![address(node.addr())], node: Box::new(node) })
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
        Ok(Self { kind, seeds, node: Box::new(node) })
    }

    /// Trusts the certificate authorities in `pem` instead of the system's.
    ///
    /// # Errors
    /// [`TopologyError::Certificates`] if there are none, or the URL is not one with TLS.
    pub fn trusting(self, pem: &[u8]) -> Result<Self, TopologyError> {
        if !matches!(self.node.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(TopologyError::Certificates(
                "the Redis URL is one without TLS; begin it with rediss".to_owned(),
            ));
        }
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
        let unusable = |error: RedisError| TopologyError::Certificates(error.to_string());
        let is_certificate = |pem: &pem::Pem| pem.tag() == "CERTIFICATE";
        if !pem::parse_many(pem).is_ok_and(|all| all.iter().any(is_certificate)) {
            return Err(TopologyError::Certificates("there is no certificate in PEM form in it".to_owned()));
        }
        let client = Client::build_with_tls(*self.node, certificates).map_err(unusable)?;
        Ok(Self { node: Box::new(client.get_connection_info().clone()), ..self })
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) fn seeds(&self) -> &[Address] {
        &self.seeds
    }

    /// Returns whether there are replicas that take over when a primary is lost.
    #[must_use]
    pub fn has_replicas(&self) -> bool {
        !matches!(self.kind, Kind::Standalone)
    }

    /// Returns whether a replica sends away who would read from it.
    pub(super) fn refuses_readers(&self) -> bool {
        matches!(self.kind, Kind::Cluster)
    }

    /// Returns the number of the database, which stands in the notification channels' names.
    pub(super) fn database(&self) -> i64 {
        self.node.redis_settings().db()
    }

    /// Returns whether all nodes that the URL names are on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let is_loopback = |host: &str| host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        self.seeds.iter().all(|seed| seed.port == 0 || seed.host() == "localhost" || is_loopback(seed.host()))
    }

    /// Returns where it is, without credentials.
    #[must_use]
    pub fn address(&self) -> String {
        let seeds = self.seeds.iter().map(Address::to_string).collect::<Vec<_>>().join(",");
        match &self.kind {
            Kind::Standalone => seeds,
            Kind::Sentinel { name, .. } => format!("{name} (Sentinel {seeds})"),
            Kind::Cluster => format!("Cluster {seeds}"),
        }
    }

    /// Opens a connection to a node that tells who is primary: a Sentinel, or any node of a Cluster.
    ///
    /// # Errors
    /// The client's.
    pub(super) async fn informant(
        &self,
        address: &Address,
        timeout: Duration,
    ) -> Result<MultiplexedConnection, RedisError> {
        let mut info = self.at(address);
        if let Kind::Sentinel { login, .. } = &self.kind {
            info = info.set_redis_settings((**login).clone());
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
        Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Opens a connection for subscriptions alone.
    ///
    /// # Errors
    /// The client's error, or an I/O timeout after `timeout`: the client itself waits for ever here.
    pub(super) async fn subscriber(&self, address: &Address, timeout: Duration) -> Result<PubSub, RedisError> {
        let client = Client::open(self.at(address))?;
        in_time(timeout, client.get_async_pubsub()).await
    }

    /// Returns how to connect to a node that keeps tickets.
    pub(super) fn at(&self, address: &Address) -> ConnectionInfo {
        let info = (*self.node).clone();
        let (host, port) = (address.host.to_string(), address.port);
        let addr = match info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            ConnectionAddr::Tcp(..) => ConnectionAddr::Tcp(host, port),
            // There is one alone.
            unix => unix.clone(),
        };
        info.set_addr(addr)
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topology({})", self.address())
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

/// The error for what did not answer in time.
pub(super) fn timed_out() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

/// Bounds a wait for which the client has no bound of its own: into a half-open connection it would wait for ever.
///
/// # Errors
/// The answer's, or an I/O timeout after `timeout`.
pub(super) async fn in_time<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    tokio::time::timeout(timeout, answer).await.map_err(|_elapsed| timed_out())?
}

#[cfg(test)]
mod tests;
