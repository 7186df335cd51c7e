//! Checks the identity provider: its keys, and whether its discovery document agrees with the settings.

use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use super::report::Report;
use crate::metrics::Metrics;
use crate::verifier::jwks::{self, RemoteKeys};
use crate::verifier::settings::IdentitySettings;

/// The fields of a provider's discovery document (OpenID Connect Discovery §3, RFC 8414 §2) that are compared.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
}

pub(super) async fn check(report: &mut Report, identity: &IdentitySettings) {
    match identity {
        // The warnings of the settings cover the demo, and `providers` the identity providers.
        IdentitySettings::Demo | IdentitySettings::Providers => {}
        IdentitySettings::Secret { issuer, .. } => report.ok("identity", format!("{issuer}, by shared secret")),
        IdentitySettings::Jwks { url, issuer, max_age, .. } => {
            let keys = match RemoteKeys::new(url.clone(), *max_age, Arc::new(Metrics::new())) {
                Ok(keys) => keys.probe().await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match keys {
                Ok((count, skipped)) => {
                    report.ok("identity", format!("{issuer}: {count} key(s) at {url}"));
                    for skipped in skipped {
                        let text = format!("ignored a key at {url}: {skipped}");
                        if skipped.reason.is_fault() {
                            report.warn("identity", text);
                        } else {
                            report.ok("identity", text);
                        }
                    }
                }
                Err(error) => report.error(
                    "identity",
                    format!("{url}: {error}. Check --identity-jwks-url, and that this machine can reach it"),
                ),
            }
            compare_metadata(report, issuer, url).await;
        }
    }
}

/// Compares the settings with the provider's discovery document. A token whose `iss` differs by one slash is refused.
async fn compare_metadata(report: &mut Report, issuer: &str, keys: &Url) {
    let Ok(base) =
        Url::parse(issuer).and_then(|url| if url.has_host() { Ok(url) } else { Err(url::ParseError::EmptyHost) })
    else {
        report.warn(
            "identity",
            format!("--identity-issuer {issuer} is not a URL, so it has no discovery document; compare it with iss in one of the provider's tokens"),
        );
        return;
    };
    let (address, metadata) = match discover(&base).await {
        Ok(found) => found,
        Err(error) => {
            report.warn(
                "identity",
                format!("cannot read the discovery document of --identity-issuer {issuer} ({error}); compare it with iss in one of the provider's tokens"),
            );
            return;
        }
    };
    if metadata.issuer == issuer {
        report.ok("identity", format!("{address} has the same issuer"));
    } else {
        let slash = if metadata.issuer.trim_end_matches('/') == issuer.trim_end_matches('/') {
            " They differ by a trailing slash."
        } else {
            ""
        };
        report.error(
            "identity",
            format!(
                "--identity-issuer is {issuer}, but the provider's issuer is {:?} ({address}), so the gateway refuses its tokens.{slash} Set --identity-issuer to exactly that",
                metadata.issuer
            ),
        );
    }
    match metadata.jwks_uri {
        Some(uri) if Url::parse(&uri).is_ok_and(|uri| uri == *keys) => {}
        Some(uri) => report.warn(
            "identity",
            format!("--identity-jwks-url is {keys}, but the provider's jwks_uri is {uri:?} ({address}); set it to that URL unless you need another one"),
        ),
        None => {}
    }
}

/// Fetches the provider's discovery document: first from the address of OpenID Connect Discovery §4, then from that of RFC 8414
/// §3, which appends the issuer's path.
async fn discover(issuer: &Url) -> Result<(Url, Metadata), String> {
    let path = issuer.path().trim_end_matches('/');
    let http = jwks::client(issuer).map_err(|error| error.to_string())?;
    let mut faults = Vec::new();
    for path in
        [format!("{path}/.well-known/openid-configuration"), format!("/.well-known/oauth-authorization-server{path}")]
    {
        let mut address = issuer.clone();
        address.set_path(&path);
        address.set_query(None);
        address.set_fragment(None);
        match jwks::fetch(&http, &address).await {
            Ok(body) => match serde_json::from_slice(&body) {
                Ok(metadata) => return Ok((address, metadata)),
                Err(error) => faults.push(format!("{address}: {error}")),
            },
            Err(error) => faults.push(format!("{address}: {error}")),
        }
    }
    Err(faults.join("; "))
}
