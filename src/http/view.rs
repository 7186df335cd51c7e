//! Tickets, parties and clients as responses and events show them. These views, and no other code, omit the data that a party
//! may not see.

pub(super) mod client;
pub(super) mod party;
pub(super) mod scan;
pub(super) mod ticket;
