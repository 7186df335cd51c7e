//! Taking an idle event stream back from hyper.
//!
//! hyper keeps a read buffer, a write buffer and its own state for each connection, about 18 KB, which an idle stream does
//! not use. Therefore hyper does not own the body of an event stream: [`OutgoingBody`] passes on the frames of a
//! [`DetachableBody`] until the body is pending. [`RewindIo`](crate::rewind_io::RewindIo) detects when all of them have
//! reached the system. From then on [`Handoff::take_idle_stream`] returns the body, and the connection can be detached from
//! hyper without losing a byte.
//!
//! The handoff also detects hyper's own response to an unreadable head, so that the service can answer instead.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::framing::{Framing, RequestFraming};

/// The state that a connection's driver, its [`RewindIo`](crate::rewind_io::RewindIo) and its bodies share.
pub(crate) struct Handoff<B> {
    state: Arc<Mutex<State<B>>>,
    /// Whether the service dropped a request's body before its end.
    has_unread_body: Arc<AtomicBool>,
}

impl<B> Clone for Handoff<B> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), has_unread_body: Arc::clone(&self.has_unread_body) }
    }
}

struct State<B> {
    /// Whether to withhold hyper's own responses to unreadable heads.
    withholds: bool,
    stream: Option<DetachableBody<B>>,
    /// Whether hyper may have written bytes that it has not flushed yet.
    has_unflushed: bool,
    response: ResponseProgress,
    /// The status of hyper's own response to an unreadable head, once hyper has tried to write it.
    withheld_status: Option<StatusCode>,
}

/// The progress of the response to the last request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ResponseProgress {
    /// The response is written, or there was no request. If hyper writes now, it writes a response of its own.
    Written,
    /// The service has not returned the response, or its body has not ended.
    Pending,
    /// hyper has the whole response and may have buffered a part of it.
    Buffered,
}

/// The body of an event stream that hyper is sending and that can be taken back.
struct DetachableBody<B> {
    body: B,
    framing: Framing,
    /// Whether it was pending when hyper polled it last.
    is_idle: bool,
}

impl<B> Handoff<B> {
    /// Creates the state of a new connection. `withholds` is whether the service answers unreadable heads.
    pub(crate) fn new(withholds: bool) -> Self {
        let state = State {
            withholds,
            stream: None,
            has_unflushed: false,
            response: ResponseProgress::Written,
            withheld_status: None,
        };
        Self { state: Arc::new(Mutex::new(state)), has_unread_body: Arc::default() }
    }

    /// Records that the service gets a request. Returns the request's body and the guard of its response.
    pub(crate) fn begin_request(&self, body: Incoming) -> (RequestBody, ResponseGuard<B>) {
        self.state.lock().response = ResponseProgress::Pending;
        self.has_unread_body.store(false, Ordering::Release);
        let has_unread_body = Arc::clone(&self.has_unread_body);
        (RequestBody { body, is_read: false, has_unread_body }, ResponseGuard(self.clone()))
    }

    /// Wraps a response for hyper. The body of an event stream stays in the handoff, which can take it back.
    pub(crate) fn wrap_response(
        &self,
        request: RequestFraming,
        response: Response<B>,
        guard: ResponseGuard<B>,
    ) -> Response<OutgoingBody<B>> {
        let (head, body) = response.into_parts();
        let source = match request.of_event_stream(head.status, &head.headers) {
            None => Source::Attached(body),
            Some(framing) => {
                self.state.lock().stream = Some(DetachableBody { body, framing, is_idle: false });
                Source::Detachable(self.clone())
            }
        };
        Response::from_parts(head, OutgoingBody { source, _guard: guard })
    }

    /// Takes the event stream back if its body is pending and everything sent so far has reached the system.
    pub(crate) fn take_idle_stream(&self) -> Option<(B, Framing)> {
        let mut state = self.state.lock();
        let has_unflushed = state.has_unflushed;
        let stream = state.stream.take_if(|stream| stream.is_idle && !has_unflushed)?;
        Some((stream.body, stream.framing))
    }

    /// Returns the status of hyper's own response to an unreadable head, if it was withheld. No byte of it was sent.
    pub(crate) fn withheld_status(&self) -> Option<StatusCode> {
        self.state.lock().withheld_status
    }

    /// Returns whether the client may still be sending the body of a request whose response is complete.
    pub(crate) fn has_unread_body(&self) -> bool {
        self.has_unread_body.load(Ordering::Acquire)
    }

    /// Records that hyper writes `bytes`. Returns whether to withhold them.
    ///
    /// hyper answers an unreadable head on its own, with an empty body. The service gets no request, so such a write occurs
    /// while no response is pending. If an earlier response is still in hyper's buffer, the two cannot be distinguished, and
    /// hyper's own response is sent.
    pub(crate) fn record_write(&self, bytes: &[u8]) -> bool {
        let mut state = self.state.lock();
        state.has_unflushed = true;
        if state.withholds && state.response == ResponseProgress::Written && state.withheld_status.is_none() {
            let status = bytes.strip_prefix(b"HTTP/1.1 ").or(bytes.strip_prefix(b"HTTP/1.0 "));
            state.withheld_status = status.and_then(|status| StatusCode::from_bytes(status.get(..3)?).ok());
        }
        state.withheld_status.is_some()
    }

    /// Records that everything hyper has written has reached the system.
    pub(crate) fn record_flush(&self) {
        let mut state = self.state.lock();
        state.has_unflushed = false;
        if state.response == ResponseProgress::Buffered {
            state.response = ResponseProgress::Written;
        }
    }
}

/// Exists until hyper has the whole response.
pub(crate) struct ResponseGuard<B>(Handoff<B>);

impl<B> Drop for ResponseGuard<B> {
    fn drop(&mut self) {
        self.0.state.lock().response = ResponseProgress::Buffered;
    }
}

/// The body of a request that a [`Server`](crate::Server) received.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    is_read: bool,
    has_unread_body: Arc<AtomicBool>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.is_read |= frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.is_read && !self.body.is_end_stream() {
            self.has_unread_body.store(true, Ordering::Release);
        }
    }
}

/// The response body that hyper gets.
pub(crate) struct OutgoingBody<B> {
    source: Source<B>,
    _guard: ResponseGuard<B>,
}

enum Source<B> {
    /// A body that hyper owns.
    Attached(B),
    /// The event stream in [`State::stream`].
    Detachable(Handoff<B>),
}

impl<B: Body<Data = Bytes> + Unpin> Body for OutgoingBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.get_mut().source {
            Source::Attached(body) => Pin::new(body).poll_frame(context),
            Source::Detachable(handoff) => {
                let mut state = handoff.state.lock();
                let Some(stream) = &mut state.stream else { return Poll::Ready(None) };
                let frame = Pin::new(&mut stream.body).poll_frame(context);
                stream.is_idle = frame.is_pending();
                if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
                    state.stream = None;
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Attached(body) => body.is_end_stream(),
            Source::Detachable(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Attached(body) => body.size_hint(),
            Source::Detachable(_) => SizeHint::default(),
        }
    }
}
