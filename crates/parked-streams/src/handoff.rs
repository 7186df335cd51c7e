//! How an event stream is taken out of hyper's hands.
//!
//! hyper keeps a read buffer, a write buffer and its own state for each connection, some 18 KB, which an idle stream has no
//! use for. So the body of an event stream is detachable to hyper: [`OutgoingBody`] passes its frames on until it has nothing more to
//! send for now; [`RewindIo`], the connection as hyper sees it, notices when all of them have reached the system. From then on
//! the connection can be taken apart without a byte being lost: [`Handoff::take`].
//!
//! The tap also keeps back what hyper would say to a head that it cannot read, so that the router says it.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

/// A connection of either kind.
pub(super) type Transport = Either<TcpStream, UnixStream>;

/// How the body of a response is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// In chunks (RFC 9112 §7.1); the connection may serve another request afterwards if `keep_alive`.
    Chunked {
        /// Whether the client wants to go on with the connection.
        keep_alive: bool,
    },
    /// By the connection's end, for HTTP/1.0.
    UntilClose,
}

impl Framing {
    /// Appends `data` to `outgoing`, as hyper would send it.
    pub(super) fn write_frame(self, data: &[u8], outgoing: &mut Vec<u8>) {
        match self {
            // An empty chunk would be the last.
            _ if data.is_empty() => {}
            Self::Chunked { .. } => {
                // A `Vec` takes all that is written to it.
                let _ = write!(outgoing, "{:X}\r\n", data.len());
                outgoing.extend_from_slice(data);
                outgoing.extend_from_slice(b"\r\n");
            }
            Self::UntilClose => outgoing.extend_from_slice(data),
        }
    }

    /// Appends what tells that the body has ended.
    pub(super) fn write_end(self, outgoing: &mut Vec<u8>) {
        match self {
            Self::Chunked { .. } => outgoing.extend_from_slice(b"0\r\n\r\n"),
            Self::UntilClose => {}
        }
    }
}

/// What tells whether, and how, the answer to a request may be taken over.
#[derive(Clone, Copy, Default)]
pub(super) struct RequestFraming(Option<Framing>);

impl RequestFraming {
    /// Notes what matters of a request, before it is handed on.
    pub(super) fn new(request: &Request<Incoming>) -> Self {
        let is_plain_get = request.method() == Method::GET && request.body().is_end_stream();
        Self(is_plain_get.then_some(()).and_then(|()| match request.version() {
            Version::HTTP_11 => Some(Framing::Chunked { keep_alive: !has_close_option(request.headers()) }),
            Version::HTTP_10 => Some(Framing::UntilClose),
            _ => None,
        }))
    }

    /// Returns how a response will be framed if it is an event stream.
    fn framing(self, status: StatusCode, headers: &HeaderMap) -> Option<Framing> {
        let is_stream = status == StatusCode::OK
            && !headers.contains_key(header::CONTENT_LENGTH)
            && headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        match self.0 {
            Some(Framing::Chunked { keep_alive }) if is_stream => {
                Some(Framing::Chunked { keep_alive: keep_alive && !has_close_option(headers) })
            }
            framing => framing.filter(|_| is_stream),
        }
    }
}

fn has_close_option(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// What the driver of a connection, its [`RewindIo`] and its [`OutgoingBody`] tell each other.
pub(super) struct Handoff<B> {
    state: Arc<Mutex<State<B>>>,
    /// Whether a request's body has not been read to its end.
    has_unread_body: Arc<AtomicBool>,
}

impl<B> Clone for Handoff<B> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), has_unread_body: Arc::clone(&self.has_unread_body) }
    }
}

struct State<B> {
    /// Whether heads that hyper cannot read are the service's to response.
    withholds_unreadable: bool,
    detachable: Option<DetachableBody<B>>,
    /// Whether hyper may have written something that it has not yet flushed.
    has_unflushed: bool,
    response: ResponseProgress,
    /// What hyper wanted to refuse a head with, by itself.
    withheld_status: Option<StatusCode>,
}

/// Where the answer to the last request is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum ResponseProgress {
    /// Written, or nothing was request yet. What hyper writes now it says by itself.
    #[default]
    Written,
    /// In the making, or its body is.
    Pending,
    /// Wholly in hyper's hands.
    WithHyper,
}

/// An event stream that hyper is sending.
struct DetachableBody<B> {
    body: B,
    framing: Framing,
    /// Whether it had nothing to send when it was last request.
    is_idle: bool,
}

impl<B> Handoff<B> {
    pub(super) fn new(withholds_unreadable: bool) -> Self {
        let state = State {
            withholds_unreadable,
            detachable: None,
            has_unflushed: false,
            response: ResponseProgress::Written,
            withheld_status: None,
        };
        Self { state: Arc::new(Mutex::new(state)), has_unread_body: Arc::default() }
    }

