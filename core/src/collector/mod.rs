//! Readings on a timer and on request.
//!
//! - [`machine`]: the collector: one source, periodic readings, one baseline a
//!   boundary.
//! - [`io`]: its plan, its inputs, its effects.
//! - [`frozen`]: when an exporter answers and nothing that it shows moves.
//! - [`sampling`]: how one boundary's baseline comes about: retries, pauses.
//! - `lack`: what a reading lacks for its source to be settled.
//! - `settling`: whether the source has published what the client's requests
//!   caused.

pub mod frozen;
pub mod io;
mod lack;
pub mod machine;
pub mod sampling;
mod settling;

pub use frozen::Pulse;
pub use io::{CollectorEffect, CollectorInput, CollectorPlan, Purpose, ReadId, ReadStamp};
pub use machine::{Collector, CollectorTimer};

#[cfg(test)]
mod tests;
