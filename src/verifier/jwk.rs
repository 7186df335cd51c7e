//! The entries of a JWK Set, each by itself (RFC 7517 §5): what a key may verify, or why it verifies nothing.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Map, Value};

use super::jws::algorithm;

/// The most keys of one set that are kept.
pub(super) const MAX_KEYS: usize = 64;
/// The sizes of an RSA modulus that is taken, in bits: the least that is safe (RFC 7518 §3.3), the most that the library takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The longest RSA exponent that is taken, in bytes.
const MAX_EXPONENT_BYTES: usize = 4;
/// How much of a key's id is shown to people, in characters.
const MAX_SHOWN_CHARS: usize = 64;

const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];
const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// A public key, and what it may verify: algorithms of one family, or the one that it names.
pub(super) struct PublicKey {
    pub(super) kid: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

impl PublicKey {
    pub(super) fn verifies(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

/// Why an entry verifies nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is no object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A member that is needed is not there.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A member is not what RFC 7517 or RFC 7518 says that it is.
    #[error("its {0} is malformed")]
    Malformed(&'static str),
    /// It is for encryption; most providers have one.
    #[error("it is for encryption")]
    Encryption,
    /// `use` is something else than `sig`.
    #[error("its use forbids verifying")]
    Use,
    /// `key_ops` is there without `verify`.
    #[error("its key_ops forbid verifying")]
    Operations,
    /// A symmetric key in a public place is no secret.
    #[error("it is a symmetric key, and everybody can read it")]
    Symmetric,
    /// So is a private one.
    #[error("its private half is published with it, so that everybody can sign with it")]
    Private,
    /// `kty` is not understood.
    #[error("its kty is not understood")]
    Type,
    /// `crv` is not understood.
    #[error("its crv is not understood")]
    Curve,
    /// `alg` is not understood.
    #[error("its alg is not understood")]
    Algorithm,
    /// `alg` is one of other keys.
    #[error("its alg does not fit its kty and crv")]
    AlgorithmOfOthers,
    /// Its modulus is too short or too long.
    #[error("its modulus does not have 2048 to 8192 bits")]
    Size,
    /// There are as many as are looked at before it.
    #[error("there are {MAX_KEYS} keys before it, and more are not kept")]
    TooMany,
}

impl Unusable {
    /// Returns whether somebody should do something about it.
    #[must_use]
    pub fn is_fault(self) -> bool {
        self != Self::Encryption
    }
}

/// An entry that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its place in the set, from 1.
    place: usize,
    /// Its `kid`, if that can be read.
    kid: Option<String>,
    /// Why.
    pub reason: Unusable,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            // As a literal: what is in it, another party has written.
            Some(kid) => write!(f, "key {:?} (entry {}): {}", kid, self.place, self.reason),
            None => write!(f, "entry {}: {}", self.place, self.reason),
        }
    }
}

/// The keys of a set, and what is left out of it.
#[derive(Default)]
pub(super) struct KeySet {
    pub(super) keys: Vec<PublicKey>,
    pub(super) skipped: Vec<Skipped>,
}

impl KeySet {
    /// Reads a JWK Set; `None` if it is none (RFC 7517 §5: an object with a list called `keys`).
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut set = Self::default();
        for (index, entry) in entries(body)?.into_iter().enumerate() {
            let entry = serde_json::from_slice::<Value>(entry).ok();
            let kid = entry.as_ref().and_then(|entry| entry.get("kid")?.as_str());
            let kid = kid.map(|kid| kid.chars().take(MAX_SHOWN_CHARS).collect());
            let read = match &entry {
                Some(Value::Object(_)) if set.keys.len() == MAX_KEYS => Err(Unusable::TooMany),
                Some(Value::Object(members)) => read(members),
                _ => Err(Unusable::NotAnObject),
            };
            match read {
                Ok(key) => set.keys.push(key),
                Err(reason) => set.skipped.push(Skipped { place: index + 1, kid, reason }),
            }
        }
        Some(set)
    }
}

