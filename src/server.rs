//! Listeners and the accept loop: TCP and Unix sockets, bounded connections, HTTP/1.1 with bounded heads, a graceful end.
//!
//! It drives any axum router, adds `ConnectInfo<Peer>` to each request, and knows nothing of what the router does.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::config::ListenAddress;
use crate::http::Peer;
use crate::metrics::Metrics;

/// How long the head of a request may take, which is also how long a kept-alive connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long bytes may wait for a peer that does not take them.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most header fields of a request.
const MAX_HEADERS: usize = 64;
/// How long to wait when the system has no connection to give, such as when no file may be opened any more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound listener. Dropping it closes it; a Unix socket's file goes with it.
pub struct Listener {
    socket: Socket,
    /// Where it listens, the port that the system chose included.
    pub address: ListenAddress,
}

enum Socket {
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
                let socket = TcpListener::bind(address).await?;
                let address = ListenAddress::Tcp(socket.local_addr()?);
                Ok(Self { socket: Socket::Tcp(socket), address })
            }
            ListenAddress::Unix(path) => {
                remove_stale(path).await?;
                let socket = UnixListener::bind(path)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
                let file = SocketFile(path.clone());
                Ok(Self { socket: Socket::Unix(socket, file), address: ListenAddress::Unix(path.clone()) })
            }
        }
    }
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// What all listeners of a process share.
#[derive(Clone)]
pub struct Server {
    slots: Arc<Semaphore>,
    /// Ends accepting, and connections as soon as they have answered.
    closing: CancellationToken,
    connections: TaskTracker,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Prepares for at most `max_connections`.
    #[must_use]
    pub fn new(max_connections: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            closing: CancellationToken::new(),
            connections: TaskTracker::new(),
            metrics,
        }
    }

    /// Accepts connections until [`Server::close`].
    pub async fn serve(self, listener: Listener, router: Router) {
        loop {
            // Waiting for a slot before accepting leaves further connections in the system's queue.
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.socket.accept() => accepted,
                () = self.closing.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = self.clone().connection(stream, peer, router.clone());
                    let tracked = self.connections.track_future(async move {
                        connection.await;
                        drop(slot);
                    });
                    crate::task::spawn("connection", tracked);
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
        self.closing.cancel();
        self.connections.close();
        self.connections.wait().await;
    }

    async fn connection(self, stream: Box<dyn Stream>, peer: Peer, router: Router) {
        self.metrics.connections_open.inc();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let router = router.clone();
            async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            // Clients go away and send rubbish all the time; nobody needs to be woken for that.
            tracing::trace!(%error, "a connection ended early");
        }
        self.metrics.connections_open.dec();
    }
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Socket {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Events are small and must not wait for more.
                stream.set_nodelay(true)?;
                // Ends a connection whose peer takes nothing more, be it gone or only not reading.
                SockRef::from(&stream).set_tcp_user_timeout(Some(WRITE_TIMEOUT))?;
                Ok((Box::new(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener, _file) => {
                let (stream, _address) = listener.accept().await?;
                Ok((Box::new(stream), Peer::Unix))
            }
        }
    }
}
