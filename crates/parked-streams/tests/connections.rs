//! Listeners, the bounds on connections, and services without axum.

use std::convert::Infallible;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use parked_streams::{Admission, ListenAddress, Listener, Peer, RequestBody, Server, Settings};
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;

use crate::support::{Site, Wire, contains, eventually, request};

#[tokio::test]
async fn a_unix_socket_is_for_owner_and_group_and_replaces_a_stale_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.sock");
    let address = ListenAddress::Unix(path.clone());
    let listener = Listener::bind(&address).await.unwrap();
    assert_eq!(listener.address(), &address);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(Listener::bind(&address).await.is_err(), "a socket in use was replaced");
    drop(listener);
    assert!(!path.exists());
    // A process that was killed leaves its file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Listener::bind(&address).await.unwrap());
    // Any other file is kept.
    std::fs::write(&path, "mine").unwrap();
    assert!(Listener::bind(&address).await.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_the_address_of_its_peer() {
    let peer = async |Extension(peer): Extension<Peer>| match peer {
        Peer::Tcp(address) => address.to_string(),
        Peer::Unix => "unix".to_owned(),
    };
    let site = Site::of(Router::new().route("/", get(peer))).await;
    let socket = TcpStream::connect(&site.address).await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let mut wire = Wire::over(socket);
    wire.send(&request("/")).await;
    wire.until(&address).await;
    site.ask(false, &request("/")).await.until("unix").await;
}

/// Admits one connection at a time.
#[derive(Default)]
struct OneEach {
    open: AtomicUsize,
    calls: AtomicUsize,
}

impl Admission for OneEach {
    fn admit(&self, peer: IpAddr) -> bool {
        assert!(peer.is_loopback());
        self.calls.fetch_add(1, Relaxed);
        self.open.fetch_update(Relaxed, Relaxed, |open| (open == 0).then_some(1)).is_ok()
    }

    fn release(&self, peer: IpAddr) {
        assert!(peer.is_loopback());
        self.open.fetch_sub(1, Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admission_bounds_tcp_connections_and_releases_closed_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.sock");
    let admission = Arc::new(OneEach::default());
    let router = Router::new().route("/", get(async || "plain"));
    let server = Server::builder(router).admission(Arc::clone(&admission) as _).start().unwrap();
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address().to_string();
    tokio::spawn(server.clone().serve(listener));
    tokio::spawn(server.clone().serve(Listener::bind(&ListenAddress::Unix(path.clone())).await.unwrap()));

    let connect = async || Wire::over(TcpStream::connect(&address).await.unwrap());
    let mut first = connect().await;
    first.send(&request("/")).await;
    first.until("plain").await;
    assert!(connect().await.receive().await.is_ok_and(|count| count == 0));
    let mut unix = Wire::over(tokio::net::UnixStream::connect(&path).await.unwrap());
    unix.send(&request("/")).await;
    unix.until("plain").await;
    assert_eq!(admission.calls.load(Relaxed), 2);
    drop(first);
    eventually("the connection is released", || admission.open.load(Relaxed) == 0).await;
    let mut next = connect().await;
    next.send(&request("/")).await;
    next.until("plain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_axum_is_served_and_its_error_closes_the_connection() {
    /// Echoes a request's body; `/fail` fails.
    #[derive(Clone)]
    struct Echo;

    impl tower_service::Service<Request<RequestBody>> for Echo {
        type Response = Response<Full<Bytes>>;
        type Error = Box<dyn std::error::Error + Send + Sync>;
        type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
            Box::pin(async move {
                if request.uri().path() == "/fail" {
                    return Err("failed".into());
                }
                Ok(Response::new(Full::new(request.into_body().collect().await?.to_bytes())))
            })
        }
    }

    let server = Server::builder(Echo).start().unwrap();
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.address().to_string();
    tokio::spawn(server.serve(listener));
    let mut wire = Wire::over(TcpStream::connect(&address).await.unwrap());
    wire.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").await;
    wire.until("hello").await;
    wire.unread.clear();
    wire.send(&request("/fail")).await;
    assert_eq!(wire.rest().await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_an_event_stream_stays_with_hyper() {
    let slow = async || {
        let chunks = tokio_stream::once(Bytes::from_static(b"first")).map(Ok::<_, Infallible>);
        axum::body::Body::from_stream(chunks.chain(tokio_stream::pending()))
    };
    let site = Site::start(Settings::default(), |_| Router::new().route("/", get(slow))).await;
    let mut wire = site.ask(true, &request("/")).await;
    wire.until("first").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(site.counts.ever_parked(), 0);
    assert!(!contains(&wire.unread, "\r\n0\r\n\r\n"));
}
