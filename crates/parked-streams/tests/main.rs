//! Tests of the server on real sockets. One file per concern.

#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, which is its purpose"
)]

mod support;

mod bodies;
mod closing;
mod connections;
mod heads;
mod memory;
mod streams;
