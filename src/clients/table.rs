//! A `[[clients]]` table of the TOML file, as it is written there.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Connector;
use super::openid::RefreshTokens;
use crate::secret::Secret;
use crate::signer::keys::KeyAlgorithm;
use crate::ticket::{Flow, MatchPolicy};

/// A `[[clients]]` table, unchecked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTable {
    pub(super) id: String,
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) origins: Vec<String>,
    /// Removed. The key is read only to say what replaces it.
    pub(super) return_to: Option<toml::Value>,
    pub(super) ticket_ttl: Option<String>,
    pub(super) logo: Option<String>,
    pub(super) color: Option<String>,
    pub(super) color_dark: Option<String>,
    pub(super) claims: Option<Vec<String>>,
    #[serde(rename = "match")]
    pub(super) match_policy: Option<MatchPolicy>,
    pub(super) max_auth_age: Option<String>,
    #[serde(default)]
    pub(super) acr_values: Vec<String>,
    #[serde(default = "only_login")]
    pub(super) flows: Vec<Flow>,
    pub(super) connector: Option<Connector>,
    #[serde(default)]
    pub(super) redirect_uris: Vec<String>,
    pub(super) secret: Option<Secret>,
    pub(super) secret_file: Option<OneOrMany<PathBuf>>,
    pub(super) token_auth: Option<TokenAuthName>,
    pub(super) signing_alg: Option<KeyAlgorithm>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) pkce: Option<Pkce>,
    pub(super) refresh_tokens: Option<RefreshTokens>,
    pub(super) access_token_ttl: Option<String>,
    pub(super) id_token_ttl: Option<String>,
    pub(super) refresh_token_ttl: Option<String>,
    pub(super) refresh_token_max: Option<String>,
    pub(super) audiences: Option<Vec<String>>,
    pub(super) post_logout_redirect_uris: Option<Vec<String>>,
    pub(super) single_sign_on: Option<bool>,
}

impl ClientTable {
    /// Returns the files that contain secrets: those that it names, relative to `directory`, and `path`, the TOML file itself, if it
    /// contains one.
    pub fn secret_files(&self, path: &Path, directory: &Path) -> impl Iterator<Item = PathBuf> {
        let own = self.secret.as_ref().map(|_secret| path.to_owned());
        let named = self.secret_file.iter().flat_map(OneOrMany::as_slice).map(|file| directory.join(file));
        own.into_iter().chain(named)
    }
}

fn only_login() -> Vec<Flow> {
    vec![Flow::Login]
}

/// How the client authenticates, in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TokenAuthName {
    Basic,
    Post,
    None,
}

/// Whether a challenge is required, in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Pkce {
    Required,
    Optional,
}

/// One entry, or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a text, or a list of texts")]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}
