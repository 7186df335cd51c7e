//! Bearer token → person: checks the tokens that phones bring from their own identity provider.
//!
//! Each key is pinned to one algorithm, and `iss`, `aud`, `exp` and `sub` must be there and fit. Keys come from the
//! provider's JWK Set (`jwks`), or there is one shared secret. The JWTs that the gateway issues are `signer`'s concern.

pub mod demo;
pub mod jwks;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use crate::ticket::{Claims, Person, Subject};
use jwks::RemoteKeys;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The longest `sub`, in characters (OpenID Connect Core §2).
const MAX_SUBJECT_CHARS: usize = 255;
/// The longest name that is passed on, in characters; the rest is cut.
const MAX_NAME_CHARS: usize = 128;
/// The longest address of a picture that is passed on, in bytes; a longer one is dropped.
const MAX_PICTURE_BYTES: usize = 2048;
/// By how much the provider's clock may differ from ours.
const LEEWAY_SECS: u64 = 30;
/// The shortest shared secret, in bytes (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// Who brought the token, and all that it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The person, as the other screen may show them.
    pub person: Person,
    /// Every claim of the token.
    pub claims: Claims,
}

/// Why a token does not prove who brought it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The token is not good. The text says why, without any of it.
    #[error("{0}")]
    Invalid(&'static str),
    /// The provider's keys are not known yet, and it does not answer.
    #[error("the identity provider's keys could not be fetched yet")]
    NoKeys,
}

/// Checks tokens of one identity provider.
pub struct Verifier {
    keys: Keys,
    issuer: String,
    audience: String,
}

enum Keys {
    Secret(DecodingKey),
    Remote(RemoteKeys),
}

impl Verifier {
    /// Checks HS256 tokens with a secret that the provider and the gateway share.
    #[must_use]
    pub fn with_secret(secret: &[u8], issuer: String, audience: String) -> Self {
        Self { keys: Keys::Secret(DecodingKey::from_secret(secret)), issuer, audience }
    }

    /// Checks tokens with the keys that the provider publishes.
    #[must_use]
    pub fn with_jwks(keys: RemoteKeys, issuer: String, audience: String) -> Self {
        Self { keys: Keys::Remote(keys), issuer, audience }
    }

    /// Returns who the token is of.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] for a token that is malformed, badly signed, expired, not yet valid, of another issuer or
    /// for another audience; [`VerifyError::NoKeys`] while the provider has never answered.
    pub async fn verify(&self, token: &str) -> Result<Identity, VerifyError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::Invalid("the token is too long"));
        }
        let header =
            jsonwebtoken::decode_header(token).map_err(|_error| VerifyError::Invalid("the token is not a JWT"))?;
        if header.crit.is_some() {
            // RFC 7515 §4.1.11: what is critical and not understood makes the token invalid.
            return Err(VerifyError::Invalid("the token has critical header parameters that are not understood"));
        }
        let claims = match &self.keys {
            Keys::Secret(key) => self.decode(token, Algorithm::HS256, key)?,
            Keys::Remote(keys) => {
                let key = keys.find(header.kid.as_deref()).await?;
                self.decode(token, key.algorithm, &key.public)?
            }
        };
        identity(claims)
    }

    /// Returns whether keys to check with are at hand.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.keys {
            Keys::Secret(_) => true,
            Keys::Remote(keys) => keys.are_known(),
        }
    }

    fn decode(&self, token: &str, algorithm: Algorithm, key: &DecodingKey) -> Result<Claims, VerifyError> {
        use jsonwebtoken::errors::ErrorKind;

        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        // Without this, a token that lacks a claim passes the check of that claim.
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECS;
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|error| {
            VerifyError::Invalid(match error.kind() {
                ErrorKind::ExpiredSignature => "the token has expired",
                ErrorKind::ImmatureSignature => "the token is not valid yet",
                ErrorKind::InvalidIssuer => "the token is of another issuer",
                ErrorKind::InvalidAudience => "the token is for another audience",
                ErrorKind::MissingRequiredClaim(_) => "the token lacks one of iss, aud, exp, sub",
                ErrorKind::InvalidAlgorithm => "the token is signed with another algorithm than its key is for",
                _ => "the token's signature or form is wrong",
            })
        })?;
        Ok(decoded.claims)
    }
}

fn identity(claims: Claims) -> Result<Identity, VerifyError> {
    let text = |name: &str| claims.get(name).and_then(serde_json::Value::as_str).map(str::trim);
    // Taken as it is: two texts that differ in a blank are two people.
    let subject = claims.get("sub").and_then(serde_json::Value::as_str).unwrap_or_default();
    if !(1..=MAX_SUBJECT_CHARS).contains(&subject.chars().count()) || subject.chars().any(char::is_control) {
        return Err(VerifyError::Invalid(
            "the token's sub must have 1 to 255 characters, none of them a control character",
        ));
    }
    let person = Person {
        subject: Subject(subject.to_owned()),
        name: [text("name"), text("preferred_username")]
            .into_iter()
            .flatten()
            .map(readable)
            .find(|name| !name.is_empty()),
        picture: text("picture")
            .filter(|url| url.starts_with("https://") && url.len() <= MAX_PICTURE_BYTES)
            .map(str::to_owned),
    };
    Ok(Identity { person, claims })
}

