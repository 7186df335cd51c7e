//! The settings of a client as an OpenID client: those of its registration (OpenID Connect Dynamic Client Registration §2,
//! RFC 7591 §2), and its lifetimes.

use std::time::Duration;

use serde::Deserialize;

use crate::secret::Secret;
use crate::signer::keys::KeyAlgorithm;

/// An application that signs people in by OpenID Connect.
#[derive(Debug, Clone)]
pub struct OpenIdClient {
    /// The addresses for answers to its authorization requests. A request names one of them, byte for byte.
    pub redirect_uris: Vec<String>,
    /// Its secrets, each of which is accepted; several while one is replaced. None for an app that cannot keep one.
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
    /// The APIs besides the gateway's own that its access tokens are for: absolute URIs (RFC 8707 §2), or ids of clients, which
    /// may then introspect the tokens.
    pub audiences: Vec<String>,
    /// The addresses to which the browser may return after a sign-out that the client began.
    pub post_logout_redirect_uris: Vec<String>,
    /// Whether its sign-ins start a session of the browser at the gateway, and whether such a session answers them
    /// without a scan.
    pub single_sign_on: bool,
}

impl OpenIdClient {
    /// Returns whether answers may go to this address: byte for byte one of the redirect URIs. It parses and normalises
    /// nothing: a difference of one byte makes another address (RFC 9700 §4.1.3).
    ///
    /// A native app listens on a free port of its machine. So a client without a secret may use any port of a
    /// registered `http://127.0.0.1` or `http://[::1]` (RFC 8252 §7.3).
    #[must_use]
    pub fn has_redirect_uri(&self, uri: &str) -> bool {
        let wanted = without_port(uri).filter(|_| self.token_auth == TokenAuth::None);
        let is_same = |own: &String| own == uri || (wanted.is_some() && without_port(own) == wanted);
        self.redirect_uris.iter().any(is_same)
    }
}

/// Returns the parts before and after the port in a URI at a loopback IP address, which may have no port. Returns
/// `None` for every other URI.
fn without_port(uri: &str) -> Option<(&str, &str)> {
    let host = ["http://127.0.0.1", "http://[::1]"].into_iter().find(|host| uri.starts_with(host))?;
    let (host, rest) = uri.split_at(host.len());
    let rest = match rest.strip_prefix(':') {
        Some(rest) => {
            let (port, rest) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
            let is_port = !port.starts_with('0') && port.parse::<u16>().is_ok();
            is_port.then_some(rest)?
        }
        None => rest,
    };
    // Any other character would continue the host or the port.
    rest.starts_with('/').then_some((host, rest))
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

#[cfg(test)]
mod tests {
    use super::without_port;

    #[test]
    fn only_a_port_at_a_loopback_address_is_cut_out() {
        for (uri, expected) in [
            ("http://127.0.0.1/cb", Some(("http://127.0.0.1", "/cb"))),
            ("http://127.0.0.1:51004/cb?a=b", Some(("http://127.0.0.1", "/cb?a=b"))),
            ("http://[::1]:1/", Some(("http://[::1]", "/"))),
            ("http://127.0.0.1:65535/cb", Some(("http://127.0.0.1", "/cb"))),
            ("http://127.0.0.1:65536/cb", None),
            ("http://127.0.0.1:080/cb", None),
            ("http://127.0.0.1:/cb", None),
            ("http://127.0.0.1:80", None),
            ("http://127.0.0.1:80@evil.example/cb", None),
            ("http://127.0.0.1.evil.example/cb", None),
            ("http://127.0.0.1@evil.example/cb", None),
            ("http://127.0.0.1:8\u{660}/cb", None),
            ("https://127.0.0.1:80/cb", None),
            ("http://localhost:80/cb", None),
            ("http://[::1%25lo]:80/cb", None),
            ("HTTP://127.0.0.1:80/cb", None),
        ] {
            assert_eq!(without_port(uri), expected, "{uri}");
        }
    }
}
