//! Verifies the JWTs that this gateway has issued, for sites that delegate the check to the gateway.
//!
//! Every published key is accepted, but only with its own algorithm. A signature proves that the gateway issued the
//! JWT, but not its purpose or its client. So every caller passes the required `typ` and `aud`, and none of the three
//! kinds of JWT (of a ticket, ID token, access token) is accepted as another.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::Validation;

use super::signing::{JwtType, Signer};
use crate::ticket::{CLOCK_LEEWAY_SECS, Claims};

/// The maximum length of a JWT, in bytes: an ID token with 8 KiB of claims, in base64url, and its other parts. A
/// request's head has room for it.
pub const MAX_JWT_BYTES: usize = 12 * 1024;

/// A JWT of this gateway that is valid now.
#[derive(Debug, Clone, PartialEq)]
pub struct Issued {
    /// The subject.
    pub subject: String,
    /// Every claim.
    pub claims: Claims,
    /// How long it stays valid, in whole seconds: at least one, or zero if it may have expired.
    pub expires_in: Duration,
}

/// The reason why a JWT is not accepted. The message contains no part of the JWT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseIssuedError(&'static str);

/// The requirements for a JWT of this gateway, besides a correct signature.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Its type, in the header.
    pub typ: JwtType,
    /// One of its audiences; any if `None`.
    pub audience: Option<&'a str>,
    /// Whether it may have expired: `id_token_hint` may (OpenID Connect RP-Initiated Logout §2).
    pub may_be_expired: bool,
}

impl Signer {
    /// Verifies a JWT of a ticket of the flow `login`, that this gateway issued for `audience`, and returns its content.
    ///
    /// # Errors
    /// [`ParseIssuedError`] if it is malformed, from another issuer or an unknown key, badly signed, for another audience, not yet
    /// valid, expired, an ID token or access token, or of the flow `share`, which signs nobody in.
    pub fn verify(&self, token: &str, audience: &str) -> Result<Issued, ParseIssuedError> {
        let expected = Expected { typ: JwtType::Jwt, audience: Some(audience), may_be_expired: false };
        let issued = self.verify_as(token, expected)?;
        // The scanner of a share is not the person that its JWT names. ID tokens and access tokens have no flow.
        if issued.claims.get("flow").and_then(serde_json::Value::as_str) != Some("login") {
            return Err(ParseIssuedError("the JWT's flow is not login; a JWT of a share signs nobody in"));
        }
        // Every JWT of a ticket has this claim.
        if !issued.claims.contains_key("nbf") {
            return Err(ParseIssuedError("the JWT lacks one of iss, aud, exp, nbf, sub"));
        }
        Ok(issued)
    }

    /// Verifies an ID token of this gateway, and returns its content.
    ///
    /// # Errors
    /// As [`Signer::verify_as`], and if it is a JWT of a ticket.
    pub fn verify_id_token(
        &self,
        token: &str,
        audience: Option<&str>,
        may_be_expired: bool,
    ) -> Result<Issued, ParseIssuedError> {
        let issued = self.verify_as(token, Expected { typ: JwtType::Jwt, audience, may_be_expired })?;
        if issued.claims.contains_key("flow") {
            return Err(ParseIssuedError("the JWT is of a ticket; it is not an ID token"));
        }
        Ok(issued)
    }

