//! The transport that hyper gets: bytes can be put back in front of it, and it reports writes and flushes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::handoff::Handoff;
use crate::transport::Transport;

/// A transport that first returns the bytes put back, and that reports to the [`Handoff`] what hyper writes and flushes.
///
/// It discards hyper's own response to an unreadable head, so that the service can answer instead.
pub(crate) struct RewindIo<B> {
    transport: Transport,
    /// Bytes that were received earlier, which are read before the transport's.
    rewound: Bytes,
    handoff: Handoff<B>,
}

impl<B> RewindIo<B> {
    pub(crate) fn new(transport: Transport, rewound: Bytes, handoff: Handoff<B>) -> Self {
        Self { transport, rewound, handoff }
    }

    /// Returns the transport and the bytes put back that hyper has not read.
    pub(crate) fn into_parts(self) -> (Transport, Bytes) {
        (self.transport, self.rewound)
    }
}

impl<B> AsyncRead for RewindIo<B> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rewound.is_empty() {
            return Pin::new(&mut self.transport).poll_read(context, buffer);
        }
        let count = buffer.remaining().min(self.rewound.len());
        buffer.put_slice(&self.rewound.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<B> AsyncWrite for RewindIo<B> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.handoff.record_write(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.handoff.record_write(slices.first().map_or(&[], |slice| slice)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.transport).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    /// hyper flushes after it has written everything that it had buffered.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.transport).poll_flush(context))?;
        self.handoff.record_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.handoff.withheld_status().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.transport).poll_shutdown(context)
    }
}
