//! Tests of the signer: claims, algorithms and the choice of the key.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use super::keys::KeyAlgorithm;
use super::*;
use crate::ticket::{Authentication, Flow, Grant, Receipt, Subject, Timestamp};

fn claimed(claims: &Value) -> (Grant, Receipt) {
    let now = Timestamp(1_700_000_000_000);
    let grant = Grant {
        subject: Subject("ada".into()),
        claims: claims.as_object().unwrap().clone(),
        authentication: Authentication::default(),
        confirmed_at: now,
    };
    let receipt = Receipt {
        jti: "one".into(),
        issued_at: now + Duration::from_secs(1),
        expires_at: now + Duration::from_secs(3601),
        redeem_until: now,
    };
    (grant, receipt)
}

fn verify(signer: &Signer, token: &str) -> Value {
    let jwks: JwkSet = serde_json::from_str(&signer.jwks()).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let jwk = jwks.find(&header.kid.unwrap()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["web"]);
    validation.validate_exp = false;
    jsonwebtoken::decode(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation).unwrap().claims
}

#[test]
fn a_published_key_verifies_signatures_of_every_algorithm() {
    for algorithm in [KeyAlgorithm::Es256, KeyAlgorithm::Eddsa, KeyAlgorithm::Rs256] {
        let directory = tempfile::tempdir().unwrap();
        keys::create(directory.path(), algorithm).unwrap();
        let signer = Signer::open("https://gate.example", Some(directory.path().into())).unwrap();
        let (grant, receipt) = claimed(&json!({"name": "Ada"}));
        let claims = verify(&signer, &signer.sign(Flow::Login, "web", &grant, &receipt).unwrap());
        let expected = json!({
            "iss": "https://gate.example", "sub": "ada", "aud": "web", "jti": "one",
            "iat": 1_700_000_001, "nbf": 1_700_000_001, "exp": 1_700_003_601,
            "flow": "login", "confirmed_at": 1_700_000_000, "amr": ["mca"], "name": "Ada",
        });
        assert_eq!(claims, expected, "{algorithm}");
    }
}

#[test]
fn authentication_claims_are_copied_unchanged() {
    let signer = Signer::open("https://gate.example", None).unwrap();
    let (mut grant, receipt) = claimed(&json!({"name": "Ada"}));
    grant.authentication = Authentication {
        auth_time: Some(1_600_000_000.into()),
        acr: Some("urn:example:loa:3".into()),
        amr: Some(vec!["pwd".into(), "otp".into()]),
    };
    for (flow, name) in [(Flow::Login, "login"), (Flow::Share, "share")] {
        let claims = verify(&signer, &signer.sign(flow, "web", &grant, &receipt).unwrap());
        assert_eq!(claims["auth_time"], 1_600_000_000);
        assert_eq!(claims["acr"], "urn:example:loa:3");
        assert_eq!(claims["amr"], json!(["pwd", "otp"]));
        assert_eq!((&claims["flow"], &claims["confirmed_at"]), (&json!(name), &json!(1_700_000_000)));
    }
    grant.authentication = Authentication::default();
    let share = verify(&signer, &signer.sign(Flow::Share, "web", &grant, &receipt).unwrap());
    assert!(["auth_time", "acr", "amr"].iter().all(|name| share.get(*name).is_none()), "{share}");
}

#[test]
fn a_released_claim_never_replaces_a_claim_of_the_gateway() {
    let signer = Signer::open("https://gate.example", None).unwrap();
    let (grant, receipt) =
        claimed(&json!({"sub": "mallory", "aud": "admin", "iss": "x", "flow": "share", "email": "a@b"}));
    let token = signer.sign(Flow::Login, "web", &grant, &receipt).unwrap();
    let claims = verify(&signer, &token);
    assert_eq!(claims["sub"], "ada");
    assert_eq!(claims["aud"], "web");
    assert_eq!(claims["flow"], "login");
    assert_eq!(claims["email"], "a@b");
}

#[test]
fn the_newest_key_signs_and_the_older_one_stays_published() {
    let directory = tempfile::tempdir().unwrap();
    let old = keys::create(directory.path(), KeyAlgorithm::Es256).unwrap();
    let past = std::time::SystemTime::now() - Duration::from_secs(60);
    std::fs::File::open(&old).unwrap().set_modified(past).unwrap();
    let before = Signer::open("i", Some(directory.path().into())).unwrap();
    keys::create(directory.path(), KeyAlgorithm::Eddsa).unwrap();
    let after = Signer::open("i", Some(directory.path().into())).unwrap();
    let (grant, receipt) = claimed(&json!({}));
    verify(&after, &before.sign(Flow::Login, "web", &grant, &receipt).unwrap());
    let token = after.sign(Flow::Login, "web", &grant, &receipt).unwrap();
    assert_eq!(jsonwebtoken::decode_header(&token).unwrap().alg, jsonwebtoken::Algorithm::EdDSA);
}

