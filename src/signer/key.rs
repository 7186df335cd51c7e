//! A signing key: creates one, reads it from PEM (PKCS#8), and finds its algorithm, its id and its public half.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Deserialize;

/// The shortest RSA modulus that may sign (RFC 7518 §3.3).
const MIN_RSA_MODULUS_BYTES: usize = 256;

/// The algorithms of signing keys (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Deserialize)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    Eddsa,
    /// RSA PKCS#1 v1.5 with SHA-256, 2,048 bits or more.
    #[serde(rename = "RS256")]
    Rs256,
}

impl KeyAlgorithm {
    /// Returns the algorithm of the JWS header.
    #[must_use]
    pub fn jws(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::Eddsa => Algorithm::EdDSA,
            Self::Rs256 => Algorithm::RS256,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Es256 => "ES256",
            Self::Eddsa => "EdDSA",
            Self::Rs256 => "RS256",
        })
    }
}

/// A private key that signs.
#[derive(Clone)]
pub struct SigningKey {
    /// Its `kid`: the JWK thumbprint (RFC 7638).
    pub id: String,
    /// The algorithm.
    pub algorithm: KeyAlgorithm,
    /// The private half.
    pub secret: EncodingKey,
    /// The public half.
    pub public: DecodingKey,
    pub(super) jwk: Jwk,
}

/// The cryptographic library failed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("could not create a key")]
pub struct GenerateError;

/// Creates a private key and returns it as PEM.
///
/// # Errors
/// [`GenerateError`] if the cryptographic library fails.
pub fn generate(algorithm: KeyAlgorithm) -> Result<String, GenerateError> {
    use aws_lc_rs::{rand, rsa, signature};

    let random = rand::SystemRandom::new();
    let der: Vec<u8> = match algorithm {
        KeyAlgorithm::Es256 => {
            let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
            let key = signature::EcdsaKeyPair::generate_pkcs8(kind, &random);
            key.map_err(|_unspecified| GenerateError)?.as_ref().to_vec()
        }
        KeyAlgorithm::Eddsa => {
            let key = signature::Ed25519KeyPair::generate_pkcs8v1(&random);
            key.map_err(|_unspecified| GenerateError)?.as_ref().to_vec()
        }
        KeyAlgorithm::Rs256 => {
            let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map_err(|_unspecified| GenerateError)?;
            let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().map_err(|_unspecified| GenerateError)?;
            der.as_ref().to_vec()
        }
    };
    Ok(pem_of(&der))
}

/// Writes a private key in PKCS #8 as PEM (RFC 7468): base64 in lines of 64 characters.
fn pem_of(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\r\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push_str("\r\n");
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\r\n");
    pem
}

/// Returns the key in a PEM text. It tries each type of key in turn.
pub(super) fn parse(pem: &[u8]) -> Option<SigningKey> {
    use jsonwebtoken::jwk::AlgorithmParameters::{EllipticCurve, OctetKeyPair, RSA};

    let candidates = [
        (KeyAlgorithm::Es256, EncodingKey::from_ec_pem(pem)),
        (KeyAlgorithm::Eddsa, EncodingKey::from_ed_pem(pem)),
        (KeyAlgorithm::Rs256, EncodingKey::from_rsa_pem(pem)),
    ];
    let (algorithm, secret) = candidates.into_iter().find_map(|(algorithm, secret)| Some((algorithm, secret.ok()?)))?;
    let mut jwk = Jwk::from_encoding_key(&secret, algorithm.jws()).ok()?;
    let fits = match &jwk.algorithm {
        EllipticCurve(key) => key.curve == jsonwebtoken::jwk::EllipticCurve::P256,
        OctetKeyPair(_) => true,
        RSA(key) => key.n.len() * 3 / 4 >= MIN_RSA_MODULUS_BYTES,
        _ => false,
    };
    if !fits {
        return None;
    }
    let id = jwk.thumbprint(ThumbprintHash::SHA256).ok()?;
    jwk.common.key_id = Some(id.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    let public = DecodingKey::from_jwk(&jwk).ok()?;
    Some(SigningKey { id, algorithm, secret, public, jwk })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_file_is_a_key_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(pem_of(&bytes).as_bytes());
        }
    }
}
