//! One key of a JWK Set (RFC 7517 §4): the algorithms that it verifies, or the reason why it is unusable.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::jws::algorithm;

/// The maximum number of keys that the verifier keeps from one set.
pub(super) const MAX_KEYS: usize = 64;
/// The accepted sizes of an RSA modulus in bits: from the minimum of RFC 7518 §3.3 to the library's maximum.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The maximum length of an RSA exponent, in bytes.
const MAX_EXPONENT_BYTES: usize = 4;

const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];
pub(super) const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// A public key and the algorithms that it may verify: those of its type, or only the one in its `alg`.
pub(super) struct PublicKey {
    pub(super) kid: Option<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

impl PublicKey {
    pub(super) fn verifies(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

pub(super) fn read(members: &Map<String, Value>) -> Result<PublicKey, Unusable> {
    let kid = text(members, "kid")?.map(str::to_owned);
    let named = text(members, "alg")?;
    match text(members, "use")? {
        None | Some("sig") => {}
        Some("enc") => return Err(Unusable::Encryption),
        Some(_) => return Err(Unusable::ForbiddenUse),
    }
    match members.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if !operations.iter().all(Value::is_string) => {
            return Err(Unusable::Malformed("key_ops"));
        }
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {}
        Some(Value::Array(_)) => return Err(Unusable::ForbiddenOperations),
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
                return Err(Unusable::AlgorithmMismatch);
            }
            vec![algorithm]
        }
    };
    if members.contains_key("d") {
        return Err(Unusable::Private);
    }
    Ok(PublicKey { kid, algorithms, key })
}

/// Returns the public key, and the algorithms that its type and size allow (RFC 7518 §6, RFC 8037 §2).
fn public_half(members: &Map<String, Value>) -> Result<(&'static [Algorithm], DecodingKey), Unusable> {
    match text(members, "kty")?.ok_or(Unusable::Missing("kty"))? {
        "RSA" => {
            let (n, e) = (bytes(members, "n")?, bytes(members, "e")?);
            let n = &n[n.iter().take_while(|byte| **byte == 0).count()..];
            let e = &e[e.iter().take_while(|byte| **byte == 0).count()..];
            let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
            if !RSA_BITS.contains(&bits) {
                return Err(Unusable::ModulusSize);
            }
            if n.last().is_none_or(|last| last % 2 == 0) {
                return Err(Unusable::Malformed("n"));
            }
            // With exponent 1, every message is its own signature.
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
            // SEC 1 §2.3.3: 4 means that both coordinates follow.
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
        _ => Err(Unusable::UnsupportedType),
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
    // RFC 7515 §2 forbids padding, but some providers pad.
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_error| Unusable::Malformed(name))
}

/// The reason why an entry is unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not an object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A required member is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A member does not have the form of RFC 7517 or RFC 7518.
    #[error("its {0} is malformed")]
    Malformed(&'static str),
    /// It is for encryption; most providers publish one.
    #[error("it is for encryption")]
    Encryption,
    /// `use` is not `sig`.
    #[error("its use forbids verifying")]
    ForbiddenUse,
    /// `key_ops` does not contain `verify`.
    #[error("its key_ops forbid verifying")]
    ForbiddenOperations,
    /// It is a symmetric key, which is not secret once published.
    #[error("it is a symmetric key, and anyone can read it")]
    Symmetric,
    /// Its private half is published.
    #[error("its private half is published with it, so anyone can sign with it")]
    Private,
    /// `kty` is not supported.
    #[error("its kty is not supported")]
    UnsupportedType,
    /// `crv` is not supported.
    #[error("its crv is not supported")]
    Curve,
    /// `alg` is not supported.
    #[error("its alg is not supported")]
    Algorithm,
    /// `alg` does not fit the type of the key.
    #[error("its alg does not fit its kty and crv")]
    AlgorithmMismatch,
    /// Its modulus is too short or too long.
    #[error("its modulus does not have 2048 to 8192 bits")]
    ModulusSize,
    /// The set has more keys than the verifier keeps.
    #[error("it comes after {MAX_KEYS} keys, and the gateway keeps no more")]
    TooMany,
}

impl Unusable {
    /// Returns whether an operator should act on it.
    #[must_use]
    pub fn is_fault(self) -> bool {
        self != Self::Encryption
    }
}
