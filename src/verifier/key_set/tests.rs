//! Tests of the JWK Set: usable keys, skipped entries, malformed sets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm::{self, ES256, EdDSA, PS256, RS256};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::verifier::jwk::RSA;

const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn rsa() -> Value {
    json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 256]), "e": "AQAB"})
}

fn ec() -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y})
}

fn okp() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": X})
}

/// A key with other members, or without those that are null.
fn with(mut key: Value, mut changes: Value) -> Value {
    for (name, value) in std::mem::take(changes.as_object_mut().unwrap()) {
        match value {
            Value::Null => drop(key.as_object_mut().unwrap().remove(&name)),
            value => key[name] = value,
        }
    }
    key
}

fn outcome(key: &Value) -> Result<Vec<Algorithm>, Unusable> {
    let mut set = KeySet::read(json!({ "keys": [key] }).to_string().as_bytes()).unwrap();
    match set.keys.pop() {
        Some(key) => Ok(key.algorithms),
        None => Err(set.skipped.pop().unwrap().reason),
    }
}

#[test]
fn a_key_verifies_its_alg_or_all_algorithms_of_its_type() {
    assert_eq!(outcome(&rsa()), Ok(RSA.to_vec()));
    assert_eq!(outcome(&with(rsa(), json!({"alg": "PS256"}))), Ok(vec![PS256]));
    assert_eq!(outcome(&with(rsa(), json!({"alg": "RS256", "use": "sig", "key_ops": ["verify"]}))), Ok(vec![RS256]));
    assert_eq!(outcome(&ec()), Ok(vec![ES256]));
    for alg in ["EdDSA", "Ed25519"] {
        assert_eq!(outcome(&with(okp(), json!({"alg": alg}))), Ok(vec![EdDSA]), "{alg}");
    }
    assert_eq!(outcome(&with(rsa(), json!({"x5c": ["MII"], "made-up": [1, {}]}))), Ok(RSA.to_vec()));
    assert_eq!(outcome(&with(okp(), json!({"x": format!("{X}=")}))), Ok(vec![EdDSA]), "some providers pad");
}

#[test]
fn an_unusable_key_is_skipped_with_a_reason() {
    let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
    let short_with_zeros = URL_SAFE_NO_PAD.encode([[0; 128], [0xff; 128]].concat());
    let unusable = [
        (json!(null), Unusable::NotAnObject),
        (json!([]), Unusable::NotAnObject),
        (json!("key"), Unusable::NotAnObject),
        (json!({}), Unusable::Missing("kty")),
        (with(rsa(), json!({"kty": 7})), Unusable::Malformed("kty")),
        (with(rsa(), json!({"kid": 7})), Unusable::Malformed("kid")),
        (with(rsa(), json!({"alg": ["RS256"]})), Unusable::Malformed("alg")),
        (with(rsa(), json!({"x5c": "MII"})), Unusable::Malformed("x5c")),
        (with(rsa(), json!({"x5t": 1})), Unusable::Malformed("x5t")),
        (with(rsa(), json!({"use": "enc"})), Unusable::Encryption),
        (with(rsa(), json!({"use": "tls"})), Unusable::ForbiddenUse),
        (with(rsa(), json!({"use": ["sig"]})), Unusable::Malformed("use")),
        (with(rsa(), json!({"key_ops": ["sign"]})), Unusable::ForbiddenOperations),
        (with(rsa(), json!({"key_ops": []})), Unusable::ForbiddenOperations),
        (with(rsa(), json!({"key_ops": "verify"})), Unusable::Malformed("key_ops")),
        (with(rsa(), json!({"alg": "HS256"})), Unusable::AlgorithmMismatch),
        (with(rsa(), json!({"alg": "ES256"})), Unusable::AlgorithmMismatch),
        (with(rsa(), json!({"alg": "Ed25519"})), Unusable::AlgorithmMismatch),
        (with(rsa(), json!({"alg": "RSA-OAEP"})), Unusable::Algorithm),
        (with(rsa(), json!({"n": null})), Unusable::Missing("n")),
        (with(rsa(), json!({"n": "?"})), Unusable::Malformed("n")),
        (with(rsa(), json!({"n": short})), Unusable::ModulusSize),
        (with(rsa(), json!({"n": short_with_zeros})), Unusable::ModulusSize),
        (with(rsa(), json!({"e": "AQ"})), Unusable::Malformed("e")),
        (with(rsa(), json!({"e": ""})), Unusable::Malformed("e")),
        (with(rsa(), json!({"d": "AQAB"})), Unusable::Private),
        (with(ec(), json!({"crv": "P-521"})), Unusable::Curve),
        (with(ec(), json!({"crv": "P-384"})), Unusable::Malformed("x")),
        (with(ec(), json!({"y": "AQAB"})), Unusable::Malformed("y")),
        (with(okp(), json!({"crv": "X25519"})), Unusable::Curve),
        (with(okp(), json!({"alg": "Ed448"})), Unusable::Algorithm),
        (with(okp(), json!({"x": "AQAB"})), Unusable::Malformed("x")),
        (json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}), Unusable::Symmetric),
        (json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}), Unusable::UnsupportedType),
    ];
    for (key, reason) in unusable {
        assert_eq!(outcome(&key), Err(reason), "{key}");
    }
}

