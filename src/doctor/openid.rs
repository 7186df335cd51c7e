//! Checks the OpenID Provider, and prints the settings for each app.

use super::report::Report;
use crate::clients::Client;
use crate::clients::openid::{OpenIdClient, TokenAuth};
use crate::config::Config;
use crate::config::store::StoreSettings;
use crate::signer::keys::KeyError;
use crate::signer::{MissingKey, Signer};
use crate::verifier::settings::IdentitySettings;

/// The name of these findings in the report.
const SUBJECT: &str = "openid";
/// The scopes whose claims the identity provider sends only if the gateway asks for the same scope.
const SCOPES_OF_PROVIDERS: [&str; 4] = ["profile", "email", "address", "phone"];

pub(super) fn check(report: &mut Report, config: &Config) {
    if !config.clients.have_openid() {
        return;
    }
    let issuer = &config.issuer;
    report.ok(SUBJECT, format!("issuer {issuer}, described at {issuer}/.well-known/openid-configuration"));
    for client in config.clients.iter() {
        let Some(openid) = &client.openid else { continue };
        report.ok(SUBJECT, describe(client, openid));
        if let Some(warning) = unasked_scopes(client, openid, config) {
            report.warn(SUBJECT, warning);
        }
    }
}

/// Checks that there is a key of each algorithm that clients use. Without a directory, the settings' warning says the
/// rest.
pub(super) fn check_keys(report: &mut Report, config: &Config, signer: Signer) {
    let named = config.clients.algorithms();
    match signer.with_algorithms(&named, MissingKey::Refuse) {
        Ok(_) if config.keys_dir.is_none() => {}
        Err(KeyError::NoDirectory(_)) if matches!(config.store, StoreSettings::Memory { .. }) => {}
        Ok(signer) => report.ok("keys", signer.describe()),
        Err(KeyError::Missing { algorithm, directory }) if matches!(config.store, StoreSettings::Memory { .. }) => {
            report.ok("keys", format!("the gateway creates a key for {algorithm} in {} at start", directory.display()));
        }
        Err(error @ (KeyError::Missing { algorithm, .. } | KeyError::NoDirectory(algorithm))) => {
            let id = config.clients.first_with(algorithm).map(|client| client.id.0.clone()).unwrap_or_default();
            report.error("keys", format!("client {id:?}: {error}"));
        }
        Err(error) => report.error("keys", error.to_string()),
    }
}

/// Describes a client by the settings that its app must have too.
fn describe(client: &Client, openid: &OpenIdClient) -> String {
    let authentication = match openid.token_auth {
        TokenAuth::Secret => "client_secret_basic or client_secret_post",
        TokenAuth::Basic => "client_secret_basic",
        TokenAuth::Post => "client_secret_post",
        TokenAuth::None => "no secret, PKCE",
    };
    format!(
        "client {}: {authentication}, {}, scopes {}, redirect URI {}",
        client.id.0,
        openid.signing_alg,
        openid.scopes.join(" "),
        openid.redirect_uris.join(" ")
    )
}

/// Returns a warning if the client may have scopes that the gateway asks no identity provider for: the app would lack
/// their claims.
fn unasked_scopes(client: &Client, openid: &OpenIdClient, config: &Config) -> Option<String> {
    // Only the scopes of identity providers are known: the providers of bearer tokens choose the claims themselves.
    if !matches!(config.identity, IdentitySettings::Providers) {
        return None;
    }
    let is_asked =
        |scope: &str| config.providers.iter().any(|provider| provider.scopes.iter().any(|asked| asked == scope));
    let is_needed = |scope: &&&str| openid.scopes.iter().any(|granted| granted == **scope) && !is_asked(scope);
    let missing: Vec<_> = SCOPES_OF_PROVIDERS.iter().filter(is_needed).copied().collect();
    (!missing.is_empty()).then(|| {
        format!(
            "client {}: it may have the scope {}, but no identity provider is asked for it, so its claims are missing; add it to \
             scopes of [[identity_providers]] or to --oidc-scopes, or remove it from the client's scopes",
            client.id.0,
            missing.join(", ")
        )
    })
}
