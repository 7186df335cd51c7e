//! Ids and secrets of a ticket: the public [`TicketId`], and the [`BindingSecret`] that ties a ticket to one browser or
//! native app.
//!
//! The server generates them (`random`). Text from a caller must have exactly the form that `Display` writes. The store
//! keeps, and comparisons use, only the [`BindingHash`] of a secret.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

/// The public id of a ticket: 128 random bits, written as 22 characters of unpadded base64url (RFC 4648 §5).
///
/// The QR code contains it, so it is not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TicketId([u8; 16]);

/// The text does not have the form of a [`TicketId`] or a [`BindingSecret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {expected} characters of base64url")]
pub struct ParseIdError {
    expected: usize,
}

impl TicketId {
    /// Creates an id from 128 random bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl FromStr for TicketId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        decode(text).map(Self)
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketId({self})")
    }
}

/// The id that names a scanner to the approver of a share: 128 random bits, generated at the scan and stored with it.
///
/// It is random and not a hash of the scanner: with an id that depends on the subject, an approver could test guesses.
/// Comparisons take constant time.
#[derive(Clone, Copy)]
pub struct ScannerId([u8; 16]);

impl ScannerId {
    /// Creates an id from 128 random bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns whether `text` is this id.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.to_string().as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl PartialEq for ScannerId {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ScannerId {}

impl fmt::Display for ScannerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for ScannerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScannerId({self})")
    }
}

impl Serialize for ScannerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScannerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(&String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The 256-bit secret by which a browser or native app proves that a ticket is bound to it.
///
/// A cookie or a bearer token carries it, as 43 characters of unpadded base64url. Its `Debug` form hides it.
#[derive(Clone)]
pub struct BindingSecret([u8; 32]);

impl BindingSecret {
    /// Creates a secret from 256 random bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the hash that a ticket stores.
    #[must_use]
    pub fn hash(&self) -> BindingHash {
        BindingHash(sha256(&self.0))
    }

    /// Returns the text form, only for the cookie or for the response to the creation of the ticket.
    #[must_use]
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Derives a secret for one purpose and these texts, by HMAC-SHA256 (RFC 2104). The same browser and texts always
    /// give the same secret, and nobody else can compute it. A zero byte separates the texts, so none of them may
    /// contain one.
    #[must_use]
    pub fn derive(&self, purpose: &str, texts: &[&str]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(purpose.as_bytes());
        for text in texts {
            context.update(&[0]);
            context.update(text.as_bytes());
        }
        let mut derived = [0; 32];
        derived.copy_from_slice(context.sign().as_ref());
        derived
    }
}

impl FromStr for BindingSecret {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        decode(text).map(Self)
    }
}

impl fmt::Debug for BindingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BindingSecret(…)")
    }
}

/// The SHA-256 of a [`BindingSecret`]. Comparisons take constant time.
#[derive(Clone, Copy)]
pub struct BindingHash([u8; 32]);

impl BindingHash {
    /// Returns the text form, for the name of a stored value.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl PartialEq for BindingHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for BindingHash {}

impl fmt::Debug for BindingHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BindingHash(…)")
    }
}

impl Serialize for BindingHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for BindingHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Decodes exactly `N` bytes, and refuses any text but their canonical form.
fn decode<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let malformed = ParseIdError { expected: (N * 4).div_ceil(3) };
    let mut bytes = [0; N];
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(written) if written == N => Ok(bytes),
        _ => Err(malformed),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random;

    #[test]
    fn an_id_is_22_characters_and_is_parsed_back() {
        let id = random::ticket_id();
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn debug_hides_a_secret() {
        let secret = random::binding_secret();
        let shown = format!("{secret:?} {:?}", secret.hash());
        assert!(!shown.contains(&secret.reveal()));
        assert_eq!(shown, "BindingSecret(…) BindingHash(…)");
    }

    #[test]
    fn only_the_same_secret_has_the_same_hash() {
        let secret = random::binding_secret();
        let again: BindingSecret = secret.reveal().parse().unwrap();
        assert_eq!(secret.hash(), again.hash());
        assert_ne!(secret.hash(), random::binding_secret().hash());
    }

    #[test]
    fn a_derived_secret_depends_on_the_secret_the_purpose_and_every_text() {
        let secret = BindingSecret::from_bytes([7; 32]);
        let derived = secret.derive("code", &["a", "bc"]);
        assert_eq!(secret.derive("code", &["a", "bc"]), derived);
        for (purpose, texts) in [
            ("cod", &["ea", "bc"][..]),
            ("codes", &["a", "bc"]),
            ("code", &["ab", "c"]),
            ("code", &["bc", "a"]),
            ("code", &["a", "bc", ""]),
            ("code", &["abc"]),
        ] {
            assert_ne!(secret.derive(purpose, texts), derived, "{purpose} {texts:?}");
        }
        assert_ne!(BindingSecret::from_bytes([8; 32]).derive("code", &["a", "bc"]), derived);
    }

    proptest! {
        #[test]
        fn any_text_is_the_canonical_form_of_an_id_or_refused(text in ".{0,40}") {
            if let Ok(id) = text.parse::<TicketId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn any_base64url_of_the_right_length_is_the_canonical_form_or_refused(text in "[A-Za-z0-9_-]{22}") {
            if let Ok(id) = text.parse::<TicketId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
