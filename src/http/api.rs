//! The API's handlers, by resource.

pub(super) mod admin;
pub(super) mod codes;
pub(super) mod decisions;
pub(super) mod demo;
pub(super) mod events;
pub(super) mod keys;
pub(super) mod openapi;
pub(super) mod opening;
pub(super) mod session;
pub(super) mod sign_in;
pub(super) mod signed_in;
pub(super) mod tickets;
pub(super) mod wechat;
