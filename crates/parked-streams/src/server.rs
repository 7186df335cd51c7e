//! Listeners and the accept loop: TCP and Unix sockets, connections bounded in all and per caller, HTTP/1.1 with bounded heads, a graceful end.
//!
//! It drives any axum router, adds `ConnectInfo<Peer>` to each request, and knows nothing of what the router does. hyper
//! speaks HTTP; an answer that is an event stream is open out of its hands as soon as what it has to say at first has been
//! sent (`handoff`), and waits in a `lot`, where it costs a few hundred bytes instead of some 20,000.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::address::{ListenAddress, Peer};
use crate::admission::{Admission, Everybody};
use crate::handoff::{Framing, Handoff, RequestFraming, RewindIo, Transport};
use crate::observer::{Nothing, Observer};
use crate::service::HttpService;
use crate::unreadable::{self, UnreadableHead};
use crate::worker::{NewStream, ParkingPool};

/// How long the head of a request may take, which is also how long a kept-alive connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long bytes may wait at most for a peer that does not take them.
pub const MAX_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many connections may wait to be accepted; the system may have a lower bound of its own (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// The largest request head, in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most header fields of a request.
const MAX_HEADERS: usize = 64;
/// How long a connection without a request is kept when the server closes: one may be on its way.
const CLOSING_GRACE: Duration = Duration::from_millis(100);
/// How long to wait when the system has no connection to give, such as when no file may be opened any more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound listener. Dropping it closes it; a Unix socket's file goes with it.
pub struct Listener {
    socket: Listening,
    /// Where it listens, the port that the system chose included.
    pub address: ListenAddress,
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Removes the file of a Unix socket at the end.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds `address`. A Unix socket that nobody listens on any more is replaced; its file is for owner and group.
    ///
    /// # Errors
    /// The system's, such as that the address is in use.
    pub async fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                // A restart must not wait for what is left of old connections.
                socket.set_reuse_address(true)?;
                listen(&socket, &(*address).into())?;
                let socket = TcpListener::from_std(socket.into())?;
                let address = ListenAddress::Tcp(socket.local_addr()?);
                Ok(Self { socket: Listening::Tcp(socket), address })
            }
            ListenAddress::Unix(path) => {
                remove_stale(path).await?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                listen(&socket, &SockAddr::unix(path)?)?;
                let socket = UnixListener::from_std(socket.into())?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
                let file = SocketFile(path.clone());
                Ok(Self { socket: Listening::Unix(socket, file), address: ListenAddress::Unix(path.clone()) })
            }
        }
    }
}

fn listen(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// How a server is set up.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Connections that may be open.
    pub max_connections: usize,
    /// Whether event streams are open out of hyper's hands.
    pub park: bool,
    /// How long bytes may wait for a peer that does not take them.
    pub write_timeout: Duration,
    /// Whether the service answers heads that cannot be read: it gets a request that stands for the one that could not be
    /// read, marked by [`UnreadableHead`]. If not, such a head is answered with a bare status.
    pub pass_unreadable_heads: bool,
}

impl Default for Settings {
    /// 1,024 connections, parked streams, [`MAX_WRITE_TIMEOUT`], no unreadable heads.
    fn default() -> Self {
        Self { max_connections: 1024, park: true, write_timeout: MAX_WRITE_TIMEOUT, pass_unreadable_heads: false }
    }
}

/// What all listeners of a service share. Clones share it.
pub struct Server<S: HttpService> {
    shared: Arc<Shared<S>>,
}

impl<S: HttpService> Clone for Server<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// Sets up a [`Server`].
#[must_use]
pub struct ServerBuilder<S> {
    service: S,
    settings: Settings,
    observer: Arc<dyn Observer>,
    admission: Arc<dyn Admission>,
}

impl<S: HttpService> ServerBuilder<S> {
    /// Sets the bounds.
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Sets what is told of connections.
    pub fn observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// Sets what bounds the connections of each peer.
    pub fn admission(self, admission: Arc<dyn Admission>) -> Self {
        Self { admission, ..self }
    }

    /// Prepares for connections; starts what holds parked streams on the current runtime.
    ///
    /// # Errors
    /// The system's, if it has no file to give.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> io::Result<Server<S>> {
        let Self { service, settings, observer, admission } = self;
        let parking = settings.park.then(|| ParkingPool::open(settings.write_timeout)).transpose()?;
        let shared = Shared {
            service,
            settings,
            permits: Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS)),
            closing: CancellationToken::new(),
            open: AtomicUsize::new(0),
            all_closed: Notify::new(),
            parking,
            observer,
            admission,
        };
        Ok(Server { shared: Arc::new(shared) })
    }
}

