//! The TOML file, which holds the settings with structure: clients, connectors and identity providers.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::clients::Clients;
use crate::clients::tables::{self, ClientTable};
use crate::connectors::{ConnectorSettings, ConnectorTables};
use crate::relying_party::tables::ProviderTable;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    clients: Vec<ClientTable>,
    #[serde(default)]
    connectors: ConnectorTables,
    #[serde(default)]
    identity_providers: Vec<ProviderTable>,
}

/// The checked content of the file.
pub(super) struct Content {
    /// The registered clients.
    pub(super) clients: Clients,
    /// The connectors' settings.
    pub(super) connectors: ConnectorSettings,
    /// The identity providers' tables, unchecked.
    pub(super) identity_providers: Vec<ProviderTable>,
    /// Files that hold secrets: those that the file names, and the file itself if it holds one.
    pub(super) secret_files: Vec<PathBuf>,
}

/// Reads and checks the file. Without a file, the only client is `web`. `is_https` is whether browsers reach the gateway over
/// https.
///
/// # Errors
/// All faults, each with the file's name.
pub(super) fn read(path: Option<&Path>, is_https: bool) -> Result<Content, Vec<String>> {
    let Some(path) = path else {
        let (clients, connectors) = (Clients::web_only(), ConnectorSettings::default());
        return Ok(Content { clients, connectors, identity_providers: Vec::new(), secret_files: Vec::new() });
    };
    let fault = |fault: &dyn std::fmt::Display| format!("--config {}: {fault}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| vec![fault(&error)])?;
    let file: File = toml::from_str(&text).map_err(|error| vec![fault(&describe(&text, &error))])?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let policy_of = |connector| file.connectors.match_policy(connector);
    let clients = tables::from_tables(file.clients, directory, is_https, policy_of);
    let identity_providers = file.identity_providers;
    let mut secret_files = file.connectors.secret_files(path, directory);
    secret_files.extend(identity_providers.iter().flat_map(|table| table.secret_files(path, directory)));
    match (clients, file.connectors.check(directory)) {
        (Ok(clients), Ok(connectors)) => Ok(Content { clients, connectors, identity_providers, secret_files }),
        (clients, connectors) => {
            let faults = [clients.err(), connectors.err()].into_iter().flatten().flatten();
            Err(faults.map(|text| fault(&text)).collect())
        }
    }
}

/// Returns the error's message and line number. The error's `Display` form quotes the line, which may hold a secret.
fn describe(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}