#[test]
fn a_key_that_was_added_for_one_client_does_not_sign_the_jwts_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let old = keys::create(directory.path(), KeyAlgorithm::Es256).unwrap();
    let past = std::time::SystemTime::now() - Duration::from_secs(60);
    std::fs::File::open(&old).unwrap().set_modified(past).unwrap();
    let open = || Signer::open("https://gate.example", Some(directory.path().into())).unwrap();
    let of_grafana = open().with_algorithms(&[KeyAlgorithm::Rs256], MissingKey::Create).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "the missing key is in the directory");
    let (grant, receipt) = claimed(&json!({}));
    let alg = |token: &str| jsonwebtoken::decode_header(token).unwrap().alg;
    let token = of_grafana.sign(Flow::Login, "web", &grant, &receipt).unwrap();
    assert_eq!(alg(&token), jsonwebtoken::Algorithm::ES256);
    let token = of_grafana.sign_with(KeyAlgorithm::Rs256, JwtType::AccessToken, &json!({"aud": "web"})).unwrap();
    assert_eq!(alg(&token), jsonwebtoken::Algorithm::RS256);
    assert_eq!(jsonwebtoken::decode_header(&token).unwrap().typ.as_deref(), Some("at+jwt"));
    let fault = of_grafana.sign_with(KeyAlgorithm::Eddsa, JwtType::Jwt, &json!({})).unwrap_err();
    assert!(matches!(fault, SignError::NoKey(KeyAlgorithm::Eddsa)), "{fault}");
    // Without a client that names it, the newest key signs.
    assert_eq!(alg(&open().sign(Flow::Login, "web", &grant, &receipt).unwrap()), jsonwebtoken::Algorithm::RS256);
    let both = open().with_algorithms(&[KeyAlgorithm::Rs256, KeyAlgorithm::Es256], MissingKey::Refuse).unwrap();
    assert_eq!(alg(&both.sign(Flow::Login, "web", &grant, &receipt).unwrap()), jsonwebtoken::Algorithm::ES256);
}

#[test]
fn replicas_with_a_directory_do_not_start_without_a_key_that_a_client_needs() {
    let directory = tempfile::tempdir().unwrap();
    keys::create(directory.path(), KeyAlgorithm::Es256).unwrap();
    let signer = Signer::open("https://gate.example", Some(directory.path().into())).unwrap();
    let fault = signer.with_algorithms(&[KeyAlgorithm::Rs256], MissingKey::Refuse).err().unwrap().to_string();
    let command = format!("scangate keys new --dir {} --algorithm rs256", directory.path().display());
    assert!(fault.contains("signing_alg RS256 has no key") && fault.contains(&command), "{fault}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// The key that each process makes is not enough either: each process has another one.
#[test]
fn replicas_without_a_directory_do_not_start_with_a_client_that_needs_a_key() {
    let open = || Signer::open("https://gate.example", None).unwrap();
    for (algorithm, name) in [(KeyAlgorithm::Rs256, "rs256"), (KeyAlgorithm::Es256, "es256")] {
        let fault = open().with_algorithms(&[algorithm], MissingKey::Refuse).err().unwrap().to_string();
        let command = format!("scangate keys new --dir DIR --algorithm {name}");
        assert!(fault.contains(&command) && fault.contains("SCANGATE_KEYS_DIR"), "{fault}");
    }
    assert!(open().with_algorithms(&[], MissingKey::Refuse).is_ok());
}

#[test]
fn a_key_that_cannot_be_created_is_reported_with_the_cause() {
    let directory = tempfile::tempdir().unwrap();
    let keys_dir = directory.path().join("keys");
    keys::create(&keys_dir, KeyAlgorithm::Es256).unwrap();
    let signer = Signer::open("https://gate.example", Some(keys_dir.clone())).unwrap();
    // A file instead of the directory: permissions do not stop root.
    std::fs::remove_dir_all(&keys_dir).unwrap();
    std::fs::write(&keys_dir, "").unwrap();
    let fault = signer.with_algorithms(&[KeyAlgorithm::Rs256], MissingKey::Create).err().unwrap().to_string();
    let command = format!("scangate keys new --dir {} --algorithm rs256", keys_dir.display());
    assert!(fault.contains("File exists") && fault.contains(&command), "{fault}");
}

/// Nothing shows which of two keys signed the other JWTs first.
#[test]
fn the_first_client_with_the_algorithm_of_the_other_jwts_moves_them_to_another_key() {
    let directory = tempfile::tempdir().unwrap();
    let old = keys::create(directory.path(), KeyAlgorithm::Es256).unwrap();
    let past = std::time::SystemTime::now() - Duration::from_secs(60);
    std::fs::File::open(&old).unwrap().set_modified(past).unwrap();
    keys::create(directory.path(), KeyAlgorithm::Eddsa).unwrap();
    let signed_by = |named: &[KeyAlgorithm]| {
        let signer = Signer::open("https://gate.example", Some(directory.path().into())).unwrap();
        let signer = signer.with_algorithms(named, MissingKey::Refuse).unwrap();
        let (grant, receipt) = claimed(&json!({}));
        jsonwebtoken::decode_header(signer.sign(Flow::Login, "web", &grant, &receipt).unwrap()).unwrap().alg
    };
    assert_eq!(signed_by(&[]), jsonwebtoken::Algorithm::EdDSA);
    assert_eq!(signed_by(&[KeyAlgorithm::Eddsa]), jsonwebtoken::Algorithm::ES256);
}

#[test]
fn without_a_directory_the_keys_of_clients_are_made_and_secrets_stay_those_of_the_first() {
    let signer = Signer::open("https://gate.example", None).unwrap();
    let secret = signer.derive("x");
    let signer = signer.with_algorithms(&[KeyAlgorithm::Eddsa, KeyAlgorithm::Es256], MissingKey::Create).unwrap();
    let jwks: JwkSet = serde_json::from_str(&signer.jwks()).unwrap();
    assert_eq!((jwks.keys.len(), signer.derive("x")), (2, secret));
}
