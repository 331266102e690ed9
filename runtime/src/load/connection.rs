//! One HTTP/1.1 connection, polled by the task of the request that uses it.
//!
//! No task of its own: the connection is polled first, and what it puts out is
//! taken at once. That saves a wake-up an event, and keeps a frame and the
//! socket read that completed it together (see [`Stamps::last_read`]).

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1;
use hyper::{Request, Response};

use super::connector::{Connector, Tls};
use super::stamped::{HyperIo, ReadMark, Stamped, Stamps, Stream};
use crate::clock::Clock;

/// A request, its body in one piece.
pub(crate) type Outgoing = Request<Full<Bytes>>;

type Driver = http1::Connection<HyperIo, Full<Bytes>>;

/// A connection and the half that sends on it.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
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
        let io = HyperIo::new(stream, Arc::clone(&stamps));
        let (sender, driver) = http1::handshake(io).await.map_err(io::Error::other)?;
        Ok(Self { sender, driver: Some(driver), stamps })
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && Pin::new(driver).poll(cx).is_ready()
        {
            // Dropped at once: that answers whatever still waits for it.
            self.driver = None;
        }
    }

    /// Whether an idle connection can take a request: the server has neither
    /// closed it nor said anything on it.
    pub(crate) async fn is_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(self.driver.is_some() && self.sender.is_ready())
        })
        .await
    }

    /// Sends a request and waits for the head of the answer. The error has the
    /// request in it if nothing of it was written.
    pub(crate) async fn send(
        &mut self,
        request: Outgoing,
    ) -> Result<Response<Incoming>, TrySendError<Outgoing>> {
        let mut response = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        std::future::poll_fn(|cx| {
            if let Some(running) = driver
                && Pin::new(running).poll(cx).is_ready()
            {
                *driver = None;
            }
            response.as_mut().poll(cx)
        })
        .await
    }

    /// The next piece of the answer's body with the socket read that completed
    /// it; `None` at its end.
    pub(crate) async fn frame(
        &mut self,
        body: &mut Incoming,
    ) -> Option<Result<(Bytes, ReadMark), hyper::Error>> {
        std::future::poll_fn(|cx| {
            loop {
                self.drive(cx);
                let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    Some(Ok(frame)) => frame,
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => return Poll::Ready(None),
                };
                // Trailers are no part of the answer.
                if let Ok(bytes) = frame.into_data() {
                    return Poll::Ready(Some(Ok((bytes, self.stamps.last_read()))));
                }
            }
        })
        .await
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
    pub(crate) async fn put(&self, mut connection: Connection) {
        if connection.is_ready().await {
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
