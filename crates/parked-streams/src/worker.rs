//! Where idle event streams are parked: many of them in one task, each no more than its socket and its body.
//!
//! A task and a registered socket per stream would take some 700 bytes before anything is known about it. A worker has one
//! task, one `epoll` instance of its own within tokio's, and a slab. A stream's body is polled when its waker was called;
//! what it yields is framed here and written to the socket. A stream that ends gives its connection back to HTTP.
//!
//! Invariant: a stream is either idle, or blocked with bytes that its socket did not take; a blocked one's body is not
//! polled, so what waits for a slow reader is bounded.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as _, Frame};
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use parking_lot::Mutex;
use slab::Slab;
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep};

use crate::handoff::Framing;
use crate::observer::LossReason;
use crate::server::{Connection, MAX_HEAD_BYTES};
use crate::service::{BoxError, HttpService};

/// How many sockets' events are fetched at once.
const EVENTS_PER_POLL: usize = 256;
/// How many bytes are read at once from a client that should have nothing to say.
const READ_BYTES: usize = 512;
/// When a body has said this much, it is sent, and the other streams have their turn.
const COLLECT_BYTES: usize = 16 * 1024;
/// The most bytes that a client may send read_ahead while its stream goes on: what a request head may have.
const MAX_READ_AHEAD_BYTES: usize = MAX_HEAD_BYTES;

/// All workers of a server. Streams are dealt out to them in turn.
pub(crate) struct ParkingPool<S: HttpService> {
    inboxes: Vec<Arc<Inbox<S>>>,
    next: AtomicUsize,
}

/// A stream to be parked.
pub(crate) struct NewStream<S: HttpService> {
    pub(crate) socket: Socket,
    pub(crate) body: S::ResponseBody,
    pub(crate) framing: Framing,
    /// What the client has sent read_ahead.
    pub(crate) read_ahead: Bytes,
    pub(crate) connection: Connection<S>,
}

impl<S: HttpService> ParkingPool<S> {
    /// Opens one worker for each core. A write may wait for its reader for `write_timeout`.
    ///
    /// # Errors
    /// The system's, if it has no file to give.
    pub(crate) fn open(write_timeout: Duration) -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let inboxes = (0..count).map(|_| ParkingWorker::open(write_timeout)).collect::<io::Result<_>>()?;
        Ok(Self { inboxes, next: AtomicUsize::new(0) })
    }

    pub(crate) fn park(&self, parked: NewStream<S>) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let inbox = &self.inboxes[turn % self.inboxes.len()];
        inbox.state.lock().arrivals.push(parked);
        inbox.task.wake();
    }
}

/// What reaches a worker from outside. Bounded by the server's connections.
struct Inbox<S: HttpService> {
    state: Mutex<InboxState<S>>,
    task: AtomicWaker,
}

struct InboxState<S: HttpService> {
    arrivals: Vec<NewStream<S>>,
    /// Keys of streams whose body wants to be polled.
    woken: Vec<u32>,
    /// Whether the server is gone, so that no stream will come any more.
    is_closed: bool,
}

impl<S: HttpService> Drop for ParkingPool<S> {
    fn drop(&mut self) {
        for inbox in &self.inboxes {
            inbox.state.lock().is_closed = true;
            inbox.task.wake();
        }
    }
}

/// The waker of one stream's body. One that outlives its stream may wake the next with the same key, which is harmless.
struct StreamWaker<S: HttpService> {
    inbox: Arc<Inbox<S>>,
    key: u32,
    /// Whether it is in [`InboxState::woken`] already.
    is_woken: AtomicBool,
}

impl<S: HttpService> Wake for StreamWaker<S> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.inbox.state.lock().woken.push(self.key);
            self.inbox.task.wake();
        }
    }
}

/// One parked stream.
struct ParkedStream<S: HttpService> {
    body: S::ResponseBody,
    waker: Arc<StreamWaker<S>>,
    connection: Connection<S>,
    /// What is there only now and then.
    backlog: Option<Box<Backlog>>,
    socket: Socket,
    framing: Framing,
}

/// What a stream has beside its body and socket when it is not simply idle.
#[derive(Default)]
struct Backlog {
    /// Framed bytes that the socket has not taken yet.
    unsent: Vec<u8>,
    /// Until when it must have; set while there are any.
    deadline: Option<Instant>,
    /// Whether the body has ended.
    is_ended: bool,
    /// What the client has sent read_ahead.
    read_ahead: Vec<u8>,
}

struct ParkingWorker<S: HttpService> {
    inbox: Arc<Inbox<S>>,
    poll: AsyncFd<mio::Poll>,
    events: Events,
    streams: Slab<ParkedStream<S>>,
    write_timeout: Duration,
    /// What is being sent; kept for its memory alone.
    outgoing: Vec<u8>,
    /// Blocked streams in the order of their deadlines; some may have gone on since.
    blocked: VecDeque<(Instant, u32)>,
    timer: Pin<Box<Sleep>>,
}

