//! An HTTP/1.1 server that parks idle event streams at a few hundred bytes each.

mod address;
mod admission;
mod connection;
mod framing;
mod handoff;
mod inbox;
mod linger;
mod listener;
mod observer;
mod parked_stream;
mod rewind_io;
mod server;
mod service;
mod settings;
mod task;
mod transport;
mod unreadable_head;
mod worker;

pub use address::{ListenAddress, ParseListenAddressError, Peer};
pub use admission::Admission;
pub use handoff::RequestBody;
pub use listener::Listener;
pub use observer::{LossReason, Observer};
pub use server::{Server, ServerBuilder};
pub use service::{BoxError, HttpService};
pub use settings::{MAX_WRITE_TIMEOUT, Settings};
pub use unreadable_head::UnreadableHead;
