//! The tokio side of phasegate: translates and executes, decides nothing.
//!
//! - [`clock`], [`sleep`]: the run's monotonic clock, and waiting by it.
//! - [`node`]: drives a machine. [`bus`]: carries what machines say.
//! - [`session`]: one run, from a resolved configuration to its artifacts.
//! - [`config`]: a resolved run: what the binary hands over.
//! - [`secret`]: values that are never printed.
//! - [`telemetry`]: sources of readings: NVML, exporters, Prometheus endpoints.
//! - [`load`]: the load engine.
//! - [`export`]: artifacts, written as the run goes.
//! - [`mod@fuzz`]: what the fuzzers of the runtime do with their bytes.

pub mod bus;
pub mod clock;
pub mod config;
pub mod export;
pub mod fuzz;
pub mod load;
pub mod node;
pub mod secret;
pub mod session;
pub mod sleep;
pub mod telemetry;