/// How much of what a body has to say was collected.
enum Collected {
    /// All that it has for now, its end included.
    Everything,
    /// As much as is sent at once.
    Part,
    /// What it had said before it broke off.
    Failed,
}

impl<S: HttpService> ParkingWorker<S> {
    fn open(write_timeout: Duration) -> io::Result<Arc<Inbox<S>>> {
        let state = InboxState { arrivals: Vec::new(), woken: Vec::new(), is_closed: false };
        let inbox = Arc::new(Inbox { state: Mutex::new(state), task: AtomicWaker::new() });
        #[expect(
            deprecated,
            reason = "the other one is `unsafe`; that the descriptor stays open as long, `Poll` sees to"
        )]
        let poll = AsyncFd::with_interest(mio::Poll::new()?, tokio::io::Interest::READABLE)?;
        let mut worker = Self {
            inbox: Arc::clone(&inbox),
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            streams: Slab::new(),
            write_timeout,
            outgoing: Vec::new(),
            blocked: VecDeque::new(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        let run = move |context: &mut Context<'_>| {
            catch_unwind(AssertUnwindSafe(|| worker.poll(context))).unwrap_or_else(|_| {
                tracing::error!("a panic among the event streams; they go on");
                context.waker().wake_by_ref();
                Poll::Pending
            })
        };
        crate::task::spawn("streams-worker", std::future::poll_fn(run));
        Ok(inbox)
    }

    /// Does what there is to do. Ends when the server is gone.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.inbox.task.register(context.waker());
        let (arrivals, woken) = {
            let mut state = self.inbox.state.lock();
            if state.is_closed {
                return Poll::Ready(());
            }
            (std::mem::take(&mut state.arrivals), std::mem::take(&mut state.woken))
        };
        for parked in arrivals {
            self.admit(parked);
        }
        for key in woken {
            if let Some(stream) = self.streams.get(key as usize) {
                stream.waker.is_woken.store(false, Ordering::Release);
                self.advance(key);
            }
        }
        self.poll_sockets(context);
        self.abort_blocked(context);
        Poll::Pending
    }

    fn admit(&mut self, parked: NewStream<S>) {
        let NewStream { socket, body, framing, read_ahead, connection } = parked;
        let entry = self.streams.vacant_entry();
        #[expect(clippy::cast_possible_truncation, reason = "a process cannot open 2^32 sockets")]
        let key = entry.key() as u32;
        if let Err(error) =
            self.poll.get_ref().registry().register(&mut SourceFd(&socket.as_raw_fd()), token(key), Interest::READABLE)
        {
            tracing::error!(%error, "a stream could not be parked and is closed");
            return;
        }
        let backlog =
            (!read_ahead.is_empty()).then(|| Box::new(Backlog { read_ahead: read_ahead.into(), ..Backlog::default() }));
        let waker = Arc::new(StreamWaker { inbox: Arc::clone(&self.inbox), key, is_woken: AtomicBool::new(false) });
        connection.observer().stream_parked();
        entry.insert(ParkedStream { body, waker, connection, backlog, socket, framing });
        // Its body has to learn of its new waker.
        self.advance(key);
    }

    /// Fetches what ready to sockets.
    fn poll_sockets(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Ok(mut guard)) = self.poll.poll_read_ready_mut(context) {
            if let Err(error) = guard.get_inner_mut().poll(&mut self.events, Some(Duration::ZERO)) {
                tracing::error!(%error, "the system does not tell what ready to sockets");
            }
            if self.events.is_empty() {
                guard.clear_ready();
                continue;
            }
            let ready: Vec<_> = self
                .events
                .iter()
                .map(|event| (event.token(), event.is_readable() || event.is_read_closed() || event.is_error()))
                .collect();
            for (Token(key), is_readable) in ready {
                let Ok(key) = u32::try_from(key) else { continue };
                let Some(stream) = self.streams.get_mut(key as usize) else { continue };
                match if is_readable { stream.read_from_client() } else { Ok(()) } {
                    Ok(()) => self.advance(key),
                    Err(reason) => self.abort(key, reason),
                }
            }
        }
    }

    /// Closes the streams that were blocked for too long.
    fn abort_blocked(&mut self, context: &mut Context<'_>) {
        while let Some(&(deadline, key)) = self.blocked.front() {
            if self.timer.deadline() != deadline {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return;
            }
            self.blocked.pop_front();
            let is_still = |stream: &ParkedStream<S>| {
                stream.backlog.as_ref().is_some_and(|backlog| backlog.deadline == Some(deadline))
            };
            if self.streams.get(key as usize).is_some_and(is_still) {
                self.abort(key, LossReason::Slow);
            }
        }
    }

    /// Sends what a stream has to send for now, or as much of it as its socket takes.
    fn advance(&mut self, key: u32) {
        let Some(stream) = self.streams.get_mut(key as usize) else { return };
        if stream.is_blocked() {
            match stream.send_backlog() {
                Err(error) => return self.abort(key, LossReason::of(&error)),
                Ok(()) if stream.is_blocked() => return,
                Ok(()) => stream.set_interest(self.poll.get_ref(), key, Interest::READABLE),
            }
        }
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let collected = if stream.is_ended() { Collected::Everything } else { stream.collect_frames(&mut outgoing) };
        let sent = stream.send(&outgoing);
        let (is_blocked, is_ended) = (stream.is_blocked(), stream.is_ended());
        outgoing.clear();
        outgoing.shrink_to(COLLECT_BYTES);
        self.outgoing = outgoing;
        match (sent, collected) {
            (Err(error), _) => self.abort(key, LossReason::of(&error)),
            (Ok(()), Collected::Failed) => self.abort(key, LossReason::Failed),
            (Ok(()), _) if is_blocked => self.wait_writable(key),
            (Ok(()), _) if is_ended => self.finish(key),
            (Ok(()), Collected::Everything) => {}
            // The others have their turn first.
            (Ok(()), Collected::Part) => self.wake(key),
        }
    }

    fn wake(&self, key: u32) {
        if let Some(stream) = self.streams.get(key as usize) {
            stream.waker.wake_by_ref();
        }
    }

    /// Waits for the socket of a stream to take what it has not taken.
    fn wait_writable(&mut self, key: u32) {
        let Some(stream) = self.streams.get_mut(key as usize) else { return };
        let deadline = Instant::now() + self.write_timeout;
        stream.backlog.get_or_insert_default().deadline = Some(deadline);
        stream.set_interest(self.poll.get_ref(), key, Interest::READABLE | Interest::WRITABLE);
        self.blocked.push_back((deadline, key));
    }

    fn abort(&mut self, key: u32, reason: LossReason) {
        if let Some(stream) = self.remove(key) {
            stream.connection.observer().stream_lost(reason);
        }
    }

    /// Gives the connection of a stream that has ended back to HTTP, or closes it.
    fn finish(&mut self, key: u32) {
        let Some(stream) = self.remove(key) else { return };
        let ParkedStream { body, connection, backlog, socket, framing, .. } = stream;
        // What it frees should be free before the client learns more.
        drop(body);
        if framing == (Framing::Chunked { keep_alive: true }) && !connection.is_closing() {
            let read_ahead = backlog.map(|backlog| Bytes::from(backlog.read_ahead)).unwrap_or_default();
            connection.resume(socket, read_ahead);
        } else {
            // It may be gone already.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    fn remove(&mut self, key: u32) -> Option<ParkedStream<S>> {
        let stream = self.streams.try_remove(key as usize)?;
        let _ = self.poll.get_ref().registry().deregister(&mut SourceFd(&stream.socket.as_raw_fd()));
        stream.connection.observer().stream_unparked();
        if self.streams.is_empty() {
            // Gives memory back after a peak.
            self.streams = Slab::new();
            self.blocked = VecDeque::new();
        }
        Some(stream)
    }
}

