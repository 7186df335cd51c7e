//! Tests of the whole gateway: the real binary, a real Redis, a real nginx, a real Chromium. One file per concern.
//!
//! `support` starts and stops them on free ports; nothing outlives its test.

mod support;

mod api;
mod browser;
mod cli;
mod faults;
mod flow;
mod nginx;
mod safety;
mod store;
