//! The server: it accepts connections on any number of listeners, and closes gracefully.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, AdmitAll};
use crate::connection::{Connection, Shared};
use crate::listener::Listener;
use crate::observer::{NoObserver, Observer};
use crate::service::HttpService;
use crate::settings::Settings;
use crate::worker::ParkingPool;

/// The pause after a failed accept, for example at the limit on open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a [`tower`](https://docs.rs/tower) service over HTTP/1.1 and parks idle event streams.
///
/// All listeners of a server share its settings, its bound on connections and its parking workers. Clones are handles to the
/// same server. The workers end when the last handle is dropped and the last connection has closed.
pub struct Server<S: HttpService> {
    shared: Arc<Shared<S>>,
}

impl<S: HttpService> Clone for Server<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: HttpService> std::fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// Builds a [`Server`]. [`Server::builder`] returns it.
#[must_use]
pub struct ServerBuilder<S> {
    service: S,
    settings: Settings,
    observer: Arc<dyn Observer>,
    admission: Arc<dyn Admission>,
}

impl<S: HttpService> ServerBuilder<S> {
    /// Sets the bounds. Default: [`Settings::default`].
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Sets the observer of connections and streams. Default: none.
    pub fn observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// Sets the bound on the connections of each peer. Default: only [`Settings::max_connections`].
    pub fn admission(self, admission: Arc<dyn Admission>) -> Self {
        Self { admission, ..self }
    }

    /// Starts the parking workers on the current tokio runtime. The server accepts connections once
    /// [`Server::serve`] is called.
    ///
    /// # Errors
    /// The system's error, for example at the limit on open files: each worker needs one `epoll` instance.
    ///
    /// # Panics
    /// If called outside a tokio runtime with I/O and time enabled.
    pub fn start(self) -> io::Result<Server<S>> {
        let Self { service, settings, observer, admission } = self;
        let parking = settings.park.then(|| ParkingPool::start(&settings)).transpose()?;
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

impl<S: HttpService> Server<S> {
    /// Starts building a server for `service`.
    pub fn builder(service: S) -> ServerBuilder<S> {
        ServerBuilder {
            service,
            settings: Settings::default(),
            observer: Arc::new(NoObserver),
            admission: Arc::new(AdmitAll),
        }
    }

    /// Accepts connections on `listener` until [`close`](Self::close) is called, and serves each in a task of its own.
    ///
    /// While [`Settings::max_connections`] are open, it accepts no more. If the system cannot accept a connection, it logs
    /// the error and tries again after 100 ms.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future closes the listener. Accepted connections continue.
    pub async fn serve(self, listener: Listener) {
        let shared = self.shared;
        let write_timeout = shared.settings.write_timeout;
        loop {
            // Without a permit, further connections stay in the system's accept queue.
            let permit = tokio::select! {
                Ok(permit) = shared.permits.acquire() => permit,
                () = shared.closing.cancelled() => match shared.permits.try_acquire() {
                    Ok(permit) => permit,
                    Err(_) => return,
                },
            };
            let accepted = tokio::select! {
                accepted = listener.accept(write_timeout) => accepted,
                // Connections that are already in the accept queue are served, not reset.
                () = shared.closing.cancelled() => match listener.accept(write_timeout).now_or_never() {
                    Some(Ok(accepted)) => Ok(accepted),
                    Some(Err(_)) | None => return,
                },
            };
            match accepted {
                Ok((transport, peer)) => {
                    let address = peer.ip();
                    // A refused connection gets no response, which would need a task and time for the client to read it.
                    if address.is_none_or(|address| shared.admission.admit(address)) {
                        permit.forget();
                        Connection::open(&shared, address).spawn(transport, peer, Bytes::new(), None);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept a connection; raise the open-files limit if it is reached");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Stops accepting, lets each connection finish its request, and completes when all connections have closed.
    ///
    /// An event stream is a request that finishes when its body ends. So first end the streams, then call this method with a
    /// timeout of your own.
    ///
    /// # Cancel safety
    /// Cancel safe: the server continues to close, and a later call waits for the same completion.
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
