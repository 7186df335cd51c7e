//! Where idle event streams are parked: many of them in one task, each no more than its socket and its body.
//!
//! A task and a registered socket per stream would take some 700 bytes before anything is known about it. A lot has one
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
use crate::server::{MAX_HEAD_BYTES, Slot};
use crate::service::{BoxError, HttpService};

/// How many sockets' events are fetched at once.
const EVENTS: usize = 256;
/// How many bytes are read at once from a client that should have nothing to say.
const READ_BYTES: usize = 512;
/// When a body has said this much, it is sent, and the other streams have their turn.
const GATHER_BYTES: usize = 16 * 1024;
/// The most bytes that a client may send ahead while its stream goes on: what a request head may have.
const MAX_AHEAD_BYTES: usize = MAX_HEAD_BYTES;

/// All lots of a server. Streams are dealt out to them in turn.
pub(crate) struct Lots<S: HttpService> {
    gates: Vec<Arc<Gate<S>>>,
    next: AtomicUsize,
}

/// A stream to be parked.
pub(crate) struct Parked<S: HttpService> {
    pub(crate) socket: Socket,
    pub(crate) body: S::ResponseBody,
    pub(crate) framing: Framing,
    /// What the client has sent ahead.
    pub(crate) ahead: Bytes,
    pub(crate) slot: Slot<S>,
}

impl<S: HttpService> Lots<S> {
    /// Opens one lot for each core. A write may wait for its reader for `write_timeout`.
    ///
    /// # Errors
    /// The system's, if it has no file to give.
    pub(crate) fn open(write_timeout: Duration) -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let gates = (0..count).map(|_| Lot::open(write_timeout)).collect::<io::Result<_>>()?;
        Ok(Self { gates, next: AtomicUsize::new(0) })
    }

    pub(crate) fn park(&self, parked: Parked<S>) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let gate = &self.gates[turn % self.gates.len()];
        gate.waiting.lock().arrivals.push(parked);
        gate.task.wake();
    }
}

/// What reaches a lot from outside. Bounded by the server's connections.
struct Gate<S: HttpService> {
    waiting: Mutex<Waiting<S>>,
    task: AtomicWaker,
}

struct Waiting<S: HttpService> {
    arrivals: Vec<Parked<S>>,
    /// Keys of streams whose body wants to be polled.
    woken: Vec<u32>,
    /// Whether the server is gone, so that no stream will come any more.
    is_closed: bool,
}

impl<S: HttpService> Drop for Lots<S> {
    fn drop(&mut self) {
        for gate in &self.gates {
            gate.waiting.lock().is_closed = true;
            gate.task.wake();
        }
    }
}

/// The waker of one stream's body. One that outlives its stream may wake the next with the same key, which is harmless.
struct StreamWaker<S: HttpService> {
    gate: Arc<Gate<S>>,
    key: u32,
    /// Whether it is in [`Waiting::woken`] already.
    is_woken: AtomicBool,
}

impl<S: HttpService> Wake for StreamWaker<S> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.gate.waiting.lock().woken.push(self.key);
            self.gate.task.wake();
        }
    }
}

/// One parked stream.
struct Stream<S: HttpService> {
    body: S::ResponseBody,
    waker: Arc<StreamWaker<S>>,
    slot: Slot<S>,
    /// What is there only now and then.
    rest: Option<Box<Rest>>,
    socket: Socket,
    framing: Framing,
}

/// What a stream has beside its body and socket when it is not simply idle.
#[derive(Default)]
struct Rest {
    /// Framed bytes that the socket has not taken yet.
    unsent: Vec<u8>,
    /// Until when it must have; set while there are any.
    until: Option<Instant>,
    /// Whether the body has ended.
    is_over: bool,
    /// What the client has sent ahead.
    ahead: Vec<u8>,
}

struct Lot<S: HttpService> {
    gate: Arc<Gate<S>>,
    poll: AsyncFd<mio::Poll>,
    events: Events,
    streams: Slab<Stream<S>>,
    write_timeout: Duration,
    /// What is being sent; kept for its memory alone.
    outgoing: Vec<u8>,
    /// Blocked streams in the order of their deadlines; some may have gone on since.
    blocked: VecDeque<(Instant, u32)>,
    timer: Pin<Box<Sleep>>,
}

/// How much of what a body has to say was gathered.
enum Gathered {
    /// All that it has for now, its end included.
    All,
    /// As much as is sent at once.
    Some,
    /// What it had said before it broke off.
    Failed,
}

