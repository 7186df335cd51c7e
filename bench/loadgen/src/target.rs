//! Where the load goes, and from which addresses: parsed from text, resolved once, never anything else afterwards.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// How long looking up a host's addresses may take.
const RESOLVE_TIME: Duration = Duration::from_secs(10);
/// The most source addresses.
pub const MAX_SOURCES: usize = 4096;
/// How many connections one source address is given to one target.
///
/// Linux has 28,000 ports for them and hands out the even ones first. Once those are taken, every further connection searches
/// through all of them: with 15,000 open, that took 0.7 ms each, more than a whole login otherwise.
pub const STREAMS_PER_SOURCE: usize = 10_000;

/// A target as it was named, and what is needed to connect to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// As it was named.
    pub text: String,
    /// What the `Host` header says.
    pub authority: String,
    /// How to get there.
    pub place: Place,
}

/// How to reach a target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Place {
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
            let place = Place::Unix(path.into());
            return Ok(Self { text: text.to_owned(), authority: "localhost".to_owned(), place });
        }
        let url = url::Url::parse(text).map_err(|error| format!("{text:?} is no URL ({error}); write {form}"))?;
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
        Ok(Self { text: text.to_owned(), authority, place: Place::Tcp { host, port, tls, addresses: Vec::new() } })
    }
}

impl Target {
    /// Looks the host up.
    ///
    /// # Errors
    /// When it has no address.
    pub async fn resolve(&mut self) -> anyhow::Result<()> {
        if let Place::Tcp { host, port, addresses, .. } = &mut self.place {
            let found = tokio::time::timeout(RESOLVE_TIME, tokio::net::lookup_host((host.as_str(), *port)));
            let found = found.await.with_context(|| format!("{host} could not be looked up in time"))?;
            *addresses = found.with_context(|| format!("{host} cannot be looked up"))?.collect();
            if addresses.is_empty() {
                bail!("{host} has no address");
            }
        }
        Ok(())
    }

    fn is_ipv4_loopback(&self) -> bool {
        let Place::Tcp { addresses, .. } = &self.place else { return false };
        let mut addresses = addresses.iter().map(SocketAddr::ip);
        addresses.clone().all(|ip| ip.is_loopback()) && addresses.any(|ip| ip.is_ipv4())
    }

    fn is_tcp(&self) -> bool {
        matches!(self.place, Place::Tcp { .. })
    }
}

/// What `--source-addresses` says.
#[derive(Debug, Clone, PartialEq)]
pub enum Sources {
    /// This many of 127.1.0.1, 127.1.0.2 …
    Count(usize),
    /// These.
    List(Vec<IpAddr>),
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(count) = text.parse() {
            return if (1..=MAX_SOURCES).contains(&count) {
                Ok(Self::Count(count))
            } else {
                Err(format!("from 1 to {MAX_SOURCES} addresses are possible"))
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
    /// Returns the addresses to connect from; none leaves the choice to the system.
    ///
    /// `wanted` is how many streams there will be, for a choice where nothing was said (`None`).
    ///
    /// # Errors
    /// When addresses are to be made up and a target is not on this machine.
    pub fn choose(said: Option<&Self>, targets: &[Target], wanted: usize) -> Result<Vec<IpAddr>, String> {
        let is_local = targets.iter().all(|target| target.is_ipv4_loopback() || !target.is_tcp());
        let has_tcp = targets.iter().any(Target::is_tcp);
        match said {
            Some(Self::List(list)) => Ok(list.clone()),
            Some(Self::Count(1)) => Ok(Vec::new()),
            Some(Self::Count(count)) if is_local => Ok((0..*count).map(loopback).collect()),
            Some(Self::Count(_)) => Err(
                "--source-addresses as a number is for targets on 127.0.0.0/8; list this machine's addresses instead"
                    .to_owned(),
            ),
            None if is_local && has_tcp && wanted > STREAMS_PER_SOURCE => {
                Ok((0..wanted.div_ceil(STREAMS_PER_SOURCE)).map(loopback).collect())
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

    fn place(text: &str) -> (String, Place) {
        let target: Target = text.parse().unwrap();
        (target.authority, target.place)
    }

    fn local(text: &str) -> Target {
        let mut target: Target = text.parse().unwrap();
        if let Place::Tcp { port, addresses, host, .. } = &mut target.place {
            addresses.push((host.parse::<IpAddr>().unwrap(), *port).into());
        }
        target
    }

    #[test]
    fn addresses_are_read() {
        let (authority, Place::Tcp { host, port, tls, .. }) = place("http://127.0.0.1:8080") else { panic!() };
        assert_eq!((authority.as_str(), host.as_str(), port, tls), ("127.0.0.1:8080", "127.0.0.1", 8080, false));
        let (authority, Place::Tcp { host, port, tls, .. }) = place("https://example.com/") else { panic!() };
        assert_eq!((authority.as_str(), host.as_str(), port, tls), ("example.com", "example.com", 443, true));
        let (authority, Place::Tcp { host, port, .. }) = place("http://[::1]:81") else { panic!() };
        assert_eq!((authority.as_str(), host.as_str(), port), ("[::1]:81", "::1", 81));
        let (authority, Place::Unix(path)) = place("unix:/run/x.sock") else { panic!() };
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
    fn made_up_sources_are_for_this_machine_only() {
        let choose = |said: Option<Sources>, to: &str, wanted| Sources::choose(said.as_ref(), &[local(to)], wanted);
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect::<Vec<_>>();
        assert_eq!(choose(Some(Sources::Count(2)), "http://127.0.0.1:1", 1), Ok(ips(&["127.1.0.1", "127.1.0.2"])));
        assert_eq!(choose(None, "http://127.0.0.1:1", 30_001).unwrap().len(), 4);
        assert_eq!(choose(None, "http://127.0.0.1:1", 10_000), Ok(vec![]));
        assert_eq!(choose(None, "http://192.0.2.1:1", 40_001), Ok(vec![]));
        assert!(choose(Some(Sources::Count(2)), "http://192.0.2.1:1", 1).is_err());
        assert_eq!(loopback(254), "127.1.1.1".parse::<IpAddr>().unwrap());
    }
}
