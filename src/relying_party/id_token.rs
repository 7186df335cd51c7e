//! The checks of an ID token beyond those of every token (OpenID Connect Core §3.1.3.7), after its signature was checked.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::metadata::Metadata;
use super::settings::ProviderSettings;
use crate::verifier::{Fault, Signed, claims};

/// The fault of an ID token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenFault {
    /// A fault that any token may have.
    #[error(transparent)]
    Token(#[from] Fault),
    /// `typ` is that of an access token.
    #[error("the token is an access token")]
    AccessToken,
    /// The discovery document does not list the algorithm.
    #[error("the token's alg is not among those of the discovery document")]
    UnlistedAlgorithm,
    /// `iat` is missing.
    #[error("the token has no iat")]
    NoIssueTime,
    /// `azp` is another client, or is missing although there are several audiences.
    #[error("the token is for another party (azp)")]
    OtherParty,
    /// `nonce` is not the one of the request.
    #[error("the token's nonce is not that of the request")]
    OtherNonce,
    /// `at_hash` does not fit the access token.
    #[error("the token's at_hash does not fit the access token")]
    OtherAccessToken,
}

/// What an ID token must fit.
pub(super) struct Expected<'a> {
    pub(super) settings: &'a ProviderSettings,
    pub(super) metadata: &'a Metadata,
    pub(super) nonce: &'a str,
    pub(super) access_token: &'a str,
}

/// Checks an ID token. `sub` is checked where the person is read.
///
/// # Errors
/// The first fault.
pub(super) fn check(token: &Signed, expected: &Expected<'_>) -> Result<(), IdTokenFault> {
    let Expected { settings, metadata, nonce, access_token } = expected;
    let listed = &metadata.id_token_algorithms;
    if !listed.is_empty() && !listed.contains(&token.algorithm) {
        return Err(IdTokenFault::UnlistedAlgorithm);
    }
    if token.is_access_token {
        return Err(IdTokenFault::AccessToken);
    }
    let claims = &token.claims;
    // Only the client id: the other audiences are those of native apps' tokens.
    claims::check(claims, &settings.issuer, std::slice::from_ref(&settings.client_id))?;
    if !claims.contains_key("iat") {
        return Err(IdTokenFault::NoIssueTime);
    }
    let has_several = claims.get("aud").and_then(Value::as_array).is_some_and(|audiences| audiences.len() > 1);
    let is_for_us = match claims.get("azp") {
        None => !has_several,
        Some(party) => *party == settings.client_id,
    };
    if !is_for_us {
        return Err(IdTokenFault::OtherParty);
    }
    let given = claims.get("nonce").and_then(Value::as_str).unwrap_or_default();
    if !bool::from(given.as_bytes().ct_eq(nonce.as_bytes())) {
        return Err(IdTokenFault::OtherNonce);
    }
    match claims.get("at_hash") {
        None => Ok(()),
        Some(hash) if hash.as_str() == at_hash(token.algorithm, access_token).as_deref() => Ok(()),
        Some(_) => Err(IdTokenFault::OtherAccessToken),
    }
}

