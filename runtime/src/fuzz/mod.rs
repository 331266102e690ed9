//! What the fuzzers of the runtime do with their bytes: each function takes any
//! bytes at all and panics where a law does not hold.
//!
//! The targets in `fuzz/` only call these; ordinary tests replay the committed
//! inputs through them.
//!
//! - [`mod@sse`]: server-sent events in arbitrary splits.
//! - [`mod@answer`]: chunks and whole answers of the OpenAI API.
//! - [`mod@http1`]: heads and bodies of answers.
//! - [`mod@exposition`]: Prometheus and OpenMetrics text.

pub mod answer;
pub mod exposition;
pub mod http1;
pub mod sse;

pub use answer::answer;
pub use exposition::exposition;
pub use http1::http1;
pub use sse::sse;
