//! HTTP/1 spoken by hand: for tests that want every byte as it was sent, or thousands of connections.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::Edge;

/// How long a byte may take that has to come; only against hanging for ever.
pub const PATIENCE: Duration = Duration::from_secs(60);

trait Socket: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Socket for T {}

/// A connection, and what has come on it and was not taken yet.
pub struct Wire {
    socket: Pin<Box<dyn Socket>>,
    pub unread: Vec<u8>,
}

/// One chunk (RFC 9112 §7.1): its size as it was written, and its data.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    pub size: String,
    pub data: Vec<u8>,
}

/// An answer as it came.
pub struct Answer {
    pub status: u16,
    /// By their names in lower case; several of a name with commas between.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    /// Returns its code, and asserts that it is a whole problem.
    pub fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.body);
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// Four cookies as large as browsers keep them, of large applications on the same host. They fill a head by themselves.
pub fn large_cookies() -> String {
    let cookies: Vec<_> = (0..4).map(|n| format!("app{n}={}", "x".repeat(4_090))).collect();
    format!("Cookie: {}\r\n", cookies.join("; "))
}

impl Wire {
    fn over(socket: impl Socket + 'static) -> Self {
        Self { socket: Box::pin(socket), unread: Vec::new() }
    }

    /// Connects to `HOST:PORT`, which may have `http://` in front.
    pub async fn tcp(address: &str) -> Self {
        Self::try_tcp(address).await.unwrap()
    }

    pub async fn try_tcp(address: &str) -> io::Result<Self> {
        Ok(Self::over(connect(address).await?))
    }

    /// Connects, and will end with a reset instead of an orderly close.
    pub async fn that_resets(address: &str) -> Self {
        let socket = connect(address).await.unwrap();
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        Self::over(socket)
    }

    pub async fn unix(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.unwrap())
    }

    /// Connects to an edge with TLS, coming from `source`, one of this machine's 127.0.0.0/8.
    pub async fn tls(edge: &Edge, source: Ipv4Addr) -> io::Result<Self> {
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, ServerName};

        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&edge.certificate_pem()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let socket = socket.connect(([127, 0, 0, 1], edge.port()).into()).await?;
        let name = ServerName::try_from("localhost").unwrap();
        Ok(Self::over(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await?))
    }

    pub async fn send(&mut self, text: &str) {
        self.try_send(text.as_bytes()).await.unwrap();
    }

    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    /// Waits for more bytes; returns how many came, 0 at the end.
    pub async fn receive(&mut self) -> io::Result<usize> {
        self.unread.reserve(16 * 1024);
        let read = self.socket.read_buf(&mut self.unread);
        let count = tokio::time::timeout(PATIENCE, read).await;
        count.unwrap_or_else(|_| panic!("nothing more came after {:?}", String::from_utf8_lossy(&self.unread)))
    }

    /// Waits until `text` has come, without taking anything.
    pub async fn until(&mut self, text: &str) {
        while !contains(&self.unread, text) {
            let count = self.receive().await.unwrap_or_else(|error| panic!("{error} before {text:?}"));
            assert_ne!(count, 0, "it ended before {text:?}: {:?}", String::from_utf8_lossy(&self.unread));
        }
    }

    /// Takes all that comes until the other side closes in good order.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.receive().await.expect("it was not closed in good order") > 0 {}
        std::mem::take(&mut self.unread)
    }

    /// Sends `request` and returns the last answer to come, after which the other side has to close in good order.
    pub async fn exchange(mut self, request: &[u8]) -> Answer {
        // A server that has heard enough may close before all of it is sent.
        let _ = self.try_send(request).await;
        loop {
            match self.receive().await {
                Ok(0) => break,
                Ok(_) => {}
                // With TLS, the end of the connection alone.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => panic!("it was not closed in good order: {error}"),
            }
        }
        let all = String::from_utf8(std::mem::take(&mut self.unread)).unwrap();
        let beginning = regex::Regex::new(r"HTTP/1\.[01] \d{3} ").unwrap().find_iter(&all).last();
        let start = beginning.unwrap_or_else(|| panic!("no answer to {:?}", String::from_utf8_lossy(request))).start();
        let (head, body) = all[start..].split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""))) {
            let all = headers.entry(name.to_ascii_lowercase()).or_default();
            all.push_str(if all.is_empty() { "" } else { ", " });
            all.push_str(value);
        }
        Answer { status, headers, body: body.to_owned() }
    }

    /// Takes the head of a response, its empty line included.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await;
        let end = self.unread.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        String::from_utf8(self.unread.drain(..end).collect()).unwrap()
    }

    /// Takes one chunk; the last one has no data.
    pub async fn chunk(&mut self) -> Chunk {
        loop {
            if let Some((chunk, length)) = Chunk::first_of(&self.unread) {
                self.unread.drain(..length);
                return chunk;
            }
            let count = self.receive().await.unwrap_or_else(|error| panic!("{error} within a chunked body"));
            assert_ne!(count, 0, "a chunked body ended without its last chunk");
        }
    }

    /// Takes the chunks up to the last one, which must be there.
    pub async fn chunks(&mut self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.data.is_empty() {
                return chunks;
            }
            chunks.push(chunk);
        }
    }

    /// Takes what is left of a chunked body, as text.
    pub async fn body(&mut self) -> String {
        let data = self.chunks().await.into_iter().flat_map(|chunk| chunk.data).collect();
        String::from_utf8(data).unwrap()
    }
}

impl Chunk {
    /// Reads the chunk that `bytes` begin with, if it is there whole; returns it with its length on the wire.
    ///
    /// # Panics
    /// If it is not exactly what the RFC's grammar allows without extensions and trailers.
    pub fn first_of(bytes: &[u8]) -> Option<(Self, usize)> {
        let digits = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..digits]).unwrap().to_owned();
        assert!(!size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit()), "{size:?} is no chunk size");
        let length = usize::from_str_radix(&size, 16).unwrap();
        let (start, end) = (digits + 2, digits + 2 + length);
        if bytes.len() < end + 2 {
            return None;
        }
        assert_eq!(&bytes[end..end + 2], b"\r\n", "after a chunk of {length} bytes");
        Some((Self { size, data: bytes[start..end].to_vec() }, end + 2))
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let address: SocketAddr = address.trim_start_matches("http://").parse().unwrap();
    TcpStream::connect(address).await
}

pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
