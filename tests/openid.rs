//! The OpenID Provider over HTTP, as apps and browsers use it. One file per concern.

mod attacks;
mod authorize;
mod conformance;
mod edge;
mod endpoints;
mod failover;
mod sign_out;
mod token;
