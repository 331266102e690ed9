//! One HTTP/1.1 connection, polled by the task of the request that uses it.
//!
//! No task of its own and no copy: the socket is read into one buffer, lent while
//! something lies in it, and the body's pieces are slices of it. That keeps a piece and the socket read that
//! brought it together (see [`Stamps::last_read`]).

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use super::buffers;
use super::classify::HttpError;
use super::connector::{Connector, Tls};
use super::http1::{self, Framing, Head, MAX_HEAD, Piece};
use super::stamped::{ReadMark, Stamped, Stamps, Stream};
use crate::clock::Clock;

/// How far it grows where the server sends more than it holds at a time.
const MAX_BUFFER: usize = 64 << 10;

/// So much may be read without a pause before other tasks have their turn: a
/// server that sends faster than is read must not keep the conductor waiting.
const EAGER: usize = MAX_BUFFER;

/// A connection.
pub(crate) struct Connection {
    stream: Stream,
    /// Empty while there is nothing to keep in it.
    buffer: Vec<u8>,
    /// What of the buffer was read and not taken.
    unread: Range<usize>,
    /// The last read filled the buffer: there may be more than it holds.
    filled: bool,
    /// Bytes read since there was nothing to read.
    eager: usize,
    body: Framing,
    /// Another request may follow once the answer has been read to its end.
    keep_alive: bool,
    /// It has been.
    over: bool,
    pub(crate) stamps: Arc<Stamps>,
}

/// Where connections go.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<Tls>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) clock: Clock,
}

/// A request that was not answered.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) error: HttpError,
    /// Nothing of it was written: it may go out on another connection.
    pub(crate) unwritten: bool,
}

impl Connection {
    /// Makes a new connection.
    pub(crate) async fn open(target: &Target) -> io::Result<Self> {
        let socket = target.connector.connect(&target.host, target.port).await?;
        let stamps = Arc::new(Stamps::new(target.clock));
        let stamped = Stamped::new(socket, Arc::clone(&stamps));
        let stream = match &target.tls {
            None => Stream::Plain(stamped),
            Some(tls) => {
                let stream = tls.connector.connect(tls.name.clone(), stamped).await?;
                Stream::Tls(Box::new(stream))
            }
        };
        Ok(Self {
            stream,
            buffer: Vec::new(),
            unread: 0..0,
            filled: false,
            eager: 0,
            body: Framing::Close,
            keep_alive: true,
            over: true,
            stamps,
        })
    }

    /// Whether its answer has been read to its end, and it can be used again.
    fn is_reusable(&self) -> bool {
        self.keep_alive && self.over && self.unread.is_empty()
    }

