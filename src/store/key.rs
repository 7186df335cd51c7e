//! The key of a named value.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The key of a value in a store: the first 128 bits of the SHA-256 of its name.
///
/// Its text form is 22 characters of unpadded base64url (RFC 4648 §5), for any name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StoreKey([u8; 16]);

impl StoreKey {
    /// Returns the key of the value called `name`. The same name always has the same key.
    pub(super) fn of_name(name: &str) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&digest::digest(&digest::SHA256, name.as_bytes()).as_ref()[..16]);
        Self(key)
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}
