//! A TCP or Unix socket, registered with tokio or not.

use std::io;

use socket2::{Domain, Socket};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use crate::address::Peer;

/// An accepted socket that is registered with tokio.
pub(crate) type Transport = Either<TcpStream, UnixStream>;

/// Deregisters a socket from tokio. It stays open and non-blocking.
pub(crate) fn deregister(transport: Transport) -> io::Result<Socket> {
    Ok(match transport {
        Either::Left(stream) => stream.into_std()?.into(),
        Either::Right(stream) => stream.into_std()?.into(),
    })
}

/// Registers a socket with tokio again.
///
/// # Errors
/// The system's error, for example if the client has reset the connection.
pub(crate) fn register(socket: Socket) -> io::Result<(Transport, Peer)> {
    if socket.domain()? == Domain::UNIX {
        return Ok((Either::Right(UnixStream::from_std(socket.into())?), Peer::Unix));
    }
    let stream = TcpStream::from_std(socket.into())?;
    let peer = Peer::Tcp(stream.peer_addr()?);
    Ok((Either::Left(stream), peer))
}
