//! The TOML file, which holds the settings with structure: clients, connectors and identity providers.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::clients::Clients;
use crate::clients::table::ClientTable;
use crate::clients::tables;
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
    /// Files that hold secrets: those that the file names, and the file itself if it holds one.
    pub(super) secret_files: Vec<PathBuf>,
}

/// The tables of the identity providers, unchecked: the one that the flags set is checked together with them.
pub(super) type Tables = Vec<ProviderTable>;

/// Reads the file, and checks its clients and connectors. Without a file, or with one that has only identity providers, the only
/// client is `web`. `is_https` is whether browsers reach the gateway over https.
///
/// The tables of the identity providers are returned besides, also if the rest has faults, so that all faults are reported
/// together. They are `None` if the file cannot be read.
///
/// # Errors
/// All faults, each with the file's name.
pub(super) fn read(path: Option<&Path>, is_https: bool) -> (Result<Content, Vec<String>>, Option<Tables>) {
    let Some(path) = path else {
        let (clients, connectors) = (Clients::web_only(), ConnectorSettings::default());
        return (Ok(Content { clients, connectors, secret_files: Vec::new() }), Some(Vec::new()));
    };
    let fault = |fault: &dyn std::fmt::Display| format!("--config {}: {fault}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| fault(&error));
    let file = text.and_then(|text| toml::from_str::<File>(&text).map_err(|error| fault(&describe(&text, &error))));
    match file {
        Ok(mut file) => {
            let tables = std::mem::take(&mut file.identity_providers);
            (check(file, &tables, path, is_https), Some(tables))
        }
        Err(text) => (Err(vec![text]), None),
    }
}

fn check(file: File, providers: &[ProviderTable], path: &Path, is_https: bool) -> Result<Content, Vec<String>> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let policy_of = |connector| file.connectors.match_policy(connector);
    let mut secret_files = file.connectors.secret_files(path, directory);
    secret_files.extend(file.clients.iter().flat_map(|table| table.secret_files(path, directory)));
    secret_files.extend(providers.iter().flat_map(|table| table.secret_files(path, directory)));
    let clients = match file.clients {
        clients if clients.is_empty() && !providers.is_empty() => Ok(Clients::web_only()),
        clients => tables::from_tables(clients, directory, is_https, policy_of),
    };
    match (clients, file.connectors.check(directory)) {
        (Ok(clients), Ok(connectors)) => Ok(Content { clients, connectors, secret_files }),
        (clients, connectors) => {
            let faults = [clients.err(), connectors.err()].into_iter().flatten().flatten();
            Err(faults.map(|text| format!("--config {}: {text}", path.display())).collect())
        }
    }
}

/// Returns the error's message and line number. The error's `Display` form quotes the line, which may hold a secret.
fn describe(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}
