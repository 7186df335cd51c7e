//! Checks the environment variables that begin with the gateway's prefix.
//!
//! A variable with the prefix that is not a setting is a fault. If the gateway ignored it, a misspelt variable would leave a
//! default active, and some defaults are only for evaluation.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::IpAddr;

/// The prefix of every setting's variable. Nothing else of scangate uses it.
const PREFIX: &str = "SCANGATE_";

/// Returns the faults of the variables that begin with the prefix. No fault quotes a value.
pub(super) fn faults(known: &BTreeSet<String>, variables: &[(OsString, OsString)]) -> Vec<String> {
    let variables: Vec<(String, &OsString)> =
        variables.iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value)).collect();
    let services = services(&variables);
    let mut faults = Vec::new();
    for (name, value) in &variables {
        let has_prefix = name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
        if !has_prefix || services.iter().any(|service| is_link(name, service)) {
            continue;
        }
        if known.contains(name) {
            if value.is_empty() {
                faults.push(format!("{name} is set but empty; set a value, or remove it from the environment"));
            }
        } else if let Some(nearest) = nearest(name, known) {
            faults.push(format!(
                "{name} is not a setting; the nearest is {nearest}. Correct it, or remove it from the environment"
            ));
        }
    }
    faults.sort_unstable();
    faults
}

/// Returns the setting with the most similar name.
fn nearest<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a String> {
    let words = |name: &str| name.to_ascii_uppercase().split_off(PREFIX.len());
    let name = words(name);
    // Edit distance matches typos, letter pairs match partial words, and whole words match another order.
    let similarity = |other: &str| {
        let other = words(other);
        let common = name.split('_').filter(|word| other.split('_').any(|other| other == *word)).count();
        strsim::normalized_damerau_levenshtein(&name, &other)
            + strsim::sorensen_dice(&name, &other)
            + fraction(common, name.split('_').count())
    };
    known.iter().max_by(|one, other| similarity(one).total_cmp(&similarity(other)))
}

fn fraction(part: usize, whole: usize) -> f64 {
    let float = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    float(part) / float(whole).max(1.0)
}

/// Returns the prefixes of the Kubernetes Services that the environment describes: `SCANGATE` for a Service called
/// `scangate`, `SCANGATE_ADMIN` for `scangate-admin`. Kubernetes sets such variables in pods without
/// `enableServiceLinks: false`.
fn services(variables: &[(String, &OsString)]) -> Vec<String> {
    let has = |name: &str| variables.iter().any(|(other, _)| other == name);
    let hosts = variables.iter().filter_map(|(name, value)| {
        let service = name.strip_suffix("_SERVICE_HOST")?;
        value.to_str()?.parse::<IpAddr>().ok()?;
        Some(service.to_owned())
    });
    hosts.filter(|service| has(&format!("{service}_SERVICE_PORT")) && has(&format!("{service}_PORT"))).collect()
}

/// Returns whether a variable describes that Service: `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_SERVICE_PORT_HTTP`,
/// `…_PORT`, `…_PORT_8080_TCP` and `…_PORT_8080_TCP_PROTO`, `_PORT`, `_ADDR`.
fn is_link(name: &str, service: &str) -> bool {
    let Some(rest) = name.strip_prefix(service).and_then(|rest| rest.strip_prefix('_')) else { return false };
    match rest.split('_').collect::<Vec<_>>()[..] {
        ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..] | ["PORT"] => true,
        ["PORT", port, "TCP" | "UDP" | "SCTP"] | ["PORT", port, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR"] => {
            port.parse::<u16>().is_ok()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::cli::{Cli, variables_of};
    use super::*;

    fn faults_of(variables: &[(&str, &str)]) -> Vec<String> {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        faults(&variables_of(&Cli::command()), &variables)
    }

    #[test]
    fn an_unknown_variable_is_a_fault_that_names_the_nearest_setting() {
        for (wrong, right) in [
            ("SCANGATE_IDENTITY_JWKS_URI", "SCANGATE_IDENTITY_JWKS_URL"),
            ("SCANGATE_JWKS_URL", "SCANGATE_IDENTITY_JWKS_URL"),
            ("SCANGATE_IDENTIY_ISSUER", "SCANGATE_IDENTITY_ISSUER"),
            ("SCANGATE_IDENTITY_SECRETFILE", "SCANGATE_IDENTITY_SECRET_FILE"),
            ("SCANGATE_PUBLICURL", "SCANGATE_PUBLIC_URL"),
            ("SCANGATE_TRUSTED_PROXY", "SCANGATE_TRUSTED_PROXIES"),
            ("SCANGATE_REDIS_URI", "SCANGATE_REDIS_URL"),
            ("SCANGATE_KEY_DIR", "SCANGATE_KEYS_DIR"),
            ("SCANGATE_KEYS_DIR_", "SCANGATE_KEYS_DIR"),
            ("scangate_demo", "SCANGATE_DEMO"),
            ("Scangate_Listen", "SCANGATE_LISTEN"),
        ] {
            let found = faults_of(&[(wrong, "hunter2")]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(wrong) && found[0].contains(&format!("nearest is {right}.")), "{found:?}");
            assert!(!found[0].contains("hunter2"), "{found:?}");
        }
        assert_eq!(faults_of(&[("SCANGATE_", "1"), ("SCANGATE_A", "1"), ("SCANGATE_LISTEN", "x")]).len(), 2);
    }

    #[test]
    fn a_setting_without_a_value_is_a_fault() {
        let found = faults_of(&[("SCANGATE_IDENTITY_JWKS_URL", ""), ("SCANGATE_DEMO", ""), ("PATH", "")]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|fault| fault.contains("empty")), "{found:?}");
    }

    #[test]
    fn kubernetes_service_variables_are_ignored_and_similar_ones_are_faults() {
        let links = |prefix: &str| {
            [
                ("SERVICE_HOST", "10.96.0.7"),
                ("SERVICE_PORT", "8080"),
                ("SERVICE_PORT_HTTP", "8080"),
                ("PORT", "tcp://10.96.0.7:8080"),
                ("PORT_8080_TCP", "tcp://10.96.0.7:8080"),
                ("PORT_8080_TCP_PROTO", "tcp"),
                ("PORT_8080_TCP_PORT", "8080"),
                ("PORT_8080_TCP_ADDR", "10.96.0.7"),
            ]
            .map(|(name, value)| (format!("{prefix}_{name}"), value))
        };
        let found = |variables: &[(String, &str)]| {
            faults_of(&variables.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>())
        };
        for service in ["SCANGATE", "SCANGATE_ADMIN", "SCANGATE_REDIS"] {
            assert_eq!(found(&links(service)), [""; 0]);
            let with_more = [&links(service)[..], &[(format!("{service}_PORT_X"), "1")]].concat();
            assert_eq!(found(&with_more).len(), 1, "{service}");
        }
        assert_eq!(found(&links("SCANGATE")[3..]).len(), 5, "no Service is described");
        for alone in ["SCANGATE_PORT", "SCANGATE_SERVICE_HOST"] {
            assert_eq!(faults_of(&[(alone, "10.96.0.7")]).len(), 1);
        }
        let named = [("SCANGATE_SERVICE_HOST", "db"), ("SCANGATE_SERVICE_PORT", "1"), ("SCANGATE_PORT", "1")];
        assert_eq!(faults_of(&named).len(), 3, "a Service has an address");
    }
}