struct Shared<S: HttpService> {
    service: S,
    settings: Settings,
    permits: Semaphore,
    /// Ends accepting, and connections as soon as they have answered.
    closing: CancellationToken,
    open: AtomicUsize,
    /// Told when the last connection ends.
    all_closed: Notify,
    /// None where nothing is parked.
    parking: Option<ParkingPool<S>>,
    observer: Arc<dyn Observer>,
    admission: Arc<dyn Admission>,
}

impl<S: HttpService> Server<S> {
    /// Begins to set up a server of `service`.
    pub fn builder(service: S) -> ServerBuilder<S> {
        ServerBuilder {
            service,
            settings: Settings::default(),
            observer: Arc::new(Nothing),
            admission: Arc::new(Everybody),
        }
    }

    /// Accepts connections until [`Server::close`].
    pub async fn serve(self, listener: Listener) {
        let shared = self.shared;
        loop {
            // Waiting for a slot before accepting leaves further connections in the system's queue.
            let permit = tokio::select! {
                Ok(permit) = shared.permits.acquire() => permit,
                () = shared.closing.cancelled() => match shared.permits.try_acquire() {
                    Ok(permit) => permit,
                    Err(_) => return,
                },
            };
            let accepted = tokio::select! {
                accepted = listener.socket.accept(shared.settings.write_timeout) => accepted,
                // Those who came before it are not left in the system's queue, to be cut with it.
                () = shared.closing.cancelled() => match listener.socket.accept(shared.settings.write_timeout).now_or_never() {
                    Some(Ok(accepted)) => Ok(accepted),
                    Some(Err(_)) | None => return,
                },
            };
            match accepted {
                Ok((stream, peer)) => {
                    let address = peer.address();
                    if address.is_none_or(|address| shared.admission.admit(address)) {
                        permit.forget();
                        Connection::open(&shared, address).serve(stream, peer, Bytes::new(), None);
                    }
                    // Without a word: it would take a task for each, and time to have it read.
                }
                Err(error) => {
                    tracing::error!(%error, "no connection could be accepted; raise the open-files limit if it is reached");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts no more, and lets open connections end with the request they are at. Returns once all have.
    ///
    /// # Cancel safety
    /// Dropped, closing goes on; only the waiting ends.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        loop {
            let all_closed = self.shared.all_closed.notified();
            if self.shared.open.load(Ordering::Acquire) == 0 {
                return;
            }
            all_closed.await;
        }
    }
}

/// The right of one connection to be open. Dropping it lets another one in.
pub(crate) struct Connection<S: HttpService> {
    shared: Arc<Shared<S>>,
    /// Who it was admitted as, if anybody.
    admitted: Option<IpAddr>,
}

impl<S: HttpService> Drop for Connection<S> {
    fn drop(&mut self) {
        let shared = &self.shared;
        if let Some(address) = self.admitted {
            shared.admission.release(address);
        }
        shared.observer.connection_closed();
        shared.permits.add_permits(1);
        if shared.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.all_closed.notify_waiters();
        }
    }
}

impl<S: HttpService> Connection<S> {
    fn open(shared: &Arc<Shared<S>>, admitted: Option<IpAddr>) -> Self {
        shared.open.fetch_add(1, Ordering::AcqRel);
        shared.observer.connection_opened();
        Self { shared: Arc::clone(shared), admitted }
    }

    pub(crate) fn observer(&self) -> &dyn Observer {
        &*self.shared.observer
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.shared.closing.is_cancelled()
    }

    /// Speaks HTTP on `stream`, of which `ahead` has been read already: the head that stands for an `unread` one, or the
    /// beginning of the next request.
    fn serve(self, stream: Transport, peer: Peer, read_ahead: Bytes, unread: Option<UnreadableHead>) {
        crate::task::spawn("connection", self.drive(stream, peer, read_ahead, unread));
    }

    /// Speaks HTTP again on the connection of an event stream that has ended.
    pub(crate) fn resume(self, socket: Socket, read_ahead: Bytes) {
        match attach(socket) {
            Ok((stream, peer)) => self.serve(stream, peer, read_ahead, None),
            Err(error) => tracing::trace!(%error, "a connection ended with its event stream"),
        }
    }

