//! Connections to the targets: TCP, TLS or a Unix socket, then HTTP/1.1 or HTTP/2 by hyper. Every step has a timeout.
//!
//! A connection has no task of its own. The task that waits for data on it also drives it ([`Driver::until`]), so a stream
//! costs one task and one wake-up per heartbeat.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::settings::HttpVersion;
use crate::target::{Address, Target};
use crate::tls;

/// How long connecting may take, including the TLS and HTTP handshakes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of a response may take; the body may take as long again.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// The length of an HTTP/1.1 connection's buffer, in bytes; hyper's minimum is 8 KiB.
const BUFFER_BYTES: usize = 16 * 1024;

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// The reason why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The connection could not be opened.
    #[error("connect: {0}")]
    Connect(String),
    /// The connection failed before the response.
    #[error("request: {0}")]
    Request(String),
}

/// Opens connections.
pub struct Dialer {
    sources: Vec<IpAddr>,
    next_source: AtomicUsize,
    tls: TlsConnector,
    http: HttpVersion,
    requests: Arc<AtomicU64>,
}

impl Dialer {
    /// Returns a dialer that connects from `sources` in turn.
    ///
    /// # Errors
    /// If the certificates cannot be read.
    pub fn new(sources: Vec<IpAddr>, http: HttpVersion, ca: Option<&Path>, insecure: bool) -> anyhow::Result<Self> {
        let tls = TlsConnector::from(Arc::new(tls::config(http, ca, insecure)?));
        Ok(Self { sources, next_source: AtomicUsize::new(0), tls, http, requests: Arc::default() })
    }

    /// Returns how many addresses it connects from in turn; 0 if the system chooses.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Returns how many requests its connections have sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Connects to `target`.
    ///
    /// # Errors
    /// If the connection cannot be opened in time.
    pub async fn dial(&self, target: &Target) -> Result<Connection, ConnectionError> {
        let dialed = timeout(CONNECT_TIMEOUT, self.connect(target)).await;
        dialed.unwrap_or_else(|_| Err("timed out".to_owned())).map_err(ConnectionError::Connect)
    }

    async fn connect(&self, target: &Target) -> Result<Connection, String> {
        let (socket, is_h2) = self.socket(target).await.map_err(|error| describe(&error))?;
        let io = TokioIo::new(socket);
        let (sender, driver): (_, Pin<Box<dyn Future<Output = ()> + Send>>) = if is_h2 {
            let opened = http2::Builder::new(TokioExecutor::new()).handshake(io).await;
            let (sender, connection) = opened.map_err(|error| with_causes(&error))?;
            (Sender::H2(sender), Box::pin(async move { drop(connection.await) }))
        } else {
            let opened = http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(io).await;
            let (sender, connection) = opened.map_err(|error| with_causes(&error))?;
            (Sender::H1(sender), Box::pin(async move { drop(connection.await) }))
        };
        Ok(Connection { sender, driver: Driver(Some(driver)), requests: Arc::clone(&self.requests) })
    }

    async fn socket(&self, target: &Target) -> io::Result<(Box<dyn Socket>, bool)> {
        let prior_h2 = self.http == HttpVersion::Two;
        match &target.address {
            Address::Unix(path) => Ok((Box::new(UnixStream::connect(path).await?), prior_h2)),
            Address::Tcp { host, tls, addresses, .. } => {
                let socket = self.tcp(addresses).await?;
                if !tls {
                    return Ok((Box::new(socket), prior_h2));
                }
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let socket = self.tls.connect(name, socket).await?;
                let is_h2 = socket.get_ref().1.alpn_protocol() == Some(b"h2");
                Ok((Box::new(socket), is_h2))
            }
        }
    }

    async fn tcp(&self, addresses: &[SocketAddr]) -> io::Result<tokio::net::TcpStream> {
        let turn = self.next_source.fetch_add(1, Ordering::Relaxed);
        let source = (!self.sources.is_empty()).then(|| self.sources[turn % self.sources.len()]);
        let mut result = Err(io::Error::other("no address of the family of the source address"));
        for &address in addresses {
            if source.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
                continue;
            }
            result = connect_from(source, address).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

async fn connect_from(source: Option<IpAddr>, address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind((source, 0).into())?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    // Close with a reset. Otherwise the port stays in TIME_WAIT for a minute, and after thousands of streams the search for a
    // free port takes longer than a login.
    stream.set_zero_linger()?;
    Ok(stream)
}

enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// An open connection for one request at a time.
pub struct Connection {
    sender: Sender,
    driver: Driver,
    /// The number of requests over all connections.
    requests: Arc<AtomicU64>,
}

impl Connection {
    /// Sends `request` and waits for the head of the response.
    ///
    /// # Errors
    /// If the connection fails or the response takes too long.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ConnectionError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let sender = &mut self.sender;
        let response = self.driver.until(async {
            match sender {
                Sender::H1(sender) => {
                    sender.ready().await?;
                    // HTTP/1.1 carries the host in a header, HTTP/2 in the URI.
                    if let Some(authority) = request.uri().authority() {
                        let host = http::HeaderValue::from_str(authority.as_str());
                        request
                            .headers_mut()
                            .insert(http::header::HOST, host.unwrap_or_else(|_| http::HeaderValue::from_static("")));
                    }
                    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
                    *request.uri_mut() = http::Uri::try_from(path).unwrap_or_default();
                    sender.send_request(request).await
                }
                Sender::H2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        });
        let response = timeout(RESPONSE_TIMEOUT, response).await;
        let response = response.map_err(|_| ConnectionError::Request("no response in time".to_owned()))?;
        response.map_err(|error| ConnectionError::Request(with_causes(&error)))
    }

    /// Returns whether the peer has closed the connection, as far as the received bytes show.
    pub fn is_closed(&mut self) -> bool {
        self.driver.poll_once();
        match &self.sender {
            Sender::H1(sender) => sender.is_closed(),
            Sender::H2(sender) => sender.is_closed(),
        }
    }

    /// Returns the driver, for reading the current response. No further request can be sent.
    pub fn into_driver(self) -> Driver {
        self.driver
    }

    /// Returns the driver.
    pub fn driver(&mut self) -> &mut Driver {
        &mut self.driver
    }
}

/// The future that drives a connection's I/O; `None` once the connection has ended.
pub struct Driver(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Driver {
    /// Waits for `work` and drives the connection meanwhile.
    ///
    /// # Cancel safety
    /// The same as that of `work`.
    pub async fn until<W: Future>(&mut self, work: W) -> W::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Some(connection) = &mut self.0
                && connection.as_mut().poll(context).is_ready()
            {
                self.0 = None;
            }
            work.as_mut().poll(context)
        })
        .await
    }

    /// Reads the data that has arrived, such as the end of the connection.
    fn poll_once(&mut self) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if let Some(connection) = &mut self.0
            && connection.as_mut().poll(&mut context).is_ready()
        {
            self.0 = None;
        }
    }
}

/// Describes an I/O error without the address in it, so that equal errors are counted together.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset".to_owned(),
        _ => error.to_string(),
    }
}

/// Describes an error with its causes.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes: Vec<String> =
        std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    causes.join(": ")
}