fn token(key: u32) -> Token {
    Token(key as usize)
}

impl<S: HttpService> ParkedStream<S> {
    fn is_blocked(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.unsent.is_empty())
    }

    fn is_ended(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.is_ended)
    }

    fn set_interest(&self, poll: &mio::Poll, key: u32, interest: Interest) {
        // Fails only for a socket that is not registered, which this one is.
        let _ = poll.registry().reregister(&mut SourceFd(&self.socket.as_raw_fd()), token(key), interest);
    }

    /// Asks the body for more. A body that panics ends its own stream and no other.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let body = Pin::new(&mut self.body);
        catch_unwind(AssertUnwindSafe(|| body.poll_frame(context).map_err(Into::into)))
            .unwrap_or_else(|_| Poll::Ready(Some(Err("its body panicked".into()))))
    }

    /// Adds what the body has to say for now to `outgoing`, framed; what is said at once goes out at once.
    fn collect_frames(&mut self, outgoing: &mut Vec<u8>) -> Collected {
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
                    tracing::error!(%error, "an event stream broke off");
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

    /// Writes `bytes`; what the socket does not take at once is kept.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = if bytes.is_empty() { 0 } else { write(&self.socket, bytes)? };
        if written < bytes.len() {
            self.backlog.get_or_insert_default().unsent.extend_from_slice(&bytes[written..]);
        }
        Ok(())
    }

    fn send_backlog(&mut self) -> io::Result<()> {
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

    /// Reads what the client says: that it is gone, or a request read_ahead of its time, which is kept.
    fn read_from_client(&mut self) -> Result<(), LossReason> {
        let mut buffer = [0; READ_BYTES];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => return Err(LossReason::Closed),
                Ok(count) => {
                    let read_ahead = &mut self.backlog.get_or_insert_default().read_ahead;
                    read_ahead.extend_from_slice(&buffer[..count]);
                    if read_ahead.len() > MAX_READ_AHEAD_BYTES {
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

/// Writes as much as `socket` takes and returns how much that was.
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
