//! The load engine: sends what the conductor's credits permit, and records what
//! came back. It decides nothing: which request, when, and until when, are in
//! the credit.
//!
//! - `engine`: the tasks; `workers`: how they are used again; `exchange`: one request and its answer; `progress`:
//!   what becomes its record; `cancel`: requests that are cancelled by plan.
//! - [`connector`]: the network; `stamped`: times taken at the socket;
//!   `connection`: one connection and the pool; `buffers`: what it reads into; `http1`:
//!   its answers.
//! - `delays`: short times, counted.
//! - `endpoint`: URL, head and body; [`prompts`], [`dataset`]: what is asked.
//! - `sse`, `response`, `template`: what is answered, `answer`: its text;
//!   `classify`: what went wrong; [`tokens`]: texts kept to count their tokens.
//! - [`null`]: an endpoint that answers at once, to measure the client itself.

mod answer;
mod buffers;
mod cancel;
mod classify;
mod connection;
pub mod connector;
pub mod dataset;
mod delays;
mod endpoint;
mod engine;
mod exchange;
pub(crate) mod http1;
pub mod null;
mod progress;
pub mod prompts;
pub(crate) mod response;
pub(crate) mod sse;
mod stamped;
pub(crate) mod template;
pub mod tokens;
mod workers;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use phasegate_core::Tick;
use phasegate_core::record::RequestRecord;

pub(crate) use cancel::PlannedCancel;
pub use connection::ConnectionCounts;
pub use endpoint::EndpointError;
pub use engine::{DEFAULT_MAX_EVENT_BYTES, Engine, EngineConfig, EngineError};

/// What the engine knows of a request when it is over.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The measurements.
    pub record: RequestRecord,
    /// One sentence on what went wrong, if something did.
    pub error: Option<String>,
    /// Whether a connection was made for it (as against reused).
    pub new_connection: bool,
    /// When it had a connection, new or reused.
    pub connected: Option<Tick>,
    /// The longest time from a socket read until its events were parsed.
    pub parsed_after: Duration,
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
