//! The authorization request of an OpenID client that a ticket belongs to (OpenID Connect Core §3.1.2.1). Data only;
//! `openid_provider` reads and checks it.

use serde::{Deserialize, Serialize};

use super::parties::Subject;

/// An authorization request, checked. A ticket stores it when it is created and never changes it, so a confirmation can be used
/// only for the request that the person saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// The address of the answer: byte for byte one of the client's redirect URIs.
    pub redirect_uri: String,
    /// How the answer gets there.
    #[serde(default)]
    pub response_mode: ResponseMode,
    /// The granted scopes, in the order of the client's settings.
    pub scopes: Vec<String>,
    /// The client's `state`, returned unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The client's `nonce`, for the ID token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The PKCE challenge by the method S256 (RFC 7636 §4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_challenge: Option<String>,
    /// `acr_values`: preferences. The gateway passes them to the identity provider, and nobody checks them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wished_acr: Vec<String>,
    /// The only person who may sign in, from `id_token_hint` or the claim `sub` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hinted_subject: Option<Subject>,
    /// The claims that the request names besides its scopes.
    #[serde(default, skip_serializing_if = "RequestedClaims::is_empty")]
    pub claims: RequestedClaims,
}

/// How the answer to an authorization request gets to the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    /// In the query of a redirect.
    #[default]
    Query,
    /// In a form that the browser posts (OAuth 2.0 Form Post Response Mode).
    FormPost,
}

/// The names of claims in the parameter `claims` (OpenID Connect Core §5.5), by the place where they are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedClaims {
    /// For the ID token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_token: Vec<String>,
    /// For the userinfo endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub userinfo: Vec<String>,
}

impl RequestedClaims {
    /// Returns whether no claim is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
