//! Tests of the verifier: accepted tokens, and the reason for each refused one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};

use std::sync::Arc;

use super::*;
use crate::ticket::Subject;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn verifier() -> Verifier {
    Verifier::with_secret(SECRET, "https://id.example".into(), "scangate".into(), Arc::default())
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
async fn a_token_with_a_wrong_claim_is_refused_with_its_reason() {
    let wrong = [
        ("iss", json!("https://evil.example"), Fault::OtherIssuer),
        ("iss", json!("https://id.example/"), Fault::IssuerSlash),
        ("iss", json!(["https://id.example"]), Fault::MalformedClaim),
        ("iss", json!(null), Fault::MalformedClaim),
        ("aud", json!("someone-else"), Fault::OtherAudience),
        ("aud", json!(["someone-else"]), Fault::OtherAudience),
        ("aud", json!([]), Fault::OtherAudience),
        ("aud", json!(["scangate", 7]), Fault::MalformedClaim),
        ("aud", json!({"scangate": true}), Fault::MalformedClaim),
        ("exp", json!(1_000_000_000), Fault::Expired),
        ("exp", json!(-1), Fault::MalformedClaim),
        ("exp", json!("4000000000"), Fault::MalformedClaim),
        ("exp", json!(4_000_000_000_000_u64), Fault::MalformedClaim),
        ("exp", json!(1e300), Fault::MalformedClaim),
        ("nbf", json!(3_999_999_999_u64), Fault::NotYetValid),
        ("nbf", json!("now"), Fault::MalformedClaim),
        ("iat", json!(3_999_999_999_u64), Fault::IssuedInFuture),
        ("iat", json!(true), Fault::MalformedClaim),
        ("cnf", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}), Fault::SenderConstrained),
        ("cnf", json!(null), Fault::SenderConstrained),
        ("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}}), Fault::Event),
        ("sub", json!(""), Fault::Subject),
        ("sub", json!("\tada"), Fault::Subject),
        ("sub", json!(7), Fault::Subject),
        ("sub", json!("a".repeat(256)), Fault::Subject),
    ];
    for (claim, value, fault) in wrong {
        let result = verdict(|claims| claims[claim] = value.clone()).await;
        assert_eq!(result, Err(VerifyError::Invalid(fault)), "{claim} = {value}");
    }
    let right = [("aud", json!(["x", "scangate"])), ("exp", json!(4_000_000_000.5)), ("iat", json!(1.5))];
    for (claim, value) in right {
        let result = verdict(|claims| claims[claim] = value.clone()).await;
        assert!(result.is_ok(), "{claim} = {value}: {result:?}");
    }
}

