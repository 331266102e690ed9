//! The simulated inference server: an OpenAI-compatible API over real TCP, with
//! a model that takes time, telemetry as vLLM and NVIDIA's exporter publish it,
//! and a ground truth to hold a client's numbers against.
//!
//! | path | answers |
//! |---|---|
//! | `POST /v1/chat/completions`, `/v1/completions`, `/v1/embeddings` | as vLLM does; streamed or whole |
//! | `POST /v1/responses`, `/v1/messages` | as OpenAI and Anthropic do; streamed or whole |
//! | `POST /v1/rerank` | as Jina, Cohere and vLLM do |
//! | `GET /v1/models`, `/health` | the one model; 200 when it is ready |
//! | `GET /metrics`, `/gpu/metrics` | expositions of the server and of the GPUs |
//! | `GET /replica/N/metrics` | that of one process alone, from 1, where there are several |
//! | `GET /truth` | [`Truth`] as JSON |
//!
//! A prompt has as many tokens as it has words; a generated token is a word.
//!
//! Who lives here:
//! - `config`: what a server is like; `hazard`: which faults it injects.
//! - `engine`: the model, pure, with time passed in; `prefix` its prefix cache,
//!   `foreign` who else uses it, `gpu` the energy it takes, `truth` and `counters` (`histogram`) its books.
//! - `shared`: the engine behind a lock, and the clock.
//! - `api`, `request`, `generate`, `reply`, `error`, `body`: from a request to
//!   its response.
//! - `streams`: the server on streams that somebody else accepts.
//! - `scrape`, `metrics`, `exposition`: the exporters.

mod api;
mod body;
mod config;
mod counters;
mod engine;
mod error;
mod exposition;
mod foreign;
mod generate;
mod gpu;
mod hazard;
mod histogram;
mod metrics;
mod prefix;
mod reply;
mod request;
mod scrape;
mod shared;
mod streams;
#[cfg(test)]
mod tests;
mod truth;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

pub use api::PHASE_HEADER;
pub use config::{ConfigError, ServerConfig};
#[cfg(feature = "turmoil")]
pub(crate) use gpu::GpuReading;
pub use hazard::{ApiFault, Exporter, ExporterFault, Hazard, HazardError, Published};
pub use streams::OnStreams;
pub use truth::{GpuTruth, Tally, Truth, prompt_hash};

use body::Body;
use shared::{Shared, drive};

/// A simulated server that listens, and serves once it is [run](Self::run).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Binds the configured address.
    ///
    /// # Errors
    /// `InvalidInput` with a [`ConfigError`] in it for a configuration that
    /// cannot be served; otherwise what the operating system says about the
    /// address.
    pub async fn bind(config: ServerConfig) -> io::Result<Self> {
        config.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind((config.host, config.port)).await?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr, shared: Arc::new(Shared::new(config, unix_time())) })
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown` is done. Then the port is closed, idle
    /// connections end, open requests get [`ServerConfig::drain`] to finish and
    /// are aborted after it; when this returns, no task of the server is left.
    ///
    /// # Errors
    /// None that is known today; reserved for a listener that fails for good.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            biased;
            result = self.serve(shutdown) => result,
            never = drive(&shared) => match never {},
        }
    }

    /// Serves in a task of its own, until the handle is stopped or dropped.
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn spawn(self) -> ServerHandle {
        let (stop, stopped) = oneshot::channel();
        let (addr, shared) = (self.addr, Arc::clone(&self.shared));
        let task = tokio::spawn(self.run(async {
            // A dropped handle stops the server too.
            let _ = stopped.await;
        }));
        ServerHandle { addr, shared, stop, task }
    }

    async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self { listener, shared, .. } = self;
        let mut listener = Some(listener);
        let mut connections = JoinSet::new();
        let mut closing = shared.closing.subscribe();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                _ = closing.changed(), if listener.is_some() => listener = None,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection's task panicked");
                    }
                }
                stream = accept(listener.as_ref()) => {
                    // Tokens are small and must not wait for each other.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(connection(Arc::clone(&shared), stream));
                }
            }
        }
        drop(listener);
        shared.closing.send_replace(true);
        let finished = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(shared.config.drain, finished).await.is_err() {
            connections.shutdown().await;
        }
        Ok(())
    }
}

/// Wall-clock time, since the Unix epoch.
fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How long accepting pauses after a failure, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The next connection; never, once the port is closed.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn connection<S>(shared: Arc<Shared>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut closing = shared.closing.subscribe();
    let service = api::service(shared);
    let connection = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let closed = async {
        let _ = closing.wait_for(|closing| *closing).await;
    };
    // A connection that breaks is the client's business, or was broken on
    // purpose: the books are kept by the ticket that the break has dropped.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = closed => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A response with a body of one media type.
fn respond(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A server that runs in a task of its own. Dropping it stops the server without
/// waiting.
#[derive(Debug)]
pub struct ServerHandle {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl ServerHandle {
    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What really happened until now; what `/truth` shows.
    #[must_use]
    pub fn truth(&self) -> Truth {
        self.shared.truth()
    }

    /// Stops the server and waits until nothing of it is left.
    ///
    /// # Errors
    /// Those of [`Server::run`], and a panic in it.
    pub async fn stop(self) -> io::Result<Truth> {
        let Self { shared, stop, task, .. } = self;
        // The receiver is gone only if the server has stopped already.
        let _ = stop.send(());
        task.await.map_err(io::Error::other)??;
        Ok(shared.truth())
    }
}
