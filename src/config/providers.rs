//! The identity providers at which people sign in: the one of the flags, and those of the TOML file.

use std::path::Path;

use super::flags::Flags;
use crate::relying_party::settings::ProviderSettings;
use crate::relying_party::tables::{self, ProviderTable};
use crate::secret::{Secret, direct_or_file};

/// Reads the `--oidc-…` flags, and checks their provider together with those of the TOML file.
///
/// # Errors
/// All faults, each with its fix.
pub(super) fn providers(flags: &Flags, from_file: Vec<ProviderTable>) -> Result<Vec<ProviderSettings>, Vec<String>> {
    let mut faults = Vec::new();
    let own = of_flags(flags).map_err(|fault| faults.push(fault)).ok().flatten();
    let directory = flags.config.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    let tables = own.into_iter().chain(from_file).collect();
    match tables::from_tables(tables, directory, flags.identity_keys_max_age) {
        Ok(providers) if faults.is_empty() => Ok(providers),
        Ok(_) => Err(faults),
        Err(found) => {
            faults.extend(found);
            Err(faults)
        }
    }
}

fn of_flags(flags: &Flags) -> Result<Option<ProviderTable>, String> {
    let secret = direct_or_file(
        ("--oidc-client-secret", "--oidc-client-secret-file"),
        flags.oidc_client_secret.as_deref(),
        flags.oidc_client_secret_file.as_deref(),
    )?;
    match (&flags.oidc_issuer, &flags.oidc_client_id) {
        (Some(issuer), Some(client_id)) => {
            // Providers' documentation separates scopes by spaces.
            let scopes = flags.oidc_scopes.iter().flat_map(|list| list.split_whitespace()).map(str::to_owned).collect();
            let name = flags.oidc_name.clone();
            Ok(Some(ProviderTable::of_flags(issuer.clone(), client_id.clone(), secret.map(Secret::new), scopes, name)))
        }
        (Some(_), None) => Err("--oidc-issuer needs --oidc-client-id: register the gateway at the provider, with the \
             redirect URI that `scangate doctor` prints"
            .to_owned()),
        (None, _) => {
            let set = [
                ("--oidc-client-id", flags.oidc_client_id.is_some()),
                ("--oidc-client-secret", secret.is_some()),
                ("--oidc-scopes", !flags.oidc_scopes.is_empty()),
                ("--oidc-name", flags.oidc_name.is_some()),
            ];
            match set.into_iter().find(|(_, is_set)| *is_set) {
                Some((flag, _)) => Err(format!("{flag} is set, but --oidc-issuer is not; set both")),
                None => Ok(None),
            }
        }
    }
}

/// Returns the fault of an issuer of native apps' tokens that is none of the providers: its subjects could be those of another
/// provider's people.
pub(super) fn issuer_fault(identity_issuer: Option<&str>, providers: &[ProviderSettings]) -> Option<String> {
    let issuer = identity_issuer.filter(|_| !providers.is_empty())?;
    let is_known = providers.iter().any(|provider| provider.issuer == issuer);
    (!is_known).then(|| {
        format!(
            "--identity-issuer {issuer} is none of the identity providers, so its people could have the `sub` of another \
             provider's people; add it as [[identity_providers]] with its audiences, and remove --identity-…"
        )
    })
}
