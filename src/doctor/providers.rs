//! Checks the identity providers at which people sign in, and prints what to register there.

use std::sync::Arc;

use url::Url;

use super::report::Report;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::relying_party::settings::{ProviderSettings, SignOut};
use crate::relying_party::{Metadata, Provider};

/// The name of these findings in the report.
const SUBJECT: &str = "sign-in";

pub(super) async fn check(report: &mut Report, config: &Config) {
    if config.providers.is_empty() {
        return;
    }
    report.ok(SUBJECT, format!("register this redirect URI, character for character: {}", config.redirect_uri()));
    if config.providers.len() > 1 {
        report.ok(SUBJECT, "there are several identity providers, so each subject is PROVIDER:SUB");
    }
    let has_several = config.providers.len() > 1;
    let mut checked: Vec<(&str, Metadata)> = Vec::new();
    for settings in &config.providers {
        let Some(metadata) = check_provider(report, settings).await else { continue };
        if !metadata.promises_iss {
            check_without_iss(report, &settings.id, has_several);
        }
        // RFC 9700 §4.4: a hostile provider that sends people to an honest one gets their codes.
        let is_same = |other: &&(&str, Metadata)| other.1.authorization_endpoint == metadata.authorization_endpoint;
        if let Some((other, _)) = checked.iter().find(is_same) {
            report.error(
                SUBJECT,
                format!(
                    "{}: its authorization_endpoint is that of {other}, so one of them may collect the other's codes; remove \
                     the one that you do not trust",
                    settings.id
                ),
            );
        }
        checked.push((settings.id.as_str(), metadata));
    }
}

/// Returns the provider's discovery document if it is usable.
async fn check_provider(report: &mut Report, settings: &ProviderSettings) -> Option<Metadata> {
    let id = &settings.id;
    let provider = match Provider::new(settings.clone(), Arc::new(Metrics::new())) {
        Ok(provider) => provider,
        Err(error) => {
            report.error(SUBJECT, format!("{id}: {error}"));
            return None;
        }
    };
    let metadata = match provider.discovery.probe().await {
        Ok(metadata) => metadata,
        Err(error) => {
            let advice = "check the issuer, and that this machine can reach it";
            report.error(SUBJECT, format!("{id}: {}: {error}; {advice}", settings.issuer));
            return None;
        }
    };
    report.ok(SUBJECT, format!("{id}: {} has a discovery document", settings.issuer));
    for (name, url) in elsewhere(settings, &metadata) {
        report.ok(
            SUBJECT,
            format!("{id}: {name} is on another host, {url}: the gateway trusts it because the issuer names it"),
        );
    }
    if metadata.lists_s256 == Some(false) {
        report.warn(
            SUBJECT,
            format!("{id}: the provider does not list S256 (PKCE); without it, only the nonce and the client secret stop a stolen code"),
        );
    }
    if settings.sign_out == SignOut::Provider && metadata.end_session_endpoint.is_none() {
        report.warn(SUBJECT, format!("{id}: sign_out is \"provider\", but the provider has no end_session_endpoint; people stay signed in there"));
    }
    keys(report, id, &provider, &metadata.jwks_uri).await;
    Some(metadata)
}

/// Reports a provider that does not promise `iss`. Beside others, that is a risk: RFC 9700 §4.4.
fn check_without_iss(report: &mut Report, id: &str, has_several: bool) {
    let finding =
        format!("{id}: the provider does not promise iss in its answers (RFC 9207); one that comes is checked");
    if has_several {
        report.warn(
            SUBJECT,
            format!(
                "{finding}. Another provider in the settings, if it turns hostile, could then sign in as people of {id} \
                 (mix-up): list only providers that you trust, or run a gateway for each"
            ),
        );
    } else {
        report.ok(SUBJECT, finding);
    }
}

async fn keys(report: &mut Report, id: &str, provider: &Provider, url: &Url) {
    match provider.keys().probe_at(url).await {
        Ok((count, skipped)) => {
            report.ok(SUBJECT, format!("{id}: {count} key(s) at {url}"));
            for skipped in skipped.into_iter().filter(|skipped| skipped.reason.is_fault()) {
                report.warn(SUBJECT, format!("{id}: ignored a key at {url}: {skipped}"));
            }
        }
        Err(error) => report.error(SUBJECT, format!("{id}: {url}: {error}; no ID token can be verified")),
    }
}

/// Returns the endpoints that are not on the issuer's host.
fn elsewhere<'a>(settings: &ProviderSettings, metadata: &'a Metadata) -> impl Iterator<Item = (&'static str, &'a Url)> {
    let issuer = Url::parse(&settings.issuer).ok().map(|issuer| issuer.origin());
    metadata.endpoints().filter(move |(_, url)| Some(url.origin()) != issuer)
}
