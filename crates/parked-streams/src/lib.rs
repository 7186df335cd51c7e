//! An HTTP/1.1 server that parks idle event streams at a few hundred bytes each.
//!
//! hyper keeps about 18 KB of buffers and state for each connection, which a Server-Sent Events stream uses only while it
//! sends. This server lets hyper speak HTTP until a response is an event stream that has nothing more to send for now. Then
//! it detaches the connection from hyper and *parks* it: it keeps the socket, the response's body and a waker, but no task.
//! When the body yields an event, the server frames it and writes it to the socket. When the body ends, hyper serves the next
//! request on the same connection.
//!
//! This is transparent to the service. Clients receive the same bytes as without parking.
//!
//! # Example
//!
//! Any [`tower`](https://docs.rs/tower) service works. This one is an axum router with axum's own `Sse`.
//!
//! ```
//! use std::convert::Infallible;
//! use std::time::Duration;
//!
//! use axum::Router;
//! use axum::response::sse::{Event, Sse};
//! use axum::routing::get;
//! use parked_streams::{Listener, Server, Settings};
//! use tokio_stream::{Stream, StreamExt as _};
//!
//! async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
//!     let first = tokio_stream::once(Ok(Event::default().data("welcome")));
//!     Sse::new(first.chain(tokio_stream::pending()))
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = Router::new().route("/events", get(events));
//! let settings = Settings { max_connections: 50_000, ..Settings::default() };
//! let server = Server::builder(app).settings(settings).start()?;
//!
//! let listener = Listener::bind(&"127.0.0.1:0".parse()?).await?;
//! println!("listening on {}", listener.address());
//! # let address = listener.address().to_string();
//! let accepting = tokio::spawn(server.clone().serve(listener));
//! # use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//! # let mut client = tokio::net::TcpStream::connect(address).await?;
//! # client.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
//! # let mut received = Vec::new();
//! # while !received.ends_with(b"data: welcome\n\n\r\n") {
//! #     assert_ne!(client.read_buf(&mut received).await?, 0);
//! # }
//!
//! // To stop: end the streams, then wait for the other requests for a limited time.
//! # drop(client);
//! let _ = tokio::time::timeout(Duration::from_secs(10), server.close()).await;
//! # accepting.await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is parked
//!
//! A response is parked if the request is a `GET` without a body, the status is 200, `Content-Type` is `text/event-stream`,
//! and there is no `Content-Length`. It is parked once its body is pending and every byte of it has reached the system. All
//! other responses stay with hyper.
//!
//! # Bounds
//!
//! | what | bound |
//! |---|---|
//! | open connections | [`Settings::max_connections`]; further ones wait in the system's accept queue of 4,096 |
//! | connections of each peer | [`Admission`] |
//! | a request's head | [`Settings::max_head_bytes`], [`Settings::max_headers`], [`Settings::head_timeout`] |
//! | data that a client does not read | about 16 KiB plus one frame of the body, for [`Settings::write_timeout`] |
//! | data that a client sends while its stream is parked | [`Settings::max_head_bytes`] |
//! | data that a client sends after its response | 1 MiB, for 5 seconds |
//!
//! A body that panics ends its own stream and no other. The server bounds neither the size of request bodies nor the time
//! that the service takes; use `tower_http` for both.
//!
//! # Observing
//!
//! An [`Observer`] receives the events that metrics count: connections opened and closed, streams parked, and why parked
//! streams were lost. Log lines go to [`tracing`](https://docs.rs/tracing).
//!
//! # Limits
//!
//! - HTTP/1.0 and HTTP/1.1 only.
//! - No TLS: put the server behind a proxy that terminates it.
//! - Linux only, because parking uses `epoll` and `TCP_USER_TIMEOUT`.

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
