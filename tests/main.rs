//! Tests of the whole gateway: the real binary, a real Redis, a real nginx, a real Chromium. One file per concern.
//!
//! `support` starts and stops them on free ports; nothing outlives its test.

#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed, which is what it is for"
)]

mod support;

mod api;
mod apps;
mod auth_request;
mod browser;
mod cleanup;
mod cli;
mod clients;
mod coming_from;
mod distance;
mod docs;
mod doctor;
mod drop_in;
mod examples;
mod faults;
mod flow;
mod layers;
mod loadgen;
mod logs;
mod model;
mod neighbours;
mod nginx;
mod openid;
mod packages;
mod pages;
mod providers;
mod relying_party;
mod safety;
mod sessions;
mod store;
mod streams;
mod topologies;
mod wechat;
