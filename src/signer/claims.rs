//! The claims of the JWTs that the gateway issues: its own, and those that the approver released.

use serde::Serialize;
use serde_json::{Number, Value};

use crate::ticket::{Authentication, Claims, Flow, Grant, Receipt};

/// Claims that only the gateway sets. No client may have them released from the approver's token.
pub const RESERVED_CLAIMS: [&str; 23] = [
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
    "sid",
    "at_hash",
    "c_hash",
    "scope",
    "client_id",
    "grant_id",
    "events",
    "sub_id",
];

/// Every claim of one JWT. A claim that the gateway sets is a field here, a name in [`RESERVED_CLAIMS`] and a value in
/// [`IssuedClaims::new`].
#[derive(Serialize)]
pub(super) struct IssuedClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: &'a str,
    flow: Flow,
    confirmed_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<Vec<&'a str>>,
    #[serde(flatten)]
    released: Claims,
}

impl<'a> IssuedClaims<'a> {
    /// Returns the claims of a claimed ticket. They depend only on the arguments, so every redelivery has
    /// the same claims.
    pub(super) fn new(issuer: &'a str, flow: Flow, audience: &'a str, grant: &'a Grant, receipt: &'a Receipt) -> Self {
        let is_free = |(name, _): &(&String, &Value)| !RESERVED_CLAIMS.contains(&name.as_str());
        let released = grant.claims.iter().filter(is_free).map(|(name, value)| (name.clone(), value.clone()));
        Self {
            iss: issuer,
            sub: &grant.subject.0,
            aud: audience,
            iat: receipt.issued_at.unix_seconds(),
            nbf: receipt.issued_at.unix_seconds(),
            exp: receipt.expires_at.unix_seconds(),
            jti: &receipt.jti,
            flow,
            confirmed_at: grant.confirmed_at.unix_seconds(),
            auth_time: grant.authentication.auth_time.as_ref(),
            acr: grant.authentication.acr.as_deref(),
            amr: methods(flow, &grant.authentication),
            released: released.collect(),
        }
    }
}

/// Returns the authentication methods of a JWT: the provider's, unchanged. A share signs nobody in, so it adds none.
fn methods(flow: Flow, authentication: &Authentication) -> Option<Vec<&str>> {
    (flow == Flow::Login || authentication.amr.is_some()).then(|| authentication.methods())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::{Subject, Timestamp};

    #[test]
    fn every_claim_of_the_gateway_is_reserved() {
        let at = Timestamp(1_700_000_000_000);
        let authentication =
            Authentication { auth_time: Some(1.into()), acr: Some("0".into()), amr: Some(vec!["pwd".into()]) };
        let grant = Grant { subject: Subject("ada".into()), claims: Claims::new(), authentication, confirmed_at: at };
        let receipt = Receipt { jti: "one".into(), issued_at: at, expires_at: at, redeem_until: at };
        let claims = serde_json::to_value(IssuedClaims::new("i", Flow::Login, "web", &grant, &receipt)).unwrap();
        let claims = claims.as_object().unwrap();
        assert!(claims.len() >= 12, "{claims:?}");
        for name in claims.keys() {
            assert!(
                RESERVED_CLAIMS.contains(&name.as_str()),
                "a client may have {name} released instead of the gateway's"
            );
        }
    }
}
