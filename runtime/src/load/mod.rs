//! The load engine: sends what the conductor's credits permit, and records what
//! came back. It decides nothing: which request, when, and until when, are in
//! the credit.

use std::future::Future;
use std::pin::Pin;

use phasegate_core::Tick;
use phasegate_core::record::RequestRecord;

/// What the engine knows of a request when it is over.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The measurements.
    pub record: RequestRecord,
    /// One sentence on what went wrong, if something did.
    pub error: Option<String>,
    /// Whether a connection was made for it (as against reused).
    pub new_connection: bool,
    /// The content events, where they are asked for.
    pub events: Vec<EventMark>,
}

/// When a content event was read from the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventMark {
    /// The moment.
    pub at: Tick,
    /// The number of the socket read that it came with, from 0: events that
    /// share it arrived together.
    pub read: u32,
}

/// Where finished requests go. Called from the request's own task.
pub trait Completions: Send + Sync + 'static {
    /// Hands over one finished request. The engine reuses the request's
    /// connection before this returns.
    fn complete(&self, finished: Finished) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
