//! The settings of one identity provider.

use std::time::Duration;

use url::Url;

use crate::qr::Logo;
use crate::secret::Secret;
use crate::urls::is_local;

/// The path to which providers send people back. Together with the public URL, it is the redirect URI to register.
pub const CALLBACK_PATH: &str = "/sign-in/callback";
/// The id of the provider that the flags set.
pub const DEFAULT_ID: &str = "oidc";
/// The scopes without a setting: who the person is, and their name.
pub const DEFAULT_SCOPES: [&str; 2] = ["openid", "profile"];

/// How the gateway authenticates to the token endpoint (OpenID Connect Core §9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `none`: a public client. PKCE alone protects the code.
    Public,
    /// `client_secret_basic`.
    Basic(Secret),
    /// `client_secret_post`.
    Post(Secret),
    /// `client_secret_basic`, unless the provider's discovery document lists only `client_secret_post`.
    Discovered(Secret),
}

/// Where "sign out" ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignOut {
    /// At the gateway only.
    #[default]
    Here,
    /// At the provider too, by its `end_session_endpoint`.
    Provider,
}

/// One identity provider.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// Its id in paths and, if there are several providers, before each subject.
    pub id: String,
    /// Its name on the button.
    pub name: String,
    /// Its logo on the button.
    pub logo: Option<Logo>,
    /// The issuer, exactly as its discovery document and its tokens have it.
    pub issuer: String,
    /// The gateway's client id at the provider.
    pub client_id: String,
    /// How the gateway authenticates to the token endpoint.
    pub authentication: ClientAuthentication,
    /// The scopes to ask for, `openid` among them.
    pub scopes: Vec<String>,
    /// The classes of authentication to ask for at every sign-in (`acr_values`), the preferred first.
    pub acr_values: Vec<String>,
    /// Claims to take from userinfo even if the ID token has them.
    pub userinfo_claims: Vec<String>,
    /// The `aud` of native apps' tokens, besides the client id.
    pub audiences: Vec<String>,
    /// Where "sign out" ends a session.
    pub sign_out: SignOut,
    /// How long the provider's keys are trusted while they cannot be fetched again.
    pub keys_max_age: Duration,
}

impl ProviderSettings {
    /// Returns every `aud` that a bearer token of this provider may have.
    #[must_use]
    pub fn bearer_audiences(&self) -> Vec<String> {
        std::iter::once(&self.client_id).chain(&self.audiences).cloned().collect()
    }

    /// Returns whether requests to the provider may use http: only if its issuer is this machine, for tests.
    #[must_use]
    pub fn allows_http(&self) -> bool {
        Url::parse(&self.issuer).is_ok_and(|issuer| issuer.scheme() == "http" && is_local(&issuer))
    }
}

/// Returns the redirect URI of a gateway: the one address to register at every provider.
#[must_use]
pub fn redirect_uri(public_url: &Url) -> String {
    format!("{}{CALLBACK_PATH}", public_url.origin().ascii_serialization())
}
