//! The targets of a run and the source addresses: parsed from text and resolved once, before the first stream.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// How long resolving a host name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of source addresses.
pub const MAX_SOURCES: usize = 4096;
/// The number of connections from one source address to one target.
///
/// Linux has 28,000 ephemeral ports and assigns the even ones first. Once those are used up, it searches all ports for every
/// further connection. With 15,000 open connections, that took 0.7 ms per connection, longer than a whole login.
pub const STREAMS_PER_SOURCE: usize = 10_000;

/// A target, and how to connect to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// The target as given on the command line.
    pub text: String,
    /// The value of the `Host` header.
    pub authority: String,
    /// How to connect.
    pub address: Address,
}

/// The address of a target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Address {
    /// TCP, with TLS if `tls`. `addresses` is empty until [`Target::resolve`].
    Tcp { host: String, port: u16, tls: bool, addresses: Vec<SocketAddr> },
    /// A Unix socket, without TLS.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "http://HOST:PORT, https://HOST:PORT or unix:/PATH";
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(format!("{text:?} needs an absolute path; write {form}"));
            }
            let address = Address::Unix(path.into());
            return Ok(Self { text: text.to_owned(), authority: "localhost".to_owned(), address });
        }
        let url = url::Url::parse(text).map_err(|error| format!("{text:?} is not a URL ({error}); write {form}"))?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(format!("{text:?} is neither http nor https; write {form}")),
        };
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let (Some(host), true, "", None) = (url.host(), is_bare, url.username(), url.password()) else {
            return Err(format!("{text:?} has more than a host and a port; write {form}"));
        };
        let port = url.port().unwrap_or(if tls { 443 } else { 80 });
        let authority = url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
        let host = match host {
            url::Host::Domain(name) => name.to_owned(),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        };
        Ok(Self { text: text.to_owned(), authority, address: Address::Tcp { host, port, tls, addresses: Vec::new() } })
    }
}

impl Target {
    /// Resolves the host name.
    ///
    /// # Errors
    /// If it has no address.
    pub async fn resolve(&mut self) -> anyhow::Result<()> {
        if let Address::Tcp { host, port, addresses, .. } = &mut self.address {
            let found = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host.as_str(), *port)));
            let found = found.await.with_context(|| format!("{host} could not be resolved in time"))?;
            *addresses = found.with_context(|| format!("{host} cannot be resolved"))?.collect();
            if addresses.is_empty() {
                bail!("{host} has no address");
            }
        }
        Ok(())
    }

    fn is_ipv4_loopback(&self) -> bool {
        let Address::Tcp { addresses, .. } = &self.address else { return false };
        let mut addresses = addresses.iter().map(SocketAddr::ip);
        addresses.clone().all(|ip| ip.is_loopback()) && addresses.any(|ip| ip.is_ipv4())
    }

    fn is_tcp(&self) -> bool {
        matches!(self.address, Address::Tcp { .. })
    }
}

/// The value of `--source-addresses`.
#[derive(Debug, Clone, PartialEq)]
pub enum Sources {
    /// The number of addresses from 127.1.0.1 on.
    Count(usize),
    /// A list.
    List(Vec<IpAddr>),
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(count) = text.parse() {
            return if (1..=MAX_SOURCES).contains(&count) {
                Ok(Self::Count(count))
            } else {
                Err(format!("must be 1 to {MAX_SOURCES} addresses"))
            };
        }
        let list: Result<Vec<IpAddr>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        match list {
            Ok(list) if list.len() <= MAX_SOURCES => Ok(Self::List(list)),
            _ => Err(format!("{text:?} is neither a number nor a list of at most {MAX_SOURCES} addresses")),
        }
    }
}

