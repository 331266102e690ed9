//! Timestamps taken where the socket is read and written.
//!
//! Two layers share one [`Stamps`]. [`Stamped`] sits directly on the socket,
//! below TLS, and notes when bytes were read and written. The connection sits on
//! top, above TLS, and knows which of those moments were the request's first
//! answer byte and last sent byte (a TLS session ticket is not an answer).
//!
//! At saturation, a time taken by the consumer of the body lags behind the
//! sender by about a millisecond; one taken here by tens of microseconds.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use phasegate_core::Tick;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::connector::Transport;
use crate::clock::Clock;

/// The value that stands for "has not happened".
const NOT_YET: u64 = u64::MAX;

/// The moments of one connection. Written by its I/O, read by the request's
/// task; both run in the same task, so that relaxed atomics are enough.
#[derive(Debug)]
pub(crate) struct Stamps {
    clock: Clock,
    last_read: AtomicU64,
    reads: AtomicU32,
    first_read: AtomicU32,
    last_write: AtomicU64,
    first_byte: AtomicU64,
    sent: AtomicU64,
}

/// A socket read: when, and its number within the request, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadMark {
    pub(crate) at: Tick,
    pub(crate) read: u32,
}

impl Stamps {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            last_read: AtomicU64::new(NOT_YET),
            reads: AtomicU32::new(0),
            first_read: AtomicU32::new(0),
            last_write: AtomicU64::new(NOT_YET),
            first_byte: AtomicU64::new(NOT_YET),
            sent: AtomicU64::new(NOT_YET),
        }
    }

    /// Forgets the request before: the next one begins.
    pub(crate) fn begin(&self) {
        self.first_read.store(self.reads.load(Relaxed), Relaxed);
        self.first_byte.store(NOT_YET, Relaxed);
        self.sent.store(NOT_YET, Relaxed);
    }

    /// The latest socket read. Right after a piece of the body came out of the
    /// connection this is the read that brought the piece, because nothing more
    /// is read until all that was read has been taken.
    pub(crate) fn last_read(&self) -> ReadMark {
        let count = self.reads.load(Relaxed).wrapping_sub(self.first_read.load(Relaxed));
        ReadMark { at: Tick(self.last_read.load(Relaxed)), read: count.saturating_sub(1) }
    }

    /// When the first byte of the answer was read.
    pub(crate) fn first_byte(&self) -> Option<Tick> {
        known(&self.first_byte)
    }

    /// When the last byte of the request had been handed to the socket.
    pub(crate) fn sent(&self) -> Option<Tick> {
        known(&self.sent)
    }

    fn socket_read(&self) {
        self.last_read.store(self.clock.now().0, Relaxed);
        self.reads.store(self.reads.load(Relaxed).wrapping_add(1), Relaxed);
    }

    fn socket_written(&self) {
        self.last_write.store(self.clock.now().0, Relaxed);
    }

    /// Bytes above TLS were read: an answer, or its beginning.
    pub(crate) fn answer_read(&self) {
        if self.first_byte.load(Relaxed) == NOT_YET {
            self.first_byte.store(self.last_read.load(Relaxed), Relaxed);
        }
    }

    /// The whole request is on the socket.
    pub(crate) fn flushed(&self) {
        self.sent.store(self.last_write.load(Relaxed), Relaxed);
    }
}

fn known(moment: &AtomicU64) -> Option<Tick> {
    match moment.load(Relaxed) {
        NOT_YET => None,
        nanos => Some(Tick(nanos)),
    }
}

/// A socket whose reads and writes are stamped.
pub(crate) struct Stamped {
    inner: Box<dyn Transport>,
    stamps: Arc<Stamps>,
}

impl Stamped {
    pub(crate) fn new(inner: Box<dyn Transport>, stamps: Arc<Stamps>) -> Self {
        Self { inner, stamps }
    }
}

impl AsyncRead for Stamped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.stamps.socket_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.stamps.socket_written();
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.stamps.socket_written();
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The stream under HTTP.
pub(crate) enum Stream {
    /// `http`
    Plain(Stamped),
    /// `https`
    Tls(Box<TlsStream<Stamped>>),
}

/// Calls a poll method of whichever stream it is.
macro_rules! either {
    ($stream:expr, $method:ident, $($argument:expr),*) => {
        match $stream {
            Stream::Plain(s) => Pin::new(s).$method($($argument),*),
            Stream::Tls(s) => Pin::new(s.as_mut()).$method($($argument),*),
        }
    };
}

impl Stream {
    /// Reads into `space`; how much, 0 at the end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut space = ReadBuf::new(space);
        ready!(either!(self, poll_read, cx, &mut space))?;
        Poll::Ready(Ok(space.filled().len()))
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write, cx, bytes)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush, cx)
    }
}