/// Returns a name as a screen can show it: people decide by it, so nothing in it may be unseen, or turn around what follows.
/// Joiners stay, which some scripts need inside of words (Unicode TR 9 §2 and TR 36 §2.5).
fn readable(name: &str) -> String {
    let is_unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    let shown: String = name.chars().filter(|c| !is_unseen(*c)).take(MAX_NAME_CHARS).collect();
    let has_something = shown.chars().any(|c| !c.is_whitespace() && !matches!(c, '\u{200c}' | '\u{200d}'));
    if has_something { shown } else { String::new() }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn a_name_is_what_is_seen_of_it() {
        assert_eq!(readable("Ada\u{202e}ecalevoL\u{200b}"), "AdaecalevoL");
        assert_eq!(readable(" \u{200b}\u{200d}\u{2066}"), "", "what shows nothing is no name");
        assert_eq!(readable("نامه\u{200c}ای 小明 👩\u{200d}🚀"), "نامه\u{200c}ای 小明 👩\u{200d}🚀");
    }

    fn verifier() -> Verifier {
        Verifier::with_secret(SECRET, "https://id.example".into(), "scangate".into())
    }

    fn good() -> Value {
        json!({"iss": "https://id.example", "aud": "scangate", "sub": "ada", "exp": 4_000_000_000_u64, "name": "Ada"})
    }

    fn token(algorithm: Algorithm, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    async fn verdict(change: impl FnOnce(&mut Value)) -> Result<Identity, VerifyError> {
        let mut claims = good();
        change(&mut claims);
        verifier().verify(&token(Algorithm::HS256, &claims)).await
    }

    #[tokio::test]
    async fn a_good_token_names_its_person() {
        let identity = verdict(|_| ()).await.unwrap();
        assert_eq!(identity.person.subject, Subject("ada".into()));
        assert_eq!(identity.person.name.as_deref(), Some("Ada"));
    }

    #[tokio::test]
    async fn a_token_that_lacks_a_claim_is_refused() {
        for claim in ["iss", "aud", "exp", "sub"] {
            let result = verdict(|claims| drop(claims.as_object_mut().unwrap().remove(claim))).await;
            assert!(matches!(result, Err(VerifyError::Invalid(_))), "a token without {claim} passed");
        }
    }

    #[tokio::test]
    async fn a_token_with_a_wrong_claim_is_refused() {
        let wrong = [
            ("iss", json!("https://evil.example")),
            ("aud", json!("someone-else")),
            ("exp", json!(1_000_000_000)),
            ("nbf", json!(3_999_999_999_u64)),
            ("sub", json!("")),
            ("sub", json!("\tada")),
            ("sub", json!(7)),
            ("sub", json!("a".repeat(256))),
        ];
        for (claim, value) in wrong {
            let result = verdict(|claims| claims[claim] = value.clone()).await;
            assert!(matches!(result, Err(VerifyError::Invalid(_))), "{claim} = {value} passed");
        }
    }

    #[tokio::test]
    async fn a_blank_makes_another_subject() {
        assert_eq!(verdict(|claims| claims["sub"] = json!(" ada")).await.unwrap().person.subject.0, " ada");
    }

    #[tokio::test]
    async fn a_critical_header_that_is_not_understood_is_refused() {
        let mut header = Header::new(Algorithm::HS256);
        header.crit = Some(vec!["x".into()]);
        let token = jsonwebtoken::encode(&header, &good(), &EncodingKey::from_secret(SECRET)).unwrap();
        assert!(matches!(verifier().verify(&token).await, Err(VerifyError::Invalid(_))));
    }

    #[tokio::test]
    async fn another_algorithm_or_none_is_refused() {
        assert!(verifier().verify(&token(Algorithm::HS512, &good())).await.is_err());
        let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.";
        assert!(verifier().verify(none).await.is_err());
    }

    #[tokio::test]
    async fn a_picture_that_is_no_https_address_is_dropped() {
        let identity = verdict(|claims| claims["picture"] = json!("javascript:alert(1)")).await.unwrap();
        assert_eq!(identity.person.picture, None);
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_repeating_it(text in "[!-~]{0,80}(\\.[!-~]{0,80}){0,3}") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let error = runtime.block_on(verifier().verify(&text)).unwrap_err();
            prop_assert!(text.len() < 8 || !error.to_string().contains(&text));
        }
    }
}
