//! The tokio side of phasegate: translates and executes, decides nothing.
//!
//! - [`clock`]: the run's monotonic clock.
//! - [`config`]: a resolved run: what the binary hands over.
//! - [`secret`]: values that are never printed.
//! - [`telemetry`]: sources of readings: NVML, exporters, Prometheus endpoints.
//! - [`load`]: the load engine.
//! - [`export`]: artifacts, written as the run goes.

pub mod clock;
pub mod config;
pub mod export;
pub mod load;
pub mod secret;
pub mod telemetry;
