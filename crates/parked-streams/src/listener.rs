//! Listening sockets, TCP and Unix.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::address::{ListenAddress, Peer};
use crate::transport::Transport;

/// The length of the accept queue. The system may limit it further (`net.core.somaxconn`).
const ACCEPT_BACKLOG: i32 = 4096;
/// The permissions of a Unix socket's file: owner and group may connect.
const SOCKET_FILE_MODE: u32 = 0o660;

/// A bound listening socket. Dropping it closes the socket and removes a Unix socket's file.
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket,
    address: ListenAddress,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Removes the file of a Unix socket when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds `address` and listens on it. Call it within a tokio runtime.
    ///
    /// A Unix socket's file gets mode 0660. If the file exists and no process listens on it, it is replaced.
    ///
    /// # Errors
    /// The system's error, for example if the address is in use or the directory of a Unix socket is not writable.
    pub async fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                // A restarted server can bind while old connections are in TIME_WAIT.
                socket.set_reuse_address(true)?;
                listen(&socket, &(*address).into())?;
                let socket = TcpListener::from_std(socket.into())?;
                let address = ListenAddress::Tcp(socket.local_addr()?);
                Ok(Self { socket: ListeningSocket::Tcp(socket), address })
            }
            ListenAddress::Unix(path) => {
                remove_stale_file(path).await?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                listen(&socket, &SockAddr::unix(path)?)?;
                let socket = UnixListener::from_std(socket.into())?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_FILE_MODE))?;
                let file = SocketFile(path.clone());
                Ok(Self { socket: ListeningSocket::Unix(socket, file), address: address.clone() })
            }
        }
    }

    /// Returns the address that it listens on. If the requested port was 0, it contains the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Accepts a connection and sets its options.
    ///
    /// # Errors
    /// The system's error, for example at the limit on open files.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future loses no connection.
    pub(crate) async fn accept(&self, write_timeout: Duration) -> io::Result<(Transport, Peer)> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Send each event at once; it is small, and no more data follows it.
                stream.set_nodelay(true)?;
                // Close a connection whose client does not acknowledge or read data.
                SockRef::from(&stream).set_tcp_user_timeout(Some(write_timeout))?;
                Ok((Either::Left(stream), Peer::Tcp(address)))
            }
            ListeningSocket::Unix(listener, _file) => {
                let (stream, _address) = listener.accept().await?;
                Ok((Either::Right(stream), Peer::Unix))
            }
        }
    }
}

fn listen(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    socket.bind(address)?;
    socket.listen(ACCEPT_BACKLOG)?;
    socket.set_nonblocking(true)
}

/// Removes the file of a Unix socket that no process listens on.
async fn remove_stale_file(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
