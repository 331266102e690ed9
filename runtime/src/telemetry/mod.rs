//! Sources of readings. A source takes a reading when it is told to; when, how
//! often and for how long is the collector's (core's) decision.

use std::future::Future;
use std::pin::Pin;

use phasegate_core::Tick;
use phasegate_core::message::CollectError;
use phasegate_core::reading::ReadingBody;

/// Something that can be read.
pub trait Source: Send + Sync + 'static {
    /// What is read, for artifacts and messages: a URL without credentials, or
    /// `nvml`.
    fn name(&self) -> &str;

    /// Takes one reading, beginning now. Readings may overlap. There is no time
    /// limit here: dropping the future abandons the reading.
    fn read(&self) -> Pin<Box<dyn Future<Output = Taken> + Send + '_>>;
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
    /// The samples, or why there are none.
    pub body: Result<ReadingBody, CollectError>,
}
