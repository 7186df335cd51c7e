//! Tests of parsing and refusing URLs.

use proptest::prelude::*;

use super::*;
use crate::store::redis::address::Address;

#[test]
fn neither_debug_nor_errors_show_a_password() {
    let topology = Topology::parse("redis://ada:hunter2@localhost:6380/3").unwrap();
    assert_eq!(format!("{topology:?}"), "Topology(localhost:6380)");
    assert_eq!(topology.database(), 3);
    for url in [
        "redis://ada:hunter2@local host:x/y",
        "redis-cluster://ada:hunter2@one,two:x",
        "redis-sentinel://:hunter2@one/",
    ] {
        let error = Topology::parse(url).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn an_unknown_scheme_is_named_as_such() {
    assert_eq!(Topology::parse("http://localhost").unwrap_err(), TopologyError::Scheme);
    assert_eq!(Topology::parse("localhost:6379").unwrap_err(), TopologyError::Scheme);
}

#[test]
fn a_sentinel_url_names_sentinels_the_primary_and_both_logins() {
    let url =
        "rediss-sentinel://ada:p%40ss@one,[::1]:27000,three/my%20gate/2?sentinel_user=eve&sentinel_password=s%26s";
    let topology = Topology::parse(url).unwrap();
    assert_eq!(topology.address(), "my gate (Sentinel one:26379,[::1]:27000,three:26379)");
    assert_eq!(topology.database(), 2);
    let node = topology.connection_info(&Address::new("four", 6379));
    assert_eq!(node.addr().to_string(), "four:6379");
    assert!(matches!(node.addr(), ConnectionAddr::TcpTls { .. }));
    assert_eq!(node.redis_settings().password(), Some("p@ss"));
    let InstallationKind::Sentinel { login, .. } = topology.kind() else { panic!("{topology:?}") };
    assert_eq!((login.username(), login.password()), (Some("eve"), Some("s&s")));
}

#[test]
fn a_cluster_url_names_nodes() {
    let topology = Topology::parse("redis-cluster://:secret@one:7000,two,[::1]").unwrap();
    assert_eq!(topology.address(), "Cluster one:7000,two:6379,[::1]:6379");
    assert_eq!(topology.connection_info(&topology.seeds()[1]).redis_settings().password(), Some("secret"));
}

#[test]
fn the_error_names_the_missing_or_superfluous_part_of_a_url() {
    for (url, word) in [
        ("redis-sentinel://one,two", "name"),
        ("redis-sentinel://one/gate/x", "database"),
        ("redis-sentinel://one/gate/0/1", "only"),
        ("redis-sentinel://one/gate?password=x", "sentinel_password"),
        ("redis-cluster://one,,two", "empty"),
        ("redis-cluster://ada:12#x@one", "%23"),
        ("redis-cluster://ada:12/x@one", "%2F"),
        ("redis-cluster://one/3", "no databases"),
        ("redis-cluster://one?x=y", "no query"),
    ] {
        let error = Topology::parse(url).unwrap_err().to_string();
        assert!(error.contains(word), "{url}: {error}");
    }
}

#[test]
fn certificates_require_tls_and_must_not_be_empty() {
    let plain = Topology::parse("redis://one").unwrap();
    assert!(plain.trusting(b"").unwrap_err().to_string().contains("rediss"));
    let tls = Topology::parse("rediss-cluster://one").unwrap();
    assert!(tls.trusting(b"nothing").unwrap_err().to_string().contains("PEM"));
}

proptest! {
    #[test]
    fn any_url_is_parsed_or_refused(rest in ".{0,60}") {
        for scheme in ["redis", "redis-sentinel", "redis-cluster"] {
            let _ = Topology::parse(&format!("{scheme}://{rest}"));
        }
        let _ = Topology::parse(&rest);
    }
}
