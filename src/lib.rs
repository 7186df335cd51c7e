//! scangate: sign in by QR code.
//!
//! A page shows a QR code and waits on a Server-Sent Events stream; a signed-in phone scans the code, sees who is asking,
//! and confirms or declines; the waiting browser is handed a JWT.
//!
//! # The map
//!
//! Arrows point down only: `main → app → http → { connectors, waiters, signer, verifier, qr, clients, store } → ticket`.
//!
//! | module | owns |
//! |---|---|
//! | [`ticket`] | tickets, their states and transitions; no I/O, no clock |
//! | [`store`] | the contract of what keeps tickets; the memory and the Redis engine |
//! | [`waiters`] | who waits for which ticket in this process, and what wakes them |
//! | [`signer`] | the JWTs that go out, and their keys |
//! | [`verifier`] | the tokens that phones bring |
//! | [`connectors`] | other services' codes in the place of the gateway's own: WeChat |
//! | [`random`] | draws ids, secrets and match numbers |
//! | [`callers`] | who counts as one caller |
//! | [`clients`] | the registered clients |
//! | [`qr`] | QR codes |
//! | [`http`] | the API, the pages, and all that a request passes through |
//! | [`connections`] | the metrics of connections, and the bound on those of each caller |
//! | [`metrics`] | every metric |
//! | [`net`] | facts about URLs, and answers of other services read up to a bound |
//! | [`secret`] | secrets in settings |
//! | [`journal`] | bounds the log lines that anybody can cause |
//! | [`config`] | flags, environment, file |
//! | [`doctor`] | `scangate doctor` |
//! | [`app`] | puts it all together |
//!
//! # The way of a sign-in
//!
//! `POST /v1/tickets` makes a pending ticket in the [`store`] and binds it to the browser's cookie. The browser opens
//! `/events`, registers with [`waiters`] and reads the ticket. A phone scans: [`verifier`] finds out whose it is, a
//! transition of [`ticket`] is stored, the store reports the change, the stream wakes, reads the ticket and sends
//! `scanned`. The phone confirms: the same way again, but this time the reading claims the ticket, [`signer`] makes its JWT,
//! and the stream sends it and ends.

pub mod app;
pub mod callers;
pub mod clients;
pub mod config;
pub mod connections;
pub mod connectors;
pub mod doctor;
pub mod http;
pub mod journal;
pub mod metrics;
pub mod net;
pub mod qr;
pub mod random;
pub mod secret;
pub mod sign_in;
pub mod signer;
pub mod store;
mod systemd;
mod task;
pub mod ticket;
pub mod verifier;
pub mod waiters;