    /// Whether an idle connection can take a request: the server has neither
    /// closed it nor said anything on it.
    async fn is_ready(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.is_reusable() && self.poll_fill(cx).is_pending())).await
    }

    /// Keeps no buffer while there is nothing in it.
    fn rest(&mut self) {
        if self.unread.is_empty() && !self.buffer.is_empty() {
            self.unread = 0..0;
            self.filled = false;
            buffers::give_back(std::mem::take(&mut self.buffer));
        }
    }

    /// Reads from the socket; how much, 0 at its end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unread.is_empty() {
            self.unread = 0..0;
            if self.buffer.is_empty() {
                self.buffer = buffers::borrow();
            }
        } else if self.unread.end == self.buffer.len() {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.filled && self.buffer.len() < MAX_BUFFER {
            self.buffer.resize(self.buffer.len() * 2, 0);
            self.filled = false;
        }
        let Some(space) = self.buffer.get_mut(self.unread.end..).filter(|s| !s.is_empty()) else {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        };
        let room = space.len();
        let Poll::Ready(n) = self.stream.poll_read(cx, space)? else {
            self.eager = 0;
            self.rest();
            return Poll::Pending;
        };
        self.eager += n;
        if n > 0 {
            self.unread.end += n;
            self.filled = n == room;
            self.stamps.answer_read();
        }
        Poll::Ready(Ok(n))
    }

    /// Sends a request, whole, and waits for the head of its answer. Once written it
    /// is no longer kept.
    pub(crate) async fn send(&mut self, request: &mut Vec<u8>) -> Result<Head, Unanswered> {
        self.over = false;
        let mut written = 0;
        let whole = poll_fn(|cx| self.poll_write(cx, request, &mut written)).await;
        // An early answer is an answer; but what is left of the request would
        // be taken for the next one.
        self.keep_alive &= matches!(whole, Ok(true));
        if written > 0 {
            drop(std::mem::take(request));
        }
        let answer = match whole {
            Ok(_) => self.head().await,
            Err(error) => Err(error),
        };
        answer.map_err(|error| Unanswered { error, unwritten: written == 0 })
    }

    /// Writes; whether all of it, or the server has answered before that.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        request: &[u8],
        written: &mut usize,
    ) -> Poll<Result<bool, HttpError>> {
        while let Some(rest) = request.get(*written..).filter(|rest| !rest.is_empty()) {
            let problem = match self.stream.poll_write(cx, rest) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    *written += n;
                    continue;
                }
                Poll::Ready(Ok(_)) => Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Err(error)) => Some(error),
                Poll::Pending => None,
            };
            // Also where it cannot be written: it may have been refused half-way.
            return match (self.poll_fill(cx), problem) {
                (Poll::Ready(Ok(n)), _) if n > 0 => Poll::Ready(Ok(false)),
                (_, Some(problem)) => Poll::Ready(Err(HttpError::Io(problem))),
                (Poll::Ready(Ok(_)), None) => Poll::Ready(Err(HttpError::Ended)),
                (Poll::Ready(Err(error)), None) => Poll::Ready(Err(HttpError::Io(error))),
                (Poll::Pending, None) => Poll::Pending,
            };
        }
        ready!(self.stream.poll_flush(cx)).map_err(HttpError::Io)?;
        self.stamps.flushed();
        Poll::Ready(Ok(true))
    }

    async fn head(&mut self) -> Result<Head, HttpError> {
        loop {
            let bytes = &self.buffer[self.unread.clone()];
            if let Some((head, length)) = http1::head(bytes)? {
                self.unread.start += length;
                match head.status {
                    101 => return Err(HttpError::NotHttp("it wants another protocol")),
                    100..=199 => continue,
                    _ => {}
                }
                self.body = head.body;
                self.keep_alive &= head.keep_alive;
                return Ok(head);
            }
            // A head that fills the buffer may still be within its limit.
            if self.unread.len() == self.buffer.len() && self.buffer.len() <= MAX_HEAD {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), HttpError> {
        if self.eager >= EAGER {
            self.eager = 0;
            tokio::task::yield_now().await;
        }
        match poll_fn(|cx| self.poll_fill(cx)).await {
            Ok(0) => Err(HttpError::Ended),
            Ok(_) => Ok(()),
            Err(error) => Err(HttpError::Io(error)),
        }
    }

    /// The next piece of the answer's body with the socket read that brought
    /// it; `None` at its end.
    pub(crate) async fn piece(&mut self) -> Option<Result<(&[u8], ReadMark), HttpError>> {
        let range = loop {
            let read = &self.buffer[..self.unread.end];
            match self.body.next(read, self.unread.start) {
                Ok((piece, at)) => {
                    self.unread.start = at;
                    match piece {
                        Piece::Data(range) => break range,
                        Piece::End => {
                            self.over = true;
                            return None;
                        }
                        Piece::More => {}
                    }
                }
                Err(error) => return Some(Err(error)),
            }
            match self.fill().await {
                Ok(()) => {}
                Err(HttpError::Ended) if self.body == Framing::Close => return None,
                Err(error) => return Some(Err(error)),
            }
        };
        Some(Ok((&self.buffer[range], self.stamps.last_read())))
    }
}

/// How many connections were made and used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionCounts {
    /// Made.
    pub opened: u64,
    /// Requests that went out on a connection that had served another.
    pub reused: u64,
    /// Found dead when they were to be used again, and replaced.
    pub died_idle: u64,
}

/// Idle connections, the latest first out: it is the least likely to have been
/// closed by the server. Never holds more than were once in use together.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Connection>>,
    opened: AtomicU64,
    reused: AtomicU64,
    died_idle: AtomicU64,
}

impl Pool {
    /// An idle connection that is still alive.
    pub(crate) async fn take(&self) -> Option<Connection> {
        loop {
            let mut connection = self.lock().pop()?;
            if connection.is_ready().await {
                self.reused.fetch_add(1, Relaxed);
                return Some(connection);
            }
            self.died_idle.fetch_add(1, Relaxed);
        }
    }

    /// A new connection to `target`.
    pub(crate) async fn open(&self, target: &Target) -> io::Result<Connection> {
        let connection = Connection::open(target).await?;
        self.opened.fetch_add(1, Relaxed);
        Ok(connection)
    }

    /// Keeps a connection whose answer has been read to its end, if it can be
    /// used again.
    pub(crate) fn put(&self, mut connection: Connection) {
        if connection.is_reusable() {
            connection.rest();
            self.lock().push(connection);
        }
    }

    /// The reused connection turned out to be dead before it took a byte.
    pub(crate) fn was_dead(&self) {
        self.reused.fetch_sub(1, Relaxed);
        self.died_idle.fetch_add(1, Relaxed);
    }

    pub(crate) fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            opened: self.opened.load(Relaxed),
            reused: self.reused.load(Relaxed),
            died_idle: self.died_idle.load(Relaxed),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Nothing panics while it is held; the connections are whole anyway.
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