impl Sources {
    /// Returns the addresses to connect from; if empty, the system chooses.
    ///
    /// Without an `option`, the number of addresses depends on the number of `streams`.
    ///
    /// # Errors
    /// If the option is a number and a target is not on this machine.
    pub fn choose(option: Option<&Self>, targets: &[Target], streams: usize) -> Result<Vec<IpAddr>, String> {
        let is_local = targets.iter().all(|target| target.is_ipv4_loopback() || !target.is_tcp());
        let has_tcp = targets.iter().any(Target::is_tcp);
        match option {
            Some(Self::List(list)) => Ok(list.clone()),
            Some(Self::Count(1)) => Ok(Vec::new()),
            Some(Self::Count(count)) if is_local => Ok((0..*count).map(loopback).collect()),
            Some(Self::Count(_)) => Err(
                "a number as --source-addresses is only for targets on 127.0.0.0/8; list this machine's addresses instead"
                    .to_owned(),
            ),
            None if is_local && has_tcp && streams > STREAMS_PER_SOURCE => {
                Ok((0..streams.div_ceil(STREAMS_PER_SOURCE)).map(loopback).collect())
            }
            None => Ok(Vec::new()),
        }
    }
}

/// Returns the `n`th of 127.1.0.1, 127.1.0.2 … 127.1.0.254, 127.1.1.1 …
fn loopback(n: usize) -> IpAddr {
    let part = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 1, part(n / 254), part(n % 254 + 1)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, Address) {
        let target: Target = text.parse().unwrap();
        (target.authority, target.address)
    }

    fn local(text: &str) -> Target {
        let mut target: Target = text.parse().unwrap();
        if let Address::Tcp { port, addresses, host, .. } = &mut target.address {
            addresses.push((host.parse::<IpAddr>().unwrap(), *port).into());
        }
        target
    }

    #[test]
    fn addresses_are_parsed() {
        let (authority, Address::Tcp { host, port, tls, .. }) = parse("http://127.0.0.1:8080") else { panic!() };
        assert_eq!((authority.as_str(), host.as_str(), port, tls), ("127.0.0.1:8080", "127.0.0.1", 8080, false));
        let (authority, Address::Tcp { host, port, tls, .. }) = parse("https://example.com/") else { panic!() };
        assert_eq!((authority.as_str(), host.as_str(), port, tls), ("example.com", "example.com", 443, true));
        let (authority, Address::Tcp { host, port, .. }) = parse("http://[::1]:81") else { panic!() };
        assert_eq!((authority.as_str(), host.as_str(), port), ("[::1]:81", "::1", 81));
        let (authority, Address::Unix(path)) = parse("unix:/run/x.sock") else { panic!() };
        assert_eq!((authority.as_str(), path), ("localhost", PathBuf::from("/run/x.sock")));
    }

    #[test]
    fn anything_else_is_refused_with_the_form() {
        for text in
            ["", "localhost:80", "ftp://x", "http://x/path", "http://u:p@x", "http://x?y", "unix:relative", "unix:"]
        {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains("unix:/PATH"), "{text}: {error}");
        }
    }

    #[test]
    fn sources_are_a_count_or_a_list() {
        assert_eq!("3".parse(), Ok(Sources::Count(3)));
        assert_eq!(
            "10.0.0.1, ::1".parse(),
            Ok(Sources::List(vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()]))
        );
        for text in ["0", "5000", "x", "1.2.3", ""] {
            assert!(text.parse::<Sources>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_of_sources_is_for_this_machine_only() {
        let choose =
            |option: Option<Sources>, to: &str, streams| Sources::choose(option.as_ref(), &[local(to)], streams);
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect::<Vec<_>>();
        assert_eq!(choose(Some(Sources::Count(2)), "http://127.0.0.1:1", 1), Ok(ips(&["127.1.0.1", "127.1.0.2"])));
        assert_eq!(choose(None, "http://127.0.0.1:1", 30_001).unwrap().len(), 4);
        assert_eq!(choose(None, "http://127.0.0.1:1", 10_000), Ok(vec![]));
        assert_eq!(choose(None, "http://192.0.2.1:1", 40_001), Ok(vec![]));
        assert!(choose(Some(Sources::Count(2)), "http://192.0.2.1:1", 1).is_err());
        assert_eq!(loopback(254), "127.1.1.1".parse::<IpAddr>().unwrap());
    }
}
