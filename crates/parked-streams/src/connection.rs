//! One connection: it serves HTTP until a response is an idle event stream, is parked, and serves HTTP again afterwards.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::Socket;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::address::Peer;
use crate::admission::Admission;
use crate::framing::{Framing, RequestFraming};
use crate::handoff::{Handoff, OutgoingBody};
use crate::inbox::{NewStream, ParkedConnection};
use crate::linger::linger;
use crate::observer::Observer;
use crate::rewind_io::RewindIo;
use crate::service::HttpService;
use crate::settings::Settings;
use crate::transport::{self, Transport};
use crate::unreadable_head::{UnreadableHead, substitute_request};
use crate::worker::ParkingPool;

/// How long a connection without a request stays open after the server began to close. A request may be in transit.
const CLOSING_GRACE: Duration = Duration::from_millis(100);

/// The state that all connections of a server share.
pub(crate) struct Shared<S: HttpService> {
    pub(crate) service: S,
    pub(crate) settings: Settings,
    /// One permit for each connection that may still be opened.
    pub(crate) permits: Semaphore,
    /// Cancelled when the server begins to close: it accepts no more, and each connection closes after its response.
    pub(crate) closing: CancellationToken,
    /// The number of open connections.
    pub(crate) open: AtomicUsize,
    /// Notified when the last connection closes.
    pub(crate) all_closed: Notify,
    /// `None` if streams are not parked.
    pub(crate) parking: Option<ParkingPool<Connection<S>>>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) admission: Arc<dyn Admission>,
}

impl<S: HttpService> Shared<S> {
    /// Calls the service with a request from hyper. Returns its response for hyper.
    fn call(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        unreadable: Option<UnreadableHead>,
        handoff: &Handoff<S::ResponseBody>,
    ) -> impl Future<Output = Result<Response<OutgoingBody<S::ResponseBody>>, S::ServiceError>> + Send + use<S> {
        let framing = self.parking.as_ref().map(|_| RequestFraming::of(&request)).unwrap_or_default();
        let (head, body) = request.into_parts();
        let (body, guard) = handoff.begin_request(body);
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(peer);
        if let Some(unreadable) = unreadable {
            request.extensions_mut().insert(unreadable);
        }
        let (mut service, handoff) = (self.service.clone(), handoff.clone());
        async move {
            poll_fn(|context| service.poll_ready(context)).await?;
            let response = service.call(request).await?;
            Ok(handoff.wrap_response(framing, response, guard))
        }
    }
}

/// An open connection, served by hyper or parked. Dropping it releases its permit.
pub(crate) struct Connection<S: HttpService> {
    shared: Arc<Shared<S>>,
    /// The address under which it was admitted; `None` on a Unix socket.
    admitted: Option<IpAddr>,
}

impl<S: HttpService> Drop for Connection<S> {
    fn drop(&mut self) {
        let shared = &self.shared;
        if let Some(peer) = self.admitted {
            shared.admission.release(peer);
        }
        shared.observer.connection_closed();
        shared.permits.add_permits(1);
        if shared.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.all_closed.notify_waiters();
        }
    }
}

impl<S: HttpService> ParkedConnection for Connection<S> {
    type Body = S::ResponseBody;
    type BodyError = S::BodyError;

    fn observer(&self) -> &dyn Observer {
        &*self.shared.observer
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.is_cancelled()
    }

    fn resume(self, socket: Socket, read_ahead: Bytes) {
        match transport::register(socket) {
            Ok((transport, peer)) => self.spawn(transport, peer, read_ahead, None),
            Err(error) => tracing::trace!(%error, "a connection ended with its event stream"),
        }
    }
}

impl<S: HttpService> Connection<S> {
    /// Counts a connection as open. The caller has taken its permit.
    pub(crate) fn open(shared: &Arc<Shared<S>>, admitted: Option<IpAddr>) -> Self {
        shared.open.fetch_add(1, Ordering::AcqRel);
        shared.observer.connection_opened();
        Self { shared: Arc::clone(shared), admitted }
    }

    /// Serves HTTP in a task.
    ///
    /// `read_ahead` contains bytes that were received earlier, which hyper reads first. If `unreadable` is set, they are the
    /// substitute for a request whose head could not be parsed.
    pub(crate) fn spawn(self, transport: Transport, peer: Peer, read_ahead: Bytes, unreadable: Option<UnreadableHead>) {
        crate::task::spawn("connection", self.serve(transport, peer, read_ahead, unreadable));
    }

    /// Serves requests until the connection ends or its event stream is parked.
    async fn serve(self, transport: Transport, peer: Peer, read_ahead: Bytes, unreadable: Option<UnreadableHead>) {
        let shared = Arc::clone(&self.shared);
        let settings = &shared.settings;
        let handoff = Handoff::new(settings.pass_unreadable_heads);
        let service = hyper::service::service_fn(|request| shared.call(request, peer, unreadable, &handoff));
        let mut http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.head_timeout)
            .max_buf_size(settings.enforced_head_bytes())
            .max_headers(settings.max_headers)
            .serve_connection(TokioIo::new(RewindIo::new(transport, read_ahead, handoff.clone())), service);
        let mut closing = pin!(async {
            shared.closing.cancelled().await;
            tokio::time::sleep(CLOSING_GRACE).await;
        });
        let mut is_closing = false;
        let result = poll_fn(|context| {
            if !is_closing && closing.as_mut().poll(context).is_ready() {
                is_closing = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            match Pin::new(&mut http).poll(context) {
                Poll::Ready(result) => Poll::Ready(result.map(|()| None)),
                Poll::Pending => {
                    handoff.take_idle_stream().map_or(Poll::Pending, |stream| Poll::Ready(Ok(Some(stream))))
                }
            }
        })
        .await;
        let parts = http.into_parts();
        let (mut transport, rewound) = parts.io.into_inner().into_parts();
        let has_unread_head = match result {
            Ok(Some((body, framing))) => {
                return self.park(transport, [parts.read_buf, rewound].concat().into(), body, framing);
            }
            Ok(None) => false,
            Err(error) => {
                // Clients disconnect and send invalid requests all the time.
                tracing::trace!(%error, "a connection ended early");
                error.is_parse()
            }
        };
        match handoff.withheld_status() {
            Some(status) if unreadable.is_none() => {
                let (status, head) = substitute_request(status, &parts.read_buf);
                self.spawn(transport, peer, head, Some(UnreadableHead(status)));
            }
            _ if unreadable.is_some() || has_unread_head || handoff.has_unread_body() => {
                tokio::select! {
                    () = linger(&mut transport) => {}
                    () = closing => {}
                }
            }
            _ => {}
        }
    }

    /// Parks the connection of an idle event stream.
    fn park(self, transport: Transport, read_ahead: Bytes, body: S::ResponseBody, framing: Framing) {
        let shared = Arc::clone(&self.shared);
        let Some(parking) = &shared.parking else { return };
        match transport::deregister(transport) {
            Ok(socket) => parking.park(NewStream { socket, body, framing, read_ahead, connection: self }),
            Err(error) => tracing::error!(%error, "cannot park a stream; its connection is closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::StreamWaker;
    use crate::parked_stream::ParkedStream;

    #[test]
    fn a_parked_stream_takes_about_a_hundred_bytes_besides_its_body() {
        type Axum = Connection<axum::Router>;
        let stream = size_of::<ParkedStream<Axum>>() - size_of::<axum::body::Body>();
        // An `Arc` has two counts.
        let waker = 2 * size_of::<usize>() + size_of::<StreamWaker<Axum>>();
        assert_eq!((stream, waker), (56, 32));
    }
}
