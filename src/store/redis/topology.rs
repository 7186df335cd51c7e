//! What a Redis URL says: one server, a primary watched by Sentinel, or a Cluster; and how to connect to any node of it.
//!
//! Who is primary at the moment is `discovery`'s to find out; who keeps which ticket stands in `slots`. Nothing but these two
//! asks which kind of installation it is.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::address::Address;
use super::redis_url::{Kind, RedisUrl, TopologyError};
use super::timeout::in_time;

/// A Redis installation, as its URL names it. `Debug` hides the passwords.
#[derive(Clone)]
pub struct Topology {
    kind: Kind,
    /// The nodes that the URL names; there is at least one.
    seeds: Vec<Address>,
    /// How to connect to a node that keeps tickets; its address is replaced.
    node: Box<ConnectionInfo>,
}

impl Topology {
    /// Reads a URL: `redis://USER:PASSWORD@HOST:PORT/DB`, `redis-sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB` or
    /// `redis-cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`; with `rediss` for TLS. Sentinels that want a login are given
    /// `?sentinel_user=…&sentinel_password=…`.
    ///
    /// # Errors
    /// [`TopologyError`], whose message never repeats the URL, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, TopologyError> {
        let RedisUrl { kind, seeds, node } = RedisUrl::parse(url)?;
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
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        if !found.is_ok_and(|found| !found.is_empty()) {
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

#[cfg(test)]
mod tests;
