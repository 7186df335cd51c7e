//! One parked stream: it reads the body, writes to the socket, and reads the data that the client sends.
//!
//! Invariant: a stream is either idle, or blocked by bytes that its socket has not accepted. The body of a blocked stream is
//! not polled, so the bytes that wait for a slow client are bounded.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;
use tokio::time::Instant;

use crate::framing::Framing;
use crate::inbox::{ParkedConnection, StreamWaker};
use crate::observer::LossReason;
use crate::service::BoxError;

/// The number of bytes to read at once from a client. A waiting client normally sends nothing.
const READ_BYTES: usize = 512;
/// The number of bytes to collect from a body before they are sent and other streams are served.
pub(crate) const COLLECT_BYTES: usize = 16 * 1024;

/// A parked stream.
pub(crate) struct ParkedStream<C: ParkedConnection> {
    pub(crate) body: C::Body,
    pub(crate) waker: Arc<StreamWaker<C>>,
    pub(crate) connection: C,
    /// `None` while the stream is idle and the client has sent nothing, which is almost always the case.
    pub(crate) backlog: Option<Box<Backlog>>,
    pub(crate) socket: Socket,
    pub(crate) framing: Framing,
}

/// The bytes that a stream holds, in either direction.
#[derive(Default)]
pub(crate) struct Backlog {
    /// Framed bytes that the socket has not accepted yet.
    unsent: Vec<u8>,
    /// The time by which the socket must have accepted them; `None` if there are no such bytes.
    pub(crate) deadline: Option<Instant>,
    /// Whether the body has ended.
    is_ended: bool,
    /// Bytes that the client has sent during the stream.
    pub(crate) read_ahead: Vec<u8>,
}

impl Backlog {
    /// Returns the backlog of a stream whose client has sent `read_ahead`, if it needs one.
    pub(crate) fn of(read_ahead: Bytes) -> Option<Box<Self>> {
        (!read_ahead.is_empty()).then(|| Box::new(Self { read_ahead: read_ahead.into(), ..Self::default() }))
    }
}

/// The result of collecting frames from a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Collected {
    /// The body is pending or has ended.
    Everything,
    /// [`COLLECT_BYTES`] were reached. The body may have more frames.
    Part,
    /// The body failed. The frames before the failure were collected.
    Failed,
}

impl<C: ParkedConnection> ParkedStream<C> {
    /// Returns whether the socket has not accepted all bytes yet.
    pub(crate) fn is_blocked(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.unsent.is_empty())
    }

    /// Returns whether the body has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.is_ended)
    }

    /// Changes which events of the socket are reported.
    pub(crate) fn set_interest(&self, registry: &Registry, token: Token, interest: Interest) {
        // It fails only for an unregistered socket, and this socket is registered.
        let _ = registry.reregister(&mut SourceFd(&self.socket.as_raw_fd()), token, interest);
    }

    /// Appends the body's frames to `outgoing`, framed, until the body is pending or [`COLLECT_BYTES`] are reached.
    pub(crate) fn collect_frames(&mut self, outgoing: &mut Vec<u8>) -> Collected {
        let waker = Waker::from(Arc::clone(&self.waker));
        let mut context = Context::from_waker(&waker);
        while outgoing.len() < COLLECT_BYTES {
            match self.poll_body(&mut context) {
                Poll::Pending => return Collected::Everything,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.framing.write_frame(&data, outgoing);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::error!(%error, "the body of an event stream failed");
                    return Collected::Failed;
                }
                Poll::Ready(None) => {
                    self.framing.write_end(outgoing);
                    self.backlog.get_or_insert_default().is_ended = true;
                    return Collected::Everything;
                }
            }
        }
        Collected::Part
    }

    /// Polls the body. A panic becomes an error, so that it ends only this stream.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let body = Pin::new(&mut self.body);
        catch_unwind(AssertUnwindSafe(|| body.poll_frame(context).map_err(Into::into)))
            .unwrap_or_else(|_| Poll::Ready(Some(Err("the body panicked".into()))))
    }

    /// Writes `bytes` to the socket and stores those that it does not accept.
    ///
    /// # Errors
    /// The socket's error.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = if bytes.is_empty() { 0 } else { write(&self.socket, bytes)? };
        if written < bytes.len() {
            self.backlog.get_or_insert_default().unsent.extend_from_slice(&bytes[written..]);
        }
        Ok(())
    }

    /// Writes the bytes that the socket has not accepted yet.
    ///
    /// # Errors
    /// The socket's error.
    pub(crate) fn send_backlog(&mut self) -> io::Result<()> {
        let Some(backlog) = &mut self.backlog else { return Ok(()) };
        let written = write(&self.socket, &backlog.unsent)?;
        backlog.unsent.drain(..written);
        if backlog.unsent.is_empty() {
            backlog.deadline = None;
            if backlog.read_ahead.is_empty() && !backlog.is_ended {
                self.backlog = None;
            }
        }
        Ok(())
    }

    /// Reads the data that the client sends during the stream, for example its next request, and keeps up to `max_bytes`.
    ///
    /// # Errors
    /// The reason to abort the stream: the client closed or reset the connection, or sent too much data.
    pub(crate) fn read_from_client(&mut self, max_bytes: usize) -> Result<(), LossReason> {
        let mut buffer = [0; READ_BYTES];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => return Err(LossReason::Closed),
                Ok(count) => {
                    let read_ahead = &mut self.backlog.get_or_insert_default().read_ahead;
                    read_ahead.extend_from_slice(&buffer[..count]);
                    if read_ahead.len() > max_bytes {
                        return Err(LossReason::Flooding);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(LossReason::of(&error)),
            }
        }
    }
}

/// Writes `bytes` until the socket would block. Returns the number of bytes written.
fn write(mut socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
