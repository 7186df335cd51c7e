//! Tickets, parties and clients as answers and events show them. Everything that a party may not see is left out here and
//! nowhere else.

pub(super) mod client;
pub(super) mod party;
pub(super) mod scan;
pub(super) mod ticket;
