//! The names of keys and of the channels that their notifications come on.

use std::fmt::Display;

use crate::store::key::StoreKey;
use crate::ticket::TicketId;

/// Names what belongs to a ticket: key `<prefix>{<id>}`, channel `__keyspace@<database>__:<key>`.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) prefix: String,
    channel_prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: prefix.to_owned(), channel_prefix: format!("__keyspace@{database}__:") }
    }

    /// Returns the key of a ticket; the braces decide its slot.
    pub(super) fn key(&self, id: &impl Display) -> String {
        format!("{}{{{id}}}", self.prefix)
    }

    /// Returns the key of a value; see `values`.
    pub(super) fn value_key(&self, id: &StoreKey) -> String {
        format!("{}:value", self.key(id))
    }

    pub(super) fn channel(&self, id: &TicketId) -> String {
        format!("{}{}", self.channel_prefix, self.key(id))
    }

    /// Returns the channel on which gateways tell each other that changes have gone unreported. It is named like those of
    /// tickets, so that whoever may subscribe to them may subscribe to it.
    pub(super) fn gap_channel(&self) -> String {
        format!("{}{}gap", self.channel_prefix, self.prefix)
    }

    /// Returns whose channel it is, if it is a ticket's.
    pub(super) fn id(&self, channel: &str) -> Option<TicketId> {
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
    fn a_channel_leads_back_to_its_ticket() {
        let keys = Keys::new("scangate:", 3);
        let id = random::ticket_id();
        assert_eq!(keys.channel(&id), format!("__keyspace@3__:scangate:{{{id}}}"));
        assert_eq!(keys.id(&keys.channel(&id)), Some(id));
        assert_eq!(keys.id(&keys.gap_channel()), None);
    }

    proptest! {
        #[test]
        fn any_channel_is_refused_or_one_of_ours(tail in ".{0,60}") {
            let keys = Keys::new("p:", 0);
            let channel = format!("__keyspace@0__:p:{tail}");
            if let Some(id) = keys.id(&channel) {
                prop_assert_eq!(keys.channel(&id), channel);
            }
            prop_assert_eq!(keys.id(&tail), None);
        }
    }
}