impl<S: HttpService> Lot<S> {
    fn open(write_timeout: Duration) -> io::Result<Arc<Gate<S>>> {
        let waiting = Waiting { arrivals: Vec::new(), woken: Vec::new(), is_closed: false };
        let gate = Arc::new(Gate { waiting: Mutex::new(waiting), task: AtomicWaker::new() });
        #[expect(
            deprecated,
            reason = "the other one is `unsafe`; that the descriptor stays open as long, `Poll` sees to"
        )]
        let poll = AsyncFd::with_interest(mio::Poll::new()?, tokio::io::Interest::READABLE)?;
        let mut lot = Self {
            gate: Arc::clone(&gate),
            poll,
            events: Events::with_capacity(EVENTS),
            streams: Slab::new(),
            write_timeout,
            outgoing: Vec::new(),
            blocked: VecDeque::new(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        let run = move |context: &mut Context<'_>| {
            catch_unwind(AssertUnwindSafe(|| lot.run(context))).unwrap_or_else(|_| {
                tracing::error!("a panic among the event streams; they go on");
                context.waker().wake_by_ref();
                Poll::Pending
            })
        };
        crate::task::spawn("streams-lot", std::future::poll_fn(run));
        Ok(gate)
    }

    /// Does what there is to do. Ends when the server is gone.
    fn run(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.gate.task.register(context.waker());
        let (arrivals, woken) = {
            let mut waiting = self.gate.waiting.lock();
            if waiting.is_closed {
                return Poll::Ready(());
            }
            (std::mem::take(&mut waiting.arrivals), std::mem::take(&mut waiting.woken))
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
        self.poll_blocked(context);
        Poll::Pending
    }

    fn admit(&mut self, parked: Parked<S>) {
        let Parked { socket, body, framing, ahead, slot } = parked;
        let entry = self.streams.vacant_entry();
        #[expect(clippy::cast_possible_truncation, reason = "a process cannot open 2^32 sockets")]
        let key = entry.key() as u32;
        if let Err(error) =
            self.poll.get_ref().registry().register(&mut SourceFd(&socket.as_raw_fd()), token(key), Interest::READABLE)
        {
            tracing::error!(%error, "a stream could not be parked and is closed");
            return;
        }
        let rest = (!ahead.is_empty()).then(|| Box::new(Rest { ahead: ahead.into(), ..Rest::default() }));
        let waker = Arc::new(StreamWaker { gate: Arc::clone(&self.gate), key, is_woken: AtomicBool::new(false) });
        slot.observer().stream_parked();
        entry.insert(Stream { body, waker, slot, rest, socket, framing });
        // Its body has to learn of its new waker.
        self.advance(key);
    }

    /// Fetches what happened to sockets.
    fn poll_sockets(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Ok(mut guard)) = self.poll.poll_read_ready_mut(context) {
            if let Err(error) = guard.get_inner_mut().poll(&mut self.events, Some(Duration::ZERO)) {
                tracing::error!(%error, "the system does not tell what happened to sockets");
            }
            if self.events.is_empty() {
                guard.clear_ready();
                continue;
            }
            let happened: Vec<_> = self
                .events
                .iter()
                .map(|event| (event.token(), event.is_readable() || event.is_read_closed() || event.is_error()))
                .collect();
            for (Token(key), is_readable) in happened {
                let Ok(key) = u32::try_from(key) else { continue };
                let Some(stream) = self.streams.get_mut(key as usize) else { continue };
                match if is_readable { stream.receive() } else { Ok(()) } {
                    Ok(()) => self.advance(key),
                    Err(lost) => self.lose(key, lost),
                }
            }
        }
    }

    /// Closes the streams that were blocked for too long.
    fn poll_blocked(&mut self, context: &mut Context<'_>) {
        while let Some(&(until, key)) = self.blocked.front() {
            if self.timer.deadline() != until {
                self.timer.as_mut().reset(until);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return;
            }
            self.blocked.pop_front();
            let is_still = |stream: &Stream<S>| stream.rest.as_ref().is_some_and(|rest| rest.until == Some(until));
            if self.streams.get(key as usize).is_some_and(is_still) {
                self.lose(key, LossReason::Slow);
            }
        }
    }

    /// Sends what a stream has to send for now, or as much of it as its socket takes.
    fn advance(&mut self, key: u32) {
        let Some(stream) = self.streams.get_mut(key as usize) else { return };
        if stream.is_blocked() {
            match stream.send_rest() {
                Err(error) => return self.lose(key, LossReason::of(&error)),
                Ok(()) if stream.is_blocked() => return,
                Ok(()) => stream.interested_in(self.poll.get_ref(), key, Interest::READABLE),
            }
        }
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let gathered = if stream.is_over() { Gathered::All } else { stream.gather(&mut outgoing) };
        let sent = stream.send(&outgoing);
        let (is_blocked, is_over) = (stream.is_blocked(), stream.is_over());
        outgoing.clear();
        outgoing.shrink_to(GATHER_BYTES);
        self.outgoing = outgoing;
        match (sent, gathered) {
            (Err(error), _) => self.lose(key, LossReason::of(&error)),
            (Ok(()), Gathered::Failed) => self.lose(key, LossReason::Failed),
            (Ok(()), _) if is_blocked => self.block(key),
            (Ok(()), _) if is_over => self.finish(key),
            (Ok(()), Gathered::All) => {}
            // The others have their turn first.
            (Ok(()), Gathered::Some) => self.wake(key),
        }
    }

    fn wake(&self, key: u32) {
        if let Some(stream) = self.streams.get(key as usize) {
            stream.waker.wake_by_ref();
        }
    }

    /// Waits for the socket of a stream to take what it has not taken.
    fn block(&mut self, key: u32) {
        let Some(stream) = self.streams.get_mut(key as usize) else { return };
        let until = Instant::now() + self.write_timeout;
        stream.rest.get_or_insert_default().until = Some(until);
        stream.interested_in(self.poll.get_ref(), key, Interest::READABLE | Interest::WRITABLE);
        self.blocked.push_back((until, key));
    }

    fn lose(&mut self, key: u32, lost: LossReason) {
        if let Some(stream) = self.remove(key) {
            stream.slot.observer().stream_lost(lost);
        }
    }

    /// Gives the connection of a stream that has ended back to HTTP, or closes it.
    fn finish(&mut self, key: u32) {
        let Some(stream) = self.remove(key) else { return };
        let Stream { body, slot, rest, socket, framing, .. } = stream;
        // What it frees should be free before the client learns more.
        drop(body);
        if framing == (Framing::Chunked { keep_alive: true }) && !slot.is_closing() {
            let ahead = rest.map(|rest| Bytes::from(rest.ahead)).unwrap_or_default();
            slot.resume(socket, ahead);
        } else {
            // It may be gone already.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    fn remove(&mut self, key: u32) -> Option<Stream<S>> {
        let stream = self.streams.try_remove(key as usize)?;
        let _ = self.poll.get_ref().registry().deregister(&mut SourceFd(&stream.socket.as_raw_fd()));
        stream.slot.observer().stream_unparked();
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

impl<S: HttpService> Stream<S> {
    fn is_blocked(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| !rest.unsent.is_empty())
    }

    fn is_over(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.is_over)
    }

    fn interested_in(&self, poll: &mio::Poll, key: u32, interest: Interest) {
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
    fn gather(&mut self, outgoing: &mut Vec<u8>) -> Gathered {
        let waker = Waker::from(Arc::clone(&self.waker));
        let mut context = Context::from_waker(&waker);
        while outgoing.len() < GATHER_BYTES {
            match self.poll_body(&mut context) {
                Poll::Pending => return Gathered::All,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.framing.frame(&data, outgoing);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::error!(%error, "an event stream broke off");
                    return Gathered::Failed;
                }
                Poll::Ready(None) => {
                    self.framing.end(outgoing);
                    self.rest.get_or_insert_default().is_over = true;
                    return Gathered::All;
                }
            }
        }
        Gathered::Some
    }

    /// Writes `bytes`; what the socket does not take at once is kept.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = if bytes.is_empty() { 0 } else { write(&self.socket, bytes)? };
        if written < bytes.len() {
            self.rest.get_or_insert_default().unsent.extend_from_slice(&bytes[written..]);
        }
        Ok(())
    }

    fn send_rest(&mut self) -> io::Result<()> {
        let Some(rest) = &mut self.rest else { return Ok(()) };
        let written = write(&self.socket, &rest.unsent)?;
        rest.unsent.drain(..written);
        if rest.unsent.is_empty() {
            rest.until = None;
            if rest.ahead.is_empty() && !rest.is_over {
                self.rest = None;
            }
        }
        Ok(())
    }

    /// Reads what the client says: that it is gone, or a request ahead of its time, which is kept.
    fn receive(&mut self) -> Result<(), LossReason> {
        let mut buffer = [0; READ_BYTES];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => return Err(LossReason::Closed),
                Ok(count) => {
                    let ahead = &mut self.rest.get_or_insert_default().ahead;
                    ahead.extend_from_slice(&buffer[..count]);
                    if ahead.len() > MAX_AHEAD_BYTES {
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
