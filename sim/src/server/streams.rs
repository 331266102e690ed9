//! The server on streams that somebody else accepts: those of a simulated
//! network.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use phasegate_core::Tick;
use tokio::io::{AsyncRead, AsyncWrite};

use super::config::ServerConfig;
#[cfg(feature = "turmoil")]
use super::gpu::GpuReading;
use super::shared::{Shared, drive};
use super::truth::Truth;

/// A server without a port. Cheap to clone; every clone is the same server.
#[derive(Debug, Clone)]
pub struct OnStreams {
    shared: Arc<Shared>,
}

impl OnStreams {
    /// A server that started now, which is `started_at` after the Unix epoch.
    /// The configured address is not looked at. Must be called within the tokio
    /// runtime whose clock the server is to follow.
    ///
    /// # Errors
    /// `InvalidInput` with a [`ConfigError`](super::ConfigError) in it.
    pub fn new(config: ServerConfig, started_at: Duration) -> io::Result<Self> {
        config.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Self { shared: Arc::new(Shared::new(config, started_at)) })
    }

    /// Starts queued requests on time, for ever. Without it, a request that has
    /// to queue stays queued.
    pub async fn drive(&self) -> Infallible {
        drive(&self.shared).await
    }

    /// Serves one connection to its end.
    pub async fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        super::connection(Arc::clone(&self.shared), stream).await;
    }

    /// Each GPU's exact energy from the start until `at` after it, in joules, in the
    /// exporter's order; `None` unless [`ServerConfig::keep_load`] is set.
    #[must_use]
    pub fn energy_j(&self, at: Duration) -> Option<Vec<f64>> {
        self.shared.energy_j(Tick::ZERO + at)
    }

    /// What the GPUs' sensors show `at` so long after the start.
    #[cfg(feature = "turmoil")]
    pub(crate) fn sensors(&self, at: Duration) -> Vec<GpuReading> {
        self.shared.sensors(Tick::ZERO + at)
    }

    /// What really happened until the server last did something.
    #[must_use]
    pub fn truth(&self) -> Truth {
        self.shared.last_truth()
    }
}
