//! The secret of a browser's session, and the session's public id.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ticket::{BindingSecret, TicketId};

/// The length of a secret, in bytes.
const BYTES: usize = 32;
/// The length of an id, in bytes: the same as for all other ids, so that nobody can guess one or make one twice.
const ID_BYTES: usize = 16;

/// The 256-bit secret by which a browser proves that it has signed in by a code.
///
/// A cookie carries it, as 43 characters of unpadded base64url (RFC 4648 §5). The store never has it. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct BrowserSecret([u8; BYTES]);

/// The text does not have the form of a [`BrowserSecret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 43 characters of base64url")]
pub struct ParseBrowserSecretError;

impl BrowserSecret {
    /// Derives the secret of the session that a claimed ticket starts. Each sign-in has a new secret, and a repeated
    /// request of the same browser gets the same one. `jti` is the id in the ticket's receipt.
    #[must_use]
    pub fn of(binding: &BindingSecret, ticket: &TicketId, jti: &str) -> Self {
        Self(binding.derive("scangate sso 1", &[&ticket.to_string(), jti]))
    }

    /// Returns the session's public id, a hash of the secret: `sid` of ID tokens (OpenID Connect Front-Channel Logout §3). 22
    /// characters.
    #[must_use]
    pub fn sid(&self) -> String {
        let hash = digest::digest(&digest::SHA256, &[b"scangate sso\0", &self.0[..]].concat());
        URL_SAFE_NO_PAD.encode(&hash.as_ref()[..ID_BYTES])
    }

    /// Returns the text form, only for the cookie.
    #[must_use]
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl FromStr for BrowserSecret {
    type Err = ParseBrowserSecretError;

    /// Refuses any text but the form that [`BrowserSecret::reveal`] returns.
    fn from_str(text: &str) -> Result<Self, ParseBrowserSecretError> {
        let mut bytes = [0; BYTES];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(BYTES) => Ok(Self(bytes)),
            _ => Err(ParseBrowserSecretError),
        }
    }
}

impl fmt::Debug for BrowserSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrowserSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random;

    #[test]
    fn every_sign_in_has_a_secret_of_its_own_and_a_repeated_request_the_same_one() {
        let (binding, ticket) = (random::binding_secret(), random::ticket_id());
        let secret = BrowserSecret::of(&binding, &ticket, "one");
        assert_eq!(secret, BrowserSecret::of(&binding, &ticket, "one"));
        assert_ne!(secret, BrowserSecret::of(&binding, &ticket, "two"));
        assert_ne!(secret, BrowserSecret::of(&binding, &random::ticket_id(), "one"));
        assert_ne!(secret, BrowserSecret::of(&random::binding_secret(), &ticket, "one"));
    }

    #[test]
    fn neither_the_debug_form_nor_the_id_shows_the_secret() {
        let secret = BrowserSecret::of(&random::binding_secret(), &random::ticket_id(), "one");
        assert_eq!(format!("{secret:?}"), "BrowserSecret(…)");
        assert_eq!(secret.sid().len(), 22);
        assert!(!secret.reveal().contains(&secret.sid()));
    }

    proptest! {
        #[test]
        fn any_text_is_the_canonical_form_of_a_secret_or_refused(text in "[A-Za-z0-9_=-]{0,50}|.{0,50}") {
            if let Ok(secret) = text.parse::<BrowserSecret>() {
                prop_assert_eq!(secret.reveal(), text);
            }
        }
    }
}
