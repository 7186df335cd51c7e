//! The names of keys and of the channels that carry their notifications.

use std::fmt::Display;

use super::slots::slot_of;
use crate::store::key::StoreKey;
use crate::ticket::TicketId;

/// Builds the names of keys and channels: key `<prefix>{<id>}`, channel `__keyspace@<database>__:<key>`.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    channel_prefix: String,
}

/// A key, and the slot of a Cluster that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) slot: u16,
    /// The ticket whose key it is, if it is a ticket's.
    pub(super) ticket: Option<TicketId>,
}

impl Keys {
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: prefix.to_owned(), channel_prefix: format!("__keyspace@{database}__:") }
    }

    /// Returns the key of a ticket.
    pub(super) fn ticket(&self, id: &TicketId) -> Key {
        Key { ticket: Some(*id), ..self.key(id, "") }
    }

    /// Returns the key of a named value. Its suffix distinguishes it from the keys of tickets.
    pub(super) fn value(&self, name: &str) -> Key {
        self.key(&StoreKey::of_name(name), ":value")
    }

    /// Returns a key that never exists, for checking whether a node accepts writes.
    pub(super) fn check(&self) -> Key {
        self.key(&"check", "")
    }

    /// The braces make Redis Cluster compute the slot only from `tag`.
    fn key(&self, tag: &impl Display, suffix: &str) -> Key {
        let tag = tag.to_string();
        Key { name: format!("{}{{{tag}}}{suffix}", self.prefix), slot: slot_of(&tag), ticket: None }
    }

    /// Returns the channel that carries the notifications of a ticket's key.
    pub(super) fn channel(&self, id: &TicketId) -> String {
        format!("{}{}{{{id}}}", self.channel_prefix, self.prefix)
    }

    /// Returns the channel on which gateways notify each other that changes may have been missed. Its name has the form
    /// of a ticket's channel, so that a user who may subscribe to tickets may also subscribe to it. The suffix `gap`
    /// stays, because gateways of 0.1 use it.
    pub(super) fn missed_channel(&self) -> String {
        format!("{}{}gap", self.channel_prefix, self.prefix)
    }

    /// Returns the ticket of a channel, if it is a ticket's.
    pub(super) fn ticket_of(&self, channel: &str) -> Option<TicketId> {
        let key = channel.strip_prefix(&self.channel_prefix)?.strip_prefix(&self.prefix)?;
        key.strip_prefix('{')?.strip_suffix('}')?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random;

    #[test]
    fn the_ticket_of_a_channel_is_found() {
        let keys = Keys::new("scangate:", 3);
        let id = random::ticket_id();
        assert_eq!(keys.channel(&id), format!("__keyspace@3__:scangate:{{{id}}}"));
        assert_eq!(keys.channel(&id), format!("__keyspace@3__:{}", keys.ticket(&id).name));
        assert_eq!(keys.ticket_of(&keys.channel(&id)), Some(id));
        assert_eq!(keys.ticket_of(&keys.missed_channel()), None);
    }

    proptest! {
        #[test]
        fn any_channel_is_refused_or_one_of_ours(tail in ".{0,60}") {
            let keys = Keys::new("p:", 0);
            let channel = format!("__keyspace@0__:p:{tail}");
            if let Some(id) = keys.ticket_of(&channel) {
                prop_assert_eq!(keys.channel(&id), channel);
            }
            prop_assert_eq!(keys.ticket_of(&tail), None);
        }
    }
}
