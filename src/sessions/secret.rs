//! The secret of a session, and the name under which the store keeps the session.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::random;

/// The length of a secret, in bytes.
const BYTES: usize = 32;

/// The 256-bit secret by which a browser proves that a person is signed in there.
///
/// A cookie carries it, as 43 characters of unpadded base64url (RFC 4648 §5). The store never has it, only its hash. Its
/// `Debug` form hides it.
#[derive(Clone)]
pub struct SessionSecret([u8; BYTES]);

/// The text does not have the form of a [`SessionSecret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 43 characters of base64url")]
pub struct ParseSecretError;

impl SessionSecret {
    /// Generates a secret.
    pub(super) fn generate() -> Self {
        Self(random::bytes())
    }

    /// Returns the text form, only for the cookie.
    #[must_use]
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Returns the name of the session in the store, which contains the SHA-256 of the secret.
    pub(super) fn store_name(&self) -> String {
        format!("session:{}", URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &self.0)))
    }
}

impl FromStr for SessionSecret {
    type Err = ParseSecretError;

    /// Refuses any text but the form that [`SessionSecret::reveal`] returns.
    fn from_str(text: &str) -> Result<Self, ParseSecretError> {
        let mut bytes = [0; BYTES];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(BYTES) => Ok(Self(bytes)),
            _ => Err(ParseSecretError),
        }
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neither_the_debug_form_nor_the_name_shows_the_secret() {
        let secret = SessionSecret::generate();
        assert_eq!(format!("{secret:?}"), "SessionSecret(…)");
        assert!(!secret.store_name().contains(&secret.reveal()));
        assert_eq!(secret.store_name().len(), "session:".len() + 43);
    }

    #[test]
    fn only_the_same_secret_has_the_same_name() {
        let secret = SessionSecret::generate();
        let again: SessionSecret = secret.reveal().parse().unwrap();
        assert_eq!(secret.store_name(), again.store_name());
        assert_ne!(secret.store_name(), SessionSecret::generate().store_name());
    }

    proptest! {
        #[test]
        fn any_text_is_the_canonical_form_of_a_secret_or_refused(text in "[A-Za-z0-9_=-]{0,50}|.{0,50}") {
            if let Ok(secret) = text.parse::<SessionSecret>() {
                prop_assert_eq!(secret.reveal(), text);
            }
        }
    }
}
