//! The claims of the JWTs that the gateway issues: the gateway's own, and those that the approver released.

use serde::Serialize;

use crate::ticket::{Authentication, Claims, Flow};

/// Claims that only the gateway sets. No client may have them released from the approver's token.
pub const RESERVED_CLAIMS: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "auth_time",
    "acr",
    "amr",
    "azp",
    "nonce",
    "cnf",
    "flow",
    "confirmed_at",
];

/// The authentication method of a JWT of the flow `login` if the identity provider names none: two devices took part
/// (RFC 8176 §2, `mca`).
const LOGIN_AMR: &str = "mca";

#[derive(Serialize)]
pub(super) struct IssuedClaims<'a> {
    pub(super) iss: &'a str,
    pub(super) sub: &'a str,
    pub(super) aud: &'a str,
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
    pub(super) jti: &'a str,
    pub(super) flow: Flow,
    pub(super) confirmed_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auth_time: Option<&'a serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) amr: Option<Vec<&'a str>>,
    #[serde(flatten)]
    pub(super) released: &'a Claims,
}

/// Returns the authentication methods of a JWT: the provider's, unchanged. A share signs nobody in, so it adds none.
pub(super) fn methods(flow: Flow, authentication: &Authentication) -> Option<Vec<&str>> {
    match (&authentication.amr, flow) {
        (Some(methods), _) => Some(methods.iter().map(String::as_str).collect()),
        (None, Flow::Login) => Some(vec![LOGIN_AMR]),
        (None, Flow::Share) => None,
    }
}
