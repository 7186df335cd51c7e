//! One key of a JWK Set.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::jws::algorithm;

/// The most keys of one set that are kept.
pub(super) const MAX_KEYS: usize = 64;
/// The sizes of an RSA modulus that is taken, in bits: the least that is safe (RFC 7518 §3.3), the most that the library takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The longest RSA exponent that is taken, in bytes.
const MAX_EXPONENT_BYTES: usize = 4;

const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];
pub(super) const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// A public key, and what it may verify: algorithms of one family, or the one that it names.
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
