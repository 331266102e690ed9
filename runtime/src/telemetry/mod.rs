//! Sources of readings. A source takes a reading when it is told to; when, how
//! often and for how long is the collector's (core's) decision.
//!
//! - [`prometheus`], [`dcgm`], [`nvml`]: the sources.
//! - [`scrape`]: one fetch and parse of an exposition, shared by the first two.
//! - [`exposition`]: the parser of Prometheus text and OpenMetrics text.
//! - [`fetch`]: HTTP GET behind a small trait, and reqwest behind that; `trust`:
//!   whom its TLS trusts.
//! - [`urls`]: what users write as a URL, and what of it may be shown.
//! - [`models`]: whether an endpoint is ready, and its models.

pub mod dcgm;
pub mod exposition;
pub mod fetch;
pub mod models;
pub mod nvml;
pub mod prometheus;
pub mod scrape;
mod trust;
pub mod urls;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use phasegate_core::Tick;
use phasegate_core::message::CollectError;
use phasegate_core::reading::{GpuEvent, Malformed, ReadingBody};

/// Something that can be read.
pub trait Source: Send + Sync + 'static {
    /// What is read, for artifacts and messages: a URL without credentials, or
    /// `nvml`.
    fn name(&self) -> &str;

    /// Takes one reading, beginning now. Readings may overlap. There is no time
    /// limit here: dropping the future abandons the reading.
    fn read(&self) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>>;

    /// The same, and where the source has counters that are published in steps it
    /// may take `tick_within` longer to see each of them step, so that it is known
    /// when its value became true.
    fn read_within(
        &self,
        tick_within: Duration,
    ) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>> {
        let _ = tick_within;
        self.read()
    }
}

/// One reading as taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// When it began: no sample is older.
    pub start: Tick,
    /// When the first byte of the answer came, where there are bytes.
    pub first_byte: Option<Tick>,
    /// When it was complete.
    pub end: Tick,
    /// What of the answer could not be read and was left out.
    pub malformed: Option<Malformed>,
    /// What GPUs reported since the reading before.
    pub gpu_events: Vec<GpuEvent>,
    /// The samples, or why there are none.
    pub body: Result<ReadingBody, CollectError>,
}

impl Taken {
    /// One that was not an answer of bytes: all of it could be read.
    #[must_use]
    pub fn plain(start: Tick, end: Tick, body: Result<ReadingBody, CollectError>) -> Self {
        Self { start, first_byte: None, end, malformed: None, gpu_events: Vec::new(), body }
    }
}
