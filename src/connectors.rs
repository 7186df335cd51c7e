//! Connectors: other services' codes in the place of the gateway's own. Which client uses one is its setting.
//!
//! A connector makes the code of a ticket and is told of the scan by its service; it moves the ticket itself, through the
//! store. Who has scanned is a subject of its own, in a namespace that no identity provider's token is believed to be of.

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

/// The tables `[connectors.…]` as they stand in the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorTables {
    wechat: Option<WechatTable>,
}

impl ConnectorTables {
    /// Checks them; files are looked for in `directory`.
    ///
    /// # Errors
    /// Every fault there is, with what to do.
    pub fn check(self, directory: &Path) -> Result<ConnectorSettings, Vec<String>> {
        let wechat = self.wechat.map(|table| table.check(directory)).transpose()?;
        Ok(ConnectorSettings { wechat })
    }

    /// Returns the files that hold secrets: those that the tables name, relative to `directory`, and `path`, where the tables
    /// stand, if one of theirs stands there.
    #[must_use]
    pub fn secret_files(&self, path: &Path, directory: &Path) -> Vec<PathBuf> {
        self.wechat.as_ref().map(|table| table.secret_files(path, directory)).unwrap_or_default()
    }

    /// Returns how the screens of the connector's tickets are compared.
    #[must_use]
    pub fn match_policy(&self, connector: Connector) -> Option<MatchPolicy> {
        match connector {
            Connector::Wechat => self.wechat.as_ref().map(WechatTable::match_policy),
        }
    }
}

/// The settings of the connectors that there are.
#[derive(Debug, Clone, Default)]
pub struct ConnectorSettings {
    /// WeChat's.
    pub wechat: Option<WechatSettings>,
}

/// The connectors that there are.
#[derive(Default)]
pub struct Connectors {
    /// WeChat's.
    pub wechat: Option<Arc<Wechat>>,
}

impl Connectors {
    /// Returns what the QR code of a new ticket of `caller` is to say, which lives for `ttl`.
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
            // The settings are checked at start.
            (Connector::Wechat, None) => Err(ConnectorError::Unavailable("it is not set up".to_owned())),
        }
    }

    /// Forgets what is over.
    pub fn tidy(&self) {
        if let Some(wechat) = &self.wechat {
            wechat.tidy();
        }
    }

    /// Returns whether `subject` is one that a connector gives, so that nobody else's word for it counts.
    #[must_use]
    pub fn own(&self, subject: &Subject) -> bool {
        self.wechat.is_some() && subject.0.starts_with(wechat::SUBJECT_PREFIX)
    }
}
