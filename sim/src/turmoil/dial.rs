//! The load engine's connector and the scraper's HTTP, over turmoil's TCP.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request as HttpRequest, Response, header};
use hyper_util::rt::TokioIo;
use phasegate_core::message::{CollectError, CollectErrorKind};
use phasegate_runtime::load::connector::{Connecting, Connector, Transport};
use phasegate_runtime::telemetry::fetch::{Answer, BoxFuture, Fetch, Request};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use turmoil::net::TcpStream;

/// Streams of the simulated network, by host name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dial;

/// A refusal takes so long. turmoil's takes no time at all behind a partition, and
/// a closed loop against it would send without end at one moment.
const REFUSED: Duration = Duration::from_millis(5);

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let connected = TcpStream::connect((host, port)).await;
    if connected.is_err() {
        sleep(REFUSED).await;
    }
    connected
}

impl Connector for Dial {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a> {
        Box::pin(async move {
            let stream = connect(host, port).await?;
            Ok(Box::new(stream) as Box<dyn Transport>)
        })
    }
}

/// Ends a connection's task when its answer is dropped.
struct Connected(AbortHandle);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fetch for Dial {
    fn get<'a>(
        &'a self,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Box<dyn Answer>, CollectError>> {
        Box::pin(async move {
            let shown = request.shown();
            let failed = |kind, what: &str, why: &dyn fmt::Display| {
                CollectError::new(kind, format!("{what} {shown}: {why}"))
            };
            let url = request.url();
            let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
                let why = "no host in it";
                return Err(failed(CollectErrorKind::Other, "cannot connect to", &why));
            };
            let unreachable = |why: &dyn fmt::Display| {
                failed(CollectErrorKind::Unreachable, "cannot connect to", why)
            };
            let stream = connect(host, port).await.map_err(|error| unreachable(&error))?;
            let (mut sender, driver) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
                .await
                .map_err(|error| unreachable(&error))?;
            let connected = Connected(tokio::spawn(driver).abort_handle());
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            let mut builder = HttpRequest::get(format!("{}{query}", url.path()))
                .header(header::HOST, format!("{host}:{port}"))
                .header(header::ACCEPT, request.accept());
            for (name, value) in request.headers() {
                builder = builder.header(name, value.expose());
            }
            let broke = |why: &dyn fmt::Display| {
                failed(CollectErrorKind::Other, "the answer broke off of", why)
            };
            let request = builder.body(Empty::new()).map_err(|error| broke(&error))?;
            let response = sender.send_request(request).await.map_err(|error| broke(&error))?;
            let shown = shown.to_owned();
            Ok(Box::new(SimAnswer { response, shown, _connected: connected }) as Box<dyn Answer>)
        })
    }
}

struct SimAnswer {
    response: Response<Incoming>,
    shown: String,
    _connected: Connected,
}

impl Answer for SimAnswer {
    fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    fn length(&self) -> Option<u64> {
        self.response.body().size_hint().exact()
    }

    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, CollectError>> {
        Box::pin(async {
            loop {
                let Some(frame) = self.response.body_mut().frame().await else { return Ok(None) };
                let frame = frame.map_err(|error| {
                    let message = format!("the answer of {} broke off: {error}", self.shown);
                    CollectError::new(CollectErrorKind::Other, message)
                })?;
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        })
    }
}

/// An error of the simulated host, as turmoil wants it.
pub(super) fn host_error(what: impl Into<String>) -> Box<dyn std::error::Error> {
    Box::new(io::Error::other(what.into()))
}
