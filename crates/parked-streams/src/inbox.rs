//! The inbox through which other tasks send streams and wake-ups to a parking worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::Body;
use parking_lot::Mutex;
use socket2::Socket;

use crate::framing::Framing;
use crate::observer::Observer;
use crate::service::BoxError;

/// The connection of a parked stream, for the parking worker. Dropping it counts the connection as closed.
pub(crate) trait ParkedConnection: Send + 'static {
    /// The stream's body.
    type Body: Body<Data = Bytes, Error = Self::BodyError> + Send + Unpin + 'static;
    /// The error of the body.
    type BodyError: Into<BoxError>;

    /// Returns the observer of the stream's events.
    fn observer(&self) -> &dyn Observer;

    /// Returns whether the server is closing, so that the connection must not serve another request.
    fn is_closing(&self) -> bool;

    /// Serves HTTP on the connection again after the stream has ended. `read_ahead` contains the bytes received meanwhile.
    fn resume(self, socket: Socket, read_ahead: Bytes);
}

/// A stream to be parked.
pub(crate) struct NewStream<C: ParkedConnection> {
    pub(crate) socket: Socket,
    pub(crate) body: C::Body,
    pub(crate) framing: Framing,
    /// The bytes that the client sent after its request.
    pub(crate) read_ahead: Bytes,
    pub(crate) connection: C,
}

/// The inbox of one worker. The number of the server's connections bounds its length.
pub(crate) struct Inbox<C: ParkedConnection> {
    messages: Mutex<Messages<C>>,
    /// The waker of the worker's task.
    worker: AtomicWaker,
}

/// Everything that has arrived in an inbox since the worker emptied it.
pub(crate) struct Messages<C: ParkedConnection> {
    pub(crate) new_streams: Vec<NewStream<C>>,
    /// Keys of the streams whose body has to be polled.
    pub(crate) woken: Vec<u32>,
    /// Whether the server was dropped, so that no more streams arrive.
    pub(crate) is_closed: bool,
}

impl<C: ParkedConnection> Inbox<C> {
    pub(crate) fn new() -> Self {
        let messages = Messages { new_streams: Vec::new(), woken: Vec::new(), is_closed: false };
        Self { messages: Mutex::new(messages), worker: AtomicWaker::new() }
    }

    /// Delivers a stream to the worker.
    pub(crate) fn park(&self, stream: NewStream<C>) {
        self.messages.lock().new_streams.push(stream);
        self.worker.wake();
    }

    /// Ends the worker.
    pub(crate) fn close(&self) {
        self.messages.lock().is_closed = true;
        self.worker.wake();
    }

    /// Empties the inbox, and registers `context` to be woken when a message arrives.
    pub(crate) fn take(&self, context: &Context<'_>) -> Messages<C> {
        self.worker.register(context.waker());
        let mut messages = self.messages.lock();
        Messages {
            new_streams: std::mem::take(&mut messages.new_streams),
            woken: std::mem::take(&mut messages.woken),
            is_closed: messages.is_closed,
        }
    }
}

/// The waker of one stream's body.
///
/// Keys are reused. A waker that outlives its stream may wake the next stream with its key, which costs one extra poll.
pub(crate) struct StreamWaker<C: ParkedConnection> {
    inbox: Arc<Inbox<C>>,
    key: u32,
    /// Whether the key is in [`Messages::woken`] already.
    is_woken: AtomicBool,
}

impl<C: ParkedConnection> StreamWaker<C> {
    pub(crate) fn new(inbox: Arc<Inbox<C>>, key: u32) -> Self {
        Self { inbox, key, is_woken: AtomicBool::new(false) }
    }

    /// Lets the waker add its key again. The worker calls it before it polls the body, so that it misses no wake-up.
    pub(crate) fn rearm(&self) {
        self.is_woken.store(false, Ordering::Release);
    }
}

impl<C: ParkedConnection> Wake for StreamWaker<C> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.inbox.messages.lock().woken.push(self.key);
            self.inbox.worker.wake();
        }
    }
}
