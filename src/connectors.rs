//! Connectors: sign-ins with a QR code of another service. Each client's settings choose its connector.
//!
//! A connector creates the code of a ticket at its service. The service reports the scan, and the connector then changes the
//! ticket through `sign_in`. Its subjects have a prefix of their own; the gateway accepts such a subject from no identity
//! provider.

mod error;
pub mod quota;
pub mod wechat;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::callers::Caller;
use crate::clients::Connector;
use crate::ticket::{MatchPolicy, Subject, TicketId};
pub use error::ConnectorError;
use wechat::Wechat;
use wechat::settings::{WechatSettings, WechatTable};

/// The tables `[connectors.…]` of the TOML file, unchecked.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorTables {
    wechat: Option<WechatTable>,
}

impl ConnectorTables {
    /// Checks the tables. Relative paths start at `directory`.
    ///
    /// # Errors
    /// All faults, each with a fix.
    pub fn check(self, directory: &Path) -> Result<ConnectorSettings, Vec<String>> {
        let wechat = self.wechat.map(|table| table.check(directory)).transpose()?;
        Ok(ConnectorSettings { wechat })
    }

    /// Returns the files that contain secrets: the files that the tables name, relative to `directory`, and `path`, the TOML
    /// file itself, if it contains a secret.
    #[must_use]
    pub fn secret_files(&self, path: &Path, directory: &Path) -> Vec<PathBuf> {
        self.wechat.as_ref().map(|table| table.secret_files(path, directory)).unwrap_or_default()
    }

    /// Returns how people compare the screens in the connector's sign-ins; `None` if the file has no table for it.
    #[must_use]
    pub fn match_policy(&self, connector: Connector) -> Option<MatchPolicy> {
        match connector {
            Connector::Wechat => self.wechat.as_ref().map(WechatTable::match_policy),
        }
    }
}

/// The settings of all connectors.
#[derive(Debug, Clone, Default)]
pub struct ConnectorSettings {
    /// WeChat's; `None` if it is not set up.
    pub wechat: Option<WechatSettings>,
}

/// All connectors.
#[derive(Default)]
pub struct Connectors {
    /// WeChat's; `None` if it is not set up.
    pub wechat: Option<Arc<Wechat>>,
}

impl Connectors {
    /// Creates the code of a new ticket of `caller`, valid for `ttl`. Returns the text for its QR code.
    ///
    /// # Errors
    /// [`ConnectorError`].
    pub async fn code(
        &self,
        connector: Connector,
        id: &TicketId,
        ttl: Duration,
        caller: Caller,
    ) -> Result<String, ConnectorError> {
        match (connector, &self.wechat) {
            (Connector::Wechat, Some(wechat)) => wechat.code(id, ttl, caller).await,
            // Never: the check of the settings refuses a client whose connector is not set up.
            (Connector::Wechat, None) => Err(ConnectorError::Unavailable("the connector is not set up".to_owned())),
        }
    }

    /// Removes callers whose share of a quota has refilled.
    pub fn prune(&self) {
        if let Some(wechat) = &self.wechat {
            wechat.prune();
        }
    }

    /// Returns whether `subject` belongs to a connector. The gateway accepts such a subject only from that connector.
    #[must_use]
    pub fn owns(&self, subject: &Subject) -> bool {
        self.wechat.is_some() && subject.0.starts_with(wechat::SUBJECT_PREFIX)
    }
}
