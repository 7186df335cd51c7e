//! The TOML file: what has structure, which is clients and connectors.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::clients::Clients;
use crate::clients::tables::{self, ClientTable};
use crate::connectors::{ConnectorSettings, ConnectorTables};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    clients: Vec<ClientTable>,
    #[serde(default)]
    connectors: ConnectorTables,
}

/// What the file says.
pub(super) struct Read {
    /// Who may use the gateway.
    pub(super) clients: Clients,
    /// Whose codes are shown.
    pub(super) connectors: ConnectorSettings,
    /// Files that hold secrets: those that it names, and the file itself if one stands in it.
    pub(super) secret_files: Vec<PathBuf>,
}

/// Reads and checks the file; without one there is the client `web`. `is_https` tells how browsers reach the gateway.
///
/// # Errors
/// Every fault there is, with the file's name.
pub(super) fn read(path: Option<&Path>, is_https: bool) -> Result<Read, Vec<String>> {
    let Some(path) = path else {
        let (clients, connectors) = (Clients::only_web(), ConnectorSettings::default());
        return Ok(Read { clients, connectors, secret_files: Vec::new() });
    };
    let fault = |fault: &dyn std::fmt::Display| format!("--config {}: {fault}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| vec![fault(&error)])?;
    let file: File = toml::from_str(&text).map_err(|error| vec![fault(&describe(&text, &error))])?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let policy_of = |connector| file.connectors.match_policy(connector);
    let clients = tables::from_tables(file.clients, directory, is_https, policy_of);
    let secret_files = file.connectors.secret_files(path, directory);
    match (clients, file.connectors.check(directory)) {
        (Ok(clients), Ok(connectors)) => Ok(Read { clients, connectors, secret_files }),
        (clients, connectors) => {
            let faults = [clients.err(), connectors.err()].into_iter().flatten().flatten();
            Err(faults.map(|text| fault(&text)).collect())
        }
    }
}

/// Says what is wrong with the file, and where. The error's own form quotes the line, which may hold a secret.
fn describe(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}
