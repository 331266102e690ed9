//! All arithmetic of the result: pure functions from evidence to `run.json`.
//!
//! - [`mod@assemble`]: everything together.
//! - [`attribution`]: readings in, one at a time; what each phase's telemetry
//!   did out. [`source`] is the book of one source.
//! - [`boundary`]: what both sides know of a boundary.
//! - [`client`]: whether the client was the bottleneck.
//! - [`windows`]: time, cut at the boundaries.
//! - [`track`], [`delta`], [`quantile`]: counters, histograms, summaries from
//!   reading to reading, and between two of them; [`elapsed`] is the time between.
//! - [`gauge`], [`gpu`]: what goes up and down; energy, with an error bar.
//! - [`efficiency`]: energy by requests and tokens. [`idle`]: less idle power.
//! - [`reconcile`]: the client's ledger against the server's counters.
//! - [`verdict`]: how far a phase's telemetry can be trusted, in words.
//! - [`outcome`]: how the run ended, in words.
//! - [`result`]: `run.json`, as types.
//! - [`mod@slo`]: what a search for the highest load within objectives came to.
//! - [`mod@sweep`]: steps of one rate or concurrency, side by side, and the knee.
//! - [`tokens`]: token counts made here against the server's usage.
//! - [`stats`]: statistics of a series of values, in bounded memory.

pub mod assemble;
pub mod attribution;
pub mod boundary;
pub mod client;
pub mod delta;
pub mod efficiency;
pub mod elapsed;
pub mod gauge;
pub mod gpu;
pub mod idle;
pub mod outcome;
pub mod quantile;
pub mod reconcile;
pub mod result;
pub mod slo;
pub mod source;
pub mod stats;
pub mod sweep;
pub mod tokens;
pub mod track;
pub mod verdict;
pub mod windows;

#[cfg(test)]
mod tests;

pub use assemble::{Evidence, RunFacts, assemble};
pub use attribution::Attribution;