    /// Serves requests until the connection ends, or until one is answered with an event stream that can be parked.
    async fn drive(self, stream: Transport, peer: Peer, read_ahead: Bytes, unread: Option<UnreadableHead>) {
        let shared = Arc::clone(&self.shared);
        let handoff = Handoff::new(shared.settings.pass_unreadable_heads);
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let framing = shared.parking.is_some().then(|| RequestFraming::new(&request));
            let (head, body) = request.into_parts();
            let (body, guard) = handoff.begin_request(body);
            let mut request = Request::from_parts(head, body);
            request.extensions_mut().insert(peer);
            if let Some(unread) = unread {
                request.extensions_mut().insert(unread);
            }
            let (mut service, handoff) = (shared.service.clone(), handoff.clone());
            async move {
                poll_fn(|context| service.poll_ready(context)).await?;
                let response = service.call(request).await?;
                Ok::<_, S::ServiceError>(handoff.wrap_response(framing.unwrap_or_default(), response, guard))
            }
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(RewindIo::new(stream, read_ahead, handoff.clone())), service);
        let mut closing = pin!(async {
            shared.closing.cancelled().await;
            tokio::time::sleep(CLOSING_GRACE).await;
        });
        let mut is_closing = false;
        let detached = poll_fn(|context| {
            if !is_closing && closing.as_mut().poll(context).is_ready() {
                is_closing = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            match Pin::new(&mut connection).poll(context) {
                Poll::Ready(result) => Poll::Ready(Err(result)),
                Poll::Pending => handoff.take_idle_stream().map_or(Poll::Pending, |stream| Poll::Ready(Ok(stream))),
            }
        })
        .await;
        match detached {
            Ok((body, framing)) => {
                let parts = connection.into_parts();
                let (stream, unread) = parts.io.into_inner().into_parts();
                let read_ahead = [parts.read_buf, unread].concat().into();
                self.park(stream, read_ahead, body, framing);
            }
            Err(result) => {
                // Clients go away and send rubbish all the time; nobody needs to be woken for that.
                if let Err(error) = result {
                    tracing::trace!(%error, "a connection ended early");
                }
                let parts = connection.into_parts();
                let (mut stream, _unread) = parts.io.into_inner().into_parts();
                match handoff.withheld_status() {
                    Some(status) if unread.is_none() => {
                        let (status, head) = unreadable::stand_in_request(status, &parts.read_buf);
                        self.serve(stream, peer, head, Some(UnreadableHead(status)));
                    }
                    _ if unread.is_some() || handoff.has_unread_body() => {
                        tokio::select! {
                            () = unreadable::linger(&mut stream) => {}
                            () = closing => {}
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Takes `stream` out of tokio's hands and leaves it in a lot.
    fn park(self, stream: Transport, read_ahead: Bytes, body: S::ResponseBody, framing: Framing) {
        let shared = Arc::clone(&self.shared);
        let Some(parking) = &shared.parking else { return };
        match detach(stream) {
            Ok(socket) => parking.park(NewStream { socket, body, framing, read_ahead, connection: self }),
            Err(error) => tracing::error!(%error, "a stream could not be parked and is closed"),
        }
    }
}

fn detach(stream: Transport) -> io::Result<Socket> {
    Ok(match stream {
        Either::Left(stream) => stream.into_std()?.into(),
        Either::Right(stream) => stream.into_std()?.into(),
    })
}

fn attach(socket: Socket) -> io::Result<(Transport, Peer)> {
    if socket.domain()? == Domain::UNIX {
        return Ok((Either::Right(UnixStream::from_std(socket.into())?), Peer::Unix));
    }
    let stream = TcpStream::from_std(socket.into())?;
    let peer = Peer::Tcp(stream.peer_addr()?);
    Ok((Either::Left(stream), peer))
}

impl Listening {
    async fn accept(&self, write_timeout: Duration) -> io::Result<(Transport, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Events are small and must not wait for more.
                stream.set_nodelay(true)?;
                // Ends a connection whose peer takes nothing more, be it gone or only not reading.
                SockRef::from(&stream).set_tcp_user_timeout(Some(write_timeout))?;
                Ok((Either::Left(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener, _file) => {
                let (stream, _address) = listener.accept().await?;
                Ok((Either::Right(stream), Peer::Unix))
            }
        }
    }
}
