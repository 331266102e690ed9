//! The body of a response: whole, or produced while it is sent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

/// The server closes the connection without finishing the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the simulated server closed the connection on purpose")]
pub(crate) struct Closed;

/// Chunks that may wait for the socket.
const WAITING: usize = 16;

/// A response's body.
pub(crate) enum Body {
    /// All of it, until it is sent.
    Whole(Option<Bytes>),
    /// A future that sends chunks. It is polled by whoever sends the response,
    /// so that it ends when the connection does: there is no task to leak.
    Produced { chunks: mpsc::Receiver<Bytes>, producer: Option<Producer> },
}

type Producer = Pin<Box<dyn Future<Output = Result<(), Closed>> + Send>>;

impl Body {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }

    /// A body of the chunks that `producer` sends; if it fails, the connection
    /// is closed in the middle of the body.
    pub(crate) fn produced<F>(producer: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> Self
    where
        F: Future<Output = Result<(), Closed>> + Send + 'static,
    {
        let (sender, chunks) = mpsc::channel(WAITING);
        Self::Produced { chunks, producer: Some(Box::pin(producer(sender))) }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Produced { chunks, producer } => {
                if let Poll::Ready(Some(chunk)) = chunks.poll_recv(cx) {
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                if let Some(future) = producer
                    && let Poll::Ready(result) = future.as_mut().poll(cx)
                {
                    *producer = None;
                    if let Err(closed) = result {
                        return Poll::Ready(Some(Err(closed)));
                    }
                }
                chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Produced { .. } => SizeHint::default(),
        }
    }
}
