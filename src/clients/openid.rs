//! The settings of a client as an OpenID client: those of its registration (OpenID Connect Dynamic Client Registration §2,
//! RFC 7591 §2), and its lifetimes.

use std::time::Duration;

use serde::Deserialize;

use crate::secret::Secret;
use crate::signer::keys::KeyAlgorithm;

/// An application that signs people in by OpenID Connect.
#[derive(Debug, Clone)]
pub struct OpenIdClient {
    /// Where answers to its authorization requests may go. A request names one of them, byte for byte.
    pub redirect_uris: Vec<String>,
    /// Its secrets, any of which proves it; several while one is replaced. None for an app that cannot keep one.
    pub secrets: Vec<Secret>,
    /// How it authenticates at the token endpoint.
    pub token_auth: TokenAuth,
    /// The algorithm of its ID tokens and access tokens.
    pub signing_alg: KeyAlgorithm,
    /// The scopes that it may have; `openid` is one of them.
    pub scopes: Vec<String>,
    /// Whether its requests must have a PKCE challenge (RFC 7636).
    pub requires_pkce: bool,
    /// When it gets refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// How long its access tokens are valid.
    pub access_token_ttl: Duration,
    /// How long its ID tokens are valid.
    pub id_token_ttl: Duration,
    /// How long a refresh token may stay unused.
    pub refresh_token_ttl: Duration,
    /// How long after the sign-in the last refresh token ends.
    pub refresh_token_max: Duration,
    /// The APIs besides the gateway's own that its access tokens are for: absolute URIs (RFC 8707 §2).
    pub audiences: Vec<String>,
    /// Where the browser may go after a sign-out that the client began.
    pub post_logout_redirect_uris: Vec<String>,
    /// Whether its sign-ins start a session of the browser at the gateway, and are answered by one without a scan.
    pub single_sign_on: bool,
}

/// How a client authenticates at the token endpoint (OpenID Connect Core §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAuth {
    /// By its secret, in either place.
    Secret,
    /// `client_secret_basic` only.
    Basic,
    /// `client_secret_post` only.
    Post,
    /// Not at all: a public client (RFC 6749 §2.1).
    None,
}

/// When a client gets refresh tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshTokens {
    /// Never.
    #[default]
    Never,
    /// If a request has the scope `offline_access` (OpenID Connect Core §11).
    OfflineAccess,
    /// With every code.
    Always,
}
