//! The identity provider: its keys, and whether it calls itself what the settings say.

use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use super::report::Report;
use crate::metrics::Metrics;
use crate::verifier::jwks::{self, RemoteKeys};
use crate::verifier::settings::IdentitySettings;

/// What a provider says of itself (OpenID Connect Discovery §3, RFC 8414 §2), as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
}

pub(super) async fn examine(report: &mut Report, identity: &IdentitySettings) {
    match identity {
        // The settings' own warning has said what there is to say.
        IdentitySettings::Demo => {}
        IdentitySettings::Secret { issuer, .. } => report.good("identity", format!("{issuer}, by shared secret")),
        IdentitySettings::Jwks { url, issuer, max_age, .. } => {
            let keys = match RemoteKeys::new(url.clone(), *max_age, Arc::new(Metrics::new())) {
                Ok(keys) => keys.probe().await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match keys {
                Ok((count, skipped)) => {
                    report.good("identity", format!("{issuer}: {count} key(s) at {url}"));
                    for skipped in skipped {
                        let text = format!("left out at {url}: {skipped}");
                        if skipped.reason.is_fault() {
                            report.warn("identity", text);
                        } else {
                            report.good("identity", text);
                        }
                    }
                }
                Err(error) => report.bad(
                    "identity",
                    format!("{url}: {error}. Check --identity-jwks-url and that it can be reached from here"),
                ),
            }
            issuer_and_keys(report, issuer, url).await;
        }
    }
}

/// Compares the settings with what the provider says of itself: a token whose `iss` differs by one slash is refused.
async fn issuer_and_keys(report: &mut Report, issuer: &str, keys: &Url) {
    let Ok(base) =
        Url::parse(issuer).and_then(|url| if url.has_host() { Ok(url) } else { Err(url::ParseError::EmptyHost) })
    else {
        report.warn(
            "identity",
            format!("--identity-issuer {issuer} is no URL, so that it cannot be compared with what the provider calls itself; compare it with iss in one of its tokens"),
        );
        return;
    };
    let (address, said) = match discover(&base).await {
        Ok(found) => found,
        Err(error) => {
            report.warn(
                "identity",
                format!("--identity-issuer {issuer} cannot be compared with what the provider calls itself ({error}); compare it with iss in one of its tokens"),
            );
            return;
        }
    };
    if said.issuer == issuer {
        report.good("identity", format!("{address} has the same issuer"));
    } else {
        let slash = if said.issuer.trim_end_matches('/') == issuer.trim_end_matches('/') {
            " They differ by a slash at the end."
        } else {
            ""
        };
        report.bad(
            "identity",
            format!(
                "--identity-issuer is {issuer}, and the provider calls itself {:?} ({address}): its tokens are refused.{slash} Set --identity-issuer to what it says, exactly",
                said.issuer
            ),
        );
    }
    match said.jwks_uri {
        Some(uri) if Url::parse(&uri).is_ok_and(|uri| uri == *keys) => {}
        Some(uri) => report.warn(
            "identity",
            format!("--identity-jwks-url is {keys}, and the provider names {uri:?} ({address}); set it to that, unless you know why not"),
        ),
        None => {}
    }
}

/// Fetches what the provider says of itself. The first address is that of OpenID Connect Discovery §4, the second that of RFC 8414
/// §3, which puts the path behind.
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
                Ok(said) => return Ok((address, said)),
                Err(error) => faults.push(format!("{address}: {error}")),
            },
            Err(error) => faults.push(format!("{address}: {error}")),
        }
    }
    Err(faults.join("; "))
}
