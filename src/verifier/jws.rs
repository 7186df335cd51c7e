//! A signed token: three parts of base64url, the first of which is a JSON object (RFC 7515 §3.1, RFC 7519 §7.2).
//!
//! This module reads the header itself: the library rejects a token with an unknown algorithm name, and silently picks one of two
//! members with the same name. No content is trusted before the signature was checked.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::fault::Fault;

/// The types of token that identify their bearer, without `application/`: plain JWTs and access tokens (RFC 9068 §2.1). Other
/// types serve other purposes: to log a person out, to prove a key, to report an event.
const BEARER_TYPES: [&str; 2] = ["jwt", ACCESS_TOKEN_TYPE];
/// The type of an access token.
const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// A token whose header was read and whose signature was not checked yet.
pub(super) struct Jws<'a> {
    /// The algorithm that its header names.
    pub(super) algorithm: Algorithm,
    /// The key that its header names.
    pub(super) kid: Option<String>,
    /// Whether `typ` marks an access token (RFC 9068 §2.1). Such a token is no ID token.
    pub(super) is_access_token: bool,
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Jws<'a> {
    /// Reads the header of `token`.
    pub(super) fn read(token: &'a str) -> Result<Self, Fault> {
        let parts: Vec<&str> = token.splitn(6, '.').collect();
        let [header, payload, signature] = parts[..] else {
            // RFC 7516 §3.1: an encrypted token has five parts.
            return Err(if parts.len() == 5 { Fault::Encrypted } else { Fault::NotJwt });
        };
        let message = &token[..header.len() + 1 + payload.len()];
        let header = object(header)?;
        if header.contains_key("enc") {
            return Err(Fault::Encrypted);
        }
        // RFC 7515 §4.1.11: an unsupported critical parameter makes the token invalid; `b64` (RFC 7797) must be critical.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Fault::Critical);
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) if name.eq_ignore_ascii_case("none") => return Err(Fault::Unsigned),
            Some(Value::String(name)) => algorithm(name).ok_or(Fault::UnknownAlgorithm)?,
            _ => return Err(Fault::NotJwt),
        };
        let is_access_token = match header.get("typ").map(|typ| typ.as_str().map(short_type)) {
            None => false,
            Some(Some(typ)) if BEARER_TYPES.contains(&typ.as_str()) => typ == ACCESS_TOKEN_TYPE,
            Some(_) => return Err(Fault::OtherType),
        };
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Fault::NotJwt),
        };
        Ok(Self { algorithm, kid, is_access_token, message, payload, signature })
    }

    /// Returns whether `key` signed it with the named algorithm. Returns false for a key of another type.
    pub(super) fn is_signed_by(&self, key: &DecodingKey) -> bool {
        jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), key, self.algorithm).unwrap_or(false)
    }

    /// Returns the claims. Do not use them before the signature was checked.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Fault> {
        object(self.payload)
    }
}

/// Returns the algorithm that a token or a key names (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2).
#[must_use]
pub fn algorithm(name: &str) -> Option<Algorithm> {
    // `EdDSA` does not name the curve; RFC 9864 does. One curve is supported.
    if name == "Ed25519" { Some(Algorithm::EdDSA) } else { name.parse().ok() }
}

/// Returns `typ` in lower case and without `application/`: it is a media type, which may omit that (RFC 7515 §4.1.9), and media
/// types are case-insensitive.
fn short_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").unwrap_or(&typ).to_owned()
}

/// Reads a part: a JSON object in base64url. It refuses two members with the same name, as RFC 7515 §4 and RFC 7519 §4 allow,
/// because two readers of such a token may read different values.
fn object(part: &str) -> Result<Map<String, Value>, Fault> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_error| Fault::NotJwt)?;
    let UniqueMembers { members, has_duplicate } = serde_json::from_slice(&bytes).map_err(|_error| Fault::NotJwt)?;
    if has_duplicate { Err(Fault::DuplicateMember) } else { Ok(members) }
}

struct UniqueMembers {
    members: Map<String, Value>,
    has_duplicate: bool,
}

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = UniqueMembers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMembers, A::Error> {
                let (mut members, mut has_duplicate) = (Map::new(), false);
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    has_duplicate |= members.insert(name, value).is_some();
                }
                Ok(UniqueMembers { members, has_duplicate })
            }
        }

        deserializer.deserialize_map(Members)
    }
}
