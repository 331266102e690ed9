//! Waits until the endpoint answers, or gives up.
//!
//! - [`machine`]: probes, backs off, gives up.

pub mod machine;

pub use machine::{Readiness, ReadinessEffect, ReadinessInput, ReadinessTimer};
