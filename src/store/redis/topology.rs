//! The Redis installation that a URL names, and how to connect to any of its servers.
//!
//! `discovery` finds the current primaries; `slots` holds the owners of slots. Only `discovery`, `diagnosis` and this
//! file match on the kind of the installation; other modules call `has_replicas` and `replicas_refuse_reads`.

use std::fmt;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::address::Address;
use super::redis_url::{InstallationKind, RedisUrl, TopologyError};

/// A Redis installation, as its URL names it. `Debug` hides the passwords.
#[derive(Clone)]
pub struct Topology {
    kind: InstallationKind,
    /// The servers that the URL names, at least one.
    seeds: Vec<Address>,
    /// The connection settings of nodes that store tickets; each node's address replaces the one in them.
    node: Box<ConnectionInfo>,
}

impl Topology {
    /// Parses a URL: `redis://USER:PASSWORD@HOST:PORT/DB`, `redis-sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB` or
    /// `redis-cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`; with `rediss` for TLS. Sentinels that require a login get
    /// `?sentinel_user=…&sentinel_password=…`.
    ///
    /// # Errors
    /// [`TopologyError`], whose message never repeats the URL, which may contain a password.
    pub fn parse(url: &str) -> Result<Self, TopologyError> {
        let RedisUrl { kind, seeds, node } = RedisUrl::parse(url)?;
        Ok(Self { kind, seeds, node: Box::new(node) })
    }

    /// Trusts the certificate authorities in `pem` instead of the system's.
    ///
    /// # Errors
    /// [`TopologyError::Certificates`] if `pem` holds no certificate, or the URL does not use TLS.
    pub fn trusting(self, pem: &[u8]) -> Result<Self, TopologyError> {
        if !matches!(self.node.addr(), ConnectionAddr::TcpTls { .. }) {
            return Err(TopologyError::Certificates("the Redis URL does not use TLS; begin it with rediss".to_owned()));
        }
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
        let unusable = |error: RedisError| TopologyError::Certificates(error.to_string());
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        if !found.is_ok_and(|found| !found.is_empty()) {
            return Err(TopologyError::Certificates("the file contains no certificate in PEM format".to_owned()));
        }
        let client = Client::build_with_tls(*self.node, certificates).map_err(unusable)?;
        Ok(Self { node: Box::new(client.get_connection_info().clone()), ..self })
    }

    pub(super) fn kind(&self) -> &InstallationKind {
        &self.kind
    }

    pub(super) fn seeds(&self) -> &[Address] {
        &self.seeds
    }

    /// Returns whether a replica can take over from a failed primary.
    #[must_use]
    pub fn has_replicas(&self) -> bool {
        !matches!(self.kind, InstallationKind::Standalone)
    }

    /// Returns whether replicas refuse reads by themselves.
    pub(super) fn replicas_refuse_reads(&self) -> bool {
        matches!(self.kind, InstallationKind::Cluster)
    }

    /// Returns the number of the database, which is part of the names of notification channels.
    pub(super) fn database(&self) -> i64 {
        self.node.redis_settings().db()
    }

    /// Returns whether every server that the URL names is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.seeds.iter().all(Address::is_local)
    }

    /// Returns the addresses in the URL, without credentials.
    #[must_use]
    pub fn address(&self) -> String {
        let seeds = self.seeds.iter().map(Address::to_string).collect::<Vec<_>>().join(",");
        match &self.kind {
            InstallationKind::Standalone => seeds,
            InstallationKind::Sentinel { name, .. } => format!("{name} (Sentinel {seeds})"),
            InstallationKind::Cluster => format!("Cluster {seeds}"),
        }
    }

    /// Opens a connection to a server that knows the primaries: a Sentinel, or any node of a Cluster.
    ///
    /// # Errors
    /// The client's error.
    pub(super) async fn open_for_discovery(
        &self,
        address: &Address,
        timeout: Duration,
    ) -> Result<MultiplexedConnection, RedisError> {
        let mut info = self.connection_info(address);
        if let InstallationKind::Sentinel { login, .. } = &self.kind {
            info = info.set_redis_settings((**login).clone());
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(timeout));
        Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Returns the connection settings of a node that stores tickets.
    pub(super) fn connection_info(&self, address: &Address) -> ConnectionInfo {
        let info = (*self.node).clone();
        let (host, port) = (address.host().to_owned(), address.port());
        let addr = match info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            ConnectionAddr::Tcp(..) => ConnectionAddr::Tcp(host, port),
            // A Unix socket has one server.
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