#[test]
fn a_bad_entry_does_not_affect_others() {
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let broken =
        ["null", "7", "{\"kid\": 1e999}", "{\"kty\": \"\\ud800\"}", "{\"kty\": \"RSA\", \"x5c\": \"MII\"}", &deep];
    for broken in broken {
        let good = with(ec(), json!({"kid": "good"}));
        let body = format!("\u{feff} {{\"other\": {deep}, \"keys\" : [ {broken} , {good} ], \"x\": 1e999}} ");
        let set = KeySet::read(body.as_bytes()).unwrap();
        assert_eq!(set.keys.len(), 1, "{broken:.40}");
        assert_eq!((set.skipped.len(), set.skipped[0].position), (1, 1), "{broken:.40}");
    }
}

#[test]
fn a_text_that_is_not_a_key_set_is_none() {
    for body in
        ["", "{}", "[]", "{\"keys\": {}}", "{\"keys\": null}", "{\"keys\": [}", "{\"keys\": []} x", "{\"keys\": [1 2]}"]
    {
        assert!(KeySet::read(body.as_bytes()).is_none(), "{body}");
    }
    let empty = KeySet::read(b"{\"keys\": []}").unwrap();
    assert!(empty.keys.is_empty() && empty.skipped.is_empty());
}

#[test]
fn no_more_keys_are_kept_than_the_bound() {
    let keys = vec![ec(); MAX_KEYS + 2];
    let set = KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    assert_eq!(set.keys.len(), MAX_KEYS);
    assert!(set.skipped.iter().all(|skipped| skipped.reason == Unusable::TooMany));
    assert_eq!(set.skipped.len(), 2);
}

#[test]
fn a_key_id_is_escaped_in_messages() {
    let named = with(ec(), json!({"kid": "a\n\u{202e}b", "use": "enc"}));
    let set = KeySet::read(json!({ "keys": [named] }).to_string().as_bytes()).unwrap();
    assert_eq!(set.skipped[0].to_string(), "key \"a\\n\\u{202e}b\" (entry 1): it is for encryption");
}

proptest! {
    #[test]
    fn any_body_is_a_key_set_or_refused(text in ".{0,200}", inner in "[-\\[\\]{}\",:0-9a-z\\\\ ]{0,60}") {
        let _ = KeySet::read(text.as_bytes());
        if let Some(set) = KeySet::read(format!("{{\"keys\":[{inner}]}}").as_bytes()) {
            prop_assert!(set.keys.is_empty());
        }
    }
}
