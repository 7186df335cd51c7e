//! The workers that hold parked streams: one task per core, each with many streams.
//!
//! A tokio task with a registered socket takes about 700 bytes before any state of the stream. A worker has one task, one
//! `epoll` instance nested in tokio's, and one slab for all of its streams. It polls a body when the body's waker was called,
//! frames the data that the body yields, and writes it to the socket. When a stream ends, its connection serves HTTP again.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake as _};
use std::time::Duration;

use bytes::Bytes;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token};
use slab::Slab;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep};

use crate::framing::Framing;
use crate::inbox::{Inbox, NewStream, ParkedConnection, StreamWaker};
use crate::observer::LossReason;
use crate::parked_stream::{Backlog, COLLECT_BYTES, Collected, ParkedStream};
use crate::settings::Settings;

/// The number of events to fetch from `epoll` at once.
const EVENTS_PER_POLL: usize = 256;

/// The workers of a server. They share its streams evenly. Dropping the pool ends them.
pub(crate) struct ParkingPool<C: ParkedConnection> {
    inboxes: Vec<Arc<Inbox<C>>>,
    /// The number of streams parked so far, from which the next worker's index is computed.
    parked: AtomicUsize,
}

impl<C: ParkedConnection> ParkingPool<C> {
    /// Starts a worker for each core on the current runtime.
    ///
    /// # Errors
    /// The system's error, for example at the limit on open files.
    pub(crate) fn start(settings: &Settings) -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let inboxes = (0..count).map(|_| ParkingWorker::start(settings)).collect::<io::Result<_>>()?;
        Ok(Self { inboxes, parked: AtomicUsize::new(0) })
    }

    /// Delivers a stream to the next worker.
    pub(crate) fn park(&self, stream: NewStream<C>) {
        let count = self.parked.fetch_add(1, Ordering::Relaxed);
        self.inboxes[count % self.inboxes.len()].park(stream);
    }
}

impl<C: ParkedConnection> Drop for ParkingPool<C> {
    fn drop(&mut self) {
        for inbox in &self.inboxes {
            inbox.close();
        }
    }
}

/// A task that holds parked streams. Every stream has a key: its index in the slab and its token in `epoll`.
struct ParkingWorker<C: ParkedConnection> {
    inbox: Arc<Inbox<C>>,
    poll: AsyncFd<mio::Poll>,
    events: Events,
    streams: Slab<ParkedStream<C>>,
    write_timeout: Duration,
    max_read_ahead: usize,
    /// The buffer of bytes to send. It is empty between two streams, and keeps only its allocation.
    outgoing: Vec<u8>,
    /// The keys of blocked streams, in the order of their deadlines. Some streams may be unblocked by now.
    blocked: VecDeque<(Instant, u32)>,
    /// Fires at the first deadline in `blocked`.
    timer: Pin<Box<Sleep>>,
}

impl<C: ParkedConnection> ParkingWorker<C> {
    fn start(settings: &Settings) -> io::Result<Arc<Inbox<C>>> {
        let inbox = Arc::new(Inbox::new());
        #[expect(deprecated, reason = "its replacement is `unsafe`; `mio::Poll` keeps the descriptor open")]
        let poll = AsyncFd::with_interest(mio::Poll::new()?, tokio::io::Interest::READABLE)?;
        let mut worker = Self {
            inbox: Arc::clone(&inbox),
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            streams: Slab::new(),
            write_timeout: settings.write_timeout,
            max_read_ahead: settings.enforced_head_bytes(),
            outgoing: Vec::new(),
            blocked: VecDeque::new(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        let run = move |context: &mut Context<'_>| {
            catch_unwind(AssertUnwindSafe(|| worker.poll(context))).unwrap_or_else(|_| {
                tracing::error!("a panic while serving parked streams; the others continue");
                context.waker().wake_by_ref();
                Poll::Pending
            })
        };
        crate::task::spawn("parking", poll_fn(run));
        Ok(inbox)
    }

    /// Serves every stream that is ready. Completes when the server was dropped.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let messages = self.inbox.take(context);
        // Each stream keeps its server alive, so no stream is left.
        if messages.is_closed {
            return Poll::Ready(());
        }
        for stream in messages.new_streams {
            self.insert(stream);
        }
        for key in messages.woken {
            if let Some(stream) = self.streams.get(key as usize) {
                stream.waker.rearm();
                self.advance(key);
            }
        }
        self.poll_sockets(context);
        self.abort_overdue(context);
        Poll::Pending
    }

    fn registry(&self) -> &Registry {
        self.poll.get_ref().registry()
    }