    /// Verifies that a JWT is one of this gateway, of the expected type and audience, and returns its content. JWTs of tickets and
    /// ID tokens have the same type: use [`Signer::verify`] and [`Signer::verify_id_token`] for them.
    ///
    /// # Errors
    /// [`ParseIssuedError`] if it is malformed, of another type, from another issuer or an unknown key, badly signed, for another
    /// audience, not yet valid, or expired and must not be.
    pub fn verify_as(&self, token: &str, expected: Expected<'_>) -> Result<Issued, ParseIssuedError> {
        if token.len() > MAX_JWT_BYTES {
            return Err(ParseIssuedError("the JWT is too long"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_error| ParseIssuedError("not a JWT"))?;
        if header.crit.is_some() {
            // RFC 7515 §4.1.11: an unsupported critical parameter makes it invalid. The gateway's own JWTs have none.
            return Err(ParseIssuedError("the JWT has unsupported critical header parameters"));
        }
        if header.typ.as_deref() != Some(expected.typ.as_str()) {
            return Err(ParseIssuedError("the JWT is of another type"));
        }
        let keys = self.keys.load();
        let key = header.kid.as_deref().and_then(|id| keys.find(id));
        let key = key.ok_or(ParseIssuedError("the JWT is not signed by a key of this gateway"))?;
        let mut validation = Validation::new(key.algorithm.jws());
        validation.set_issuer(&[&self.issuer]);
        match expected.audience {
            Some(audience) => validation.set_audience(&[audience]),
            None => validation.validate_aud = false,
        }
        // Without this list, a JWT that lacks a claim passes the check of that claim.
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        validation.validate_exp = !expected.may_be_expired;
        validation.validate_nbf = true;
        // The store's clock, which stamps JWTs, may be ahead of this machine's.
        validation.leeway = u64::from(CLOCK_LEEWAY_SECS);
        let claims = jsonwebtoken::decode::<Claims>(token, &key.public, &validation).map_err(explain)?.claims;
        let subject = claims.get("sub").and_then(serde_json::Value::as_str).filter(|subject| !subject.is_empty());
        let subject = subject.ok_or(ParseIssuedError("the JWT has no subject"))?.to_owned();
        // The leeway applies only to the start: a session must end at the time that the gateway has announced.
        let expires_in = match seconds_left(&claims) {
            Some(left) => left,
            None if expected.may_be_expired => Duration::ZERO,
            None => return Err(ParseIssuedError("the JWT has expired")),
        };
        Ok(Issued { subject, claims, expires_in })
    }
}

fn seconds_left(claims: &Claims) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let left = claims.get("exp")?.as_u64()?.checked_sub(now)?;
    (left > 0).then(|| Duration::from_secs(left))
}

#[expect(clippy::needless_pass_by_value, reason = "this is how map_err hands it over")]
fn explain(error: jsonwebtoken::errors::Error) -> ParseIssuedError {
    use jsonwebtoken::errors::ErrorKind;

    ParseIssuedError(match error.kind() {
        ErrorKind::ExpiredSignature => "the JWT has expired",
        ErrorKind::ImmatureSignature => "the JWT is not valid yet",
        ErrorKind::InvalidIssuer => "the JWT is from another issuer",
        ErrorKind::InvalidAudience => "the JWT is for another client",
        ErrorKind::MissingRequiredClaim(_) => "the JWT lacks one of iss, aud, exp, nbf, sub",
        ErrorKind::InvalidAlgorithm => "the JWT's alg does not fit its key",
        _ => "the JWT's signature or form is invalid",
    })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::signer::keys::{self, KeyAlgorithm};
    use crate::ticket::{Authentication, Flow, Grant, Receipt, Subject, Timestamp};

    const ISSUER: &str = "https://gate.example";

    fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    fn open() -> Signer {
        Signer::open(ISSUER, None).unwrap()
    }

    /// A JWT that the gateway issued.
    fn issued(signer: &Signer) -> String {
        let at = Timestamp(now() * 1000);
        let claims = json!({ "name": "Ada" }).as_object().unwrap().clone();
        let grant = Grant {
            subject: Subject("ada".into()),
            claims,
            authentication: Authentication::default(),
            confirmed_at: at,
        };
        let expires_at = at + Duration::from_secs(600);
        let receipt = Receipt { jti: "one".into(), issued_at: at, expires_at, redeem_until: at };
        signer.sign(Flow::Login, "web", &grant, &receipt).unwrap()
    }

    /// A JWT with any header and claims, signed with the gateway's key.
    fn with_claims(signer: &Signer, change: impl FnOnce(&mut Header, &mut Value)) -> String {
        let keys = signer.keys.load();
        let mut header = Header::new(keys.signing(&[]).algorithm.jws());
        header.kid = Some(keys.signing(&[]).id.clone());
        let mut claims =
            json!({ "iss": ISSUER, "aud": "web", "sub": "ada", "nbf": now(), "exp": now() + 600, "flow": "login" });
        change(&mut header, &mut claims);
        jsonwebtoken::encode(&header, &claims, &keys.signing(&[]).secret).unwrap()
    }

    #[test]
    fn an_issued_jwt_is_valid_only_for_its_audience() {
        let signer = open();
        let token = issued(&signer);
        let good = signer.verify(&token, "web").unwrap();
        assert_eq!((good.subject.as_str(), &good.claims["name"]), ("ada", &json!("Ada")));
        assert!((598..=600).contains(&good.expires_in.as_secs()), "{good:?}");
        assert_eq!(signer.verify(&token, "pc"), Err(ParseIssuedError("the JWT is for another client")));
        assert!(open().verify(&token, "web").is_err(), "another gateway's key");
    }

    #[test]
    fn a_key_that_is_only_published_still_verifies() {
        let directory = tempfile::tempdir().unwrap();
        let reopen = || Signer::open(ISSUER, Some(directory.path().into())).unwrap();
        let old = keys::create(directory.path(), KeyAlgorithm::Rs256).unwrap();
        let token = issued(&reopen());
        std::fs::File::open(&old).unwrap().set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        keys::create(directory.path(), KeyAlgorithm::Eddsa).unwrap();
        assert!(reopen().verify(&token, "web").is_ok());
        assert!(reopen().verify(&issued(&reopen()), "web").is_ok());
        std::fs::remove_file(old).unwrap();
        assert!(reopen().verify(&token, "web").is_err(), "its key is gone");
    }

    #[test]
    fn a_signed_jwt_with_wrong_claims_is_refused() {
        let signer = open();
        assert!(signer.verify(&with_claims(&signer, |_, _| ()), "web").is_ok(), "unchanged claims");
        let wrong = [
            ("iss", json!("https://evil.example")),
            ("aud", json!("pc")),
            ("exp", json!(now() - 1)),
            ("exp", json!(now())),
            ("nbf", json!(now() + 300)),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("exp", json!("never")),
            ("flow", json!("share")),
            ("flow", json!(["login"])),
        ];
        for (claim, value) in wrong {
            let token = with_claims(&signer, |_, claims| claims[claim] = value.clone());
            assert!(signer.verify(&token, "web").is_err(), "{claim} = {value} passed");
        }
        for claim in ["iss", "aud", "exp", "nbf", "sub", "flow"] {
            let token = with_claims(&signer, |_, claims| drop(claims.as_object_mut().unwrap().remove(claim)));
            assert!(signer.verify(&token, "web").is_err(), "one without {claim} passed");
        }
        let critical = with_claims(&signer, |header, _| header.crit = Some(vec!["x".into()]));
        assert!(signer.verify(&critical, "web").is_err());
        let nameless = with_claims(&signer, |header, _| header.kid = None);
        assert!(signer.verify(&nameless, "web").is_err());
    }

    #[test]
    fn the_three_kinds_of_jwt_never_pass_for_one_another() {
        let signer = open();
        let of = |typ, flow: Option<&str>| {
            let mut claims = json!({ "iss": ISSUER, "aud": "web", "sub": "ada", "nbf": now(), "exp": now() + 600 });
            if let Some(flow) = flow {
                claims["flow"] = flow.into();
            }
            signer.sign_with(KeyAlgorithm::Es256, typ, &claims).unwrap()
        };
        let ticket = issued(&signer);
        let (id, access) = (of(JwtType::Jwt, None), of(JwtType::AccessToken, None));
        let typed = |token: &str| {
            let access = Expected { typ: JwtType::AccessToken, audience: Some("web"), may_be_expired: false };
            signer.verify_as(token, access).is_ok()
        };
        for (token, passes) in
            [(&ticket, [true, false, false]), (&id, [false, true, false]), (&access, [false, false, true])]
        {
            let of_id = signer.verify_id_token(token, Some("web"), false).is_ok();
            assert_eq!([signer.verify(token, "web").is_ok(), of_id, typed(token)], passes);
        }
        assert!(signer.verify(&of(JwtType::AccessToken, Some("login")), "web").is_err(), "its type is another one");
    }

    #[test]
    fn an_expired_id_token_is_accepted_only_as_a_hint() {
        let signer = open();
        let claims = json!({ "iss": ISSUER, "aud": "web", "sub": "ada", "exp": now() - 86_400 });
        let token = signer.sign_with(KeyAlgorithm::Es256, JwtType::Jwt, &claims).unwrap();
        assert!(signer.verify_id_token(&token, Some("web"), false).is_err());
        let hint = signer.verify_id_token(&token, None, true).unwrap();
        assert_eq!((hint.subject.as_str(), hint.expires_in), ("ada", Duration::ZERO));
        assert!(signer.verify_id_token(&token, Some("pc"), true).is_err(), "another client's");
        assert!(open().verify_id_token(&token, None, true).is_err(), "another gateway's");
    }

    #[test]
    fn a_key_verifies_only_its_own_algorithm() {
        use base64::Engine as _;
        use base64::prelude::BASE64_URL_SAFE_NO_PAD;

        let signer = open();
        let (published, token) = (signer.jwks(), issued(&signer));
        let header = jsonwebtoken::decode_header(&token).unwrap();
        let claims =
            json!({ "iss": ISSUER, "aud": "web", "sub": "eve", "nbf": now(), "exp": now() + 600, "flow": "login" });
        let confused = Header { kid: header.kid.clone(), ..Header::new(Algorithm::HS256) };
        let secret = EncodingKey::from_secret(published.as_bytes());
        assert!(signer.verify(&jsonwebtoken::encode(&confused, &claims, &secret).unwrap(), "web").is_err());
        let parts: Vec<&str> = token.split('.').collect();
        for algorithm in ["none", "RS256", "EdDSA", "ES384"] {
            let header = json!({ "alg": algorithm, "kid": header.kid }).to_string();
            let header = BASE64_URL_SAFE_NO_PAD.encode(header);
            for signature in ["", parts[2]] {
                let token = format!("{header}.{}.{signature}", parts[1]);
                assert!(signer.verify(&token, "web").is_err(), "{algorithm} passed");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_repeating_it(text in "[!-~]{0,80}(\\.[!-~]{0,80}){0,3}") {
            let error = open().verify(&text, "web").unwrap_err();
            prop_assert!(text.len() < 8 || !error.to_string().contains(&text));
        }

        #[test]
        fn no_changed_byte_passes(at in 0_usize..600, to in "[A-Za-z0-9_-]") {
            let signer = open();
            let token = issued(&signer);
            let at = at % token.len();
            let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
            prop_assume!(changed != token);
            prop_assert!(signer.verify(&changed, "web").is_err());
        }
    }
}
