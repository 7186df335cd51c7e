//! A server in the test's process, and clients that write HTTP/1.1 by hand.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use parked_streams::{ListenAddress, Listener, LossReason, Observer, Server, Settings};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_stream::{Stream, StreamExt as _};

/// The upper bound of every wait, on a machine that is busy with other tests.
pub const IN_TIME: Duration = Duration::from_secs(60);

/// Counts every event of a server.
#[derive(Default)]
pub struct Counts {
    opened: AtomicUsize,
    closed: AtomicUsize,
    parked: AtomicUsize,
    unparked: AtomicUsize,
    lost: Mutex<HashMap<LossReason, usize>>,
}

impl Observer for Counts {
    fn connection_opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    fn connection_closed(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    fn stream_parked(&self) {
        self.parked.fetch_add(1, Relaxed);
    }

    fn stream_unparked(&self) {
        self.unparked.fetch_add(1, Relaxed);
    }

    fn stream_lost(&self, reason: LossReason) {
        *self.lost.lock().unwrap().entry(reason).or_default() += 1;
    }
}

impl Counts {
    /// Returns the number of accepted connections.
    pub fn accepted(&self) -> usize {
        self.opened.load(Relaxed)
    }

    /// Returns the number of open connections.
    pub fn open(&self) -> usize {
        self.opened.load(Relaxed) - self.closed.load(Relaxed)
    }

    /// Returns the number of parked streams.
    pub fn parked(&self) -> usize {
        self.parked.load(Relaxed) - self.unparked.load(Relaxed)
    }

    /// Returns the number of streams parked so far.
    pub fn ever_parked(&self) -> usize {
        self.parked.load(Relaxed)
    }

    /// Returns the number of parked streams that lost their connection for a reason.
    pub fn lost(&self, reason: LossReason) -> usize {
        self.lost.lock().unwrap().get(&reason).copied().unwrap_or(0)
    }
}

/// A server on TCP and on a Unix socket.
pub struct Site {
    pub server: Server<Router>,
    pub counts: Arc<Counts>,
    pub address: String,
    pub socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Site {
    /// Starts a server for the router that `router` returns.
    pub async fn start(settings: Settings, router: impl FnOnce(&Arc<Counts>) -> Router) -> Self {
        let counts = Arc::new(Counts::default());
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("server.sock");
        let observer = Arc::clone(&counts) as Arc<dyn Observer>;
        let server = Server::builder(router(&counts)).settings(settings).observer(observer).start().unwrap();
        let mut address = None;
        for wanted in [ListenAddress::Tcp(([127, 0, 0, 1], 0).into()), ListenAddress::Unix(socket.clone())] {
            let listener = Listener::bind(&wanted).await.unwrap();
            address.get_or_insert_with(|| listener.address().to_string());
            tokio::spawn(server.clone().serve(listener));
        }
        Self { server, counts, address: address.unwrap(), socket, _directory: directory }
    }

    /// Starts a server for `router` with the default settings.
    pub async fn of(router: Router) -> Self {
        Self::start(Settings::default(), |_| router).await
    }

    /// Connects and sends `request`.
    pub async fn ask(&self, is_tcp: bool, request: &str) -> Wire {
        let mut wire = if is_tcp { self.tcp().await } else { self.unix().await };
        wire.send(request).await;
        wire
    }

    pub async fn tcp(&self) -> Wire {
        Wire::over(TcpStream::connect(&self.address).await.unwrap())
    }

    pub async fn unix(&self) -> Wire {
        Wire::over(UnixStream::connect(&self.socket).await.unwrap())
    }

    /// Waits until `count` streams are parked.
    pub async fn parked(&self, count: usize) {
        eventually("the expected number of parked streams", || self.counts.parked() == count).await;
    }

    /// Waits until `count` connections are open.
    pub async fn open(&self, count: usize) {
        eventually("the expected number of open connections", || self.counts.open() == count).await;
    }
}

/// Waits until `is_true` returns true.
pub async fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < IN_TIME, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A response of `text/event-stream` whose body is `chunks`.
pub fn event_stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let body = Body::from_stream(chunks.map(Ok::<_, Infallible>));
    ([("content-type", "text/event-stream")], body).into_response()
}

/// A `GET` request in HTTP/1.1.
pub fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

trait Socket: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Socket for T {}

/// A client's connection, and the received bytes that no method has returned yet.
pub struct Wire {
    socket: Pin<Box<dyn Socket>>,
    pub unread: Vec<u8>,
}

impl Wire {
    pub fn over(socket: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self { socket: Box::pin(socket), unread: Vec::new() }
    }

    pub async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
        self.socket.flush().await.unwrap();
    }

    /// Waits for more bytes. Returns their number, or 0 at the end of the connection.
    pub async fn receive(&mut self) -> io::Result<usize> {
        self.unread.reserve(16 * 1024);
        let read = self.socket.read_buf(&mut self.unread);
        let count = tokio::time::timeout(IN_TIME, read).await;
        count.unwrap_or_else(|_| panic!("nothing arrived after {:?}", String::from_utf8_lossy(&self.unread)))
    }

    /// Waits for `text`, and keeps everything unread.
    pub async fn until(&mut self, text: &str) {
        while !contains(&self.unread, text) {
            let count = self.receive().await.unwrap_or_else(|error| panic!("{error} before {text:?}"));
            assert_ne!(count, 0, "the connection ended before {text:?}: {:?}", String::from_utf8_lossy(&self.unread));
        }
    }

    /// Returns everything until the server closes the connection. Fails on a reset.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.receive().await.expect("a reset") > 0 {}
        std::mem::take(&mut self.unread)
    }

    /// Returns the rest as text.
    pub async fn text(&mut self) -> String {
        String::from_utf8(self.rest().await).unwrap()
    }

    /// Returns the head of a response with its empty line.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await;
        let end = self.unread.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        String::from_utf8(self.unread.drain(..end).collect()).unwrap()
    }

    /// Returns the data of one chunk (RFC 9112 §7.1), which is empty for the last chunk.
    pub async fn chunk(&mut self) -> Vec<u8> {
        loop {
            if let Some(data) = self.take_chunk() {
                return data;
            }
            let count = self.receive().await.unwrap_or_else(|error| panic!("{error} within a chunked body"));
            assert_ne!(count, 0, "a chunked body ended without its last chunk");
        }
    }

    fn take_chunk(&mut self) -> Option<Vec<u8>> {
        let digits = self.unread.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&self.unread[..digits]).unwrap(), 16).unwrap();
        let (start, end) = (digits + 2, digits + 2 + size);
        if self.unread.len() < end + 2 {
            return None;
        }
        assert_eq!(&self.unread[end..end + 2], b"\r\n", "after a chunk of {size} bytes");
        let data = self.unread[start..end].to_vec();
        self.unread.drain(..end + 2);
        Some(data)
    }

    /// Returns the chunks before the last one. Fails if there is no last chunk.
    pub async fn chunks(&mut self) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                return chunks;
            }
            chunks.push(chunk);
        }
    }
}

pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
