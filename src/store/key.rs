//! What a store files a record under.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ticket::TicketId;

/// The key of one record in a store: a ticket's id, or a hash of a value's name.
///
/// The text form is 22 characters of unpadded base64url (RFC 4648 §5), whatever the name holds; Redis hashes it to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreKey {
    /// A ticket.
    Ticket(TicketId),
    /// A value: the first 128 bits of its name's SHA-256.
    Value([u8; 16]),
}

impl StoreKey {
    /// Returns the key of the value called `name`: always the same one.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&digest::digest(&digest::SHA256, name.as_bytes()).as_ref()[..16]);
        Self::Value(key)
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket(id) => id.fmt(f),
            Self::Value(key) => f.write_str(&URL_SAFE_NO_PAD.encode(key)),
        }
    }
}