    fn insert(&mut self, stream: NewStream<C>) {
        let NewStream { socket, body, framing, read_ahead, connection } = stream;
        let entry = self.streams.vacant_entry();
        #[expect(clippy::cast_possible_truncation, reason = "a process cannot open 2^32 sockets")]
        let key = entry.key() as u32;
        let registry = self.poll.get_ref().registry();
        if let Err(error) = registry.register(&mut SourceFd(&socket.as_raw_fd()), token(key), Interest::READABLE) {
            tracing::error!(%error, "cannot park a stream; its connection is closed");
            return;
        }
        connection.observer().stream_parked();
        let waker = Arc::new(StreamWaker::new(Arc::clone(&self.inbox), key));
        entry.insert(ParkedStream { body, waker, connection, backlog: Backlog::of(read_ahead), socket, framing });
        // Poll the body, so that it stores its new waker.
        self.advance(key);
    }

    /// Handles the events of sockets.
    fn poll_sockets(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Ok(mut guard)) = self.poll.poll_read_ready_mut(context) {
            if let Err(error) = guard.get_inner_mut().poll(&mut self.events, Some(Duration::ZERO)) {
                tracing::error!(%error, "cannot fetch the events of sockets");
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
                match if is_readable { stream.read_from_client(self.max_read_ahead) } else { Ok(()) } {
                    Ok(()) => self.advance(key),
                    Err(reason) => self.abort(key, reason),
                }
            }
        }
    }

    /// Aborts the streams that are still blocked at their deadline.
    fn abort_overdue(&mut self, context: &mut Context<'_>) {
        while let Some(&(deadline, key)) = self.blocked.front() {
            if self.timer.deadline() != deadline {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return;
            }
            self.blocked.pop_front();
            let stream = self.streams.get(key as usize);
            let backlog = stream.and_then(|stream| stream.backlog.as_ref());
            if backlog.is_some_and(|backlog| backlog.deadline == Some(deadline)) {
                self.abort(key, LossReason::Slow);
            }
        }
    }

    /// Sends a stream's data as far as its socket accepts it, and ends the stream if its body has ended.
    fn advance(&mut self, key: u32) {
        let Some(stream) = self.streams.get_mut(key as usize) else { return };
        if stream.is_blocked() {
            match stream.send_backlog() {
                Err(error) => return self.abort(key, LossReason::of(&error)),
                Ok(()) if stream.is_blocked() => return,
                Ok(()) => stream.set_interest(self.poll.get_ref().registry(), token(key), Interest::READABLE),
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
            (Ok(()), _) if is_blocked => self.wait_until_writable(key),
            (Ok(()), _) if is_ended => self.finish(key),
            (Ok(()), Collected::Everything) => {}
            // Serve other streams first.
            (Ok(()), Collected::Part) => self.wake(key),
        }
    }

    fn wake(&self, key: u32) {
        if let Some(stream) = self.streams.get(key as usize) {
            stream.waker.wake_by_ref();
        }
    }

    /// Waits until the socket of a blocked stream accepts more data, for at most the write timeout.
    fn wait_until_writable(&mut self, key: u32) {
        let Some(stream) = self.streams.get_mut(key as usize) else { return };
        let deadline = Instant::now() + self.write_timeout;
        stream.backlog.get_or_insert_default().deadline = Some(deadline);
        stream.set_interest(self.poll.get_ref().registry(), token(key), Interest::READABLE | Interest::WRITABLE);
        self.blocked.push_back((deadline, key));
    }

    /// Closes the connection of a stream that has not ended.
    fn abort(&mut self, key: u32, reason: LossReason) {
        if let Some(stream) = self.remove(key) {
            stream.connection.observer().stream_lost(reason);
        }
    }

    /// Serves HTTP again on the connection of a stream that has ended, or closes it.
    fn finish(&mut self, key: u32) {
        let Some(stream) = self.remove(key) else { return };
        let ParkedStream { body, connection, backlog, socket, framing, .. } = stream;
        // Drop the body before the client can send its next request.
        drop(body);
        if framing == (Framing::Chunked { keep_alive: true }) && !connection.is_closing() {
            let read_ahead = backlog.map(|backlog| Bytes::from(backlog.read_ahead)).unwrap_or_default();
            connection.resume(socket, read_ahead);
        } else {
            // It fails if the client has already closed the connection.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    fn remove(&mut self, key: u32) -> Option<ParkedStream<C>> {
        let stream = self.streams.try_remove(key as usize)?;
        let _ = self.registry().deregister(&mut SourceFd(&stream.socket.as_raw_fd()));
        stream.connection.observer().stream_unparked();
        if self.streams.is_empty() {
            // Free memory after a peak.
            self.streams = Slab::new();
            self.blocked = VecDeque::new();
        }
        Some(stream)
    }
}

fn token(key: u32) -> Token {
    Token(key as usize)
}