/// A token of any header and claims, signed as HS256.
fn signed(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

#[tokio::test]
async fn a_token_of_another_kind_is_refused_with_its_reason() {
    let claims = good().to_string();
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "application/AT+jwt"] {
        let token = signed(&json!({"alg": "HS256", "typ": typ}).to_string(), &claims);
        assert!(verifier().verify(&token).await.is_ok(), "{typ}");
    }
    assert!(verifier().verify(&signed(r#"{"alg":"HS256"}"#, &claims)).await.is_ok());
    let refused = [
        (json!({"alg": "HS256", "typ": "logout+jwt"}), Fault::OtherType),
        (json!({"alg": "HS256", "typ": "dpop+jwt"}), Fault::OtherType),
        (json!({"alg": "HS256", "typ": "secevent+jwt"}), Fault::OtherType),
        (json!({"alg": "HS256", "typ": "application/logout+jwt"}), Fault::OtherType),
        (json!({"alg": "HS256", "typ": "text/jwt"}), Fault::OtherType),
        (json!({"alg": "HS256", "typ": " jwt"}), Fault::OtherType),
        (json!({"alg": "HS256", "typ": ""}), Fault::OtherType),
        (json!({"alg": "HS256", "typ": ["JWT"]}), Fault::OtherType),
        (json!({"alg": "HS256", "typ": null}), Fault::OtherType),
        (json!({"alg": "HS256", "crit": []}), Fault::Critical),
        (json!({"alg": "HS256", "crit": "exp"}), Fault::Critical),
        (json!({"alg": "HS256", "b64": false}), Fault::Critical),
        (json!({"alg": "HS256", "enc": "A128GCM"}), Fault::Encrypted),
        (json!({"alg": "HS256", "kid": 7}), Fault::NotJwt),
        (json!({"alg": 256}), Fault::NotJwt),
        (json!({}), Fault::NotJwt),
        (json!([]), Fault::NotJwt),
        (json!({"alg": "None"}), Fault::Unsigned),
        (json!({"alg": "ES256K"}), Fault::UnknownAlgorithm),
        (json!({"alg": "Ed448"}), Fault::UnknownAlgorithm),
        (json!({"alg": "hs256"}), Fault::UnknownAlgorithm),
        (json!({"alg": "HS512"}), Fault::OtherAlgorithm),
        (json!({"alg": "Ed25519"}), Fault::OtherAlgorithm),
    ];
    for (header, fault) in refused {
        let token = signed(&header.to_string(), &claims);
        assert_eq!(verifier().verify(&token).await, Err(VerifyError::Invalid(fault)), "{header}");
    }
}

#[tokio::test]
async fn two_members_with_the_same_name_are_refused() {
    let claims = good().to_string();
    let twice = claims.replacen('{', r#"{"sub":"eve","#, 1);
    let escaped = claims.replacen('{', r#"{"s\u0075b":"eve","#, 1);
    for (header, claims) in [
        (r#"{"alg":"HS256"}"#, &twice),
        (r#"{"alg":"HS256"}"#, &escaped),
        (r#"{"alg":"HS256","alg":"HS256"}"#, &claims),
        (r#"{"alg":"HS256","x":1,"x":2}"#, &claims),
    ] {
        let result = verifier().verify(&signed(header, claims)).await;
        assert_eq!(result, Err(VerifyError::Invalid(Fault::DuplicateMember)), "{header} {claims}");
    }
}

#[tokio::test]
async fn a_text_that_is_not_a_signed_jwt_is_refused_with_a_reason() {
    let good = token(Algorithm::HS256, &good());
    let refused = [
        (String::new(), Fault::NotJwt),
        ("a.b".to_owned(), Fault::NotJwt),
        (format!("{good}.x"), Fault::NotJwt),
        ("a.b.c.d.e".to_owned(), Fault::Encrypted),
        (good[..good.len() - 4].to_owned(), Fault::Signature),
        (format!("{good}="), Fault::Signature),
        (format!(" {good}"), Fault::NotJwt),
        ("x".repeat(MAX_TOKEN_BYTES + 1), Fault::TooLong),
        (signed(r#"{"alg":"HS256"}"#, "[]"), Fault::NotJwt),
        (signed(r#"{"alg":"HS256"}"#, "not JSON"), Fault::NotJwt),
    ];
    for (token, fault) in refused {
        assert_eq!(verifier().verify(&token).await, Err(VerifyError::Invalid(fault)), "{token:.60}");
    }
}

#[tokio::test]
async fn a_space_makes_another_subject() {
    assert_eq!(verdict(|claims| claims["sub"] = json!(" ada")).await.unwrap().person.subject.0, " ada");
}

#[tokio::test]
async fn an_unsupported_critical_header_is_refused() {
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
async fn a_picture_that_is_not_an_https_url_is_dropped() {
    let identity = verdict(|claims| claims["picture"] = json!("javascript:alert(1)")).await.unwrap();
    assert_eq!(identity.person.picture, None);
}

#[tokio::test]
async fn a_machines_token_is_no_person() {
    let marks = [
        ("client_id", json!("ada")),
        ("azp", json!("ada")),
        ("cid", json!("ada")),
        ("appid", json!("ada")),
        ("gty", json!("client-credentials")),
        ("idtyp", json!("app")),
    ];
    for (claim, value) in marks {
        let result = verdict(|claims| claims[claim] = value.clone()).await;
        assert_eq!(result, Err(VerifyError::Invalid(Fault::Machine)), "{claim}");
    }
    for (claim, value) in [("client_id", json!("app")), ("azp", json!("app")), ("gty", json!("password"))] {
        assert!(verdict(|claims| claims[claim] = value.clone()).await.is_ok(), "{claim}");
    }
}

#[tokio::test]
async fn audiences_and_subjects_of_two_issuers_are_not_mixed() {
    let source = |name: &str| {
        let (issuer, audience) = (format!("https://{name}.example"), format!("app-of-{name}"));
        Source::with_secret(SECRET, issuer, audience).prefixed(Some(name.to_owned()))
    };
    let verifier = Verifier::new(vec![source("one"), source("two")], Arc::default());
    let claims = |issuer: &str, audience: &str| {
        let claims = json!({"iss": issuer, "aud": audience, "sub": "ada", "exp": 4_000_000_000_u64});
        token(Algorithm::HS256, &claims)
    };
    let one = verifier.verify(&claims("https://one.example", "app-of-one")).await.unwrap();
    let two = verifier.verify(&claims("https://two.example", "app-of-two")).await.unwrap();
    assert_eq!((one.person.subject.0.as_str(), two.person.subject.0.as_str()), ("one:ada", "two:ada"));
    for (issuer, audience, fault) in [
        ("https://one.example", "app-of-two", Fault::OtherAudience),
        ("https://one.example/", "app-of-one", Fault::IssuerSlash),
        ("https://three.example", "app-of-one", Fault::OtherIssuer),
    ] {
        assert_eq!(verifier.verify(&claims(issuer, audience)).await, Err(VerifyError::Invalid(fault)), "{issuer}");
    }
}

proptest! {
    #[test]
    fn any_text_is_refused_without_repeating_it(text in "[!-~]{0,80}(\\.[!-~]{0,80}){0,3}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(verifier().verify(&text)).unwrap_err();
        prop_assert!(text.len() < 8 || !error.to_string().contains(&text));
    }
}