    /// Notes that a request is about to be answered. Returns its body, and what the answer has to go with.
    pub(super) fn begin_request(&self, body: Incoming) -> (RequestBody, ResponseGuard<B>) {
        self.state.lock().response = ResponseProgress::Pending;
        self.has_unread_body.store(false, Ordering::Release);
        let has_unread_body = Arc::clone(&self.has_unread_body);
        (RequestBody { body, is_read: false, has_unread_body }, ResponseGuard(self.clone()))
    }

    /// Returns `response` as hyper is to have it: detachable, if it is an event stream.
    pub(super) fn wrap_response(
        &self,
        request: RequestFraming,
        response: Response<B>,
        guard: ResponseGuard<B>,
    ) -> Response<OutgoingBody<B>> {
        let (head, body) = response.into_parts();
        let source = match request.framing(head.status, &head.headers) {
            None => Source::Attached(body),
            Some(framing) => {
                self.state.lock().detachable = Some(DetachableBody { body, framing, is_idle: false });
                Source::Detachable(self.clone())
            }
        };
        Response::from_parts(head, OutgoingBody { source, _answering: guard })
    }

    /// Returns the status that hyper wanted to refuse a request's head with. Nothing of its answer was sent.
    pub(super) fn withheld_status(&self) -> Option<StatusCode> {
        self.state.lock().withheld_status
    }

    /// Returns whether the peer may still be sending the body of a request that has been answered.
    pub(super) fn has_unread_body(&self) -> bool {
        self.has_unread_body.load(Ordering::Acquire)
    }

    /// Takes the stream back if there is one which has nothing to send and of which everything has been written.
    pub(super) fn take_idle_stream(&self) -> Option<(B, Framing)> {
        let mut state = self.state.lock();
        let has_unflushed = state.has_unflushed;
        let detachable = state.detachable.take_if(|detachable| detachable.is_idle && !has_unflushed)?;
        Some((detachable.body, detachable.framing))
    }

    /// Notes that hyper writes `bytes`, and returns whether they are to be kept back.
    ///
    /// hyper refuses a head that it cannot read by itself, with an empty body. As no request was handed on, that is what it
    /// writes while no answer is on its way. Only where an earlier answer on the connection has not been taken yet are the
    /// two not told apart, and hyper's own goes out.
    fn withhold(&self, bytes: &[u8]) -> bool {
        let mut state = self.state.lock();
        state.has_unflushed = true;
        if state.withholds_unreadable && state.response == ResponseProgress::Written && state.withheld_status.is_none()
        {
            let status = bytes.strip_prefix(b"HTTP/1.1 ").or(bytes.strip_prefix(b"HTTP/1.0 "));
            state.withheld_status = status.and_then(|status| StatusCode::from_bytes(status.get(..3)?).ok());
        }
        state.withheld_status.is_some()
    }
}

/// Lives as long as the answer to a request is not wholly in hyper's hands.
pub(super) struct ResponseGuard<B>(Handoff<B>);

impl<B> Drop for ResponseGuard<B> {
    fn drop(&mut self) {
        self.0.state.lock().response = ResponseProgress::WithHyper;
    }
}

/// A request's body. It notes whether it was read to its end.
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

/// A response body as hyper has it.
pub(super) struct OutgoingBody<B> {
    source: Source<B>,
    _answering: ResponseGuard<B>,
}

enum Source<B> {
    /// Of anything but an event stream.
    Attached(B),
    /// Of an event stream, which may be taken from it.
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
                let Some(detachable) = &mut state.detachable else { return Poll::Ready(None) };
                let frame = Pin::new(&mut detachable.body).poll_frame(context);
                detachable.is_idle = frame.is_pending();
                if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
                    state.detachable = None;
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

/// A connection as hyper has it.
pub(super) struct RewindIo<B> {
    stream: Transport,
    /// Bytes that came before, and are read first.
    rewound: Bytes,
    handoff: Handoff<B>,
}

impl<B> RewindIo<B> {
    pub(super) fn new(stream: Transport, rewound: Bytes, handoff: Handoff<B>) -> Self {
        Self { stream, rewound, handoff }
    }

    /// Returns the connection, and what has been received and not read.
    pub(super) fn into_parts(self) -> (Transport, Bytes) {
        (self.stream, self.rewound)
    }
}

impl<B> AsyncRead for RewindIo<B> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rewound.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let room = buffer.remaining().min(self.rewound.len());
        buffer.put_slice(&self.rewound.split_to(room));
        Poll::Ready(Ok(()))
    }
}

impl<B> AsyncWrite for RewindIo<B> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.handoff.withhold(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.handoff.withhold(slices.first().map_or(&[], |slice| slice)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all that it had.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        let mut state = self.handoff.state.lock();
        state.has_unflushed = false;
        if state.response == ResponseProgress::WithHyper {
            state.response = ResponseProgress::Written;
        }
        drop(state);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.handoff.withheld_status().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
