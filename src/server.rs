//! Listeners and the accept loop: TCP and Unix sockets, connections bounded in all and per caller, HTTP/1.1 with bounded heads, a graceful end.
//!
//! It drives any axum router, adds `ConnectInfo<Peer>` to each request, and knows nothing of what the router does. hyper
//! speaks HTTP; an answer that is an event stream is taken out of its hands as soon as what it has to say at first has been
//! sent (`handoff`), and waits in a `lot`, where it costs a few hundred bytes instead of some 20,000.

mod handoff;
mod lot;
mod refusal;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::Request;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::callers::{Caller, Holdings, Tier};
use crate::config::ListenAddress;
use crate::http::address::Peer;
use crate::http::bounds::CONNECTIONS;
use crate::http::head::UnreadHead;
use crate::metrics::Metrics;
use handoff::{Asked, Framing, Handoff, Stream, Tap};
use lot::{Lots, Parked};

/// How long the head of a request may take, which is also how long a kept-alive connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long bytes may wait at most for a peer that does not take them.
pub const MAX_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many connections may wait to be accepted; the system may have a lower bound of its own (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// The largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most header fields of a request.
const MAX_HEADERS: usize = 64;
/// How long a connection without a request is kept when the server closes: one may be on its way.
const CLOSING_GRACE: Duration = Duration::from_millis(100);
/// How long to wait when the system has no connection to give, such as when no file may be opened any more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many addresses it takes at least to have all connections.
const MIN_ADDRESSES: usize = 4;
/// How many networks it takes at least: a single party may hold one whole.
const MIN_NETWORKS: usize = 2;

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
pub struct ServerSettings {
    /// Connections that may be open.
    pub max_connections: usize,
    /// Those of one address, if that is none of a trusted proxy; wider networks have as many more as [`Tier::factor`] says.
    pub per_address: usize,
    /// Whether event streams are taken out of hyper's hands.
    pub detach: bool,
    /// How long bytes may wait for a peer that does not take them.
    pub write_timeout: Duration,
}

/// What all listeners of a process share. Clones share it.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    settings: ServerSettings,
    slots: Semaphore,
    /// Peers that carry other people's requests, and may have any number of connections.
    trusted_proxies: Vec<IpNet>,
    /// The connections of all other peers.
    by_caller: Mutex<Holdings>,
    /// Ends accepting, and connections as soon as they have answered.
    closing: CancellationToken,
    open: AtomicUsize,
    /// Told when the last connection ends.
    all_closed: Notify,
    /// None where nothing is detached.
    lots: Option<Lots>,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Prepares for connections; starts what holds detached streams on the current runtime.
    ///
    /// # Errors
    /// The system's, if it has no file to give.
    pub fn new(settings: ServerSettings, trusted_proxies: Vec<IpNet>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let lots = settings.detach.then(|| Lots::open(settings.write_timeout)).transpose()?;
        let shared = Shared {
            settings,
            trusted_proxies,
            by_caller: Mutex::default(),
            slots: Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS)),
            closing: CancellationToken::new(),
            open: AtomicUsize::new(0),
            all_closed: Notify::new(),
            lots,
            metrics,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Accepts connections until [`Server::close`].
    pub async fn serve(self, listener: Listener, router: Router) {
        let shared = self.shared;
        let site = Arc::new(Site { shared: Arc::clone(&shared), router });
        loop {
            // Waiting for a slot before accepting leaves further connections in the system's queue.
            let permit = tokio::select! {
                Ok(permit) = shared.slots.acquire() => permit,
                () = shared.closing.cancelled() => match shared.slots.try_acquire() {
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
                Ok((stream, peer)) => match shared.admit(peer) {
                    Ok(caller) => {
                        permit.forget();
                        Slot::taken(&site, caller).serve(stream, peer, Bytes::new(), None);
                    }
                    // Without a word: it would take a task for each, and time to have it read.
                    Err(tier) => shared.metrics.refused(CONNECTIONS[tier as usize]),
                },
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

impl Shared {
    /// Counts a connection of a peer; returns who it is counted for, if anybody.
    ///
    /// # Errors
    /// The tier at which there are as many as there may be.
    fn admit(&self, peer: Peer) -> Result<Option<Caller>, Tier> {
        let Peer::Tcp(socket) = peer else { return Ok(None) };
        let address = socket.ip().to_canonical();
        if self.trusted_proxies.iter().any(|network| network.contains(&address)) {
            return Ok(None);
        }
        let caller = Caller::of(address);
        // However few there may be in all, no address takes more than a part of them, and no network around it.
        let all = self.settings.max_connections;
        let per_address = self.settings.per_address.min((all / MIN_ADDRESSES).max(1));
        let mut by_caller = self.by_caller();
        if let Some(tier) = by_caller.full_within(caller, per_address, all / MIN_NETWORKS) {
            return Err(tier);
        }
        by_caller.add(caller);
        Ok(Some(caller))
    }

    fn by_caller(&self) -> MutexGuard<'_, Holdings> {
        // Nothing is left half-done where a panic could happen under this lock.
        self.by_caller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the connections of one listener share.
struct Site {
    shared: Arc<Shared>,
    router: Router,
}

/// The right of one connection to be open. Dropping it lets another one in.
struct Slot {
    site: Arc<Site>,
    /// Who it is counted for, if anybody.
    caller: Option<Caller>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let shared = &self.site.shared;
        if let Some(caller) = self.caller {
            shared.by_caller().remove(caller);
        }
        shared.metrics.connections_open.dec();
        shared.slots.add_permits(1);
        if shared.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.all_closed.notify_waiters();
        }
    }
}

impl Slot {
    fn taken(site: &Arc<Site>, caller: Option<Caller>) -> Self {
        site.shared.open.fetch_add(1, Ordering::AcqRel);
        site.shared.metrics.connections_open.inc();
        Self { site: Arc::clone(site), caller }
    }

    fn metrics(&self) -> &Metrics {
        &self.site.shared.metrics
    }

    fn is_closing(&self) -> bool {
        self.site.shared.closing.is_cancelled()
    }

    /// Speaks HTTP on `stream`, of which `ahead` has been read already: the head that stands for an `unread` one, or the
    /// beginning of the next request.
    fn serve(self, stream: Stream, peer: Peer, ahead: Bytes, unread: Option<UnreadHead>) {
        crate::task::spawn("connection", self.drive(stream, peer, ahead, unread));
    }

    /// Speaks HTTP again on the connection of an event stream that has ended.
    fn resume(self, socket: Socket, ahead: Bytes) {
        match attach(socket) {
            Ok((stream, peer)) => self.serve(stream, peer, ahead, None),
            Err(error) => tracing::trace!(%error, "a connection ended with its event stream"),
        }
    }

    /// Serves requests until the connection ends, or until one is answered with an event stream that can be parked.
    async fn drive(self, stream: Stream, peer: Peer, ahead: Bytes, unread: Option<UnreadHead>) {
        let site = Arc::clone(&self.site);
        let shared = &site.shared;
        let handoff = Handoff::default();
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let asked = shared.lots.is_some().then(|| Asked::new(&request));
            let (head, body) = request.into_parts();
            let (body, answering) = handoff.begin(body);
            let mut request = Request::from_parts(head, Body::new(body));
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(unread) = unread {
                request.extensions_mut().insert(unread);
            }
            let (router, handoff) = (site.router.clone(), handoff.clone());
            async move {
                let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
                Ok::<_, Infallible>(handoff.lend(asked.unwrap_or_default(), response, answering))
            }
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(Tap::new(stream, ahead, handoff.clone())), service);
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
                Poll::Pending => handoff.take().map_or(Poll::Pending, |stream| Poll::Ready(Ok(stream))),
            }
        })
        .await;
        match detached {
            Ok((body, framing)) => {
                let parts = connection.into_parts();
                let (stream, unread) = parts.io.into_inner().into_parts();
                let ahead = [parts.read_buf, unread].concat().into();
                self.park(stream, ahead, body, framing);
            }
            Err(result) => {
                // Clients go away and send rubbish all the time; nobody needs to be woken for that.
                if let Err(error) = result {
                    tracing::trace!(%error, "a connection ended early");
                }
                let parts = connection.into_parts();
                let (mut stream, _unread) = parts.io.into_inner().into_parts();
                match handoff.refusal() {
                    Some(status) if unread.is_none() => {
                        let (status, head) = refusal::stand_in(status, &parts.read_buf);
                        self.serve(stream, peer, head, Some(UnreadHead(status)));
                    }
                    _ if unread.is_some() || handoff.has_unread_body() => {
                        tokio::select! {
                            () = refusal::linger(&mut stream) => {}
                            () = closing => {}
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Takes `stream` out of tokio's hands and leaves it in a lot.
    fn park(self, stream: Stream, ahead: Bytes, body: Body, framing: Framing) {
        let site = Arc::clone(&self.site);
        let Some(lots) = &site.shared.lots else { return };
        match detach(stream) {
            Ok(socket) => lots.park(Parked { socket, body, framing, ahead, slot: self }),
            Err(error) => tracing::error!(%error, "a stream could not be parked and is closed"),
        }
    }
}

fn detach(stream: Stream) -> io::Result<Socket> {
    Ok(match stream {
        Either::Left(stream) => stream.into_std()?.into(),
        Either::Right(stream) => stream.into_std()?.into(),
    })
}

fn attach(socket: Socket) -> io::Result<(Stream, Peer)> {
    if socket.domain()? == Domain::UNIX {
        return Ok((Either::Right(UnixStream::from_std(socket.into())?), Peer::Unix));
    }
    let stream = TcpStream::from_std(socket.into())?;
    let peer = Peer::Tcp(stream.peer_addr()?);
    Ok((Either::Left(stream), peer))
}

impl Listening {
    async fn accept(&self, write_timeout: Duration) -> io::Result<(Stream, Peer)> {
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