/// Returns the left half of the access token's hash, with the hash of the algorithm (OpenID Connect Core §3.1.3.6). Ed25519's is
/// SHA-512 (RFC 8032 §5.1).
fn at_hash(algorithm: Algorithm, access_token: &str) -> Option<String> {
    let hash = match algorithm {
        Algorithm::HS256 | Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => &digest::SHA256,
        Algorithm::HS384 | Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &digest::SHA384,
        Algorithm::HS512 | Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => &digest::SHA512,
        // `verifier` accepts no other algorithm.
        _ => return None,
    };
    let hash = digest::digest(hash, access_token.as_bytes());
    let (left, _right) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    Some(URL_SAFE_NO_PAD.encode(left))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{metadata, settings};
    use super::*;

    const NONCE: &str = "the-nonce";
    const ACCESS_TOKEN: &str = "the-access-token";

    fn verdict(change: impl FnOnce(&mut Signed)) -> Result<(), IdTokenFault> {
        let claims = json!({
            "iss": "https://one.example", "aud": "gate", "sub": "ada", "exp": 4_000_000_000_u64,
            "iat": 1_700_000_000, "nonce": NONCE,
        });
        let claims = claims.as_object().unwrap().clone();
        let mut token = Signed { algorithm: Algorithm::RS256, is_access_token: false, claims };
        change(&mut token);
        let (settings, metadata) = (settings("one"), metadata("one"));
        check(&token, &Expected { settings: &settings, metadata: &metadata, nonce: NONCE, access_token: ACCESS_TOKEN })
    }

    fn verdict_with(name: &str, value: Value) -> Result<(), IdTokenFault> {
        verdict(|token| drop(token.claims.insert(name.to_owned(), value)))
    }

    #[test]
    fn a_good_id_token_passes() {
        assert_eq!(verdict(|_| ()), Ok(()));
        assert_eq!(verdict_with("aud", json!(["gate"])), Ok(()));
        assert_eq!(verdict_with("azp", json!("gate")), Ok(()));
        let several = verdict(|token| {
            token.claims.insert("aud".to_owned(), json!(["other", "gate"]));
            token.claims.insert("azp".to_owned(), json!("gate"));
        });
        assert_eq!(several, Ok(()));
    }

    #[test]
    fn a_wrong_claim_is_refused_with_its_reason() {
        for (name, value, fault) in [
            ("iss", json!("https://two.example"), Fault::OtherIssuer.into()),
            ("iss", json!("https://one.example/"), Fault::IssuerSlash.into()),
            ("aud", json!("another-app"), Fault::OtherAudience.into()),
            ("aud", json!("native"), Fault::OtherAudience.into()),
            ("aud", json!(["gate", "other"]), IdTokenFault::OtherParty),
            ("azp", json!("other"), IdTokenFault::OtherParty),
            ("azp", json!(null), IdTokenFault::OtherParty),
            ("exp", json!(1_000_000_000), Fault::Expired.into()),
            ("iat", json!(3_999_999_999_u64), Fault::IssuedInFuture.into()),
            ("nonce", json!("another"), IdTokenFault::OtherNonce),
            ("nonce", json!(["the-nonce"]), IdTokenFault::OtherNonce),
            ("events", json!({}), Fault::Event.into()),
            ("at_hash", json!("x"), IdTokenFault::OtherAccessToken),
            ("at_hash", json!(null), IdTokenFault::OtherAccessToken),
        ] {
            assert_eq!(verdict_with(name, value.clone()), Err(fault), "{name} = {value}");
        }
        for (name, fault) in [
            ("nonce", IdTokenFault::OtherNonce),
            ("iat", IdTokenFault::NoIssueTime),
            ("sub", Fault::MissingClaim.into()),
        ] {
            assert_eq!(verdict(|token| drop(token.claims.remove(name))), Err(fault), "without {name}");
        }
        assert_eq!(verdict(|token| token.is_access_token = true), Err(IdTokenFault::AccessToken));
        assert_eq!(verdict(|token| token.algorithm = Algorithm::ES384), Err(IdTokenFault::UnlistedAlgorithm));
    }

    #[test]
    fn at_hash_follows_the_algorithm() {
        // OpenID Connect Core, appendix A.3.
        let example = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(at_hash(Algorithm::RS256, example).unwrap(), "77QmUPtjPfzWtF2AnpK9RQ");
        for (algorithm, chars) in [(Algorithm::ES256, 22), (Algorithm::ES384, 32), (Algorithm::EdDSA, 43)] {
            let hash = at_hash(algorithm, ACCESS_TOKEN).unwrap();
            assert_eq!(hash.len(), chars, "{algorithm:?}");
            let of_token = |text: &str| {
                verdict(|token| {
                    token.algorithm = algorithm;
                    token.claims.insert("at_hash".to_owned(), json!(text));
                })
            };
            let is_listed = algorithm != Algorithm::ES384;
            assert_eq!(of_token(&hash).is_ok(), is_listed, "{algorithm:?}");
            assert!(of_token(&at_hash(algorithm, "another").unwrap()).is_err(), "{algorithm:?}");
        }
        // SHA-256 with Ed25519 is wrong.
        let sha256 = at_hash(Algorithm::RS256, ACCESS_TOKEN);
        let result = verdict(|token| {
            token.algorithm = Algorithm::EdDSA;
            token.claims.insert("at_hash".to_owned(), json!(sha256));
        });
        assert_eq!(result, Err(IdTokenFault::OtherAccessToken));
    }
}
