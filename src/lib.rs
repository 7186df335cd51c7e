//! scangate: sign in by QR code.
//!
//! A page shows a QR code and waits on a Server-Sent Events stream. A signed-in phone scans the code, sees which site asks,
//! and confirms or declines. The waiting browser then gets a JWT.
//!
//! # The layers
//!
#![doc = include_str!("layers.md")]
//!
//! # The path of a sign-in
//!
//! `POST /v1/tickets` creates a pending ticket in the [`store`] and binds it to the presenter's cookie. The presenter opens the
//! ticket's `events` path; its stream registers with [`waiters`] and reads the ticket. When a scanner scans the code, [`verifier`]
//! identifies the person, [`sign_in`] has [`ticket`] compute the next state and stores it, the store reports the change,
//! [`waiters`] wakes the stream, and the stream reads the ticket and sends `scanned`. The approver confirms in the same way. This
//! time the read claims the ticket: [`signer`] issues its JWT, and the stream sends it and ends.

pub mod app;
pub mod callers;
pub mod clients;
pub mod clock;
pub mod config;
pub mod connections;
pub mod connectors;
pub mod doctor;
pub mod http;
pub mod log_limit;
pub mod metrics;
pub mod openid_provider;
pub mod outbound;
pub mod qr;
pub mod random;
pub mod relying_party;
pub mod secret;
pub mod sessions;
pub mod sign_in;
pub mod signer;
pub mod single_sign_on;
pub mod store;
mod systemd;
mod task;
pub mod ticket;
pub mod urls;
pub mod verifier;
pub mod waiters;
