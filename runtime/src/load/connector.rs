//! How bytes reach the server: TCP, with TLS above it where the URL says so.
//!
//! [`Connector`] is the seam for a simulated network: it hands out plain byte
//! streams; stamps, TLS and HTTP are put on top of whatever it gives.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A byte stream to a server.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

/// A connection being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Transport>>> + Send + 'a>>;

/// Makes byte streams to a host and port.
pub trait Connector: Send + Sync + 'static {
    /// Connects. There is no time limit here: dropping the future gives up.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a>;
}

/// The real network, with `TCP_NODELAY`: a small request must not wait for the
/// acknowledgement of the one before it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Connector for Tcp {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Transport>)
        })
    }
}

/// TLS to one server name.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) connector: TlsConnector,
    pub(crate) name: ServerName<'static>,
}

impl Tls {
    /// TLS to `host`, verified against `roots`, or against the platform's trust
    /// store where there are none.
    pub(crate) fn new(host: &str, roots: Option<Arc<RootCertStore>>) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("'{host}' is not a name that TLS can verify"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = match roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder
                .with_platform_verifier()
                .map_err(|e| format!("the platform's trust store cannot be used: {e}"))?,
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }
}
