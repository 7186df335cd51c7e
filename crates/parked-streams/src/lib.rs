//! An HTTP/1.1 server that parks idle event streams at a few hundred bytes each.

mod address;
mod admission;
mod handoff;
mod observer;
mod server;
mod service;
mod task;
mod unreadable;
mod worker;

pub use address::{ListenAddress, Peer};
pub use admission::Admission;
pub use handoff::RequestBody;
pub use observer::{LossReason, Observer};
pub use server::{Listener, MAX_WRITE_TIMEOUT, Server, ServerBuilder, Settings};
pub use service::{BoxError, HttpService};
pub use unreadable::UnreadableHead;