/// Returns the entries of the list `keys`, as they are written. They are only told apart here, so that one that cannot be read
/// (a number that is too large, an escape that stands for nothing) leaves the others alone.
fn entries(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = Text(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    let mut found = None;
    rest.list(b'{', b'}', |rest| {
        let name = rest.value()?;
        rest.take(b':')?;
        if serde_json::from_slice::<String>(name).ok().as_deref() != Some("keys") {
            return rest.value().map(drop);
        }
        let mut entries = Vec::new();
        rest.list(b'[', b']', |rest| rest.value().map(|entry| entries.push(entry)))?;
        found = Some(entries);
        Some(())
    })?;
    rest.is_at_end().then_some(found)?
}

/// What is left of a JSON text.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    fn is_at_end(&self) -> bool {
        self.0.trim_ascii_start().is_empty()
    }

    /// Takes one character, and the blanks before it.
    fn take(&mut self, character: u8) -> Option<()> {
        self.0 = self.0.trim_ascii_start().strip_prefix(&[character])?;
        Some(())
    }

    /// Takes one value, whatever is in it.
    fn value(&mut self) -> Option<&'a [u8]> {
        let mut values = Deserializer::from_slice(self.0).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let (value, rest) = self.0.split_at(values.byte_offset());
        self.0 = rest;
        Some(value)
    }

    /// Takes a list of elements with commas between them.
    fn list(&mut self, begin: u8, end: u8, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(begin)?;
        if self.take(end).is_some() {
            return Some(());
        }
        loop {
            element(self)?;
            if self.take(end).is_some() {
                return Some(());
            }
            self.take(b',')?;
        }
    }
}

fn read(members: &Map<String, Value>) -> Result<PublicKey, Unusable> {
    let kid = text(members, "kid")?.map(str::to_owned);
    let named = text(members, "alg")?;
    match text(members, "use")? {
        None | Some("sig") => {}
        Some("enc") => return Err(Unusable::Encryption),
        Some(_) => return Err(Unusable::Use),
    }
    match members.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if !operations.iter().all(Value::is_string) => {
            return Err(Unusable::Malformed("key_ops"));
        }
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {}
        Some(Value::Array(_)) => return Err(Unusable::Operations),
        Some(_) => return Err(Unusable::Malformed("key_ops")),
    }
    for name in ["x5u", "x5t", "x5t#S256"] {
        text(members, name)?;
    }
    match members.get("x5c") {
        None => {}
        Some(Value::Array(chain)) if !chain.is_empty() && chain.iter().all(Value::is_string) => {}
        Some(_) => return Err(Unusable::Malformed("x5c")),
    }
    let (fitting, key) = public_half(members)?;
    let algorithms = match named {
        None => fitting.to_vec(),
        Some(name) => {
            let algorithm = algorithm(name).ok_or(Unusable::Algorithm)?;
            if !fitting.contains(&algorithm) {
                return Err(Unusable::AlgorithmOfOthers);
            }
            vec![algorithm]
        }
    };
    if members.contains_key("d") {
        return Err(Unusable::Private);
    }
    Ok(PublicKey { kid, algorithms, key })
}

/// Returns the public half, and all that its type and size allow (RFC 7518 §6, RFC 8037 §2).
fn public_half(members: &Map<String, Value>) -> Result<(&'static [Algorithm], DecodingKey), Unusable> {
    match text(members, "kty")?.ok_or(Unusable::Missing("kty"))? {
        "RSA" => {
            let (n, e) = (bytes(members, "n")?, bytes(members, "e")?);
            let n = &n[n.iter().take_while(|byte| **byte == 0).count()..];
            let e = &e[e.iter().take_while(|byte| **byte == 0).count()..];
            let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
            if !RSA_BITS.contains(&bits) {
                return Err(Unusable::Size);
            }
            if n.last().is_none_or(|last| last % 2 == 0) {
                return Err(Unusable::Malformed("n"));
            }
            // With 1, every message is its own signature.
            if e == [1] || e.len() > MAX_EXPONENT_BYTES || e.last().is_none_or(|last| last % 2 == 0) {
                return Err(Unusable::Malformed("e"));
            }
            Ok((RSA, DecodingKey::from_rsa_raw_components(n, e)))
        }
        "EC" => {
            let (fitting, size) = match text(members, "crv")?.ok_or(Unusable::Missing("crv"))? {
                "P-256" => (P256, 32),
                "P-384" => (P384, 48),
                _ => return Err(Unusable::Curve),
            };
            let (x, y) = (bytes(members, "x")?, bytes(members, "y")?);
            if x.len() != size {
                return Err(Unusable::Malformed("x"));
            }
            if y.len() != size {
                return Err(Unusable::Malformed("y"));
            }
            // SEC 1 §2.3.3: 4 says that both coordinates follow.
            let point = [&[4_u8][..], &x, &y].concat();
            Ok((fitting, DecodingKey::from_ec_der(&point)))
        }
        "OKP" => {
            if text(members, "crv")?.ok_or(Unusable::Missing("crv"))? != "Ed25519" {
                return Err(Unusable::Curve);
            }
            let x = bytes(members, "x")?;
            if x.len() != 32 {
                return Err(Unusable::Malformed("x"));
            }
            Ok((ED25519, DecodingKey::from_ed_der(&x)))
        }
        "oct" => Err(Unusable::Symmetric),
        _ => Err(Unusable::Type),
    }
}

fn text<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, Unusable> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Unusable::Malformed(name)),
    }
}

fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, Unusable> {
    let text = text(members, name)?.ok_or(Unusable::Missing(name))?;
    // RFC 7515 §2: without padding. Some providers pad.
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_error| Unusable::Malformed(name))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm::{ES256, EdDSA, PS256, RS256};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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
    fn a_key_verifies_what_it_names_or_all_that_its_type_allows() {
        assert_eq!(outcome(&rsa()), Ok(RSA.to_vec()));
        assert_eq!(outcome(&with(rsa(), json!({"alg": "PS256"}))), Ok(vec![PS256]));
        assert_eq!(
            outcome(&with(rsa(), json!({"alg": "RS256", "use": "sig", "key_ops": ["verify"]}))),
            Ok(vec![RS256])
        );
        assert_eq!(outcome(&ec()), Ok(vec![ES256]));
        for alg in ["EdDSA", "Ed25519"] {
            assert_eq!(outcome(&with(okp(), json!({"alg": alg}))), Ok(vec![EdDSA]), "{alg}");
        }
        assert_eq!(outcome(&with(rsa(), json!({"x5c": ["MII"], "made-up": [1, {}]}))), Ok(RSA.to_vec()));
        assert_eq!(outcome(&with(okp(), json!({"x": format!("{X}=")}))), Ok(vec![EdDSA]), "some providers pad");
    }

    #[test]
    fn what_must_not_verify_is_left_out_with_its_reason() {
        let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
        let short_with_zeros = URL_SAFE_NO_PAD.encode([[0; 128], [0xff; 128]].concat());
        let left_out = [
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
            (with(rsa(), json!({"use": "tls"})), Unusable::Use),
            (with(rsa(), json!({"use": ["sig"]})), Unusable::Malformed("use")),
            (with(rsa(), json!({"key_ops": ["sign"]})), Unusable::Operations),
            (with(rsa(), json!({"key_ops": []})), Unusable::Operations),
            (with(rsa(), json!({"key_ops": "verify"})), Unusable::Malformed("key_ops")),
            (with(rsa(), json!({"alg": "HS256"})), Unusable::AlgorithmOfOthers),
            (with(rsa(), json!({"alg": "ES256"})), Unusable::AlgorithmOfOthers),
            (with(rsa(), json!({"alg": "Ed25519"})), Unusable::AlgorithmOfOthers),
            (with(rsa(), json!({"alg": "RSA-OAEP"})), Unusable::Algorithm),
            (with(rsa(), json!({"n": null})), Unusable::Missing("n")),
            (with(rsa(), json!({"n": "?"})), Unusable::Malformed("n")),
            (with(rsa(), json!({"n": short})), Unusable::Size),
            (with(rsa(), json!({"n": short_with_zeros})), Unusable::Size),
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
            (json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}), Unusable::Type),
        ];
        for (key, reason) in left_out {
            assert_eq!(outcome(&key), Err(reason), "{key}");
        }
    }

    #[test]
    fn an_entry_costs_nobody_but_itself() {
        let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
        let broken =
            ["null", "7", "{\"kid\": 1e999}", "{\"kty\": \"\\ud800\"}", "{\"kty\": \"RSA\", \"x5c\": \"MII\"}", &deep];
        for broken in broken {
            let good = with(ec(), json!({"kid": "good"}));
            let body = format!("\u{feff} {{\"other\": {deep}, \"keys\" : [ {broken} , {good} ], \"x\": 1e999}} ");
            let set = KeySet::read(body.as_bytes()).unwrap();
            assert_eq!(set.keys.len(), 1, "{broken:.40}");
            assert_eq!((set.skipped.len(), set.skipped[0].place), (1, 1), "{broken:.40}");
        }
    }

    #[test]
    fn what_is_no_set_is_none() {
        for body in [
            "",
            "{}",
            "[]",
            "{\"keys\": {}}",
            "{\"keys\": null}",
            "{\"keys\": [}",
            "{\"keys\": []} x",
            "{\"keys\": [1 2]}",
        ] {
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
    fn what_is_said_of_a_key_cannot_pass_for_something_else() {
        let named = with(ec(), json!({"kid": "a\n\u{202e}b", "use": "enc"}));
        let set = KeySet::read(json!({ "keys": [named] }).to_string().as_bytes()).unwrap();
        assert_eq!(set.skipped[0].to_string(), "key \"a\\n\\u{202e}b\" (entry 1): it is for encryption");
    }

    proptest! {
        #[test]
        fn any_answer_is_a_key_set_or_refused(text in ".{0,200}", inner in "[-\\[\\]{}\",:0-9a-z\\\\ ]{0,60}") {
            let _ = KeySet::read(text.as_bytes());
            if let Some(set) = KeySet::read(format!("{{\"keys\":[{inner}]}}").as_bytes()) {
                prop_assert!(set.keys.is_empty());
            }
        }
    }
}
